"""
Fixtures for tests that need a Chatbase.

Use it with ``pytest_plugins = ["airflow_provider_chatbase.simulator.pytest_plugin"]``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_provider_chatbase.simulator import Simulator


@pytest.fixture
def chatbase_simulator() -> Iterator[Simulator]:
    """Give a fresh simulator with a small seed; sources train in 50 ms."""
    with Simulator(conversations=30, training_seconds=0.05) as simulator:
        yield simulator
