"""Tickets and analytics: killed at random moments in a storm, and retried until all is done."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_chatbase.simulator import Simulator
from tests.operators.test_killed_tasks import KILLS, STORM, execute, run_until_done


@pytest.fixture
def service(start_simulator: Callable[..., Simulator], connect: Callable[..., Any]) -> Simulator:
    simulator = start_simulator(tickets=120, contacts=0, conversations=40)
    connect(simulator)
    past = datetime.now(UTC) - timedelta(hours=1)
    for ticket in simulator.store.agents[simulator.agent_id].tickets.values():
        ticket["updatedAt"] = min(ticket["updatedAt"], past.isoformat())  # a seeded one may be of tomorrow
    simulator.faults.add(*STORM)
    return simulator


def _rows(path: Path, table: str) -> list[dict[str, Any]]:
    import pyarrow as pa

    from airflow_provider_chatbase.files.delta_storage import read_delta

    found: list[dict[str, Any]] = pa.table(read_delta(path.as_uri(), table).scan()).to_pylist()
    return found


@pytest.mark.long
@pytest.mark.timeout(300)
def test_tickets_in_a_table_are_the_truth(service: Simulator, tmp_path: Path):
    pytest.importorskip("deltalake")
    arguments = {"output_path": tmp_path.as_uri(), "file_format": "delta"}
    task = ("exports", "ChatbaseExportTicketsOperator", arguments)
    killed = run_until_done(service, random.Random(1), 60, *task)
    assert len(killed) == KILLS
    agent = service.store.agents[service.agent_id]
    tickets, messages = _rows(tmp_path, "tickets"), _rows(tmp_path, "ticket_messages")
    assert sorted(row["ticket_number"] for row in tickets) == sorted(agent.tickets)
    truth = {each["id"] for number in agent.tickets for each in agent.ticket_messages[number]}
    assert sorted(row["message_id"] for row in messages) == sorted(truth)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_tickets_in_files_are_the_truth(service: Simulator, tmp_path: Path):
    arguments = {"output_path": tmp_path.as_uri(), "file_format": "jsonl"}
    task = ("exports", "ChatbaseExportTicketsOperator", arguments)
    assert len(run_until_done(service, random.Random(2), 60, *task)) == KILLS
    agent = service.store.agents[service.agent_id]
    [manifest] = (tmp_path / "_manifests").glob("*.json")
    files = [tmp_path / each["path"] for each in json.loads(manifest.read_bytes())["files"]]
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert {each["ticketNumber"]: len(each["messages"]) for each in found} == {
        number: len(agent.ticket_messages[number]) for number in agent.tickets
    }
    assert len(found) == len(agent.tickets)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_analytics_are_those_of_a_quiet_run(service: Simulator, tmp_path: Path):
    pytest.importorskip("deltalake")
    for name, faults in (("stormy", True), ("quiet", False)):
        arguments = {"output_path": (tmp_path / name).as_uri(), "file_format": "delta"}
        task = ("exports", "ChatbaseAnalyticsOperator", arguments)
        if not faults:
            service.faults.clear()
            execute({}, *task)
        else:
            assert len(run_until_done(service, random.Random(3), 20, *task)) == KILLS
    for table in ("analytics", "analytics_counts"):
        stormy, quiet = (Counter(map(_plain, _rows(tmp_path / name, table))) for name in ("stormy", "quiet"))
        assert stormy == quiet
        assert stormy


def _plain(row: dict[str, Any]) -> str:
    return json.dumps({name: row[name] for name in row if "export" not in name}, default=str, sort_keys=True)
