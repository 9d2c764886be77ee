"""A simulator that the default connection leads to, and contexts of tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_chatbase.simulator import Simulator

SMALL = {"conversations": 0, "leads": 0, "contacts": 0, "training_seconds": 0.0, "upload_limit": 1000}


@pytest.fixture
def start(airflow_db: None, start_simulator: Any, connect: Any) -> Callable[..., Simulator]:
    """Start a simulator with the given switches, and name it in the default connection."""

    def start(api_version: str = "v2", timeout: float = 5, **switches: Any) -> Simulator:
        simulator = start_simulator(**{**SMALL, **switches})
        connect(simulator, extra={"api_version": api_version, "timeout": timeout, "max_attempts": 2})
        return simulator

    return start


def context(attempt: int = 1, run_began: datetime | None = None) -> dict[str, Any]:
    """Return what the operators read of a task's context."""
    began = run_began or datetime.now(tz=UTC)
    ti = SimpleNamespace(try_number=attempt, dag_id="dag", run_id="run", task_id="task", map_index=-1)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=began, run_after=began, clear_number=0)}


def writes(simulator: Simulator) -> list[str]:
    """Return the operations that changed something, in their order."""
    return [request.operation for request in simulator.requests if request.method != "GET"]
