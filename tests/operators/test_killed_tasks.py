"""Contacts: a sync that is killed at random moments in a storm, and retried until all is done."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from exporting import ExportProcess

from airflow_provider_chatbase.simulator import Fault, Simulator

KILLS = 4
STORM = [
    *(
        Fault(kind=kind, probability=0.02)
        for kind in ("reset_before", "reset_after", "reset_during", "truncate", "truncate_json")
    ),
    Fault(kind="status", status=500, probability=0.02),
    Fault(kind="status", status=502, probability=0.02, after=True),
    Fault(kind="status", status=429, retry_after=0, probability=0.05),
]


def execute(environment: dict[str, str], module: str, name: str, arguments: dict[str, Any]) -> None:
    os.environ |= environment
    operator = getattr(import_module(f"airflow_provider_chatbase.operators.{module}"), name)
    operator(task_id="task", **arguments).execute({})


def run_until_done(simulator: Simulator, rng: random.Random, most: int, *task: Any) -> list[int]:
    """Run a task, kill it after a number of requests and run it again; return after which it was killed."""
    killed: list[int] = []
    for _ in range(40):
        after = rng.randint(1, most) if len(killed) < KILLS else None
        process = ExportProcess._context.Process(target=execute, args=(_environment(), *task))
        seen, started = 0, threading.Event()

        def kill(
            _request: object, after: int | None = after, process: Any = process, started: Any = started
        ) -> None:
            nonlocal seen
            seen += 1
            if seen == after:
                started.wait(100)  # it may have come so far before this process knows its number
                process.kill()
                process.join(100)  # meanwhile the server stands still: a slow death lets nothing through

        simulator.on_request = kill
        process.start()
        started.set()
        process.join(200)
        simulator.on_request = None
        if process.exitcode == 0:
            return killed
        killed += [seen] if process.exitcode == -9 else []
    raise AssertionError(f"It is not through after 40 tries; killed after {killed} requests")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}


@pytest.fixture
def service(start_simulator: Callable[..., Simulator], connect: Callable[..., Any]) -> Simulator:
    simulator = start_simulator(tickets=120, contacts=0, conversations=40)
    connect(simulator)
    simulator.faults.add(*STORM)
    return simulator


@pytest.mark.long
@pytest.mark.timeout(300)
def test_contacts_are_the_table_and_none_twice(service: Simulator, tmp_path: Path):
    def table(first: int, last: int, plan: str) -> list[dict[str, Any]]:
        return [{"external_id": f"c-{n}", "name": f"Customer {n}", "plan": plan} for n in range(first, last)]

    how = {"create_attributes": {"plan": "text"}, "prune": True, "max_deletes": 1.0}
    tables = [table(0, 1_500, "free"), [*table(60, 1_500, "free"), *table(1_500, 1_600, "pro")]]
    for seed, contacts in enumerate(tables):
        contacts[5]["name"] = "Renamed"
        task = ("contacts", "ChatbaseSyncContactsOperator", {"contacts": contacts, **how})
        run_until_done(service, random.Random(seed), (12, 40)[seed], *task)
        there = service.store.contacts(service.agent_id)
        assert len(there) == len(contacts)
        assert {each["external_id"]: each["name"] for each in there} == {
            each["external_id"]: each["name"] for each in contacts
        }
