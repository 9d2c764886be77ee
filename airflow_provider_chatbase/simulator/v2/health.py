"""Health."""

from __future__ import annotations

from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.world import Call


def health(call: Call) -> Reply:
    """Answer getHealth."""
    return Reply(payload={"status": "ok", "timestamp": int(call.now)})
