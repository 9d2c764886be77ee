"""Triggers of one connection to a simulator, run on one event loop."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_chatbase.simulator import Simulator

SMALL = {"conversations": 0, "leads": 0, "contacts": 0, "training_seconds": 0.0}


@pytest.fixture
def start(airflow_db: None, start_simulator: Any, connect: Any) -> Callable[..., Simulator]:
    """Start a simulator with the given switches, and name it in the default connection."""

    def start(api_version: str = "v2", **switches: Any) -> Simulator:
        simulator = start_simulator(**{**SMALL, **switches})
        connect(simulator, extra={"api_version": api_version, "timeout": 5})
        return simulator

    return start


def trigger(agent_id: str | None = None, source_ids: list[str] | None = None, **changes: Any) -> Any:
    from airflow_provider_chatbase.triggers.training import ChatbaseTrainingTrigger

    arguments: dict[str, Any] = {
        "chatbase_conn_id": "chatbase_default",
        "agent_id": agent_id,
        "source_ids": source_ids,
        "poll_interval": 0.2,
        "deadline": time.time() + 20,
        "max_poll_failures": 3,
    }
    return ChatbaseTrainingTrigger(**{**arguments, **changes})


def run_all(*triggers: Any) -> list[dict[str, Any]]:
    """Run triggers side by side, and return the event of each."""

    async def first_event(each: Any) -> dict[str, Any]:
        async for event in each.run():
            return event.payload
        raise AssertionError("the trigger ended without an event")

    async def run() -> list[dict[str, Any]]:
        return await asyncio.wait_for(asyncio.gather(*(first_event(each) for each in triggers)), 60)

    return asyncio.run(run())


@contextmanager
def old_objects_left_alone() -> Iterator[None]:
    """
    Keep what the test process has piled up out of Python's garbage collection.

    With all of Airflow and many tests loaded a full collection takes 0.4 s, whoever's turn it is.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
