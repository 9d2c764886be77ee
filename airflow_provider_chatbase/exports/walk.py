"""Reading a part of a window until all that the API counts has arrived."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.errors import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.readers import Reader
from airflow_provider_chatbase.exports.window import Window, read_moment

log = logging.getLogger(__name__)

MOST_WALKS = 6


@dataclass(frozen=True, slots=True)
class Encoded:
    """
    An object of the API, as it will be written.

    :param at: the time by which it is sorted.
    :param identity: its id.
    :param rows: for each table its rows; ``None`` when it is left out on purpose.
    """

    at: datetime | None
    identity: str
    rows: dict[str, list[Any]] | None


@dataclass(frozen=True, slots=True)
class PartRows:
    """
    All of a part.

    :param items: its objects, newest first.
    :param api_total: how many the API counted in it; ``None`` where it does not say.
    """

    items: list[Encoded]
    api_total: int | None


@dataclass(frozen=True, slots=True)
class TooMany:
    """
    A part that is better cut.

    :param total: how many objects it has.
    :param newest: when the newest was created.
    """

    total: int
    newest: datetime | None


@dataclass(slots=True)
class Walk:
    """What one walk over a part has seen. What lies outside of the window is ``None``."""

    seen: dict[str, Encoded | None] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    broken: ChatbasePagingError | None = None

    @property
    def complete(self) -> bool:
        """Whether all that any page counted has arrived."""
        return self.broken is None and len(self.seen) >= max(self.totals, default=0)


async def read_part(
    reader: Reader, window: Window, encode: Callable[[JsonObject], Encoded], most: int | None
) -> PartRows | TooMany:
    """
    Read a part. It is read again when it changed meanwhile: pages shift when conversations come and go.

    :param reader: the listing.
    :param window: the part.
    :param encode: turns an object into what is written.
    :param most: how many objects a part may have; ``None`` takes any number.
    :return: its rows, or word that it has more than ``most``.
    :raises ChatbaseIncompleteExportError: when fewer objects arrive than the API counts.
    """
    union: dict[str, Encoded | None] = {}
    walk = Walk()
    for attempt in range(1, MOST_WALKS + 1):
        walk = Walk()
        too_many = await _walk(reader, window, encode, walk, most if attempt == 1 else None)
        if too_many is not None:
            return too_many
        if walk.complete:
            return _rows(reader, walk.seen, max(walk.totals, default=None))
        union |= walk.seen
        if attempt > 1 and walk.broken is None and walk.totals and len(union) >= max(walk.totals):
            return _rows(reader, union, max(walk.totals))
        log.warning(
            "Walk %d of %d over %s brought %d of %s that the API counts%s.",
            attempt,
            MOST_WALKS,
            window.name,
            len(walk.seen),
            max(walk.totals, default=None),
            f" ({walk.broken})" if walk.broken else "",
        )
    if walk.broken is not None:
        raise walk.broken
    if len(union) >= min(walk.totals):  # all that was there when the walk began, or a total that was wrong
        return _rows(reader, union, min(walk.totals))
    raise ChatbaseIncompleteExportError(
        f"The export is not complete: {reader.operation} counts {max(walk.totals)} from "
        f"{window.as_json()['start']} to {window.as_json()['end']}, and {len(union)} arrived in {MOST_WALKS} "
        "walks. Nothing was exported; run the task again, and report it to Chatbase if it stays.",
        operation=reader.operation,
    )


async def _walk(
    reader: Reader, window: Window, encode: Callable[[JsonObject], Encoded], walk: Walk, most: int | None
) -> TooMany | None:
    try:
        async for page in reader.pages(window):
            if page.total is not None and reader.says_total:
                if most is not None and not walk.totals and page.total > most:
                    return TooMany(page.total, _newest(reader, page.items))
                walk.totals.append(page.total)
            for item in page.items:
                inside = window.holds(reader.moment(item))
                walk.seen[identity_of(item)] = encode(item) if inside else None
    except ChatbasePagingError as error:
        walk.broken = error
    return None


def _newest(reader: Reader, items: list[JsonObject]) -> datetime | None:
    return max((at for each in items if (at := read_moment(reader.moment(each))) is not None), default=None)


def _rows(reader: Reader, seen: dict[str, Encoded | None], total: int | None) -> PartRows:
    inside = [each for each in seen.values() if each is not None]
    outside = len(seen) - len(inside)
    return PartRows(
        newest_first(inside, by_id=not reader.keeps_order), None if total is None else total - outside
    )


def identity_of(item: JsonObject) -> str:
    """
    Return what tells an object from others.

    :param item: the object.
    """
    identity = item.get("id")
    return json.dumps(item, sort_keys=True) if identity is None else str(identity)


def newest_first(items: list[Encoded], *, by_id: bool = False) -> list[Encoded]:
    """
    Sort objects, those of one second as the API gave them.

    :param items: the objects.
    :param by_id: sort those of one second by id, where the API promises no order.
    """
    ordered = sorted(items, key=lambda each: each.identity) if by_id else items
    return sorted(ordered, key=lambda each: each.at.timestamp() if each.at else float("inf"), reverse=True)
