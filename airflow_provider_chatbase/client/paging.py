"""One walk over a listing's pages, which cannot go on for ever."""

from __future__ import annotations

from collections.abc import Generator

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.shapes import Page

MAX_PAGES = 100_000
MAX_BARREN_PAGES = 1_000


class PageWalk:
    """
    Decides which page to ask for next; a sync and an async client both follow it.

    :param first: the request for the first page.
    :param max_pages: how many pages to follow at the most.
    :param max_barren_pages: how many pages in a row may be empty.
    """

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
        """
        Take note of a page.

        :param page: the reply to the request from :meth:`next_request`.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
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


def all_items(first: Request[Page]) -> Generator[Request[Page], Page, list[JsonObject]]:
    """
    Walk over a listing as steps of a client.

    :param first: the request for the first page.
    :return: the objects of all pages.
    :raises ChatbasePagingError: when the listing does not move forward.
    """
    walk = PageWalk(first)
    items: list[JsonObject] = []
    while (request := walk.next_request()) is not None:
        page = yield request
        walk.take(page)
        items.extend(page.items)
    return items
