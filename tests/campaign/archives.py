"""Scenarios about an output of exports: tickets of a help desk, and rows that are to be erased."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient
from airflow_provider_chatbase.exports.erasure import AtSource, erase
from airflow_provider_chatbase.exports.export import ExportSettings, export
from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
from airflow_provider_chatbase.exports.manifest import UPDATED
from airflow_provider_chatbase.exports.staging import PUBLISHING_TAKES
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.files import ChatbaseOutputBusyError
from airflow_provider_chatbase.simulator.exchange import ReceivedRequest
from tests.campaign.cases import cut_small, draw_window, exported_objects
from tests.campaign.clockwork import EPOCH, Clockwork, Process
from tests.campaign.scenario import Scenario
from tests.campaign.storage import directory


def _exporting(scenario: Scenario, settings: ExportSettings, look: FileSettings) -> Callable[[Process], Any]:
    output = directory(scenario.store)

    def work(process: Process) -> Any:
        connection = scenario.connection(process)

        async def client() -> AsyncChatbaseClient:
            return AsyncChatbaseClient(connection)

        return export(client, FilesTarget(output, settings, look), settings)

    return work


def tickets(clockwork: Clockwork, seed: int) -> None:
    """An export of tickets has each that changed in its window once, with all of its messages."""
    count = random.Random(f"tickets {seed}").choice([1, 25, 60, 130])
    switches = {"conversations": 0, "tickets": count}
    scenario = Scenario(seed, clockwork, switches, wrong_pages=True)
    rng, agent = scenario.random, scenario.agent
    now = datetime.fromtimestamp(EPOCH, UTC)
    for ticket in agent.tickets.values():  # a seeded one may have been answered in the future
        ticket["updatedAt"] = min(ticket["updatedAt"], (now - timedelta(hours=1)).isoformat())
    window = Window(now - timedelta(days=rng.choice([10, 4000])), now - timedelta(days=rng.choice([0, 5])))
    truth = {
        number: [each["id"] for each in agent.ticket_messages[number]]
        for number, ticket in agent.tickets.items()
        if window.start <= datetime.fromisoformat(ticket["updatedAt"]) < window.end
    }
    changed: set[int] = set()

    def change(sender: Process, request: ReceivedRequest) -> None:
        if rng.random() < 0.01:
            number = rng.choice(list(agent.tickets))
            changed.add(number)
            agent.tickets[number]["updatedAt"] = datetime.fromtimestamp(
                EPOCH + clockwork.now, UTC
            ).isoformat()

    scenario.network.after_work.append(change)
    settings = ExportSettings(
        kind="tickets",
        agent_id=agent.id,
        window=window,
        by=UPDATED,
        concurrency=rng.choice([1, 4, 16]),
        attempt="attempt",
    )
    process = scenario.try_until_through(_exporting(scenario, settings, FileSettings()), at_once=0.5)
    scenario.require_sound()
    seen = exported_objects(scenario, process.result.manifests)
    times = Counter(each["ticketNumber"] for each in seen)
    assert not [each for each, count in times.items() if count > 1], "a ticket is there twice"
    missing = set(truth) - set(times) - changed
    assert not missing, f"missing {missing}"
    assert set(times) <= set(truth), f"too many {set(times) - set(truth)}"
    for each in seen:
        told = [message["id"] for message in each["messages"]]
        assert sorted(told) == sorted(truth[each["ticketNumber"]]), f"messages are missing in {each}"


def erasing(clockwork: Clockwork, seed: int) -> None:
    """What was to be erased is nowhere after a green run, whoever exports meanwhile; all else stays."""
    count = random.Random(f"erasing {seed}").choice([25, 60])
    # Who publishes is told by the clock, and counts as dead after an hour.
    scenario = Scenario(seed, clockwork, {"conversations": count, "months": 1}, most_skew=600.0)
    rng = scenario.random
    cut_small(rng)
    window, at_source = draw_window(scenario), rng.random() < 0.7
    look = FileSettings(partition_by=rng.choice([None, "day"]), file_format=rng.choice(["jsonl", "csv"]))
    settings = ExportSettings(
        kind="conversations", agent_id=scenario.agent.id, window=window, concurrency=4, attempt="first"
    )
    scenario.try_calmly(_exporting(scenario, settings, look))
    there = [each.id for each in scenario.world.store.conversations(scenario.agent.id)]
    wanted = set(rng.sample(there, rng.randint(1, min(5, len(there)))))
    output = directory(scenario.store)

    def work(process: Process) -> Any:
        with ChatbaseClient(scenario.connection(process)) as client:
            return erase(output, [], wanted, at_source=AtSource(client, 1000) if at_source else None)

    if at_source and rng.random() < 0.6:  # else a run that reads afterwards brings them back
        zombie = Process(clockwork, "another export", "one")
        zombie.freeze_at, zombie.freeze_for = rng.randint(1, 200), rng.choice([5.0, 20.0, 60.0])
        again = ExportSettings(
            kind="conversations", agent_id=scenario.agent.id, window=window, concurrency=4, attempt="other"
        )
        exporting = _exporting(scenario, again, look)
        scenario.processes.append(zombie)
        clockwork.start(zombie, lambda: exporting(zombie))
        clockwork.let_pass(rng.uniform(0, 5))
    before = _rows(scenario)
    try:
        scenario.try_until_through(work)
    except AssertionError:
        if not isinstance(scenario.processes[-1].error, ChatbaseOutputBusyError):
            raise
        clockwork.let_pass(PUBLISHING_TAKES + 1200)  # somebody died while he published
        scenario.try_calmly(work)
    scenario.require_sound()
    left = [name for name, (content, _) in scenario.store.objects.items() if _names_one(content, wanted)]
    assert not left, f"{left[0]} still has what was to be erased"
    assert before - wanted <= _rows(scenario), "others were erased too"
    if at_source:
        kept = {each.id for each in scenario.world.store.conversations(scenario.agent.id)}
        assert kept == set(there) - wanted


def _names_one(content: bytes, wanted: set[str]) -> bool:
    return any(each.encode() in content for each in wanted)


def _rows(scenario: Scenario) -> set[str]:
    """Return the conversations that the files of the manifests hold."""
    objects, found = scenario.store.objects, set()
    names = [name for name in objects if name.startswith("bucket/out/_manifests/")]
    every = [each.id for each in scenario.world.store.conversations(scenario.agent.id)]
    for name in names:
        for file in json.loads(objects[name][0])["files"]:
            content, _ = objects[f"bucket/out/{file['path']}"]
            found |= {each for each in every if each.encode() in content}
    return found
