"""What a watcher tells of and remembers, without anything around it."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.watching import (
    MOST_IN_EVENT,
    MOST_TOLD,
    SETTLED_AFTER,
    Memory,
    Watch,
    begin,
    look,
    read_rows,
    turn,
)

OVERLAP = 600.0
NOW = 1_800_000_000.0


def row(name, active, created=None, **fields):
    return {"id": name, "createdAt": active if created is None else created, "updatedAt": active, **fields}


def step(watch, memory, rows, messages=None, now=NOW, fail=()):
    """Look once, as the trigger does, and return the ids told of and the memory, which goes through JSON."""
    read = read_rows(rows, now)
    found = turn(watch, memory, OVERLAP, read)
    ids = [each.conversation_id for each in found[:MOST_IN_EVENT] if each.conversation_id not in fail]
    told = look(watch, memory, read, found, {each: (messages or {}).get(each, ()) for each in ids}, now)
    return [each["conversation_id"] for each in told.conversations], told.memory


def restarted(memory):
    return Memory.from_json(json.loads(json.dumps(memory.as_json())))


def test_what_was_there_before_is_not_told_and_what_comes_is_told_once():
    watch = Watch.read("new", None, 0.5)
    old = [row("a", NOW - 100)]
    memory = begin(read_rows(old, NOW), NOW)
    assert step(watch, memory, old)[0] == []
    told, memory = step(watch, memory, [row("b", NOW - 50), *old])
    assert told == ["b"]
    late, memory = step(watch, restarted(memory), [row("b", NOW - 50), row("late", NOW - 80), *old])
    assert late == ["late"], "shown late, within the overlap"
    assert step(watch, restarted(memory), [row("late", NOW - 10, NOW - 80), row("b", NOW - 50)])[0] == []


def test_a_change_and_an_end_are_told_each_time():
    for when in ("changed", "ended"):
        watch = Watch.read(when, None, 0.5)
        first, memory = step(watch, Memory(NOW - 500), [row("a", NOW - 400, status="ended")])
        again, memory = step(watch, restarted(memory), [row("a", NOW - 400, status="ended")])
        anew, memory = step(watch, restarted(memory), [row("a", NOW - 300, NOW - 400, status="ended")])
        other, _ = step(watch, memory, [row("a", NOW - 200, NOW - 400, status="ongoing")])
        assert (first, again, anew) == (["a"], [], ["a"])
        assert other == (["a"] if when == "changed" else [])


def test_what_happens_once_is_not_told_again_when_the_conversation_goes_on():
    watch = Watch.read("handed_over", None, 0.5)
    first, memory = step(watch, Memory(NOW - 9000), [row("a", NOW - 8000)])
    later, _ = step(watch, restarted(memory), [row("a", NOW - 10, NOW - 8000)])
    assert (first, later) == (["a"], [])


def test_each_message_is_told_of_once():
    watch = Watch.read("low_confidence", None, 0.5)
    scores = [
        {"id": "m1", "metadata": {"score": 0.2}},
        {"id": "m2", "metadata": {"score": 0.9}},
        {"id": "m3"},
    ]
    first, memory = step(watch, Memory(NOW - 500), [row("a", NOW - 40)], {"a": scores})
    scores.append({"id": "m4", "metadata": {"score": 0.1}})
    late, memory = step(watch, restarted(memory), [row("a", NOW - 40)], {"a": scores})
    again, memory = step(watch, memory, [row("a", NOW - 40)], {"a": scores})
    assert (first, late, again) == (["a"], ["a"], [])


def test_a_conversation_is_read_until_its_messages_must_all_be_there():
    watch = Watch.read("low_confidence", None, 0.5)
    rows = read_rows([row("a", NOW)], NOW)
    _, memory = step(watch, Memory(NOW - 500), [row("a", NOW)], now=NOW + 1)
    assert turn(watch, memory, OVERLAP, rows), "its messages may be shown late"
    _, memory = step(watch, memory, [row("a", NOW)], now=NOW + SETTLED_AFTER)
    assert turn(watch, memory, OVERLAP, rows) == []


def test_one_that_cannot_be_read_waits_and_holds_up_no_other():
    watch = Watch.read("negative_feedback", None, 0.5)
    rows = [row(name, NOW - at) for name, at in (("a", 30), ("bad", 20), ("c", 10))]
    messages = {name: [{"id": f"of {name}", "feedback": "negative"}] for name in ("a", "bad", "c")}
    told, memory = step(watch, Memory(NOW - 500), rows, messages, fail={"bad"})
    assert told == ["a", "c"]
    assert memory.watermark == NOW - 20
    assert step(watch, restarted(memory), rows, messages)[0] == ["bad"]


@pytest.mark.parametrize("when", ["changed", "low_confidence"])
def test_more_than_one_event_holds_is_told_in_turn(when):
    watch = Watch.read(when, None, 0.5)
    names = [f"c{number:04}" for number in range(2 * MOST_IN_EVENT + 1)]
    rows = [row(name, NOW - 2000 + number) for number, name in enumerate(names)]
    messages = {name: [{"id": name, "metadata": {"score": 0.1}}] for name in names}
    memory, told = Memory(NOW - 5000), []
    for _ in range(3):
        found, memory = step(watch, memory, rows, messages)
        assert len(found) <= MOST_IN_EVENT
        told += found
    assert told == names
    assert step(watch, memory, rows, messages)[0] == []


def test_the_memory_is_bounded_and_what_it_forgot_is_not_told_again():
    watch = Watch.read("new", None, 0.5)
    rows = [row(f"c{number}", NOW - 500 + number / 10) for number in range(MOST_TOLD + 700)]
    memory, told = Memory(NOW - 550), []
    for _ in range(8):
        found, memory = step(watch, restarted(memory), rows)
        told += found
    assert len(told) == len(set(told)) == len(rows)
    assert len(memory.told) == MOST_TOLD
    assert len(json.dumps(memory.as_json())) < 65_535


def test_a_time_that_lies_ahead_hides_nothing():
    watch = Watch.read("new", None, 0.5)
    told, memory = step(watch, Memory(NOW - 500), [row("ahead", NOW + 9_000_000), row("b", None)])
    assert told == ["b", "ahead"]
    assert step(watch, memory, [row("ahead", NOW + 9_000_000), row("c", NOW + 5)], now=NOW + 10)[0] == ["c"]


@pytest.mark.parametrize(
    "stored", ["text", 7, [], {}, {"version": 2, "watermark": 1, "floor": 0, "told": {}}, {"version": 1}]
)
def test_a_state_that_cannot_be_read_is_refused(stored):
    with pytest.raises(ChatbaseError, match="cannot be read"):
        Memory.from_json(stored)


@pytest.mark.parametrize(
    "arguments",
    [("sometimes", None, 0.5), ("new", "API", 0.5), ("new", [7], 0.5), ("new", None, 0), ("new", None, "x")],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(ChatbaseInputError):
        Watch.read(*arguments)
