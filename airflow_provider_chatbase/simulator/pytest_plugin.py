"""
Fixtures for tests that need a Chatbase.

Use it with ``-p airflow_provider_chatbase.simulator.pytest_plugin``. The plugin
:mod:`airflow_provider_chatbase.testing` brings these fixtures too, and an Airflow to run DAGs in.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_chatbase.simulator import Simulator

SMALL = {"conversations": 30, "training_seconds": 0.05}


@pytest.fixture
def start_chatbase_simulator() -> Iterator[Callable[..., Simulator]]:
    """Give a function that starts a simulator with the given settings; all are stopped at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Simulator(**{**SMALL, **settings}))


@pytest.fixture
def chatbase_simulator(start_chatbase_simulator: Callable[..., Simulator]) -> Simulator:
    """Give a fresh simulator with a small seed; sources train in 50 ms."""
    return start_chatbase_simulator()


@pytest.fixture
def connect_chatbase(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """
    Give a function that points an Airflow connection at a simulator, and returns the connection's fields.

    Its arguments: the simulator; ``conn_id``, else ``chatbase_default``; fields that replace the connection's
    own (``password``, ``host``...), and ``extra``, which is added to its own.
    """

    def connect(simulator: Simulator, conn_id: str = "chatbase_default", **fields: Any) -> dict[str, Any]:
        extra = {"agent_id": simulator.agent_id, **fields.pop("extra", {})}
        address = {"host": simulator.url, "password": simulator.api_key}
        connection = {"conn_type": "chatbase", **address, "extra": extra, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return connection

    return connect


@pytest.fixture
def chatbase_connection(
    chatbase_simulator: Simulator, connect_chatbase: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Point the connection ``chatbase_default`` at ``chatbase_simulator``, and give its fields."""
    return connect_chatbase(chatbase_simulator)
