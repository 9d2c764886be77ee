"""Whoever has nothing to do takes over half of a rest; nothing is lost or doubled where two meet."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseServerError
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.simulator import Fault

START = datetime(2026, 5, 1, tzinfo=UTC)
MONTH = Window(START, START + timedelta(days=31))


def bursts(export, seed: int) -> None:
    """Create conversations as they come in life: hours of silence, and many at once."""
    chance = random.Random(seed)
    for _ in range(25):
        at = START.timestamp() + chance.randrange(MONTH.seconds)
        for _ in range(chance.choice([1, 3, 10])):
            count = chance.choice([1, 2, 5, 19, 20, 21, 45])
            export.simulator.create_conversations(at=at + chance.choice([0, 0, 1, 2, 60]), count=count)


def beginnings(export) -> int:
    """Return how many requests had no cursor: the first of each walk."""
    return len([each for each in export.simulator.requests if "cursor" not in each.query])


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in (1, 2, 3))])
def test_bursts_are_exported_once_each_and_in_the_order_of_one_walk(exports, seed, caplog):
    export = exports(conversations=0, rate_limit=100_000)
    bursts(export, seed)
    outcome = export.run(MONTH, concurrency=32)
    assert beginnings(export) > 20
    assert export.seen() == export.truth(MONTH)
    assert (outcome.rows, outcome.api_total) == (len(export.truth(MONTH)),) * 2
    assert "Walk" not in caplog.text
    alone = exports(export.simulator, "alone")
    alone.run(MONTH, concurrency=1)
    assert alone.everything() == export.everything()


@pytest.mark.parametrize("kind", ["drop_items", "empty_page", "wrong_total", "repeat_cursor"])
def test_what_is_missing_from_a_part_that_was_shared_is_read_again(exports, kind):
    export = exports(conversations=0, rate_limit=100_000)
    bursts(export, 7)
    export.simulator.faults.add(
        Fault(kind=kind, probability=0.1, times=8, where=lambda each: "include" not in each.query)
    )
    outcome = export.run(MONTH, concurrency=32)
    assert export.seen() == export.truth(MONTH)
    assert outcome.api_total == len(export.truth(MONTH))
    assert [each.fired for each in export.simulator.faults.active] == [8]


def test_a_part_of_one_walk_is_shared_as_soon_as_others_are_idle(exports):
    export = exports(conversations=0, rate_limit=100_000)
    for minute in range(95):
        export.simulator.create_conversations(at=START.timestamp() + 60 * minute)
    export.run(MONTH, concurrency=8)
    assert export.seen() == export.truth(MONTH)
    assert len(export.simulator.requests) == 5
    assert beginnings(export) == 2


def test_alone_nothing_is_shared(exports):
    export = exports(conversations=0, rate_limit=100_000)
    for minute in range(55):
        export.simulator.create_conversations(at=START.timestamp() + 60 * minute)
    export.run(MONTH, concurrency=1)
    assert len(export.simulator.requests) == 3
    assert beginnings(export) == 1


def test_a_walk_that_has_read_enough_goes_on_as_another_part(exports):
    export = exports(conversations=0, rate_limit=100_000)
    for second in range(700):
        export.simulator.create_conversations(at=START.timestamp() + second)
    seconds = timedelta(seconds=700)
    export.run(Window(START - seconds, START + seconds), concurrency=1)
    assert export.seen() == export.truth()
    pages, parts = 35, 5
    assert beginnings(export) == parts  # each begins with the last one of the part before
    assert len(export.simulator.requests) == pages + 1


def test_a_count_that_was_too_high_before_a_failure_loses_nothing_after_it(exports):
    export = exports(conversations=0, rate_limit=100_000)
    for second in range(700):
        export.simulator.create_conversations(at=START.timestamp() + second)
    seconds = timedelta(seconds=700)
    window = Window(START - seconds, START + seconds)
    faults = [
        Fault(kind="drop_items", skip=1, times=1),
        Fault(kind="wrong_total", skip=1, times=1, where=lambda each: "cursor" not in each.query),
        Fault(kind="status", status=503, skip=12, times=8),
    ]
    for fault in faults:
        export.simulator.faults.add(fault)
    with pytest.raises(ChatbaseServerError):
        export.run(window, concurrency=1, attempt="one")
    assert [each.fired for each in faults] == [1, 1, 8]
    export.run(window, concurrency=1, attempt="one")
    assert export.seen() == export.truth()


def test_what_the_api_cannot_cut_is_read_in_one_walk(exports):
    export = exports(conversations=1, contacts=1_000, rate_limit=100_000)
    now = datetime.now(tz=UTC).replace(microsecond=0)
    outcome = export.run(Window(now - timedelta(days=4_000), now), kind="contacts", by="updated")
    assert outcome.rows == 1_000
    first_page = [each for each in export.simulator.requests if each.query.get("page", "1") == "1"]
    assert len(first_page) == 1


def test_a_request_that_fails_for_good_stops_all_walks(exports):
    export = exports(conversations=600, rate_limit=100_000)
    now = datetime.now(tz=UTC).replace(microsecond=0)
    fault = Fault(kind="status", status=401, skip=12)
    export.simulator.faults.add(fault)
    with pytest.raises(Exception, match="AUTH_INVALID_API_KEY") as raised:
        export.run(Window(now - timedelta(days=400), now))
    assert not isinstance(raised.value, BaseExceptionGroup)
    assert len(export.simulator.requests) < 12 + 40
