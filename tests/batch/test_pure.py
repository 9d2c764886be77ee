"""Prompts, expectations, schemas, settings, failures: values in, values out."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import Any

import msgspec
import pytest

from airflow_provider_chatbase.batch.expectations import (
    AnswerSchema,
    WrongExpectationError,
    read_expectations,
)
from airflow_provider_chatbase.batch.outcome import Outcome, StopReason, outcome_of, stop_reason
from airflow_provider_chatbase.batch.prompts import Prompt, read_prompt
from airflow_provider_chatbase.batch.settings import Progress, read_settings
from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files.records import UnreadableRecord

DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


def test_what_json_has_no_word_for_is_null_in_metadata():
    prompt = read_prompt(0, {"message": "m", "score": float("nan"), "most": float("inf"), "half": "\ud800"})
    assert prompt.metadata == {"score": None, "most": None, "half": "\ufffd"}


def test_a_text_is_a_prompt_with_its_place_as_id():
    prompt = read_prompt(3, "Hello?")
    assert (prompt.index, prompt.id, prompt.message, prompt.metadata) == (3, "3", "Hello?", {})


def test_what_is_not_known_is_metadata():
    prompt = read_prompt(
        0, {"id": 7, "message": "m", "user_id": "u", "team": "a", "metadata": {"row": 1}, "contains": "x"}
    )
    assert (prompt.id, prompt.user_id, prompt.metadata) == ("7", "u", {"row": 1, "team": "a"})
    assert prompt.expect.contains == ("x",)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("  ", "message is empty"),
        ({"text": "no message"}, "message must be text"),
        ({"message": 5}, "message must be text"),
        ({"message": "m", "user_id": "a@b.c"}, "no e-mail addresses"),
        ({"message": "m", "conversation_id": 5}, "conversation_id must be text"),
        ({"message": "m", "regex": "("}, "cannot be read"),
        ({"message": "m", "min_score": 3}, "from 0 to 1"),
        ({"message": "m", "expect": {"contain": "x"}}, "unknown expectations contain"),
        (5, "not int"),
        ({"message": float("nan")}, "message must be text"),
        ({"message": {"a": 1}}, "message must be text"),
        ({"id": float("nan"), "message": "m"}, "id must be text or a number"),
        ({"id": {"a": 1}, "message": "m"}, "id must be text or a number"),
        ({"message": "m", "user_id": float("nan")}, "user_id must be text"),
        ({"message": "half \ud800"}, "half a character"),
        ({"message": "m", "deep": DEEP}, "nested too deeply"),
        ({"message": "m", ("a",): {("b",): 1}}, "cannot be kept as JSON"),
        (UnreadableRecord("line 4 is no JSON"), "line 4 is no JSON"),
    ],
)
def test_what_cannot_be_sent_says_why_and_stops_no_other(given: Any, why: str):
    assert why in str(read_prompt(0, given).problem)


def test_a_prompt_survives_the_disk():
    prompt = read_prompt(2, {"id": "a", "message": "ü\u2028", "expect": {"regex": ["x", "y"]}, "k": [1]})
    assert msgspec.json.decode(msgspec.json.encode(prompt), type=Prompt) == prompt


def test_expectations_name_what_is_not_met():
    expect = read_expectations(
        {"contains": ["Monday", "noon"], "not_contains": "SORRY", "regex": r"\d+:\d\d", "min_score": 0.5}
    )
    assert expect.unmet("From monday 9:00 to noon", 0.5) == []
    assert expect.unmet("Sorry.", 0.4) == [
        "contains: Monday",
        "contains: noon",
        "not_contains: SORRY",
        r"regex: \d+:\d\d",
        "min_score: 0.5 (was 0.4)",
    ]
    assert expect.unmet("Monday noon 9:00", None) == ["min_score: 0.5 (was unknown)"]


def test_empty_cells_of_a_csv_expect_nothing():
    assert not read_expectations({"contains": "", "min_score": "", "regex": None})


def test_an_expectation_of_another_type_is_refused():
    with pytest.raises(WrongExpectationError, match="contains must be"):
        read_expectations({"contains": 5})


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": 1}', {"a": 1}), ('```json\n{"a": 1}\n```', {"a": 1}), (' ```\n{"a": 2}``` ', {"a": 2})],
)
def test_json_is_read_with_and_without_a_fence(text: str, value: Any):
    assert AnswerSchema({"type": "object"}).read(text) == (value, None)


def test_what_does_not_fit_says_where():
    schema = AnswerSchema({"properties": {"a": {"type": "integer"}}})
    value, problem = schema.read('{"a": "x"}')
    assert value is None
    assert "$.a" in str(problem)
    assert "no JSON" in str(schema.read("hello")[1])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": NaN}', "```" + " \n" * 100_000, "1e400", "```\n```"])
def test_what_json_does_not_have_is_no_answer_to_a_schema(text: str):
    value, problem = AnswerSchema({}).read(text)
    assert value is None
    assert "no JSON" in str(problem)


def test_a_schema_that_is_none_is_refused():
    with pytest.raises(ChatbaseInputError, match="no JSON schema"):
        AnswerSchema({"type": "strange"})
    with pytest.raises(ChatbaseInputError, match="schema must be a text"):
        AnswerSchema({"$schema": 7})


@pytest.mark.parametrize("ref", ["#/$defs/order", "http://127.0.0.1:9/order.json", "order.json"])
def test_a_schema_that_refers_to_nothing_is_refused(ref: str):
    with pytest.raises(ChatbaseInputError, match=f"refers to '{re.escape(ref)}'"):
        AnswerSchema({"type": "array", "items": {"properties": {"order": {"$ref": ref}}}})


def test_a_schema_that_refers_to_its_own_parts():
    parts = {"order": {"$id": "order.json", "type": "integer"}, "other": {"$ref": "#/$defs/order"}}
    schema = {"$id": "https://x.example/all.json", "$defs": parts, "items": {"$ref": "order.json"}}
    assert AnswerSchema(schema).read("[1]") == ([1], None)
    assert AnswerSchema(schema).read('["1"]')[1] is not None
    assert AnswerSchema({"properties": {"$ref": {"const": "#/none"}}}).read("{}") == ({}, None)


def test_shares_are_exact():
    assert read_settings(max_failure_rate=0.07).max_failure_rate == Fraction(7, 100)
    assert read_settings(cache_ttl=60).cache_ttl == timedelta(minutes=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": True},
        {"max_items": -1},
        {"max_credits": "many"},
        {"max_credits": float("nan")},
        {"max_failure_rate": 1.1},
        {"min_pass_rate": "x"},
        {"cache_ttl": -1},
        {"file_format": "xlsx"},
        {"on_ambiguous": "hope"},
        {"on_limit": "hope"},
        {"on_problem": "hope"},
        {"prompt_timeout": 0},
        {"batch_timeout": "soon"},
        {"json_schema": "{"},
        {"json_schema": [1]},
        {"max_failure_rate": None},
    ],
)
def test_a_wrong_argument_is_named(wrong: dict[str, Any]):
    with pytest.raises(ChatbaseInputError, match=next(iter(wrong))):
        read_settings(**wrong)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.ChatbaseCreditsError("x"), StopReason.CREDITS_EXHAUSTED),
        (errors.ChatbaseAuthenticationError("x"), StopReason.REFUSED),
        (errors.ChatbasePermissionError("x", code="AUTH_INSUFFICIENT_PERMISSIONS"), StopReason.REFUSED),
        (errors.ChatbaseNotFoundError("x", code="AGENT_NOT_FOUND"), StopReason.REFUSED),
        (errors.ChatbasePermissionError("a firewall refused this text", status=403), None),
        (errors.ChatbaseNotFoundError("x", code="RESOURCE_NOT_FOUND"), None),
        (errors.ChatbaseValidationError("x"), None),
    ],
)
def test_what_holds_for_every_prompt_stops_the_batch(error: errors.ChatbaseError, reason: StopReason | None):
    assert stop_reason(error) == reason


@pytest.mark.parametrize(
    ("error", "unknown", "outcome"),
    [
        (errors.ChatbaseRateLimitError("x"), False, Outcome.FAILED),
        (errors.ChatbaseRateLimitError("while looking"), True, Outcome.AMBIGUOUS),
        (errors.ChatbaseTimeoutError("x"), False, Outcome.AMBIGUOUS),
        (errors.ChatbaseUnansweredError("x"), True, Outcome.UNANSWERED),
    ],
)
def test_outcomes(error: errors.ChatbaseError, unknown: bool, outcome: Outcome):
    assert outcome_of(error, fate_unknown=unknown) == outcome


def test_progress_is_numbers_only():
    now = [0.0]
    progress = Progress(1000, clock=lambda: now[0])
    progress.done, progress.failed, now[0] = 100, 3, 10.0
    assert progress.line == (
        "100 of 1,000 prompts done, 3 failed, 0 repeats; 10.0 a second, 0 credits, about 1 min 30 s left."
    )
