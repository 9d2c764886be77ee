"""Whole batches against the simulator, over HTTP, with real files."""

from __future__ import annotations

import csv
import io
import json
import logging
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_chatbase.batch.outcome import StopReason
from airflow_provider_chatbase.batch.results import verdict
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseNotFoundError
from airflow_provider_chatbase.exceptions import (
    ChatbaseBatchError,
    ChatbaseBatchLimitError,
    ChatbaseBatchStorageError,
    ChatbaseExpectationsError,
    ChatbaseOutputBusyError,
    ChatbaseOutputError,
)
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.formats import decompressing
from airflow_provider_chatbase.files.lock import LockTimes
from airflow_provider_chatbase.simulator import Fault, Simulator
from tests.batch.conftest import new_batch, questions, rows_of, storage_of
from tests.support.buckets import Bucket, bucket

__all__ = ["bucket"]  # a fixture


def test_rows_are_in_the_order_of_the_input(start: Callable[..., Simulator], output: Directory):
    with start() as simulator:
        given = [{"id": f"q{n}", "message": f"[sim:answer] reply {n}", "n": n} for n in range(120)]
        ended = new_batch(simulator, output, concurrency=16).ask_all(given)
        rows = rows_of(output)
        assert [(row["id"], row["text"], row["metadata"]) for row in rows] == [
            (f"q{n}", f"reply {n}", {"n": n}) for n in range(120)
        ]
        assert simulator.prompts_charged == 120
        assert ended.manifest["outcomes"]["answered"] == 120
        assert ended.manifest["credits"] == 120
        assert output.read_json("_manifest.json") == ended.manifest
        assert list(rows[0])[:12] == [
            "id",
            "message",
            "text",
            "outcome",
            "error_code",
            "error_message",
            "conversation_id",
            "message_id",
            "credits",
            "seconds",
            "attempts",
            "metadata",
        ]
        assert len({row["conversation_id"] for row in rows}) == 120
        assert {row["attempts"] for row in rows} == {1}


def test_one_bad_prompt_neither_sinks_the_batch_nor_hides(simulator: Simulator, output: Directory):
    given = ["fine", "", "[sim:error] x", {"message": "y", "user_id": "a@b"}, "[sim:tool=x] y", "also fine"]
    ended = new_batch(simulator, output).ask_all(given)
    assert [(row["outcome"], row["error_code"]) for row in rows_of(output)] == [
        ("answered", None),
        ("failed", "INVALID_PROMPT"),
        ("failed", "ANSWER_FAILED"),
        ("failed", "INVALID_PROMPT"),
        ("failed", "TOOL_CALLS"),
        ("answered", None),
    ]
    assert ended.manifest["error_codes"] == {"INVALID_PROMPT": 2, "ANSWER_FAILED": 1, "TOOL_CALLS": 1}
    verdict(ended.tally, ended.stopped, new_batch(simulator, output).settings)


def test_finished_prompts_are_not_sent_again(simulator: Simulator, output: Directory):
    new_batch(simulator, output).ask_all(questions(20))
    before = rows_of(output)
    again = new_batch(simulator, output).ask_all(questions(20))
    assert simulator.prompts_charged == 20
    assert rows_of(output) == before
    assert again.manifest["outcomes"]["answered"] == 20


@pytest.mark.parametrize("change", ["run", "agent"])
def test_another_run_or_agent_starts_anew(simulator: Simulator, output: Directory, change: str):
    new_batch(simulator, output).ask_all(questions(5))
    if change == "agent":
        simulator.store.agents[simulator.agent_id].fields["instructions"] = "Be brief."
    run = "run-2" if change == "run" else "run-1"
    new_batch(simulator, output, run=run).ask_all(questions(5))
    assert simulator.prompts_charged == 10
    assert len(output.names("_checkpoint")) == 1  # that of the finished run is gone with its results


@pytest.mark.parametrize("named", [True, False])
def test_of_a_changed_input_only_what_is_new_is_sent(simulator: Simulator, output: Directory, named: bool):
    given: list[Any] = ["a", "b", "b", {"message": "a", "user_id": "u"}]
    if named:
        given = [{"id": f"q{n}", "message": f"[sim:answer] reply {n}"} for n in range(4)]
    new_batch(simulator, output).ask_all(given)
    changed = ["new", *given[::-1]] if not named else [{"id": "new", "message": "new"}, *given[::-1]]
    report = new_batch(simulator, output).ask_all(changed)
    assert report.tally.outcomes["answered"] == 5
    assert simulator.prompts_charged == 5
    if named:
        assert [row["text"] for row in rows_of(output)][1:] == [f"reply {n}" for n in (3, 2, 1, 0)]


