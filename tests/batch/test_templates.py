"""Messages to customers on WhatsApp: none gets one twice, whatever is lost, killed, cleared or changed."""

from __future__ import annotations

import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_chatbase.batch.outcome import ChatbaseLostCheckpointError
from airflow_provider_chatbase.batch.results import in_words, verdict
from airflow_provider_chatbase.batch.template_batch import TemplateBatch
from airflow_provider_chatbase.batch.templates import Template, read_recipient
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseUnsupportedError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Fault, Simulator
from tests.batch.conftest import new_batch, rows_of, run_and_kill

SEND = "sendWhatsAppTemplateMessage"


def customers(count: int, start: int = 1) -> list[dict[str, Any]]:
    return [{"to": f"+49 30 {n:07d}1", "body[name]": f"Ada {n}"} for n in range(start, start + count)]


def new(simulator: Simulator, output: Directory, template: str = "feedback", **given: Any) -> TemplateBatch:
    settings = {"on_ambiguous": "fail", "concurrency": 4, **given}
    batch: TemplateBatch = new_batch(
        simulator, output, kind=TemplateBatch, template=Template(template), **settings
    )
    return batch


def sent(simulator: Simulator) -> Counter[str]:
    return Counter(each["to"] for each in simulator.store.templates_sent)


def outcomes(output: Directory) -> list[str]:
    return [row["outcome"] for row in rows_of(output)]


def test_each_customer_gets_one_and_a_row(simulator: Simulator, output: Directory):
    given = [{**each, "id": f"c{n}", "city": "Berlin"} for n, each in enumerate(customers(12))]
    report = new(simulator, output).send_all(given)
    assert report.manifest["outcomes"] == {"sent": 12, "failed": 0, "ambiguous": 0, "not_sent": 0}
    row = rows_of(output)[3]
    assert (row["id"], row["to"], row["template"], row["outcome"]) == (
        "c3",
        "493000000041",
        "feedback",
        "sent",
    )
    assert (row["variables"], row["metadata"]) == ({"body": {"name": "Ada 4"}}, {"city": "Berlin"})
    message = next(each for each in simulator.store.templates_sent if each["to"] == row["to"])
    assert (message["messageId"], message["text"]) == (row["message_id"], "[feedback] Ada 4")
    assert set(sent(simulator).values()) == {1}
    new(simulator, output).send_all(given[::-1])  # the same task instance again
    assert sum(sent(simulator).values()) == 12
    assert in_words(report.tally, None) == "12 of 12 messages are sent."


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "reset_after"},
        {"kind": "truncate"},
        {"kind": "truncate_json"},
        {"kind": "status", "status": 500, "after": True},
        {"kind": "status", "status": 502, "code": "WHATSAPP_SEND_FAILED", "after": True},
        {"kind": "not_json"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_a_lost_reply_is_in_doubt_and_never_sent_again(
    simulator: Simulator, output: Directory, fault: dict[str, Any]
):
    simulator.faults.add(Fault(operation=SEND, times=2, **fault))
    report = new(simulator, output).send_all(customers(10))
    assert sorted(outcomes(output)) == ["ambiguous"] * 2 + ["sent"] * 8
    assert "2 are in doubt: it is unknown whether they arrived" in in_words(report.tally, report.stopped)
    for _ in range(2):
        new(simulator, output, try_number=2, earlier_try_began=time.time()).send_all(customers(10))
        assert sorted(outcomes(output)) == ["ambiguous"] * 2 + ["sent"] * 8
        assert {row["attempts"] for row in rows_of(output)} == {1}
    assert set(sent(simulator).values()) == {1}
    new(simulator, output, on_ambiguous="retry").send_all(customers(10))
    assert outcomes(output) == ["sent"] * 10
    arrived = fault["kind"] != "not_json"
    assert sum(sent(simulator).values()) == (12 if arrived else 10)  # as was asked for


def test_what_is_refused_goes_when_it_is_mended(simulator: Simulator, output: Directory):
    given = [
        *customers(5),
        {"to": "+49 30 0000", "body[name]": "Bo"},
        {"to": "+49 30 7654321", "body[name]": "x     y"},
    ]
    new(simulator, output).send_all(given)
    assert outcomes(output) == [*["sent"] * 5, "failed", "failed"]
    assert [row.get("error_code") for row in rows_of(output)[5:]] == [
        "RECIPIENT_NOT_REACHABLE",
        "INVALID_PROMPT",
    ]
    given[5]["to"], given[6]["body[name]"] = "+49 30 1111", "x y"
    given[0]["body[name]"] = "another name"  # got it already
    report = new(simulator, output).send_all(given)
    assert report.tally.outcomes == {"sent": 7}
    assert set(sent(simulator).values()) == {1}


def test_a_storm_of_429_sends_each_once(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="status", status=429, retry_after=0, operation=SEND, probability=0.3))
    new(simulator, output).send_all(customers(40))
    assert outcomes(output) == ["sent"] * 40
    assert set(sent(simulator).values()) == {1}


