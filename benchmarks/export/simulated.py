"""
How long an export takes by the network and the limit alone, in simulated time, whatever the machine.

    python benchmarks/export/simulated.py

The reader of parts and the rate limiter are the real ones; requests, replies and the limit's sliding window
are not. Printed are seconds, requests beyond full pages, and how much of what had arrived when half of the
requests were answered lay in finished parts, from which a retry goes on.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, cast

from airflow_provider_chatbase.client.rate_limiter import RateLimiter
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.exports.parallel import ParallelReader
from airflow_provider_chatbase.exports.reading import Listing
from airflow_provider_chatbase.exports.staging import Encoded, PartRows
from airflow_provider_chatbase.exports.window import Window

PAGE, DAYS, WINDOW_DAYS, LIMIT_SECONDS = 20, 90, 400, 10.0
END = 1_780_000_000
START = END - WINDOW_DAYS * 86_400


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: its clock jumps to what is due next."""

    _now = 0.0
    _ready: Any
    _scheduled: Any

    def time(self) -> float:
        """Return the simulated time."""
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self._now = max(self._now, self._scheduled[0]._when)
        super()._run_once()  # type: ignore[misc]


def evenly(rng: random.Random) -> float:
    """Return a moment of the last days."""
    return END - rng.random() * DAYS * 86_400


def by_day(rng: random.Random) -> float:
    """Return a moment, more likely by day than by night."""
    while True:
        at = evenly(rng)
        if rng.random() < (1.0 if 8 < at / 3600 % 24 < 20 else 0.15):
            return at


def growing(rng: random.Random) -> float:
    """Return a moment, the more likely the later."""
    return END - DAYS * 86_400 * rng.random() ** 3


class Service:
    """Conversations at given moments, behind a limit."""

    def __init__(self, loop: SimulatedLoop, moments: list[int], limit: int, latency: float) -> None:
        self._loop = loop
        self._moments = moments
        self._limit = limit
        self._latency = latency
        self._limiter = RateLimiter(loop.time, lambda: END + loop.time())
        self._counted: deque[float] = deque()
        self._rng = random.Random(1)
        self.requests = 0

    async def _request(self) -> None:
        while (wait := self._limiter.try_to_go()) > 0:
            await asyncio.sleep(wait)
        went = self._loop.time()
        await asyncio.sleep(self._latency / 2)
        now = self._loop.time()
        while self._counted and self._counted[0] <= now - LIMIT_SECONDS:
            self._counted.popleft()
        assert len(self._counted) < self._limit, "a request was refused"
        self._counted.append(now)
        headers = {
            "x-ratelimit-limit": str(self._limit),
            "x-ratelimit-remaining": str(self._limit - len(self._counted)),
            "x-ratelimit-reset": str(END + self._counted[0] + LIMIT_SECONDS),
        }
        await asyncio.sleep(self._latency / 2 + self._rng.random() * 0.02)
        self._limiter.learn(headers, self._loop.time() - went)
        self._limiter.done()
        self.requests += 1

    async def pages(self, window: Window) -> AsyncIterator[Page]:
        """Walk over a window, newest first; its end is in it."""
        first = bisect_left(self._moments, window.start.timestamp())
        after = bisect_right(self._moments, window.end.timestamp())
        total = after - first
        while True:
            await self._request()
            begin = max(after - PAGE, first)
            items = [{"id": str(n), "createdAt": self._moments[n]} for n in range(after - 1, begin - 1, -1)]
            after = begin
            yield Page(items, "more" if after > first else None, total)
            if after <= first:
                return


class SimulatedListing:
    """The service as a listing."""

    operation, says_total, can_be_cut = "exportConversations", True, True

    def __init__(self, service: Service) -> None:
        self.pages = service.pages

    def moment(self, item: dict[str, Any]) -> int:
        """Return when a conversation was created."""
        return int(item["createdAt"])


def export(count: int, limit: int, latency: float, moment: Callable[[random.Random], float]) -> str:
    """Export so many conversations; return a line of the table."""
    loop, rng = SimulatedLoop(), random.Random(1)
    service = Service(loop, sorted(min(int(moment(rng)), END - 1) for _ in range(count)), limit, latency)
    finished: list[tuple[int, PartRows]] = []

    def encode(item: dict[str, Any]) -> Encoded:
        return Encoded(datetime.fromtimestamp(item["createdAt"], UTC), item["id"], {}, 1_000)

    async def finish(_key: str, part: PartRows) -> None:
        finished.append((service.requests, part))

    window = Window(datetime.fromtimestamp(START, UTC), datetime.fromtimestamp(END, UTC))
    reader = ParallelReader(cast("Listing", SimulatedListing(service)), encode, finish, 32)
    loop.run_until_complete(reader.read([window]))
    assert len({row.identity for _, part in finished for row in part.items}) == count
    pages, kept = count / PAGE, sum(len(part.items) for at, part in finished if at <= service.requests / 2)
    return (
        f"| {count:,} | {limit:,} | {moment.__name__.replace('_', ' ')} | {loop.time():.1f} | "
        f"{max(pages * LIMIT_SECONDS / limit, latency):.1f} | {service.requests / pages - 1:.0%} | "
        f"{kept / (count / 2):.0%} |"
    )


def main() -> None:
    """Print the table."""
    print("| conversations | limit per 10 s | they come | seconds | the limit alone | more requests | kept |")
    print("|---|---|---|---|---|---|---|")
    for count, limit in ((4_000, 1_000), (20_000, 1_000), (100_000, 1_000), (20_000, 100)):
        for moment in (evenly, by_day, growing):
            print(export(count, limit, 0.15, moment), flush=True)


if __name__ == "__main__":
    main()
