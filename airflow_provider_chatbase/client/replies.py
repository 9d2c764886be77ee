"""From the bytes of a reply to its result or its error: the shapes that the API promises, page after page."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.errors import (
    LASTING_CODES,
    ChatbaseConfigurationError,
    ChatbaseDamagedReplyError,
    ChatbaseError,
    ChatbasePagingError,
    ChatbaseRateLimitError,
    ChatbaseReplyError,
    advice,
    error_class,
    quoted,
)
from airflow_provider_chatbase.client.rate_limiter import asked_wait
from airflow_provider_chatbase.client.request import Json, JsonObject, Request


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, with its objects as the API gave them."""

    items: list[JsonObject]
    cursor: str | None  # where the next page starts
    total: int | None  # how many match in all, where the operation says so
    promises_more: bool = False  # without saying where


def bare_object(reply: Json) -> JsonObject:
    """Read a reply that is the object itself."""
    if not isinstance(reply, dict):
        raise UnexpectedShapeError(f"an object was promised, and {_kind(reply)} came")
    return reply


def identified(reply: Json) -> JsonObject:
    """Read a reply that is an object with an ``id``."""
    found = bare_object(reply)
    if not isinstance(found.get("id"), str) or not found["id"]:
        raise UnexpectedShapeError("an object with an id was promised, and one without came")
    return found


def success(reply: Json) -> JsonObject:
    """Read ``{"success": true}``."""
    found = bare_object(reply)
    if found.get("success") is not True:
        raise UnexpectedShapeError("success: true was promised, and did not come")
    return found


def data_object(reply: Json) -> JsonObject:
    """Read ``{"data": {…}}``."""
    data = bare_object(reply).get("data")
    if not isinstance(data, dict):
        raise UnexpectedShapeError(f"an object under data was promised, and {_kind(data)} came")
    return data


def wrapped_or_bare(reply: Json) -> JsonObject:
    """Read an object under ``data``, or itself, where no document shows which or documents differ."""
    found = bare_object(reply)
    return found["data"] if isinstance(found.get("data"), dict) else found


def page(reply: Json) -> Page:
    """Read ``{"data": […], "pagination": {"cursor", "hasMore", "total"?}}``."""
    found = bare_object(reply)
    items, pagination = _objects(found.get("data"), "a list of objects under data"), found.get("pagination")
    if not isinstance(pagination, dict):
        raise UnexpectedShapeError("pagination was promised, and is missing")
    cursor = pagination.get("cursor") if isinstance(pagination.get("cursor"), str) else None
    more = pagination.get("hasMore", cursor)  # where it is not said, a cursor says it
    return Page(
        items=items,
        cursor=(cursor or None) if more else None,
        total=_count(pagination.get("total")),
        promises_more=bool(more) and not cursor,
    )


def listed(items: Json, total: Json = None) -> Page:
    """Read a page that has no cursor."""
    return Page(items=_objects(items, "a list of objects"), cursor=None, total=_count(total))


def any_listing(reply: Json, name: str) -> Page:
    """Read a page of any listing: the list itself, or one in a field, with a cursor where there is one."""
    if isinstance(reply, list):
        return listed(reply)
    found = bare_object(reply)
    if "pagination" in found:
        return page({**found, "data": found.get(name)})
    if not isinstance(found.get(name), list):
        lists = [field for field, value in found.items() if isinstance(value, list)]
        told = f"lists are in {', '.join(lists)}" if lists else "it has no list"
        raise UnexpectedShapeError(f"a list under {name} was asked for, and {told}")
    return listed(found[name], found.get("total"))


def _objects(items: Json, promised: str) -> list[JsonObject]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnexpectedShapeError(f"{promised} was promised, and {_kind(items)} came")
    return items


def _count(value: Json) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value)


def _kind(value: Json) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), "a number")


Result = TypeVar("Result")

RAW_ERRORS = (TypeError, KeyError, ValueError, IndexError, AttributeError, OverflowError, RecursionError)
"""What a reader raises by itself when JSON is other than it was made for."""


class UnexpectedShapeError(ValueError):
    """Raised by a reader whose JSON is not what the API promises; :func:`read_reply` adds the rest."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply as it came, without its HTTP library."""

    status: int
    headers: Mapping[str, str]  # with lower-case names
    content: bytes

    @property
    def request_id(self) -> str | None:
        """The id to quote to Chatbase's support."""
        found = self.headers.get("x-request-id")
        return quoted(found, 100) if found else None


def read_reply(request: Request[Result], reply: Reply, now: float) -> Result:
    """Read a reply."""
    if not 200 <= reply.status < 300:
        raise refusal(request, reply, now)
    decoded = _decoded(request, reply)
    # JSON and a success are Chatbase's own: what must not be done twice is done.
    cls = ChatbaseReplyError if request.repeatable else ChatbaseDamagedReplyError
    try:
        return request.read(decoded)
    except UnexpectedShapeError as shape:
        raise _not_promised(request, reply, str(shape), cls) from shape
    except ChatbaseError:
        raise
    except RAW_ERRORS as raw:
        raise _not_promised(request, reply, f"it cannot be read ({quoted(repr(raw), 200)})", cls) from raw


