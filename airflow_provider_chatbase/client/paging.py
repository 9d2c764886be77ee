"""One walk over a listing's pages, by cursor or by number, which cannot go on for ever."""

from __future__ import annotations

import json
from collections.abc import Generator

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject, Request

MAX_PAGES = 100_000
MAX_BARREN_PAGES = 1_000


class PageWalk:
    """
    Decides which page to ask for next; a sync and an async client, and steps, follow it alike.

    A listing by number, whose first request has a ``page``, may not say how long it is. It ends at a page
    that is empty or brings nothing new: a short one need not be the last, since the API may hold fewer on a
    page than it was asked for.
    """

    def __init__(
        self, first: Request[Page], *, max_pages: int = MAX_PAGES, max_barren_pages: int = MAX_BARREN_PAGES
    ) -> None:
        self._first = first
        self._next: Request[Page] | None = first
        self._max_pages = max_pages
        self._max_barren_pages = max_barren_pages
        self._seen: set[int] = set()
        self._pages = 0
        self._barren = 0
        self._last: list[int] = []

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page, or ``None`` after the last."""
        return self._next

    def take(self, page: Page) -> None:
        """Take note of a page."""
        self._pages += 1
        self._next = self._by_number(page) if "page" in self._first.query else self._by_cursor(page)
        if self._next is not None and self._pages >= self._max_pages:
            raise self._stuck(f"there are more than {self._max_pages:,} pages")

    def _by_number(self, page: Page) -> Request[Page] | None:
        marks = _marks(page)
        is_new = not self._seen.issuperset(marks)
        self._seen.update(marks)
        all_came = page.total is not None and len(self._seen) >= page.total
        return self._first.with_query(page=self._pages + 1) if is_new and not all_came else None

    def _by_cursor(self, page: Page) -> Request[Page] | None:
        if page.cursor is None:
            return None
        self._barren = 0 if page.items else self._barren + 1
        if hash(page.cursor) in self._seen:
            raise self._stuck("the same cursor came twice")
        marks = _marks(page)
        if marks and marks == self._last:
            raise self._stuck("the same page came twice")
        if self._barren >= self._max_barren_pages:
            raise self._stuck(f"{self._barren:,} pages in a row were empty")
        self._seen.add(hash(page.cursor))
        self._last = marks
        return self._first.with_query(cursor=page.cursor)

    def _stuck(self, why: str) -> ChatbasePagingError:
        return ChatbasePagingError(
            f"{self._first.operation} was stopped at page {self._pages:,}: {why}. "
            "The listing is not complete; run it again, and report it to Chatbase if it stays.",
            operation=self._first.operation,
        )


def _marks(page: Page) -> list[int]:
    """Tell objects apart without keeping them: a page may have megabytes."""
    return [hash(json.dumps(item.get("id", item), sort_keys=True)) for item in page.items]


def all_items(first: Request[Page]) -> Generator[Request[Page], Page, list[JsonObject]]:
    """Walk over a listing as steps of a client."""
    walk = PageWalk(first)
    items: list[JsonObject] = []
    while (request := walk.next_request()) is not None:
        page = yield request
        walk.take(page)
        items.extend(page.items)
    return items
