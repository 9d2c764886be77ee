"""Reading a part of a window until all that the API counts has arrived."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.replies import Page
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


@dataclass(slots=True)
class Walk:
    """
    One walk over a part, page after page. What is given away of it meanwhile is no longer its own.

    :param reader: the listing.
    :param part: what it is asked for.
    :param encode: turns an object into what is written.
    :param giver: the walk that gave this part away.
    :param own_total: about how many are its own, where it can be cut; corrected when the API has counted.
    """

    reader: Reader
    part: Window
    encode: Callable[[JsonObject], Encoded]
    giver: Walk | None = None
    own_total: int = 0
    own: Window = field(init=False)
    seen: dict[str, Encoded | None] = field(default_factory=dict)
    """What has arrived of its own; what lies after it is ``None``."""
    totals: list[int] = field(default_factory=list)
    broken: ChatbasePagingError | None = None
    oldest: datetime | None = None
    page_size: int = 0
    given: list[Awaitable[int]] = field(default_factory=list)
    """For each part that was given away, how many objects are in it."""
    _past_its_own: bool = False

    def __post_init__(self) -> None:
        """Begin with all of the part."""
        self.own = self.part

    @property
    def shortened(self) -> bool:
        """Whether some of it was given away."""
        return self.own != self.part

    @property
    def left(self) -> int:
        """How many of its own are still to come, where something can be given away."""
        return max(self.own_total - len(self.seen), 0) if self.page_size else 0

    async def run(self, after_page: Callable[[Walk], None] | None = None) -> None:
        """Walk to the end of its own."""
        try:
            async for page in self.reader.pages(self.part):
                self._take(page)
                if after_page is not None:
                    after_page(self)
                if self._past_its_own:
                    break
        except ChatbasePagingError as error:
            self.broken = error

    def shorten(self, cut: datetime, given: int) -> Window:
        """Give away what lies before a moment."""
        rest = Window(self.own.start, cut)
        self.own = Window(cut, self.own.end)
        self.own_total -= given
        if self.oldest is not None and self.oldest < cut:
            self._past_its_own = True
            self.seen = {
                name: each for name, each in self.seen.items() if not (each and each.at and each.at < cut)
            }
        return rest

    def complete(self, given: int) -> bool:
        """Say whether all that any page counted has arrived."""
        return self.broken is None and len(self.seen) + given >= max(self.totals, default=0)

    def rows(self, seen: dict[str, Encoded | None], total: int | None) -> PartRows:
        """Return the objects of its own."""
        inside = [each for each in seen.values() if each is not None]
        outside = len(seen) - len(inside)
        return PartRows(
            newest_first(inside, by_id=not self.reader.keeps_order),
            None if total is None else total - outside,
        )

    def _take(self, page: Page) -> None:
        for item in page.items:
            moment = self.reader.moment(item)
            if self.own.holds(moment):
                self._keep(item)
            elif self.shortened and (at := read_moment(moment)) is not None and at < self.own.start:
                self._past_its_own = True
            else:
                self.seen[identity_of(item)] = None
        if page.total is not None and self.reader.says_total:
            self._count(page.total, len(page.items))

    def _count(self, total: int, page_size: int) -> None:
        if not self.totals and self.giver is not None:
            self.giver.own_total += self.own_total - total
        if self.reader.can_be_cut and self.oldest is not None and not self.page_size:
            self.own_total, self.page_size = total, page_size
        self.totals.append(total)

    def _keep(self, item: JsonObject) -> None:
        encoded = self.encode(item)
        self.seen[encoded.identity] = encoded
        if encoded.at is not None and (self.oldest is None or encoded.at < self.oldest):
            self.oldest = encoded.at


async def read_to_the_end(walk: Walk, given: int) -> PartRows:
    """Return a walk's rows. Where it changed meanwhile it is walked again."""
    if walk.complete(given):
        total = len(walk.seen) if walk.shortened else max(walk.totals, default=None)
        return walk.rows(walk.seen, total)
    union: dict[str, Encoded | None] = {}
    for attempt in range(2, MOST_WALKS + 1):
        union |= walk.seen
        _report(walk, attempt - 1, given)
        walk, given = Walk(walk.reader, walk.own, walk.encode), 0
        await walk.run()
        if walk.complete(0):
            return walk.rows(walk.seen, max(walk.totals, default=None))
        together = union | walk.seen
        if walk.broken is None and walk.totals and len(together) >= max(walk.totals):
            return walk.rows(together, max(walk.totals))
    _report(walk, MOST_WALKS, 0)
    return _all_that_arrived(walk, union | walk.seen)


def _all_that_arrived(walk: Walk, union: dict[str, Encoded | None]) -> PartRows:
    if walk.broken is not None:
        raise walk.broken
    if len(union) >= min(walk.totals):  # all that was there when the walk began, or a total that was wrong
        return walk.rows(union, min(walk.totals))
    bounds = walk.own.as_json()
    raise ChatbaseIncompleteExportError(
        f"The export is not complete: {walk.reader.operation} counts {max(walk.totals)} from "
        f"{bounds['start']} to {bounds['end']}, and {len(union)} arrived in {MOST_WALKS} "
        "walks. Nothing was exported; run the task again, and report it to Chatbase if it stays.",
        operation=walk.reader.operation,
    )


def _report(walk: Walk, attempt: int, given: int) -> None:
    log.warning(
        "Walk %d of %d over %s brought %d of %s that the API counts%s.",
        attempt,
        MOST_WALKS,
        walk.own.name,
        len(walk.seen),
        max(walk.totals) - given if walk.totals else None,
        f" ({walk.broken})" if walk.broken else "",
    )


def identity_of(item: JsonObject) -> str:
    """Return what tells an object from others."""
    identity = item.get("id")
    return json.dumps(item, sort_keys=True) if identity is None else str(identity)


def newest_first(items: list[Encoded], *, by_id: bool = False) -> list[Encoded]:
    """Sort objects, those of one second as the API gave them."""
    ordered = sorted(items, key=lambda each: each.identity) if by_id else items
    return sorted(ordered, key=lambda each: each.at.timestamp() if each.at else float("inf"), reverse=True)
