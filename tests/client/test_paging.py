"""A walk over pages reaches the last one, and cannot go on for ever."""

from __future__ import annotations

from itertools import count

import pytest

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.replies import MAX_PAGES, Page, PageWalk, all_items, page
from airflow_provider_chatbase.client.request import Request

FIRST = Request(operation="listThings", method="GET", path="/things", read=page, query={"limit": 2})


def items(*names: str) -> list[dict]:
    return [{"id": name} for name in names]


def walk_over(pages, **limits) -> tuple[list[str], list[dict]]:
    """Follow a walk with the given pages; return the ids that came and the queries that were made."""
    walk = PageWalk(FIRST, **limits)
    source = iter(pages)
    ids, queries = [], []
    while (request := walk.next_request()) is not None:
        queries.append(dict(request.query))
        got = next(source)
        walk.take(got)
        ids.extend(item["id"] for item in got.items)
    return ids, queries


def test_follows_the_cursors_to_the_last_page():
    pages = [Page(items("a", "b"), "c1", 5), Page(items("c", "d"), "c2", 5), Page(items("e"), None, 5)]
    ids, queries = walk_over(pages)
    assert ids == ["a", "b", "c", "d", "e"]
    assert queries == [{"limit": 2}, {"limit": 2, "cursor": "c1"}, {"limit": 2, "cursor": "c2"}]


@pytest.mark.parametrize("only", [items(), items("a")], ids=["empty", "one item"])
def test_a_single_page(only):
    assert walk_over([Page(only, None, len(only))])[1] == [{"limit": 2}]


def test_empty_pages_in_between_are_passed_over():
    pages = [
        Page(items(), "c1", None),
        Page(items("a"), "c2", None),
        Page(items(), "c3", None),
        Page([], None, None),
    ]
    assert walk_over(pages)[0] == ["a"]


@pytest.mark.parametrize(
    "cursors",
    [["c1", "c1"], ["c1", "c2", "c1"], ["c1", "c2", "c3", "c2"]],
    ids=["at once", "after a while", "a loop"],
)
def test_a_repeated_cursor_stops_the_walk(cursors):
    pages = [Page(items(str(number)), cursor, None) for number, cursor in enumerate(cursors)]
    with pytest.raises(ChatbasePagingError, match="the same cursor came twice") as raised:
        walk_over(pages)
    assert f"listThings was stopped at page {len(cursors)}" in str(raised.value)
    assert "not complete" in str(raised.value)


def test_the_same_page_under_fresh_cursors_stops_the_walk():
    same = (Page(items("a", "b"), f"c{number}", None) for number in count())
    with pytest.raises(ChatbasePagingError, match="the same page came twice"):
        walk_over(same)


def test_endless_empty_pages_stop_the_walk():
    empty = (Page([], f"c{number}", None) for number in count())
    with pytest.raises(ChatbasePagingError, match="5 pages in a row were empty"):
        walk_over(empty, max_barren_pages=5)


def test_an_item_now_and_then_keeps_the_walk_going():
    sparse = [Page(items(str(n)) if n % 5 == 4 else [], f"c{n}", None) for n in range(50)]
    ids, _ = walk_over([*sparse, Page([], None, None)], max_barren_pages=5)
    assert len(ids) == 10


def test_endless_pages_stop_the_walk():
    endless = (Page(items(str(number)), f"c{number}", None) for number in count())
    with pytest.raises(ChatbasePagingError, match="there are more than 7 pages"):
        walk_over(endless, max_pages=7)


def test_two_pages_that_take_turns_stop_the_walk():
    turns = (Page(items("ab"[number % 2]), f"c{number}", None) for number in count())
    with pytest.raises(ChatbasePagingError):
        walk_over(turns, max_pages=100)


def test_the_most_pages_leave_room_for_a_large_account():
    assert MAX_PAGES * 20 >= 2_000_000, "an export has 20 conversations a page"


def test_two_walks_know_nothing_of_each_other():
    pages = [Page(items("a"), "c1", None), Page(items("b"), None, None)]
    assert walk_over(pages) == walk_over(pages)


def drive(steps, pages) -> list[dict]:
    try:
        request = next(steps)
        for got in pages:
            assert request.operation == "listThings"
            request = steps.send(got)
    except StopIteration as end:
        return end.value
    raise AssertionError("the steps asked for one page too many")


def test_all_items_as_steps():
    pages = [Page(items("a", "b"), "c1", 3), Page(items("c"), None, 3)]
    assert drive(all_items(FIRST), pages) == items("a", "b", "c")


def test_all_items_stops_at_a_repeated_cursor():
    with pytest.raises(ChatbasePagingError):
        drive(all_items(FIRST), [Page(items("a"), "c1", None), Page(items("b"), "c1", None)])


@pytest.mark.parametrize("cursor", [None, "", 7], ids=repr)
@pytest.mark.parametrize("total", [None, 45], ids=["no total", "total"])
def test_a_listing_that_promises_more_and_not_where_is_not_complete(cursor, total):
    pagination = {"cursor": cursor, "hasMore": True, "total": total}
    pages = [page({"data": items("a"), "pagination": pagination})]
    with pytest.raises(ChatbasePagingError, match="there is more, and not where"):
        walk_over(pages)


def test_a_listing_that_promises_more_than_it_counts_is_complete():
    walk_over([page({"data": items("a"), "pagination": {"cursor": None, "hasMore": True, "total": 1}})])


BY_NUMBER = Request(
    operation="listThings",
    method="GET",
    path="/things",
    read=page,
    query={"page": 1, "size": 2},
    version="v1",
)


def numbered(pages, **limits) -> tuple[list[str], list[int]]:
    """Follow a walk by number with the given pages; return the ids that came and the numbers asked for."""
    walk, source = PageWalk(BY_NUMBER, **limits), iter(pages)
    ids, asked = [], []
    while (request := walk.next_request()) is not None:
        asked.append(request.query["page"])
        got = next(source)
        walk.take(got)
        ids.extend(item["id"] for item in got.items)
    return ids, asked


def test_pages_by_number_are_read_until_nothing_new_comes():
    short = [Page(items("a", "b"), None, None), Page(items("c"), None, None), Page(items("d"), None, None)]
    assert numbered([*short, Page([], None, None)]) == (["a", "b", "c", "d"], [1, 2, 3, 4])
    again = numbered([*short, Page(items("d"), None, None)])
    assert again == (["a", "b", "c", "d"], [1, 2, 3, 4]), "a page that came before"


def test_what_moved_to_the_next_page_meanwhile_comes_once():
    pages = [Page(items("a", "b"), None, 3), Page(items("b", "c"), None, 3)]
    assert numbered(pages) == (["a", "b", "c"], [1, 2])


def test_pages_by_number_end_when_all_that_are_counted_have_come():
    assert numbered([Page(items("a", "b"), None, 3), Page(items("c"), None, 3)])[1] == [1, 2]


def test_items_without_an_id_are_told_apart_by_what_they_say():
    pages = [Page([{"name": "Ann"}], None, None), Page([{"name": "Bob"}], None, None), Page([], None, None)]
    walk = PageWalk(BY_NUMBER)
    for got in pages:
        assert walk.next_request() is not None
        walk.take(got)
    assert walk.next_request() is None


def test_endless_pages_by_number_stop_the_walk():
    endless = (Page(items(str(number)), None, None) for number in count())
    with pytest.raises(ChatbasePagingError, match="there are more than 7 pages"):
        numbered(endless, max_pages=7)
