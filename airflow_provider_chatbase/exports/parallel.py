"""
Reads a window with many walks at once, each until all that the API counts has arrived.

Whoever has nothing to do takes over half of the longest rest. A part that was shortened is complete when its
objects and those of what was given away are as many as the API counted in the whole: so nothing is lost where
two walks meet.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count, pairwise

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.errors import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.reading import Listing
from airflow_provider_chatbase.exports.staging import Encoded
from airflow_provider_chatbase.exports.window import Window, read_moment, whole_second

log = logging.getLogger(__name__)

MOST_WALKS = 6

MOST_IN_PART = 480
LEAST_IN_PART = 60
PART_BYTES = 8 * 1024 * 1024
TOLERANCE = 1.25
"""How much bigger than wanted a part may be before it is cut again: the pieces are never quite even."""

FIRST_PIECES = 16
MOST_PIECES = 64
"""
Into how many pieces to cut at one time, at most: first, when nothing is known of how conversations are spread
over the window, and later. Where a piece is full, it is cut again.
"""


class Slots:
    """A bounded number of slots for work at the same time, given to the lowest rank that waits."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @asynccontextmanager
    async def take(self, rank: float) -> AsyncIterator[None]:
        """Have a slot for the time of a block."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(rank)
        try:
            yield
        finally:
            self._give_back()

    async def _wait(self, rank: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        heappush(self._waiting, (rank, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given a slot that it will not use
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            *_, turn = heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


PAGES_IN_MEMORY = 24 * 1024 * 1024
FIRST_AT_ONCE = 8
"""How many pages to ask for at the same time before the first has told how large they are."""

TIMES_IN_MEMORY = 3
"""How often a page is in memory while it arrives: as bytes, as text and as objects."""


class PageBudget:
    """How many pages may be on their way at the same time: fewer, the larger they are."""

    def __init__(self, budget: int = PAGES_IN_MEMORY) -> None:
        self._budget = budget
        self._most = FIRST_AT_ONCE
        self._out = 0
        self._back = asyncio.Condition()

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Callable[[int], None]]:
        """Have a page on its way within the block, and say how large it was."""
        async with self._back:
            await self._back.wait_for(lambda: self._out < self._most)
            self._out += 1
        try:
            yield self._learn
        finally:
            async with self._back:
                self._out -= 1
                self._back.notify_all()

    def _learn(self, size: int) -> None:
        self._most = max(self._budget // (max(size, 1) * TIMES_IN_MEMORY), 2)


def part_size(total: int, concurrency: int) -> int:
    """
    Return how many conversations a part should have.

    Every part costs about half a page more, so they are few; who is done takes over from the others.
    """
    return min(max(2 * total // concurrency, LEAST_IN_PART), MOST_IN_PART)


def split_evenly(
    window: Window, total: int, wanted: int, newest: datetime | None, most_pieces: int = MOST_PIECES
) -> list[Window]:
    """Cut a window into pieces of equal time."""
    top = window.end
    if newest is not None and window.start < newest < window.end:
        top = min(whole_second(newest) + timedelta(seconds=1), window.end)
    seconds = int((top - window.start).total_seconds())
    pieces = min(-(-total // wanted), most_pieces, seconds)
    if pieces < 2:
        return [window]
    cuts = [window.start + timedelta(seconds=seconds * number // pieces) for number in range(pieces)]
    return [Window(*bounds) for bounds in pairwise([*cuts, window.end])][::-1]


def middle(start: datetime, oldest: datetime | None) -> datetime | None:
    """Return where to cut what lies before the oldest conversation that was read."""
    if oldest is None:
        return None
    cut = whole_second(start + (oldest - start) / 2)
    return cut if start < cut <= oldest else None


@dataclass(frozen=True, slots=True)
class PartRows:
    """All of a part, its objects newest first."""

    items: list[Encoded]
    api_total: int | None  # how many the API counted in it; ``None`` where it does not say


@dataclass(slots=True)
class PartReader:
    """One walk over a part, page after page. What is given away of it meanwhile is no longer its own."""

    listing: Listing
    part: Window
    encode: Callable[[JsonObject], Encoded]
    giver: PartReader | None = None  # the one that gave this part away
    budget: PageBudget = field(default_factory=lambda: PageBudget())
    size: int = 0  # about how many bytes have arrived
    own_total: int = 0  # about how many are its own, where it can be cut; corrected when the API has counted
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

    async def run(self, after_page: Callable[[PartReader], None] | None = None) -> None:
        """Walk to the end of its own."""
        pages = aiter(self.listing.pages(self.part))
        try:
            while not self._past_its_own:
                async with self.budget.page() as learn:
                    size = self.size
                    self._take(await anext(pages))
                    learn(self.size - size)
                if after_page is not None:
                    after_page(self)
        except StopAsyncIteration:
            return
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
            newest_first(inside, by_id=not self.listing.keeps_order),
            None if total is None else total - outside,
        )

    def _take(self, page: Page) -> None:
        for item in page.items:
            moment = self.listing.moment(item)
            if self.own.holds(moment):
                self._keep(item)
            elif self.shortened and (at := read_moment(moment)) is not None and at < self.own.start:
                self._past_its_own = True
            else:
                self.seen[identity_of(item)] = None
        if page.total is not None and self.listing.says_total:
            self._count(page.total, len(page.items))

    def _count(self, total: int, page_size: int) -> None:
        if not self.totals and self.giver is not None:
            self.giver.own_total += self.own_total - total
        if self.listing.can_be_cut and self.oldest is not None and not self.page_size:
            self.own_total, self.page_size = total, page_size
        self.totals.append(total)

    def _keep(self, item: JsonObject) -> None:
        encoded = self.encode(item)
        self.seen[encoded.identity] = encoded
        self.size += encoded.size
        if encoded.at is not None and (self.oldest is None or encoded.at < self.oldest):
            self.oldest = encoded.at


async def read_to_the_end(reader: PartReader, given: int) -> PartRows:
    """Return a part's rows. Where it changed meanwhile it is walked again."""
    if reader.complete(given):
        total = len(reader.seen) if reader.shortened else max(reader.totals, default=None)
        return reader.rows(reader.seen, total)
    union: dict[str, Encoded | None] = {}
    for attempt in range(2, MOST_WALKS + 1):
        union |= reader.seen
        _report(reader, attempt - 1, given)
        reader, given = PartReader(reader.listing, reader.own, reader.encode, budget=reader.budget), 0
        await reader.run()
        if reader.complete(0):
            return reader.rows(reader.seen, max(reader.totals, default=None))
        together = union | reader.seen
        if reader.broken is None and reader.totals and len(together) >= max(reader.totals):
            return reader.rows(together, max(reader.totals))
    _report(reader, MOST_WALKS, 0)
    return _all_that_arrived(reader, union | reader.seen)