def test_what_is_not_asked_any_more_was_paid_for(simulator: Simulator, output: Directory):
    new_batch(simulator, output, max_items=3, max_credits=3).ask_all(questions(3))
    report = new_batch(simulator, output, max_items=3).ask_all(["another"])
    assert report.stopped is StopReason.MAX_ITEMS
    report = new_batch(simulator, output, max_credits=3).ask_all(["another"])
    assert report.stopped is StopReason.MAX_CREDITS
    assert simulator.prompts_charged == 3


def test_what_is_not_asked_does_not_count_as_changed(simulator: Simulator, output: Directory):
    new_batch(simulator, output).ask_all([{"message": "[sim:answer] yes", "team": "a"}])
    ended = new_batch(simulator, output, min_pass_rate=1).ask_all(
        [{"message": "[sim:answer] yes", "team": "b", "contains": "no"}]
    )
    assert simulator.prompts_charged == 1
    assert rows_of(output)[0]["metadata"] == {"team": "b"}
    assert ended.tally.passed == 0


def test_the_checkpoint_of_an_unfinished_run_is_kept(simulator: Simulator, output: Directory):
    new_batch(simulator, output, max_items=2).ask_all(questions(5))
    new_batch(simulator, output, run="run-2").ask_all(questions(5))
    new_batch(simulator, output).ask_all(questions(5))
    assert simulator.prompts_charged == 10


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="reset_after", operation="chatWithAgent", probability=0.2),
        Fault(kind="reset_before", operation="chatWithAgent", probability=0.2),
        Fault(kind="truncate", operation="chatWithAgent", probability=0.2),
        Fault(kind="truncate_json", operation="chatWithAgent", probability=0.2),
        Fault(kind="status", status=500, operation="chatWithAgent", probability=0.2, after=True),
        Fault(kind="status", status=502, operation="chatWithAgent", probability=0.2),
        Fault(kind="status", status=429, retry_after=0, probability=0.2),
        Fault(kind="status", status=503, code="SERVICE_UNDER_MAINTENANCE", probability=0.2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_a_failure_on_the_way_is_paid_for_once(simulator: Simulator, output: Directory, fault: Fault):
    simulator.faults.add(fault)
    new_batch(simulator, output, concurrency=20).ask_all(questions(40))
    rows = rows_of(output)
    assert [row["outcome"] for row in rows] == ["answered"] * 40
    assert simulator.prompts_charged == 40
    assert fault.fired > 0
    for row in rows:
        assert (row["credits"] is None) == row["recovered"]


def test_recovered_answers_have_an_unknown_cost(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", times=2))
    manifest = new_batch(simulator, output).ask_all(["[sim:credits=2] a", *questions(9)]).manifest
    assert (manifest["recovered"], manifest["credits_unknown"]) == (2, 2)
    assert manifest["credits_estimated"] > manifest["credits"]


def test_equal_messages_of_one_user_are_told_apart(start: Callable[..., Simulator], output: Directory):
    with start() as simulator:
        simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", probability=0.5))
        given = [{"message": "the same", "user_id": "customer-1"} for _ in range(8)]
        new_batch(simulator, output).ask_all(given)
        rows = rows_of(output)
        assert simulator.prompts_charged == 8
        assert len({row["conversation_id"] for row in rows}) == 8
        assert any(row["recovered"] for row in rows)


def test_equal_messages_in_one_conversation_are_told_apart(simulator: Simulator, output: Directory):
    new_batch(simulator, output, run="first").ask_all(["hello"])
    conversation = rows_of(output)[0]["conversation_id"]
    simulator.faults.add(Fault(kind="reset_before", operation="chatWithAgent", probability=0.3))
    given = [{"message": "yes", "conversation_id": conversation} for _ in range(6)]
    new_batch(simulator, output).ask_all(given)
    rows = rows_of(output)
    assert [row["outcome"] for row in rows] == ["answered"] * 6
    assert simulator.faults.active[0].fired > 0
    assert simulator.prompts_charged == 7
    assert len({row["message_id"] for row in rows}) == 6
    assert {row["conversation_id"] for row in rows} == {conversation}


def test_an_earlier_message_of_a_conversation_is_found_behind_a_later_one(
    start: Callable[..., Simulator], output: Directory
):
    with start() as simulator:
        new_batch(simulator, output, run="first").ask_all(["hello"])
        conversation = rows_of(output)[0]["conversation_id"]
        simulator.faults.add(
            Fault(kind="reset_after", operation="chatWithAgent", times=1),
            Fault(kind="status", status=500, operation="getConversation", times=9),
            Fault(kind="status", status=500, operation="listConversationMessages", times=9),
        )
        given = [{"message": text, "conversation_id": conversation} for text in ("yes", "yes", "no")]
        new_batch(simulator, output, max_attempts=1).ask_all(given)
        new_batch(simulator, output).ask_all(given)
        rows = rows_of(output)
        assert [row["outcome"] for row in rows] == ["answered"] * 3
        assert len({row["message_id"] for row in rows}) == 3
        assert simulator.prompts_charged == 4


def test_what_fails_for_a_moment_is_tried_again_when_the_others_are_through(
    simulator: Simulator, output: Directory
):
    simulator.faults.add(Fault(kind="status", status=429, retry_after=0, operation="chatWithAgent", times=5))
    ended = new_batch(simulator, output, max_attempts=1, concurrency=2, max_failure_rate=0).ask_all(
        questions(20)
    )
    rows = rows_of(output)
    assert [row["outcome"] for row in rows] == ["answered"] * 20
    assert sum(row["attempts"] for row in rows) == 25
    assert ended.stopped is None


def test_no_credits_left_stops_at_once_and_can_be_resumed(start: Callable[..., Simulator], output: Directory):
    with start(credit_balance=39) as simulator:
        ended = new_batch(simulator, output, concurrency=1).ask_all(questions(60))
        assert ended.stopped is StopReason.CREDITS_EXHAUSTED
        assert ended.error is not None
        assert ended.error.code == "CHAT_CREDITS_EXHAUSTED"
        assert ended.manifest["outcomes"] == {
            "answered": 39,
            "invalid_output": 0,
            "failed": 0,
            "unanswered": 0,
            "ambiguous": 0,
            "not_sent": 21,
        }
        assert len(simulator.requests_for("chatWithAgent")) == 40
        assert [row["outcome"] for row in rows_of(output)][38:41] == ["answered", "not_sent", "not_sent"]
        simulator.credit_balance = 100
        new_batch(simulator, output).ask_all(questions(60))
        assert simulator.prompts_charged == 60


def test_a_refused_key_sends_nothing_and_leaves_no_results(simulator: Simulator, output: Directory):
    with pytest.raises(Exception, match="AUTH_INVALID_API_KEY"):
        new_batch(simulator, output, api_key="wrong").ask_all(questions(3))
    assert output.read("results.jsonl") is None
    assert output.read("_checkpoint/_lock.json") is None


def test_an_unknown_agent_is_refused(simulator: Simulator, output: Directory):
    with pytest.raises(ChatbaseNotFoundError, match="AGENT_NOT_FOUND"):
        new_batch(simulator, output, agent_id="nobody").ask_all(questions(3))


def test_a_key_that_is_revoked_meanwhile_stops_the_batch(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="status", status=401, operation="chatWithAgent", skip=5))
    ended = new_batch(simulator, output, concurrency=1).ask_all(questions(20))
    assert ended.stopped is StopReason.REFUSED
    assert ended.tally.outcomes["answered"] == 5
    assert ended.tally.outcomes["not_sent"] == 15


@pytest.mark.parametrize("concurrency", [1, 8])
def test_max_credits_is_not_passed(start: Callable[..., Simulator], output: Directory, concurrency: int):
    with start(credits_per_answer=0.25) as simulator:
        ended = new_batch(simulator, output, concurrency=concurrency, max_credits=2.5).ask_all(questions(40))
        assert simulator.credits_charged == 2.5
        assert (ended.stopped, ended.manifest["status"]) == (StopReason.MAX_CREDITS, "stopped")
        assert ended.tally.outcomes["not_sent"] == 30
        with pytest.raises(ChatbaseBatchLimitError, match="max_credits was reached; 10 of 40"):
            verdict(ended.tally, ended.stopped, new_batch(simulator, output).settings)
        new_batch(simulator, output, max_credits=2.5).ask_all(questions(40))
        assert simulator.credits_charged == 2.5  # a retry does not get the same again
        new_batch(simulator, output, max_credits=100).ask_all(questions(40))
        assert simulator.prompts_charged == 40


def test_max_items(simulator: Simulator, output: Directory):
    ended = new_batch(simulator, output, max_items=7).ask_all(questions(20))
    assert (ended.stopped, simulator.prompts_charged) == (StopReason.MAX_ITEMS, 7)
    assert new_batch(simulator, output, max_items=7).ask_all(questions(20)).tally.outcomes["answered"] == 7
    new_batch(simulator, output, max_items=20).ask_all(questions(20))
    assert simulator.prompts_charged == 20


@pytest.mark.parametrize(("most", "fails"), [(0.04, True), (0.05, False), (0.1, False), (0, True)])
def test_max_failure_rate_at_its_edge(simulator: Simulator, output: Directory, most: float, fails: bool):
    batch = new_batch(simulator, output, max_failure_rate=most)
    given = ["[sim:error] x" if n == 19 else f"q{n}" for n in range(20)]
    ended = batch.ask_all(given)
    if fails:
        with pytest.raises(ChatbaseBatchError, match=r"1 of 20 prompts failed \(ANSWER_FAILED 1x\)"):
            verdict(ended.tally, ended.stopped, batch.settings)
    else:
        verdict(ended.tally, ended.stopped, batch.settings)


def test_a_failure_rate_that_is_certain_stops_the_batch(simulator: Simulator, output: Directory):
    given = [f"[sim:error] {n}" for n in range(50)]
    ended = new_batch(simulator, output, concurrency=1, max_failure_rate=0.1).ask_all(given)
    assert ended.stopped is StopReason.FAILURE_RATE
    assert ended.tally.failed == 6


def test_fail_fast(simulator: Simulator, output: Directory):
    batch = new_batch(simulator, output, concurrency=1, fail_fast=True)
    ended = batch.ask_all(["a", "[sim:error] b", "c"])
    assert [row["outcome"] for row in rows_of(output)] == ["answered", "failed", "not_sent"]
    with pytest.raises(ChatbaseBatchError, match="fail_fast"):
        verdict(ended.tally, ended.stopped, batch.settings)


def test_nothing_answered_is_no_success(simulator: Simulator, output: Directory):
    batch = new_batch(simulator, output)
    ended = batch.ask_all(["[sim:error] a", ""])
    with pytest.raises(ChatbaseBatchError, match="Not one prompt was answered"):
        verdict(ended.tally, ended.stopped, batch.settings)


def test_an_outage_ends_the_batch_before_it_uses_up_all_prompts(simulator: Simulator, output: Directory):
    simulator.faults.add(Fault(kind="status", status=429, retry_after=0, operation="chatWithAgent"))
    ended = new_batch(simulator, output, max_attempts=1).ask_all(questions(100))
    assert ended.stopped is StopReason.OUTAGE
    assert 20 <= ended.tally.failed < 40
    simulator.faults.clear()
    new_batch(simulator, output).ask_all(questions(100))  # such failures are tried again
    assert [row["outcome"] for row in rows_of(output)] == ["answered"] * 100


def test_no_prompts_give_empty_results_where_that_may_be(simulator: Simulator, output: Directory):
    with pytest.raises(ChatbaseInputError, match="allow_empty=True"):
        new_batch(simulator, output).ask_all([])
    batch = new_batch(simulator, output, max_failure_rate=0, min_pass_rate=1, allow_empty=True)
    ended = batch.ask_all([])
    assert (ended.manifest["items"], output.read("results.jsonl")) == (0, b"")
    verdict(ended.tally, ended.stopped, batch.settings)


def test_a_pass_rate_of_nothing_is_refused_before_anything_is_paid(simulator: Simulator, output: Directory):
    batch = new_batch(simulator, output, min_pass_rate=0.9)
    for ask in (batch.plan, batch.ask_all):
        with pytest.raises(ChatbaseInputError, match="none of the prompts expects anything: contains"):
            ask([{"message": "hello", "contain": "x"}])
    assert simulator.requests == []


def test_plan_sends_nothing_and_writes_nothing(simulator: Simulator, output: Directory):
    simulator.store.agents[simulator.agent_id].fields["creditLimit"] = 500
    given = [*questions(10), "Question 1", ""]
    plan = new_batch(simulator, output, dedupe=True).plan(given)
    assert {**plan, "estimate_basis": ""} == {
        "plan_only": True,
        "items": 12,
        "invalid": 1,
        "duplicates": 1,
        "answered_before": 0,
        "cached": 0,
        "to_send": 10,
        "estimated_credits": 10,
        "estimate_basis": "",
        "agent_id": simulator.agent_id,
        "agent_credit_limit": 500,
        "agent_credits_used": 0,
    }
    assert simulator.requests_for("chatWithAgent") == []
    assert not Path(output.root).exists()


def test_a_plan_knows_what_is_answered_and_what_it_cost(start: Callable[..., Simulator], output: Directory):
    with start(credits_per_answer=2.5) as simulator:
        new_batch(simulator, output, max_items=4).ask_all(questions(10))
        plan = new_batch(simulator, output).plan(questions(10))
        assert (plan["answered_before"], plan["to_send"], plan["estimated_credits"]) == (4, 6, 15)


def test_dedupe_sends_equal_prompts_once(simulator: Simulator, output: Directory):
    given = [{"id": f"i{n}", "message": f"q{n % 3}", "n": n} for n in range(9)]
    given += [{"message": "q0", "user_id": "u"}, {"message": "[sim:error] x"}, {"message": "[sim:error] x"}]
    ended = new_batch(simulator, output, dedupe=True).ask_all(given)
    rows = rows_of(output)
    assert simulator.prompts_charged == 4
    assert [row["duplicate_of"] for row in rows[:9]] == [None, None, None, *["i0", "i1", "i2"] * 2]
    assert rows[6]["text"] == rows[0]["text"]
    assert (rows[6]["metadata"], rows[6]["credits"]) == ({"n": 6}, 0)
    assert [row["outcome"] for row in rows[10:]] == ["failed", "failed"]
    assert (ended.manifest["duplicates"], ended.manifest["credits"]) == (7, 4)


def test_the_cache_answers_a_new_run(simulator: Simulator, output: Directory, tmp_path: Path):
    cache = storage_of(tmp_path / "cache")
    new_batch(simulator, output, cache=cache).ask_all([*questions(5), "[sim:error] x"])
    ended = new_batch(simulator, output, cache=cache, run="run-2").ask_all([*questions(6), "[sim:error] x"])
    rows = rows_of(output)
    assert simulator.prompts_charged == 6
    assert [row["cached"] for row in rows] == [True] * 5 + [False] * 2
    assert (ended.manifest["cached"], ended.manifest["credits"]) == (5, 1)
    plan = new_batch(simulator, output, cache=cache, run="run-3").plan(questions(7))
    assert (plan["cached"], plan["to_send"]) == (6, 1)


def test_the_cache_knows_the_agent_and_its_age(simulator: Simulator, output: Directory, tmp_path: Path):
    cache = storage_of(tmp_path / "cache")
    new_batch(simulator, output, cache=cache).ask_all(questions(2))
    new_batch(simulator, output, cache=cache, run="run-2", cache_ttl=0).ask_all(questions(2))
    assert simulator.prompts_charged == 4
    simulator.store.agents[simulator.agent_id].fields["instructions"] = "Be brief."
    new_batch(simulator, output, cache=cache, run="run-3").ask_all(questions(2))
    assert simulator.prompts_charged == 6


def test_structured_answers(simulator: Simulator, output: Directory):
    schema = {"type": "object", "properties": {"mood": {"enum": ["good", "bad"]}}, "required": ["mood"]}
    given = ['[sim:answer] {"mood": "good"}', '[sim:answer] {"mood": "odd"}', "[sim:answer] fine, thanks"]
    ended = new_batch(simulator, output, json_schema=schema).ask_all(given)
    rows = rows_of(output)
    assert [row["outcome"] for row in rows] == ["answered", "invalid_output", "invalid_output"]
    assert rows[0]["parsed"] == {"mood": "good"}
    assert "$.mood" in rows[1]["error_message"]
    assert (rows[2]["text"], rows[2]["parsed"]) == ("fine, thanks", None)
    assert ended.tally.failed == 2
    new_batch(simulator, output, json_schema={}).ask_all(given)  # another schema asks nothing again
    assert [row["outcome"] for row in rows_of(output)] == ["answered", "answered", "invalid_output"]
    assert simulator.prompts_charged == 3


def test_expectations_and_the_pass_rate(simulator: Simulator, output: Directory):
    given: list[Any] = [
        {"id": "good", "message": "[sim:answer] Monday 9:00", "contains": "monday", "min_score": 0.5},
        {"id": "bad", "message": "[sim:answer] no idea", "expect": {"contains": ["a9", "b9"], "regex": "x"}},
        {"id": "unsure", "message": "[sim:score=0.2] hello", "min_score": 0.5},
        {"id": "failed", "message": "[sim:error] hello", "not_contains": "x"},
        "not checked",
    ]
    batch = new_batch(simulator, output, min_pass_rate=0.5)
    ended = batch.ask_all(given)
    rows = {row["id"]: row for row in rows_of(output)}
    assert rows["good"]["passed"] is True
    assert rows["good"]["score"] == 0.9
    assert rows["unsure"]["failed_expectations"] == ["min_score: 0.5 (was 0.2)"]
    assert rows["failed"]["failed_expectations"] == ["outcome: failed"]
    assert rows["4"]["passed"] is None
    assert ended.manifest["expectations"] == {
        "checked": 4,
        "passed": 1,
        "pass_rate": 0.25,
        "worst": ["bad", "unsure", "failed"],
    }
    with pytest.raises(
        ChatbaseExpectationsError, match=r"1 of 4 .* min_pass_rate 0\.5 .* bad \(contains: a9"
    ):
        verdict(ended.tally, ended.stopped, batch.settings)
    assert len(simulator.requests_for("getConversation")) == 2  # the score is read only where it is asked for


def test_a_score_that_is_asked_for_later_is_read_and_nothing_sent(simulator: Simulator, output: Directory):
    new_batch(simulator, output).ask_all(["[sim:score=0.7] a"])
    new_batch(simulator, output).ask_all([{"message": "[sim:score=0.7] a", "min_score": 0.6}])
    assert simulator.prompts_charged == 1
    assert rows_of(output)[0]["passed"] is True


def test_parquet(simulator: Simulator, output: Directory):
    parquet = pytest.importorskip("pyarrow.parquet")
    new_batch(simulator, output).ask_all(["x"])
    ended = new_batch(simulator, output, file_format="parquet").ask_all(
        [{"id": "a", "message": "[sim:answer] yes", "tags": ["a"]}, ""]
    )
    table = parquet.read_table(output.path("results.parquet")).to_pylist()
    assert [(row["id"], row["outcome"], row["text"]) for row in table] == [
        ("a", "answered", "yes"),
        ("1", "failed", None),
    ]
    assert json.loads(table[0]["metadata"]) == {"tags": ["a"]}
    assert ended.manifest["files"] == ["results.parquet"]
    assert output.read("results.jsonl") is None


def test_api_v1(simulator: Simulator, output: Directory, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        ended = new_batch(simulator, output, api_version="v1").ask_all(
            [*questions(5), {"message": "x", "user_id": "u"}]
        )
    assert ended.tally.outcomes["answered"] == 6
    assert (ended.manifest["credits"], ended.manifest["credits_unknown"]) == (0, 6)
    assert [r.message for r in caplog.records if "no way to look" in r.message]
    assert not [r for r in caplog.records if "user_id is not sent" in r.message]
    with pytest.raises(ChatbaseInputError, match="max_credits needs API v2"):
        new_batch(simulator, output, api_version="v1", max_credits=5).ask_all(["x"])


@pytest.mark.parametrize(
    ("on_ambiguous", "outcome", "charged"),
    [("reconcile", "ambiguous", 1), ("fail", "ambiguous", 1), ("retry", "answered", 2)],
)
def test_on_api_v1_a_lost_reply_goes_by_on_ambiguous(
    simulator: Simulator, output: Directory, on_ambiguous: str, outcome: str, charged: int
):
    simulator.faults.add(Fault(kind="reset_after", operation="chat", times=1))
    new_batch(simulator, output, api_version="v1", on_ambiguous=on_ambiguous).ask_all(["x"])
    assert (rows_of(output)[0]["outcome"], simulator.prompts_charged) == (outcome, charged)
    if outcome == "ambiguous":
        new_batch(simulator, output, api_version="v1", on_ambiguous=on_ambiguous).ask_all(["x"])
        assert simulator.prompts_charged == 1


def test_a_look_that_fails_leaves_the_prompt_ambiguous_until_it_works(
    simulator: Simulator, output: Directory
):
    simulator.faults.add(
        Fault(kind="reset_after", operation="chatWithAgent", times=1),
        Fault(kind="status", status=429, retry_after=0, operation="listUserConversations"),
    )
    new_batch(simulator, output, max_attempts=1).ask_all(["x", "y"])
    assert sorted(row["outcome"] for row in rows_of(output)) == ["ambiguous", "answered"]
    simulator.faults.clear()
    new_batch(simulator, output).ask_all(["x", "y"])
    assert [row["outcome"] for row in rows_of(output)] == ["answered", "answered"]
    assert simulator.prompts_charged == 2


def test_being_told_to_end_keeps_what_is_answered(start: Callable[..., Simulator], output: Directory):
    with start(latency={"chatWithAgent": 0.05}) as simulator:
        batch = new_batch(simulator, output, concurrency=4, grace=0.5)
        simulator.on_request = lambda request: (
            batch.stop() if len(simulator.requests_for("chatWithAgent")) == 20 else None
        )
        with pytest.raises(ChatbaseBatchError, match="told to end"):
            batch.ask_all(questions(100))
        sent = len(simulator.requests_for("chatWithAgent"))
        assert 20 <= sent <= 24
        assert output.read("results.jsonl") is None
        simulator.on_request = None
        new_batch(simulator, output).ask_all(questions(100))
        assert simulator.prompts_charged == 100


def test_answers_that_take_too_long_for_the_end_are_found_later(
    start: Callable[..., Simulator], output: Directory
):
    with start(latency={"chatWithAgent": 1.0}) as simulator:
        batch = new_batch(simulator, output, concurrency=4, grace=0.1)
        simulator.on_request = lambda request: (
            batch.stop() if len(simulator.requests_for("chatWithAgent")) == 4 else None
        )
        with pytest.raises(ChatbaseBatchError, match="told to end"):
            batch.ask_all(questions(4))
        simulator.on_request = None
        ended = new_batch(simulator, output, concurrency=4, patience=3).ask_all(questions(4))
        assert ended.tally.outcomes["answered"] == 4
        assert simulator.prompts_charged == 4
        assert ended.tally.recovered > 0


def test_an_output_below_a_file_is_refused_before_anything_is_sent(simulator: Simulator, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ChatbaseOutputError, match="cannot be written"):
        new_batch(simulator, storage_of(tmp_path / "file" / "out")).ask_all(["x"])
    assert simulator.requests == []


def test_a_full_disk_ends_the_batch_and_a_rerun_goes_on(
    simulator: Simulator, output: Directory, monkeypatch: pytest.MonkeyPatch
):
    import errno
    import os

    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChatbaseBatchStorageError, match="No space left"):
        new_batch(simulator, output).ask_all(questions(60))
    monkeypatch.undo()
    assert 0 < len(simulator.requests_for("chatWithAgent")) < 60
    new_batch(simulator, output).ask_all(questions(60))
    assert simulator.prompts_charged == 60


def test_the_log_has_progress_and_no_content(
    start: Callable[..., Simulator], output: Directory, caplog: pytest.LogCaptureFixture
):
    with start(latency={"chatWithAgent": 0.05}) as simulator, caplog.at_level(logging.INFO):
        simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", probability=0.2))
        new_batch(simulator, output, concurrency=4, seconds_between_reports=0.1).ask_all(
            [{"message": f"[sim:answer] secretword{n}", "user_id": f"private-{n}"} for n in range(40)]
        )
    text = caplog.text
    assert "of 40 prompts done" in text
    assert "secretword" not in text
    assert "private-" not in text
    assert "HTTP Request: POST" not in text


def test_results_are_whole_or_absent(
    simulator: Simulator, output: Directory, monkeypatch: pytest.MonkeyPatch
):
    new_batch(simulator, output).ask_all(questions(3))
    monkeypatch.setattr(
        "airflow_provider_chatbase.batch.batch.Batch._conclude",
        lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
    )
    with pytest.raises(KeyboardInterrupt):
        new_batch(simulator, output, run="run-2").ask_all(questions(3))
    assert output.read("_manifest.json") is None  # the results that are there do not count


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_every_format_holds_the_same_rows(
    simulator: Simulator, output: Directory, file_format: str, compression: str | None
):
    given = [{"id": "a", "message": "[sim:answer] =yes, \u00fc", "tags": ["t"], "contains": "yes"}, ""]
    new_batch(simulator, output, file_format="jsonl").ask_all(given)
    report = new_batch(
        simulator, output, run="run-2", file_format=file_format, compression=compression
    ).ask_all(given)
    (name,) = report.manifest["files"]
    assert [each for each in output.names() if each.startswith("results")] == [name]
    with output.open(name) as stream:
        if file_format == "parquet":
            rows = list(pytest.importorskip("pyarrow.parquet").read_table(stream).to_pylist())
        else:
            content = decompressing(stream, compression).read().decode()
            rows = (
                [json.loads(line) for line in content.splitlines()]
                if file_format == "jsonl"
                else list(csv.DictReader(io.StringIO(content, newline="")))
            )
    assert [(row["id"], row["outcome"]) for row in rows] == [("a", "answered"), ("1", "failed")]
    assert rows[0]["text"] == ("'=yes, \u00fc" if file_format == "csv" else "=yes, \u00fc")
    assert rows[0]["passed"] in (True, "true")
    assert rows[0]["metadata"] in ({"tags": ["t"]}, '{"tags":["t"]}')
    assert ("duplicate_of" in rows[0]) is (file_format != "jsonl")


def test_results_in_another_format_replace_those_before(simulator: Simulator, output: Directory):
    for file_format, compression in (("jsonl", "gzip"), ("csv", None), ("csv", "zstd"), ("jsonl", None)):
        report = new_batch(simulator, output, file_format=file_format, compression=compression).ask_all(["x"])
        assert {name for name in output.names() if name[0] != "_"} == set(report.manifest["files"])
    assert simulator.prompts_charged == 1


class Silent(Directory):
    """A directory in which the lock cannot be renewed for a while, though all else works."""

    def write(self, name: str, content: bytes) -> None:
        if "_lock-" in name and not writable.is_set():
            raise ChatbaseBatchStorageError("The storage does not answer.")
        Directory.write(self, name, content)


writable = threading.Event()


def test_a_batch_in_doubt_of_its_lock_waits_until_it_is_certain(
    start: Callable[..., Simulator], output: Directory
):
    times = LockTimes(beat=0.2, stale=1.0)
    silent = Silent(output.fs, output.root, output.url)
    writable.set()
    with start(latency={"chatWithAgent": 0.02}) as simulator:
        asked_at: list[float] = []

        def note(request: Any) -> None:
            if "/chat" in str(request.path):
                asked_at.append(time.monotonic())
                if len(asked_at) == 10:
                    writable.clear()
                    threading.Timer(3.0, writable.set).start()

        simulator.on_request = note
        report = new_batch(simulator, silent, concurrency=2, lock_times=times).ask_all(questions(150))
        assert report.tally.outcomes["answered"] == 150
        assert simulator.prompts_charged == 150
    pauses = [after - before for before, after in pairwise(asked_at)]
    assert max(pauses) > 1.0, "it went on in doubt"


def test_a_storage_error_that_is_no_oserror_ends_the_batch_and_a_rerun_goes_on(
    simulator: Simulator, bucket: Bucket
):
    stored = Directory(bucket, "/bucket/out", "memory://bucket/out")
    puts = 0

    def fail(call: str, path: str) -> Exception | None:
        nonlocal puts
        puts += call == "put" and "_lock-" not in path
        return RuntimeError("503: the cloud is busy") if puts > 6 else None

    bucket.fails = fail
    with pytest.raises(ChatbaseBatchStorageError, match="the cloud is busy") as raised:
        new_batch(simulator, stored, concurrency=3).ask_all(questions(30))
    assert not raised.value.permanent
    bucket.fails = lambda _call, _path: None
    report = new_batch(simulator, stored).ask_all(questions(30))
    assert report.tally.outcomes["answered"] == 30
    assert simulator.prompts_charged == 30


@pytest.mark.parametrize("runs", [("run-1", "run-1"), ("run-1", "run-2")])
def test_where_a_put_takes_long_two_runs_at_once_pay_for_each_prompt_once(
    start: Callable[..., Simulator], bucket: Bucket, runs: tuple[str, str]
):
    bucket.put = 0.5
    stored = Directory(bucket, "/bucket/out", "memory://bucket/out")
    times = LockTimes(beat=1.0, stale=20.0)
    ended: list[Any] = []
    with start() as simulator:

        def ask(run: str, delay: float) -> None:
            time.sleep(delay)
            try:
                ended.append(new_batch(simulator, stored, run=run, lock_times=times).ask_all(questions(20)))
            except ChatbaseOutputBusyError as error:
                ended.append(error)

        threads = [threading.Thread(target=ask, args=(run, 0.4 * n)) for n, run in enumerate(runs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert simulator.prompts_charged == 20
    assert sorted(isinstance(each, ChatbaseOutputBusyError) for each in ended) == [False, True]


@pytest.mark.parametrize("content", [b"{torn", b"[]"])
def test_a_damaged_manifest_is_neither_used_nor_replaced(
    simulator: Simulator, output: Directory, content: bytes
):
    output.write("_manifest.json", content)
    with pytest.raises(ChatbaseOutputError, match=r"_manifest\.json in .* is damaged"):
        new_batch(simulator, output).ask_all(["x"])
    assert output.read("_manifest.json") == content
    assert simulator.requests_for("chatWithAgent") == []


def test_of_those_that_are_alike_the_one_that_was_asked_stands_for_all_in_any_order(
    simulator: Simulator, output: Directory
):
    prompts = [
        {"id": name, "message": said} for name, said in (("a", "Same?"), ("b", "Same?"), ("c", "Else?"))
    ]
    new_batch(simulator, output, dedupe=True, max_items=1).ask_all(prompts)
    new_batch(simulator, output, dedupe=True).ask_all(prompts[::-1])
    assert simulator.prompts_charged == 2
    assert [row["duplicate_of"] for row in rows_of(output)] == [None, "a", None]
