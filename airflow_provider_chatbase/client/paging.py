"""One walk over a listing's pages, which cannot go on for ever."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from typing import Protocol

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject, Request

MAX_PAGES = 100_000
MAX_BARREN_PAGES = 1_000


class Walk(Protocol):
    """Decides which page to ask for next; a sync and an async client both follow it."""

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page, or ``None`` after the last."""

    def take(self, page: Page) -> None:
        """Take note of a page."""


class PageWalk:
    """A walk by cursor."""

    def __init__(
        self,
        first: Request[Page],
        *,
        max_pages: int = MAX_PAGES,
        max_barren_pages: int = MAX_BARREN_PAGES,
    ) -> None:
        self._first = first
        self._max_pages = max_pages
        self._max_barren_pages = max_barren_pages
        self._cursors: set[int] = set()
        self._pages = 0
        self._barren = 0
        self._last: Page | None = None

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page, or ``None`` after the last."""
        if self._last is None:
            return self._first
        if self._last.cursor is None:
            return None
        return self._first.with_query(cursor=self._last.cursor)

    def take(self, page: Page) -> None:
        """Take note of a page."""
        self._pages += 1
        self._barren = 0 if page.items else self._barren + 1
        if page.cursor is not None:
            self._check(page, page.cursor)
        self._last = page

    def _check(self, page: Page, cursor: str) -> None:
        mark = hash(cursor)
        if mark in self._cursors:
            raise self._stuck("the same cursor came twice")
        if self._last is not None and page.items and page.items == self._last.items:
            raise self._stuck("the same page came twice")
        if self._pages >= self._max_pages:
            raise self._stuck(f"there are more than {self._max_pages:,} pages")
        if self._barren >= self._max_barren_pages:
            raise self._stuck(f"{self._barren:,} pages in a row were empty")
        self._cursors.add(mark)

    def _stuck(self, why: str) -> ChatbasePagingError:
        return ChatbasePagingError(
            f"{self._first.operation} was stopped at page {self._pages:,}: {why}. "
            "The listing is not complete; run it again, and report it to Chatbase if it stays.",
            operation=self._first.operation,
        )


class NumberedWalk:
    """
    A walk by page number, over a listing that may not say how long it is.

    It ends at a page that is empty or brings nothing new: a short page need not be the last, since the API
    may hold fewer on a page than it was asked for.
    """

    def __init__(self, page_request: Callable[[int], Request[Page]], *, max_pages: int = MAX_PAGES) -> None:
        self._page_request = page_request
        self._max_pages = max_pages
        self._number = 1
        self._over = False
        self._seen: set[int] = set()

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page, or ``None`` after the last."""
        return None if self._over else self._page_request(self._number)

    def take(self, page: Page) -> None:
        """Take note of a page."""
        marks = {hash(json.dumps(item.get("id", item), sort_keys=True)) for item in page.items}
        is_new = bool(marks - self._seen)
        self._seen |= marks
        all_came = page.total is not None and len(self._seen) >= page.total
        self._over = not is_new or all_came
        self._number += 1
        if not self._over and self._number > self._max_pages:
            operation = self._page_request(1).operation
            raise ChatbasePagingError(
                f"{operation} was stopped at page {self._number:,}: there are more than "
                f"{self._max_pages:,} pages. The listing is not complete.",
                operation=operation,
            )


def all_items(first: Request[Page]) -> Generator[Request[Page], Page, list[JsonObject]]:
    """Walk over a listing as steps of a client."""
    walk = PageWalk(first)
    items: list[JsonObject] = []
    while (request := walk.next_request()) is not None:
        page = yield request
        walk.take(page)
        items.extend(page.items)
    return items
