"""Pages, their opaque cursors, and the sorted positions that make paging over many things cheap."""

from __future__ import annotations

import base64
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_chatbase.simulator.exchange import invalid

T = TypeVar("T")

Position = tuple[float, str]

_AFTER_EVERY_ID = "\U0010ffff"


class SortedPositions:
    """A sorted list of (time, id)."""

    def __init__(self) -> None:
        self._positions: list[Position] = []

    def __len__(self) -> int:
        return len(self._positions)

    def load(self, positions: Iterable[Position]) -> None:
        """Add many at once."""
        self._positions.extend(positions)
        self._positions.sort()

    def add(self, position: Position) -> None:
        """Add one; cheap for the newest."""
        insort(self._positions, position)

    def discard(self, position: Position) -> None:
        """Remove one, if it is there."""
        at = bisect_left(self._positions, position)
        if at < len(self._positions) and self._positions[at] == position:
            del self._positions[at]

    def span(self, start: float | None, end: float | None) -> tuple[int, int]:
        """Return the slice whose times lie between ``start`` and ``end``, both inclusive."""
        low = 0 if start is None else bisect_left(self._positions, (start, ""))
        high = len(self) if end is None else bisect_right(self._positions, (end, _AFTER_EVERY_ID))
        return low, max(low, high)

    def index_of(self, position: Position) -> int:
        """Return how many come before the given position."""
        return bisect_left(self._positions, position)

    def newest_first(self, low: int, high: int) -> Iterator[Position]:
        """Walk a slice from its end to its beginning."""
        for at in range(high - 1, low - 1, -1):
            yield self._positions[at]


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for, and how cursors behave."""

    limit: int
    cursor: str | None
    kind: str
    offsets: bool = False
    trailing_empty: bool = False


def encode_cursor(kind: str, *place: Any) -> str:
    """Return an opaque cursor for a place in a list of the given kind."""
    text = json.dumps([kind, *place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(kind: str, cursor: str) -> list[Any]:
    """Return the place that a cursor stands for; raise ``ApiError`` 400 when it is not one of this list."""
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


def page_of_list(
    items: Iterable[T],
    place_of: Callable[[T], Position],
    show: Callable[[T], Any],
    request: PageRequest,
    *,
    ascending: bool = False,
) -> dict[str, Any]:
    """Return a page of a list, which is sorted by place: newest first unless ``ascending``."""
    ordered = sorted(items, key=place_of, reverse=not ascending)
    _, last = _start_of(request)
    start = 0
    if request.cursor is not None and last is not None:
        passed = (place_of(item) <= last if ascending else place_of(item) >= last for item in ordered)
        start = next((at for at, is_passed in enumerate(passed) if not is_passed), len(ordered))
    shown = ordered[start : start + request.limit]
    more = start + request.limit < len(ordered)
    cursor = encode_cursor(request.kind, *place_of(shown[-1])) if more else None
    return envelope([show(item) for item in shown], cursor, len(ordered))


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


def _start_of(request: PageRequest) -> tuple[int, Position | None]:
    if request.cursor is None:
        return 0, None
    place = decode_cursor(request.kind, request.cursor)
    if request.offsets and len(place) == 1 and isinstance(place[0], int):
        return place[0], None
    if len(place) == 2 and isinstance(place[0], int | float) and isinstance(place[1], str):
        return 0, (place[0], place[1])
    raise invalid({"cursor": "Invalid cursor"})
