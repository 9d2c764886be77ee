"""What a walk counts as its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.exports.parallel import PartReader, read_to_the_end
from airflow_provider_chatbase.exports.rows import created_at
from airflow_provider_chatbase.exports.staging import Encoded
from airflow_provider_chatbase.exports.window import Window, read_moment

START = datetime(2026, 5, 1, tzinfo=UTC)
PART = Window(START, START + timedelta(seconds=100))


@dataclass
class Pages:
    """Pages as the API would give them, one list of seconds each."""

    seconds: list[list[int]]
    total: int
    operation: str = "exportConversations"
    says_total: bool = True
    can_be_cut: bool = True

    def moment(self, item):
        return created_at(item)

    async def pages(self, window: Window) -> AsyncIterator[Page]:
        for seconds in self.seconds:
            inside = [each for each in seconds if each >= (window.start - START).total_seconds()]
            items = [{"id": str(each), "createdAt": START.timestamp() + each} for each in inside]
            yield Page(items, None, self.total)


def walk(seconds: list[list[int]], total: int) -> PartReader:
    def encode(item) -> Encoded:
        return Encoded(read_moment(created_at(item)), item["id"], {"conversations": [item["id"]]})

    return PartReader(Pages(seconds, total), PART, encode)


def give_away(second: int):
    """Return what gives away all before a second, after the first page."""

    def after_page(walk: PartReader) -> None:
        if len(walk.totals) == 1:
            walk.shorten(START + timedelta(seconds=second))

    return after_page


def seen(walk: PartReader) -> list[str]:
    return list(walk.seen)


def test_a_walk_counts_what_is_left():
    walked = walk([[90, 80], [70, 60], [50]], 5)
    left = []
    asyncio.run(walked.run(lambda each: left.append(each.left)))
    assert left == [3, 1, 0]
    assert walked.page_size == 2
    assert walked.complete(0)


def test_it_ends_where_its_own_ends():
    walked = walk([[90, 80], [70, 60], [50, 40], [30]], 7)
    asyncio.run(walked.run(give_away(65)))
    assert seen(walked) == ["90", "80", "70"]
    assert len(walked.totals) == 2
    assert walked.own == Window(START + timedelta(seconds=65), PART.end)
    assert walked.complete(given=4)
    assert not walked.complete(given=3)


def test_what_it_no_longer_owns_does_not_stand_for_what_is_missing():
    walked = walk([[90], [70, 60, 50]], 6)
    asyncio.run(walked.run(give_away(65)))
    assert not walked.complete(given=3)


def test_what_it_read_of_what_it_gives_away_is_given_away_too():
    walked = walk([[90, 80, 80], [70]], 4)
    asyncio.run(walked.run(give_away(81)))
    assert seen(walked) == ["90"]
    assert len(walked.totals) == 1


def test_what_lies_after_the_part_counts_as_arrived_and_is_no_row():
    walked = walk([[100, 90], [80]], 3)
    asyncio.run(walked.run())
    rows = asyncio.run(read_to_the_end(walked, 0))
    assert ([each.identity for each in rows.items], rows.api_total) == (["90", "80"], 2)


def test_only_its_own_is_walked_again(caplog):
    walked = walk([[90, 80], [70, 60], [50]], 5)
    asyncio.run(walked.run(give_away(65)))
    walked.listing.total = 3
    rows = asyncio.run(read_to_the_end(walked, given=1))
    assert ([each.identity for each in rows.items], rows.api_total) == (["90", "80", "70"], 3)
    assert "Walk 1 of 6 over 20260501T000105Z-20260501T000140Z brought 3 of 4" in caplog.text


@pytest.mark.parametrize("reader", [{"can_be_cut": False}, {"says_total": False}])
def test_where_nothing_can_be_given_away_nothing_counts_as_left(reader):
    walked = walk([[90, 80], [70]], 3)
    for name, value in reader.items():
        setattr(walked.listing, name, value)
    left = []
    asyncio.run(walked.run(lambda each: left.append(each.left)))
    assert left == [0, 0]


@pytest.mark.parametrize(
    ("seconds", "cuts"), [(0, []), (1, []), (1.5, []), (2, [1]), (3, [1]), (3.9, [1]), (4.5, [2]), (60, [30])]
)
def test_a_rest_is_cut_at_a_whole_second_within_it(seconds, cuts):
    walked = walk([[90, 80], [70]], 3)
    asyncio.run(walked.run())
    walked.oldest = START + timedelta(seconds=seconds)
    assert walked.cuts(2) == [START + timedelta(seconds=each) for each in cuts]


def test_after_one_page_the_rest_is_taken_to_come_half_as_slow_again():
    left = []
    walked = walk([[99, 98, 97, 96, 95]], 25)
    asyncio.run(walked.run(lambda each: left.append(each.cuts(4))))
    assert left == [[START + timedelta(seconds=each) for each in (77, 83, 89)]]


def test_where_nothing_was_read_nothing_is_cut():
    assert walk([], 0).cuts(2) == []


def test_what_the_api_lists_in_a_part_is_in_it_whatever_it_says_of_its_time():
    walked = walk([[90, 0]], 3)
    walked.part = walked.own = Window(START + timedelta(seconds=50), PART.end)
    walked.listing.pages = lambda _window: Pages([[90, 0], [200]], 3).pages(PART)
    asyncio.run(walked.run())
    rows = asyncio.run(read_to_the_end(walked, 0))
    assert {each.identity for each in rows.items} == {"90", "0", "200"}
    assert rows.api_total == 3
