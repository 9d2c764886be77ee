"""
Reads a window with many walks at once, each until all that the API counts has arrived.

Whoever has nothing to do takes over a piece of the longest rest, and a walk that has read enough gives its
rest to a new one, so that parts are finished all the time. A part that was shortened is complete when its
objects, and those that the API counts in what was given away, are as many as it counted in the whole: so
nothing is lost where two walks meet. Its count is kept with it, for when all of that has arrived.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from airflow_provider_chatbase.client.errors import ChatbasePagingError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.reading import Listing
from airflow_provider_chatbase.exports.rows import identity_of
from airflow_provider_chatbase.exports.staging import Count, Encoded, PartRows
from airflow_provider_chatbase.exports.window import Window, read_moment, whole_second

log = logging.getLogger(__name__)

MOST_WALKS = 6

PARTS_OF_A_WALK = 4
LEAST_PAGES, MOST_PAGES = 4, 24
PART_BYTES = 4 * 1024 * 1024
"""A part ends with the page that fills it: a quarter of what each walk has to read, within these bounds."""

LEAST_SHARED = 2
"""A rest of so many pages is not worth sharing: each piece ends with a page that is not full."""

SPREAD = 1.5
"""
How much slower than the first page the rest may come. A piece too many costs one request; where the oldest
one holds far more than the others, all have to share it in the end.
"""

PAGES_IN_MEMORY = 24 * 1024 * 1024
FIRST_AT_ONCE = 8
"""How many pages to ask for at the same time before the first has told how large they are."""

TIMES_IN_MEMORY = 3
"""How often a page is in memory while it arrives: as bytes, as text and as objects."""

SECOND = timedelta(seconds=1)


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
        if size:  # a page without rows says nothing of the next one
            self._most = max(self._budget // (size * TIMES_IN_MEMORY), 2)


@dataclass(slots=True, eq=False)
class PartReader:
    """One walk over a part, page after page. What is given away of it meanwhile is no longer its own."""

    listing: Listing
    part: Window
    encode: Callable[[JsonObject], Encoded]
    budget: PageBudget = field(default_factory=lambda: PageBudget())
    count: int = 0  # about how many are in the part; as the API counts them from the first of its own on
    counted: asyncio.Event = field(default_factory=asyncio.Event)
    own: Window = field(init=False)
    seen: dict[str, Encoded | None] = field(default_factory=dict)
    """What has arrived of its own; what is a neighbour's is ``None``."""
    pages: int = 0
    page_size: int = 0
    size: int = 0  # about how many bytes have arrived
    totals: list[int] = field(default_factory=list)
    broken: ChatbasePagingError | None = None
    oldest: datetime | None = None
    given: list[PartReader] = field(default_factory=list)  # of what was given away
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
        """About how many of its own are still to come, where something can be given away."""
        if not self.totals or self.oldest is None or not self.listing.can_be_cut:
            return 0
        return max(self.totals[-1] - len(self.seen) - self.given_away, 0)

    @property
    def given_away(self) -> int:
        """How many are in what was given away."""
        return sum(each.count for each in self.given)

    def counted_in_all(self) -> Count | None:
        """Return how many the API counted in the part, if some of it was given away."""
        if not self.shortened:
            return None
        outside = sum(each is None for each in self.seen.values())
        return Count(self.part.start, max(self.totals, default=0) - outside)

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
        except ChatbasePagingError as error:
            self.broken = error
        except StopAsyncIteration:
            pass
        self._note_count(max(self.totals, default=0))

    def cuts(self, pieces: int) -> list[datetime]:
        """
        Return where to cut what is left into pieces, the oldest moment first.

        After one page the rest is taken to come at about its pace; the oldest piece holds what does not.
        """
        if self.oldest is None:
            return []
        span = self.oldest - self.own.start
        newest = max((each.at for each in self.seen.values() if each and each.at), default=self.oldest)
        if self.pages == 1 and newest > self.oldest:
            span = min(span, (newest - self.oldest) / self.page_size * self.left * SPREAD)
        found = {whole_second(self.oldest - span * number / pieces) for number in range(1, pieces)}
        return sorted(each for each in found if self.own.start < each <= self.oldest)

    def shorten(self, cut: datetime) -> Window:
        """Give away what lies before a moment."""
        rest = Window(self.own.start, cut)
        self.own = Window(cut, self.own.end)
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
            newest_first(inside, by_id=not self.listing.can_be_cut),
            None if total is None else total - outside,
        )

    def _take(self, page: Page) -> None:
        self.pages += 1
        for item in page.items:
            moment = self.listing.moment(item)
            if self._owns(moment):
                self._keep(item)
            elif self.shortened and (at := read_moment(moment)) is not None and at < self.own.start:
                self._past_its_own = True
            else:
                self.seen[identity_of(item)] = None
        if page.total is not None and self.listing.says_total:
            self.totals.append(page.total)
            self.page_size = self.page_size or len(page.items)
            if self.oldest is not None:
                self._note_count(page.total)

    def _note_count(self, total: int) -> None:
        if not self.counted.is_set():
            self.count = total - sum(each is None for each in self.seen.values())
            self.counted.set()

    def _owns(self, moment: object) -> bool:
        """Say whether an object is its own; the API may cut by another time than the one it shows."""
        if not self.listing.can_be_cut or self.shortened:
            return self.own.holds(moment)
        at = read_moment(moment)
        return at is None or not self.own.end <= at < self.own.end + SECOND

    def _keep(self, item: JsonObject) -> None:
        encoded = self.encode(item)
        self.seen[encoded.identity] = encoded
        self.size += encoded.size
        at = encoded.at
        if at is not None and self.own.start <= at < (self.oldest or self.own.end):
            self.oldest = at


