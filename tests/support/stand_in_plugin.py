"""Fixtures for tests against the stand-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from stand_in import AGENT, KEY, StandIn


@pytest.fixture
def chatbase() -> Iterator[StandIn]:
    """Give a fresh stand-in."""
    with StandIn() as running:
        yield running


def fields_of(chatbase: StandIn, version: str = "v2", **extra: Any) -> dict[str, Any]:
    """Return the fields of an Airflow connection to the stand-in."""
    extra = {"agent_id": AGENT, "timeout": 5, "api_version": version, **extra}
    return {"conn_type": "chatbase", "host": chatbase.url, "password": KEY, "extra": extra}


@pytest.fixture
def connected(chatbase: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Give a stand-in that Airflow's connections chatbase_default (v2) and chatbase_v1 lead to."""
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(fields_of(chatbase)))
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_V1", json.dumps(fields_of(chatbase, "v1")))
    return chatbase