def _all_that_arrived(reader: PartReader, union: dict[str, Encoded | None]) -> PartRows:
    if reader.broken is not None:
        raise reader.broken
    if len(union) >= min(reader.totals):  # all that was there when the walk began, or a total that was wrong
        return reader.rows(union, min(reader.totals))
    bounds = reader.own.as_json()
    raise ChatbaseIncompleteExportError(
        f"The export is not complete: {reader.listing.operation} counts {max(reader.totals)} from "
        f"{bounds['start']} to {bounds['end']}, and {len(union)} arrived in {MOST_WALKS} "
        "walks. Nothing was exported; run the task again, and report it to Chatbase if it stays.",
        operation=reader.listing.operation,
    )


def _report(reader: PartReader, attempt: int, given: int) -> None:
    log.warning(
        "Walk %d of %d over %s brought %d of %s that the API counts%s.",
        attempt,
        MOST_WALKS,
        reader.own.name,
        len(reader.seen),
        max(reader.totals) - given if reader.totals else None,
        f" ({reader.broken})" if reader.broken else "",
    )


def identity_of(item: JsonObject) -> str:
    """Return what tells an object from others."""
    identity = item.get("id")
    return json.dumps(item, sort_keys=True) if identity is None else str(identity)


def newest_first(items: list[Encoded], *, by_id: bool = False) -> list[Encoded]:
    """Sort objects, those of one second as the API gave them."""
    ordered = sorted(items, key=lambda each: each.identity) if by_id else items
    return sorted(ordered, key=lambda each: each.at.timestamp() if each.at else float("inf"), reverse=True)


