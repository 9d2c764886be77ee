"""Reads a window with many walks at once; whoever has nothing to do takes over half of the longest rest."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta

from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.places import Places
from airflow_provider_chatbase.exports.readers import Reader
from airflow_provider_chatbase.exports.splitting import TOLERANCE, middle, split_evenly
from airflow_provider_chatbase.exports.walk import Encoded, PartRows, Walk, read_to_the_end
from airflow_provider_chatbase.exports.window import Window, whole_second

Finish = Callable[[str, PartRows], Awaitable[None]]


class ParallelReader:
    """
    Walks over the parts of a window.

    A part that was shortened is complete when its objects and those of what was given away are as many as
    the API counted in the whole: so nothing is lost where two walks meet.
    """

    def __init__(
        self,
        reader: Reader,
        encode: Callable[[JsonObject], Encoded],
        finish: Finish,
        concurrency: int,
        size: int,
    ) -> None:
        self._reader = reader
        self._encode = encode
        self._finish = finish
        self._concurrency = max(concurrency, 1)
        self._size = size
        self._places = Places(self._concurrency)
        self._open = 0
        self._walks: list[Walk] = []
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

    def _begin(self, part: Window, giver: Walk | None = None, expected: int = 0) -> Awaitable[int]:
        self._open += 1
        return self._tasks.create_task(self._read(Walk(self._reader, part, self._encode, giver, expected)))

    async def _read(self, walk: Walk) -> int:
        """Read a part; return how many objects are in it, with those of what was given away."""
        async with self._places.take(_newest_first(walk.part)):
            await self._run(walk)
            count = None if walk.given else await self._complete(walk, 0)
            self._open -= 1
            self._share()
        if count is not None:
            return count
        given = sum([await each for each in walk.given])
        async with self._places.take(_newest_first(walk.part)):
            return await self._complete(walk, given)

    async def _run(self, walk: Walk) -> None:
        self._walks.append(walk)
        try:
            await walk.run(self._after_page)
        finally:
            self._walks.remove(walk)

    async def _complete(self, walk: Walk, given: int) -> int:
        rows = await read_to_the_end(walk, given)
        await self._finish(walk.own.name, rows)
        return given + (len(rows.items) if rows.api_total is None else rows.api_total)

    def _after_page(self, walk: Walk) -> None:
        if walk.left > self._size * TOLERANCE:
            self._cut(walk)
        self._share()

    def _cut(self, walk: Walk) -> None:
        """Leave a walk what it has read, and give away the rest in pieces: a part is held in memory."""
        if walk.oldest is None:
            return
        cut = min(whole_second(walk.oldest) + timedelta(seconds=1), walk.own.end)
        pieces = split_evenly(Window(walk.own.start, cut), walk.left, self._size, walk.oldest)
        if len(pieces) > 1:
            walk.shorten(cut, walk.left)
            walk.given += [self._begin(piece) for piece in pieces]

    def _share(self) -> None:
        """Give half of the longest rest to a new walk, as long as there are free places."""
        while self._open < self._concurrency:
            longest = max(self._walks, key=lambda walk: walk.left, default=None)
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
