"""Pages and their opaque cursors."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_chatbase.simulator.conversations import Position, SortedPositions
from airflow_provider_chatbase.simulator.errors import invalid

T = TypeVar("T")


def encode_cursor(kind: str, *place: Any) -> str:
    """Return an opaque cursor for a place in a list of the given kind."""
    text = json.dumps([kind, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str) -> list[Any]:
    """
    Return the place that a cursor stands for.

    :raises ApiError: 400, the cursor is not one of this list.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found, *place = json.loads(base64.urlsafe_b64decode(padded.encode()))
    except (ValueError, TypeError) as error:
        raise invalid({"cursor": "Invalid cursor"}) from error
    if found != kind or not place:
        raise invalid({"cursor": "Invalid cursor"})
    return list(place)


def envelope(data: Any, cursor: str | None, total: int | None) -> dict[str, Any]:
    """Return the reply body of a page."""
    pagination: dict[str, Any] = {"cursor": cursor, "hasMore": cursor is not None}
    if total is not None:
        pagination["total"] = total
    return {"data": data, "pagination": pagination}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for, and how cursors behave."""

    limit: int
    cursor: str | None
    kind: str
    offsets: bool = False
    trailing_empty: bool = False


def page_of_list(
    items: Sequence[T], place_of: Callable[[T], Position], show: Callable[[T], Any], request: PageRequest
) -> dict[str, Any]:
    """Return a page of a list that is sorted newest first."""
    start = 0
    if request.cursor is not None:
        _, last = _start_of(request)
        start = next(
            (at for at, item in enumerate(items) if last is not None and place_of(item) < last), len(items)
        )
    shown = items[start : start + request.limit]
    more = start + request.limit < len(items)
    cursor = encode_cursor(request.kind, *place_of(shown[-1])) if more else None
    return envelope([show(item) for item in shown], cursor, len(items))


def _start_of(request: PageRequest) -> tuple[int, Position | None]:
    if request.cursor is None:
        return 0, None
    place = decode_cursor(request.kind, request.cursor)
    if request.offsets and isinstance(place[0], int):
        return place[0], None
    if len(place) == 2 and isinstance(place[0], int | float) and isinstance(place[1], str):
        return 0, (place[0], place[1])
    raise invalid({"cursor": "Invalid cursor"})


def page_of_positions(
    indexes: Sequence[SortedPositions],
    window: tuple[float | None, float | None],
    show: Callable[[str], Any],
    request: PageRequest,
) -> dict[str, Any]:
    """Return a page of several indexes read as one, newest first, without a walk over what lies before it."""
    spans = [index.span(*window) for index in indexes]
    total = sum(high - low for low, high in spans)
    skip, before = _start_of(request)
    found: list[Position] = []
    for index, (low, high) in zip(indexes, spans, strict=True):
        top = high if before is None else max(low, min(high, index.index_of(before)))
        found.extend(index.newest_first(max(low, top - skip - request.limit - 1), top))
    found.sort(reverse=True)
    shown = found[skip : skip + request.limit]
    more = len(found) > skip + request.limit or (request.trailing_empty and bool(shown))
    cursor = None
    if more:
        next_place = (skip + len(shown),) if request.offsets else shown[-1]
        cursor = encode_cursor(request.kind, *next_place)
    return envelope([show(identifier) for _, identifier in shown], cursor, total)