async def read_to_the_end(reader: PartReader, given: int) -> PartRows:
    """Return a part's rows. Where it changed meanwhile it is walked again."""
    if reader.complete(given):
        total = len(reader.seen) if reader.shortened else max(reader.totals, default=None)
        return reader.rows(reader.seen, total)
    union: dict[str, Encoded | None] = {}
    for attempt in range(2, MOST_WALKS + 1):
        union |= reader.seen
        _report(reader, attempt - 1, given)
        reader, given = PartReader(reader.listing, reader.own, reader.encode, reader.budget), 0
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
    ) -> None:
        self._listing = listing
        self._encode = encode
        self._finish = finish
        self._concurrency = max(concurrency, 1)
        self._slots = asyncio.Semaphore(self._concurrency)
        self._budget = PageBudget()
        self._open = 0
        self._readers: list[PartReader] = []
        self._pages_in_part: int | None = None
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

    def _begin(self, part: Window, expected: int = 0) -> PartReader:
        self._open += 1
        reader = PartReader(self._listing, part, self._encode, self._budget, expected)
        self._tasks.create_task(self._read(reader))
        return reader

    async def _read(self, reader: PartReader) -> None:
        async with self._slots:
            self._readers.append(reader)
            try:
                await reader.run(self._after_page)
            finally:
                self._readers.remove(reader)
        self._open -= 1
        self._share()
        for each in reader.given:
            await each.counted.wait()
        given = reader.given_away
        async with nullcontext() if reader.complete(given) else self._slots:
            rows = await read_to_the_end(reader, given)
        await self._finish(reader.own.name, replace(rows, count=reader.counted_in_all()))
        reader.seen = {}

    async def read_again(self, part: Window) -> None:
        """Read a finished part once more, and share it with nobody."""
        reader = PartReader(self._listing, part, self._encode, self._budget)
        await reader.run()
        await self._finish(part.name, await read_to_the_end(reader, 0))

    def _after_page(self, reader: PartReader) -> None:
        if self._pages_in_part is None and reader.totals:
            log.info("Chatbase counts %d in %s.", reader.totals[0], reader.part.name)
            pages = reader.totals[0] // (max(reader.page_size, 1) * self._concurrency * PARTS_OF_A_WALK)
            self._pages_in_part = min(max(pages, LEAST_PAGES), MOST_PAGES)
        full = reader.size >= PART_BYTES or reader.pages >= (self._pages_in_part or MOST_PAGES)
        if full and reader.left > reader.page_size:
            self._give_rest(reader)
        self._share()

    def _give_rest(self, reader: PartReader) -> None:
        """Leave a reader what it has read: it is held in memory, and is of no use until it is finished."""
        if reader.oldest is not None and (cut := whole_second(reader.oldest) + SECOND) < reader.own.end:
            left = reader.left
            reader.given.append(self._begin(reader.shorten(cut), left))

    def _share(self) -> None:
        """Give pieces of the longest rest to new readers, as long as there are free slots."""
        while (free := self._concurrency - self._open) > 0:
            longest = max(self._readers, key=lambda reader: reader.left, default=None)
            if longest is None or longest.left <= LEAST_SHARED * longest.page_size:
                return
            left = longest.left
            cuts = longest.cuts(min(free + 1, max(left // (LEAST_SHARED * longest.page_size), 2)))
            if not cuts:
                return
            bounds = [longest.own.start, *cuts]
            longest.shorten(cuts[-1])
            for piece in pairwise(bounds):
                longest.given.append(self._begin(Window(*piece), left // (len(cuts) + 1)))