def test_an_outage_leaves_few_in_doubt(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="reset_after", operation=SEND))
    report = new(simulator, output, concurrency=3).send_all(customers(50))
    assert report.stopped == "outage"
    assert report.tally.outcomes["ambiguous"] <= 6
    assert set(sent(simulator).values()) == {1}


def test_two_of_one_number_are_refused_or_told_apart(simulator: Simulator, output: Directory):
    given = [
        *customers(3),
        {"to": "0049 30 1", "body[name]": "x"},
        {"to": "+49(30)00000021", "body[name]": "Bo"},
    ]
    with pytest.raises(
        ChatbaseInputError, match=r"1 of the 5 messages .* gets one already, such as those of '1' and '4'"
    ):
        new(simulator, output).send_all(given)
    assert simulator.requests_for(SEND) == []
    new(simulator, output, on_duplicate="first", dedupe=True).send_all(given)
    assert set(sent(simulator).values()) == {1}
    assert (rows_of(output)[4]["outcome"], rows_of(output)[4]["duplicate_of"]) == ("sent", "1")
    new(simulator, output, run="run-2", on_duplicate="send").send_all(given)
    assert sent(simulator)["493000000021"] == 3


@pytest.mark.parametrize(
    "lose", [lambda out: shutil.rmtree(out.root), lambda out: _log(out).write_bytes(b"")], ids=["all", "log"]
)
def test_without_the_checkpoint_of_an_earlier_try_none_is_sent(
    simulator: Simulator, output: Directory, lose: Callable[[Directory], object]
):
    new(simulator, output, max_items=5).send_all(customers(10))
    lose(output)
    later = {"try_number": 2, "earlier_try_began": time.time() - 60}
    with pytest.raises(
        ChatbaseLostCheckpointError,
        match=r"Who got a message is unknown, so none is sent\. .* resend_in_doubt=True",
    ):
        new(simulator, output, **later).send_all(customers(10))
    assert sum(sent(simulator).values()) == 5
    new(simulator, output, on_ambiguous="retry", **later).send_all(customers(10))
    assert outcomes(output) == ["sent"] * 10


def _log(output: Directory) -> Path:
    [log] = Path(output.root, "_checkpoint").rglob("*.jsonl")
    return log


def test_a_damaged_checkpoint_sends_nothing_twice(simulator: Simulator, output: Directory):
    new(simulator, output, max_items=6, concurrency=1).send_all(customers(10))
    log = _log(output)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join([*lines[:3], b"{damaged\n", *lines[5:]]))
    new(simulator, output).send_all(customers(10))
    assert set(sent(simulator).values()) == {1}


def test_a_try_that_ended_before_it_sent_is_gone_on_with(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="status", status=403, code="WHATSAPP_NOT_CONNECTED", times=1))
    with pytest.raises(Exception, match="Connect a WhatsApp number"):
        new(simulator, output).send_all(customers(3))
    new(simulator, output, try_number=2, earlier_try_began=time.time()).send_all(customers(3))
    assert outcomes(output) == ["sent"] * 3


