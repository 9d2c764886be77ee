"""Scenarios about customers: messages to them on WhatsApp, and the contacts of an agent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from airflow_provider_chatbase.batch.outcome import ChatbaseLostCheckpointError
from airflow_provider_chatbase.batch.settings import read_settings
from airflow_provider_chatbase.batch.template_batch import TemplateBatch
from airflow_provider_chatbase.batch.templates import Template
from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.simulator.exchange import ReceivedRequest
from airflow_provider_chatbase.sync.contacts import apply_plan, contacts_of, make_plan, read_contacts
from tests.campaign.clockwork import EPOCH, Clockwork, Process
from tests.campaign.network import LATEST
from tests.campaign.scenario import Scenario
from tests.campaign.storage import directory

UNREACHABLE = "0000"


def templates(clockwork: Clockwork, seed: int) -> None:
    """No customer gets a message twice, whatever happens, and the results say who may have got one."""
    scenario = Scenario(seed, clockwork)
    rng = scenario.random
    recipients = [_recipient(number, rng.random() < 0.1) for number in range(rng.randint(2, 12))]
    settings = read_settings(concurrency=rng.choice([1, 3, 8]), max_failure_rate=1)
    output, began = directory(scenario.store), []

    def work(process: Process) -> Any:
        began.append(EPOCH + clockwork.now + process.skew)
        whole = TemplateBatch(
            connection=scenario.connection(process),
            agent_id=scenario.agent.id,
            run="run",
            output=output,
            settings=settings,
            template=Template("order_shipped", "en"),
            try_number=len(began),
            earlier_try_began=began[0] if len(began) > 1 else None,
        )
        report = whole.send_all(recipients)
        if report.stopped is not None or report.error is not None:
            raise report.error or ChatbaseError(f"stopped by {report.stopped}")
        return report

    def look(sender: Process, request: ReceivedRequest) -> None:
        twice = [to for to, times in _sent(scenario).items() if times > 1]
        if twice:
            scenario.broken.append(f"{sender.name} sent {twice[0]} its message twice")

    scenario.network.after_work.append(look)
    try:
        scenario.try_until_through(work)
    except AssertionError:  # who was killed before it could write its checkpoint leaves that to people
        if not isinstance(scenario.processes[-1].error, ChatbaseLostCheckpointError):
            raise
        scenario.require_sound()
        return
    scenario.require_sound()
    _require_true_rows(scenario, recipients)


def _recipient(number: int, is_unreachable: bool) -> dict[str, Any]:
    last = UNREACHABLE if is_unreachable else "0001"
    values = {"1": "Ada", "2": f"order {number}"}
    return {"id": f"c{number}", "to": f"+49 30 {number:04}{last}", "variables": {"body": values}}


def _sent(scenario: Scenario) -> Counter[str]:
    return Counter(each["to"] for each in scenario.world.store.templates_sent)


def _require_true_rows(scenario: Scenario, recipients: list[dict[str, Any]]) -> None:
    rows = [json.loads(line) for line in scenario.store.objects["bucket/out/results.jsonl"][0].splitlines()]
    assert [row["id"] for row in rows] == [each["id"] for each in recipients], "a row is missing, or twice"
    sent = _sent(scenario)
    for row in rows:
        allowed = {"sent", "ambiguous"} if sent[row["to"]] else {"failed", "ambiguous"}
        assert row["outcome"] in allowed, f"sent {sent[row['to']]} times, and it says {row}"


def contacts(clockwork: Clockwork, seed: int) -> None:
    """No contact is there twice, nobody else's is touched, and nothing goes before all is written."""
    scenario = Scenario(seed, clockwork, {"contacts": 0})
    rng, agent = scenario.random, scenario.agent
    agent.contacts = [{"id": f"foreign{n}", "email": f"f{n}@example.com"} for n in range(rng.randint(0, 3))]
    foreign = [dict(each) for each in agent.contacts]
    has_mail = rng.random() < 0.7
    before = {f"c{number}": f"Old {number}" for number in range(rng.randint(0, 8))}
    after = {name: rng.choice([said, f"New {name}"]) for name, said in before.items() if rng.random() < 0.5}
    after |= {f"n{number}": f"Name {number}" for number in range(rng.randint(1, 8))}
    clashes = has_mail and bool(foreign) and rng.random() < 0.2

    def table(declared: dict[str, str]) -> list[dict[str, Any]]:
        rows = [{"external_id": key, "name": name} for key, name in declared.items()]
        for row in rows if has_mail else ():
            is_taken = clashes and row["external_id"] == "n0"
            row["email"] = "f0@example.com" if is_taken else f"{row['external_id']}@example.com"
        return rows

    def syncs(declared: dict[str, str]) -> Callable[[Process], Any]:
        def work(process: Process) -> Any:
            with ChatbaseClient(scenario.connection(process)) as client:
                there = client.run(contacts_of(agent.id))
                rows = read_contacts(table(declared), {})
                plan = make_plan(rows, there, prune=True, max_deletes=1000, allow_empty=True)
                result = client.run(apply_plan(agent.id, plan))
            if result.failed:
                raise ChatbaseError(f"not all was written: {result.failed}")
            return result

        return work

    def look(sender: Process, request: ReceivedRequest) -> None:
        there = {each.get("external_id") for each in agent.contacts}
        if request.operation == "deleteContact" and not set(declared) <= there:
            scenario.broken.append(f"{sender.name} deletes before {set(declared) - there} are written")

    # Without an address nothing but the API could keep two runs apart.
    at_once, declared = 0.3 if has_mail else 0.0, before
    scenario.network.after_work.append(look)
    scenario.try_until_through(syncs(before), at_once=at_once)
    declared = after
    if clashes:
        _require_refused(scenario, syncs(after), at_once)
    else:
        scenario.try_until_through(syncs(after), at_once=at_once)
        if clockwork.notes.get("late"):  # a contact that comes when all are over is seen by the next one
            clockwork.let_pass(LATEST)
            scenario.try_calmly(syncs(after))
    scenario.require_sound()
    ours = [(each["external_id"], each["name"]) for each in agent.contacts if each.get("external_id")]
    wanted = sorted(each for each in after.items() if not (clashes and each[0] == "n0"))
    if clashes:
        ours = [each for each in ours if each in wanted]  # what was to go stays
    assert sorted(ours) == wanted, f"{sorted(ours)} is not {wanted}"
    assert [each for each in agent.contacts if not each.get("external_id")] == foreign


def _require_refused(scenario: Scenario, work: Callable[[Process], Any], at_once: float) -> None:
    """Let a contact that cannot be written keep all others from being deleted, in each try."""
    there = {each.get("external_id") for each in scenario.agent.contacts}
    try:
        scenario.try_until_through(work, at_once=at_once)
    except AssertionError:
        assert there <= {each.get("external_id") for each in scenario.agent.contacts}
    else:
        raise AssertionError("green, although a contact could not be written")