class ParallelReader:
    """Reads the parts of a window at the same time, and hands each on when it is complete."""

    def __init__(
        self,
        listing: Listing,
        encode: Callable[[JsonObject], Encoded],
        finish: Callable[[str, PartRows], Awaitable[None]],
        concurrency: int,
        size: int,
    ) -> None:
        self._listing = listing
        self._encode = encode
        self._finish = finish
        self._concurrency = max(concurrency, 1)
        self._size = size
        self._slots = Slots(self._concurrency)
        self._budget = PageBudget()
        self._open = 0
        self._readers: list[PartReader] = []
        self._tasks = asyncio.TaskGroup()

    async def read(self, parts: Iterable[Window]) -> None:
        """Read parts. When one fails, the others are stopped."""
        failed: BaseExceptionGroup[BaseException] | None = None
        try:
            async with self._tasks:
                for part in parts:
                    self._begin(part)
        except BaseExceptionGroup as group:
            failed = group
        if failed is not None:
            raise failed.exceptions[0]

    def _begin(self, part: Window, giver: PartReader | None = None, expected: int = 0) -> Awaitable[int]:
        self._open += 1
        reader = PartReader(self._listing, part, self._encode, giver, self._budget, own_total=expected)
        return self._tasks.create_task(self._read(reader))

    async def _read(self, reader: PartReader) -> int:
        """Read a part; return how many objects are in it, with those of what was given away."""
        async with self._slots.take(_newest_first(reader.part)):
            self._readers.append(reader)
            try:
                await reader.run(self._after_page)
            finally:
                self._readers.remove(reader)
            in_all = None if reader.given else await self._complete(reader, 0)
            self._open -= 1
            self._share()
        if in_all is not None:
            return in_all
        given = sum([await each for each in reader.given])
        async with self._slots.take(_newest_first(reader.part)):
            return await self._complete(reader, given)

    async def _complete(self, reader: PartReader, given: int) -> int:
        rows = await read_to_the_end(reader, given)
        await self._finish(reader.own.name, rows)
        return given + (len(rows.items) if rows.api_total is None else rows.api_total)

    def _after_page(self, reader: PartReader) -> None:
        if reader.left > self._wanted(reader) * TOLERANCE:
            self._cut(reader)
        self._share()

    def _wanted(self, reader: PartReader) -> int:
        """Return how many objects a part should have: fewer, the larger they are."""
        each = reader.size // max(len(reader.seen), 1) + 1
        return min(self._size, max(PART_BYTES // each, reader.page_size, 1))

    def _cut(self, reader: PartReader) -> None:
        """Leave a reader what it has read, and give away the rest in pieces: a part is held in memory."""
        if reader.oldest is None:
            return
        cut = min(whole_second(reader.oldest) + timedelta(seconds=1), reader.own.end)
        wanted = self._wanted(reader)
        pieces = split_evenly(Window(reader.own.start, cut), reader.left, wanted, reader.oldest)
        if len(pieces) > 1:
            reader.shorten(cut, reader.left)
            reader.given += [self._begin(piece) for piece in pieces]

    def _share(self) -> None:
        """Give half of the longest rest to a new reader, as long as there are free slots."""
        while self._open < self._concurrency:
            longest = max(self._readers, key=lambda reader: reader.left, default=None)
            if longest is None or longest.left <= longest.page_size:
                return
            cut = middle(longest.own.start, longest.oldest)
            if cut is None:
                longest.own_total = 0
            else:
                given = longest.left // 2
                longest.given.append(self._begin(longest.shorten(cut, given), longest, given))


def _newest_first(part: Window) -> float:
    """Rank a part: the pieces of one that was cut come before older ones, so that little waits for them."""
    return -part.end.timestamp()