def refusal(request: Request[Result], reply: Reply, now: float) -> ChatbaseError:
    """Make the error of a reply that is no success."""
    if reply.status < 400:
        where = quoted(reply.headers.get("location", "nowhere"))
        what = f"a redirect to {where}, which is not followed, since the API key would go there too. "
        return _not_promised(request, reply, what + "Check the connection's base URL")
    code, message, details = error_envelope(reply.content)
    if reply.status == 407:
        return ChatbaseConfigurationError(
            f"The proxy refused {request.operation} [HTTP 407]: it wants a user name and a password. "
            "Put them into the connection's proxy field, as in http://user:password@proxy:3128.",
            operation=request.operation,
            status=reply.status,
        )
    cls = error_class(code, reply.status)
    what = quoted(message) or "no reason given"
    if details:
        what += " (" + quoted("; ".join(f"{field}: {why}" for field, why in details.items())) + ")"
    facts = ", ".join(filter(None, [code, f"HTTP {reply.status}", _request(reply)]))
    said = f"Chatbase refused {request.operation}: {what.rstrip('.')} [{facts}]. {advice(code, cls)}"
    error = cls(
        said.rstrip(),
        operation=request.operation,
        status=reply.status,
        code=code,
        request_id=reply.request_id,
        details=details,
        retry_after=asked_wait(reply.headers, now, rate_limited=issubclass(cls, ChatbaseRateLimitError)),
    )
    error.permanent = error.permanent or code in LASTING_CODES
    # Only the API knows whether it did the work; what stands in front of it may have lost the reply. But that
    # refuses many for their number and hardly ever after the work: only looking is worth it, not failing.
    said_by_api = code is not None or bool(message)
    too_many = cls is ChatbaseRateLimitError and not request.looked_for
    error.ambiguous = error.ambiguous or not (said_by_api or too_many)
    return error


def error_envelope(content: bytes) -> tuple[str | None, str, JsonObject]:
    """Read an error body of either API version."""
    try:
        body = decode_json(content, mend=True)
    except ValueError:
        return None, "", {}
    if not isinstance(body, dict):
        return None, "", {}
    error = body.get("error")
    if isinstance(error, str):
        return None, error, {}
    if not isinstance(error, dict):
        error = body
    details = error.get("details")
    code, message = error.get("code"), error.get("message")
    return (
        quoted(code, 100) if isinstance(code, str) and code else None,
        message if isinstance(message, str) else "",
        details if isinstance(details, dict) else _issues(error.get("issues")),
    )


def _issues(issues: Json) -> JsonObject:
    if not isinstance(issues, list):
        return {}
    return {str(issue.get("field")): issue.get("message") for issue in issues if isinstance(issue, dict)}


def _decoded(request: Request[Result], reply: Reply) -> Json:
    if reply.status == 204 or (request.method == "DELETE" and not reply.content):
        return None
    try:
        return decode_json(reply.content, mend=True)
    except ValueError as error:
        kind = quoted(reply.headers.get("content-type", "no content type"), 100)
        if "json" in kind.lower():
            what = f"JSON that was cut or damaged ({error})"
            raise _not_promised(request, reply, what, ChatbaseDamagedReplyError) from error
        what = f"{kind} instead of JSON. A proxy may have answered, or the connection's base URL is wrong"
        raise _not_promised(request, reply, what) from error


def _not_promised(
    request: Request[Result], reply: Reply, what: str, cls: type[ChatbaseReplyError] = ChatbaseReplyError
) -> ChatbaseReplyError:
    facts = ", ".join(filter(None, [f"HTTP {reply.status}", _request(reply)]))
    return cls(
        f"The reply to {request.operation} is not what the API promises [{facts}]: {what}.",
        operation=request.operation,
        status=reply.status,
        request_id=reply.request_id,
    )


def _request(reply: Reply) -> str | None:
    return f"request {reply.request_id}" if reply.request_id else None


# -- walking over the pages of a listing

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
        self._items = 0
        self._barren = 0
        self._last: list[int] = []

    def next_request(self) -> Request[Page] | None:
        """Return the request for the next page, or ``None`` after the last."""
        return self._next

    def take(self, page: Page) -> None:
        """Take note of a page; by number, what an earlier one had is taken out of it."""
        self._pages += 1
        self._next = self._by_number(page) if "page" in self._first.query else self._by_cursor(page)
        if self._next is not None and self._pages >= self._max_pages:
            raise self._stuck(f"there are more than {self._max_pages:,} pages")

    def _by_number(self, page: Page) -> Request[Page] | None:
        marks = _marks(page)
        is_new = not self._seen.issuperset(marks)
        # Another page of a listing that grows meanwhile, or the same one where numbers mean nothing.
        page.items[:] = [
            item
            for item, mark in zip(page.items, marks, strict=True)
            if mark not in self._seen or (is_new and "id" not in item)
        ]
        self._seen.update(marks)
        all_came = page.total is not None and len(self._seen) >= page.total
        return self._first.with_query(page=self._pages + 1) if is_new and not all_came else None

    def _by_cursor(self, page: Page) -> Request[Page] | None:
        self._items += len(page.items)
        if page.promises_more and (page.total is None or self._items < page.total):
            raise self._stuck("it says that there is more, and not where")
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
    ids = [item.get("id", item) for item in page.items]
    return [hash(each if isinstance(each, str) else json.dumps([each], sort_keys=True)) for each in ids]


MOST_WALKS = 3


def all_items(first: Request[Page]) -> Generator[Request[Page], Page, list[JsonObject]]:
    """Walk over a listing as steps of a client, again where fewer come than the API counts."""
    items: list[JsonObject] = []
    least = 0
    for _ in range(MOST_WALKS):
        walk, totals = PageWalk(first), []
        items = []
        while (request := walk.next_request()) is not None:
            page = yield request
            walk.take(page)
            items.extend(page.items)
            totals += [page.total] if page.total is not None else []
        least = min(totals, default=0)  # some may have gone meanwhile
        if len(items) >= least:
            return items
    raise ChatbasePagingError(
        f"{first.operation} counts {least} and lists {len(items)}, {MOST_WALKS} times. What is missing would "
        "be taken not to be there. Run the task again, and report it to Chatbase if it stays.",
        operation=first.operation,
    )
