from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from airflow_provider_chatbase.simulator import Simulator


@pytest.fixture
def start() -> Iterator[Callable[..., Simulator]]:
    """Start a simulator with the given switches."""
    with ExitStack() as stack:
        yield lambda **switches: stack.enter_context(Simulator(**{"conversations": 60, **switches}))


@pytest.fixture
def simulator(start: Callable[..., Simulator]) -> Simulator:
    return start()


@pytest.fixture
def connect() -> Iterator[Callable[..., httpx.Client]]:
    """Open a client of one API version."""
    with ExitStack() as stack:

        def open_client(simulator: Simulator, version: str = "v2", **options: Any) -> httpx.Client:
            options.setdefault("timeout", 10)
            options.setdefault("headers", {"Authorization": f"Bearer {simulator.api_key}"})
            base = f"{simulator.url}/api/{version}"
            return stack.enter_context(httpx.Client(base_url=base, **options))

        yield open_client


@pytest.fixture
def v2(simulator: Simulator, connect: Callable[..., httpx.Client]) -> httpx.Client:
    return connect(simulator)


@pytest.fixture
def agent(simulator: Simulator) -> str:
    return f"/agents/{simulator.agent_id}"