@pytest.mark.parametrize(
    ("template", "settings", "told"),
    [
        ("no_such", {}, "has no approved template 'no_such'; it has feedback, order_shipped"),
        ("we_miss_you", {}, "has no approved template 'we_miss_you'"),
    ],
)
def test_what_nobody_can_get_is_refused(
    simulator: Simulator, output: Directory, template: str, settings: dict[str, Any], told: str
):
    for go in (new(simulator, output, template).send_all, new(simulator, output, template).plan):
        with pytest.raises(ChatbaseInputError, match=told):
            go(customers(2))
    assert simulator.requests_for(SEND) == []


def test_languages_and_variables_are_checked_before(simulator: Simulator, output: Directory):
    given = [
        {"to": "493012345671", "language": "de", "variables": {"body": {"1": "Ada", "2": 12}}},
        {"to": "493012345672", "variables": {"body": {"1": "Ada", "2": "12"}}},
        {"to": "493012345673", "language": "fr", "variables": {"body": {"1": "Ada", "2": "12"}}},
        {"to": "493012345674", "language": "en", "body[1]": "Ada"},
        {"to": "493012345675", "language": "en", "body[1]": "Ada", "body[2]": "12", "body[3]": "x"},
        {"to": "493012345676", "language": "en", "body[1]": "Ada", "body[2]": "a\nb"},
        "493012345677",
    ]
    plan = new(simulator, output, "order_shipped").plan(given)
    assert (plan["to_send"], plan["invalid"]) == (1, 6)
    new(simulator, output, "order_shipped").send_all(given)
    told = [row.get("error_message", "") for row in rows_of(output)]
    assert [told[n] for n in (1, 2, 3, 4)] == [
        "order_shipped exists in several languages (de, en): give one",
        "order_shipped is not approved in the language fr, only in de, en",
        "the template needs body[2]",
        "the template has no body[3], only body[1], body[2]",
    ]
    assert "line break" in told[5]
    assert "must be an object" in told[6]
    assert [each["language"] for each in simulator.store.templates_sent] == ["de"]


@pytest.mark.parametrize(
    "to", ["", None, "030 12345678", "+49", "Ada", "+49 (0)30 1234567", 4.9e11, True, "4930123456789012"]
)
def test_a_number_that_is_none_is_a_problem(to: Any):
    assert "to must " in (read_recipient(0, {"to": to}, apart=False).problem or "")


def test_v1_has_no_templates(simulator: Simulator, output: Directory):
    with pytest.raises(ChatbaseUnsupportedError, match="operation of API v2"):
        new(simulator, output, api_version="v1").send_all(customers(1))


def test_what_is_in_doubt_fails_the_task_above_the_rate(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="reset_after", operation=SEND, times=2))
    batch = new(simulator, output, max_failure_rate=0.1)
    report = batch.send_all(customers(12))
    with pytest.raises(Exception, match=r"2 of 12 messages failed .* 2 are in doubt"):
        verdict(report.tally, report.stopped, batch.settings)


KILLS, RECIPIENTS, CONCURRENCY = 6, 240, 6


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([], id="calm"),
        pytest.param(["reset_after", "reset_before", "truncate"], id="storm"),
    ],
)
def test_killed_at_random_moments_none_gets_it_twice(output: Directory, faults: list[str]):
    rng = random.Random(7)
    with Simulator(conversations=3, latency={SEND: 0.02}, rate_limit=1_000_000) as simulator:
        simulator.faults.add(*(Fault(kind=kind, operation=SEND, probability=0.01) for kind in faults))
        kills = 0
        how = RECIPIENTS, CONCURRENCY, "feedback"
        while run_and_kill(
            simulator, output, rng.randint(3, RECIPIENTS // KILLS) if kills < KILLS else None, *how
        ):
            kills += 1
        assert kills == KILLS
        rows, got = rows_of(output), sent(simulator)
        assert set(got.values()) == {1}
        assert {row["to"] for row in rows if row["outcome"] == "sent"} <= set(got)
        in_doubt = [row["to"] for row in rows if row["outcome"] == "ambiguous"]
        assert all(row["outcome"] in ("sent", "ambiguous") for row in rows)
        assert set(got) >= {row["to"] for row in rows} - set(in_doubt)
        assert len(in_doubt) <= KILLS * CONCURRENCY + RECIPIENTS // 8
