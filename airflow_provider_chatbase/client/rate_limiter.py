"""
Keeps what a process sends with one key below the limit that Chatbase states in its replies.

The limit is learned from each reply's ``X-RateLimit-Limit`` and ``-Remaining``; none is written down here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from hashlib import sha256

from airflow_provider_chatbase.client.request import Host
from airflow_provider_chatbase.client.settings import ClientSettings

WINDOW = 10.0
"""Seconds over which Chatbase counts, sliding. With a longer window, ``-Remaining`` slows us down."""

ON_THE_WAY = 0.3
"""Seconds that a request may need to get there, before its reply says more of it."""

LEAST_ON_THE_WAY = 0.05
LONGEST_DELAY = 0.5
"""Seconds by which a request may come later than others; a reply that took longer was long in the making."""

CLOCKS = 0.02
"""Seconds to stay clear of the window's edge: the clocks of both sides do not run alike."""

LATE = 0.01
"""Seconds after which a request that goes later than booked is counted from then on."""

BURST = 20
"""How many times faster than on average requests may go. All at once, they would hold up each other."""

FIRST_BURST = 20
"""Requests to send before the first reply has said what the limit is."""

PATIENCE_FOR_FIRST_REPLY = 0.02
"""Seconds between two looks for that first reply."""

BACK_OFF = 0.7
RECOVERY = 1.05
LEAST_SHARE = 0.1


class RateLimiter:
    """
    Tells each request when it may go. Thread-safe, and used from any number of event loops.

    For each request of the last window it keeps when Chatbase counted it at the latest: at first the time it
    goes plus what it may need on the way, then what the time of its reply tells.

    :param clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: list[float] = []
        self._last_booked = float("-inf")
        self._limit: int | None = None
        self._heard = False
        self._fastest = float("inf")
        self._share = 1.0
        self._share_changed = float("-inf")
        self._hold_until = float("-inf")

    def book(self) -> float | None:
        """
        Book a place for one request.

        :return: when it may go, on the clock; ``None`` asks to try again a moment later.
        """
        with self._lock:
            now = self._clock()
            self._forget(now)
            if not self._heard and len(self._counted) >= FIRST_BURST:
                return None
            at = max(now, self._hold_until, self._last_booked + self._spacing(), self._free_place())
            self._last_booked = at
            insort(self._counted, at + ON_THE_WAY)
            return at

    def delay(self, at: float) -> float:
        """
        Return the seconds until a booked place comes, later than booked where all have to hold.

        :param at: from :meth:`book`.
        """
        with self._lock:
            return max(at, self._hold_until) - self._clock()

    def leave(self, at: float) -> float:
        """
        Take note that a request goes now.

        :param at: from :meth:`book`.
        :return: what to tell :meth:`learn` with its reply.
        """
        with self._lock:
            now = self._clock()
            if now - at <= LATE:
                return at
            self._move(at + ON_THE_WAY, now + ON_THE_WAY)
            return now

    def learn(self, headers: Mapping[str, str], at: float | None = None) -> None:
        """
        Learn from a reply.

        :param headers: its headers, with lower-case names.
        :param at: when its request went, from :meth:`leave`.
        """
        limit = _whole(headers.get("x-ratelimit-limit"))
        remaining = _whole(headers.get("x-ratelimit-remaining"))
        with self._lock:
            self._heard = True
            now = self._clock()
            if at is not None:
                self._move(at + ON_THE_WAY, self._counted_by(at, now))
            if limit is None or limit < 1:
                return
            self._limit = limit
            self._forget(now)
            self._recover(now)
            if remaining is not None:
                self._make_room_for_others(limit - remaining, now)

    def hold(self, seconds: float) -> None:
        """
        Let all requests wait, after one was told to, and go on more slowly.

        :param seconds: how long.
        """
        with self._lock:
            now = self._clock()
            self._heard = True
            self._hold_until = max(self._hold_until, now + seconds)
            if now - self._share_changed >= WINDOW:
                self._share = max(self._share * BACK_OFF, LEAST_SHARE)
                self._share_changed = now

    def _counted_by(self, at: float, replied: float) -> float:
        """Return when a request was counted at the latest: one that took longer may have come later."""
        self._fastest = min(self._fastest, replied - at)
        delay = replied - at - self._fastest
        return min(replied, at + LEAST_ON_THE_WAY + min(delay, LONGEST_DELAY))

    def _spacing(self) -> float:
        return 0.0 if self._limit is None else WINDOW / self._limit / BURST

    def _free_place(self) -> float:
        if self._limit is None:
            return float("-inf")
        places = max(int(self._limit * self._share), 1)
        if len(self._counted) < places:
            return float("-inf")
        return self._counted[-places] + WINDOW + CLOCKS

    def _make_room_for_others(self, used: int, now: float) -> None:
        """Count what others sent with the same key: what the server counted beyond all that we sent."""
        ours = bisect_right(self._counted, now + ON_THE_WAY)
        for _ in range(used - ours):
            insort(self._counted, now)

    def _move(self, before: float, after: float) -> None:
        place = bisect_left(self._counted, before)
        if place < len(self._counted) and self._counted[place] == before:
            del self._counted[place]
            insort(self._counted, after)

    def _recover(self, now: float) -> None:
        if self._share < 1.0 and now - self._share_changed >= WINDOW:
            self._share = min(self._share * RECOVERY, 1.0)
            self._share_changed = now

    def _forget(self, now: float) -> None:
        del self._counted[: bisect_right(self._counted, now - WINDOW - CLOCKS)]


_limiters: dict[str, RateLimiter] = {}
_registry = threading.Lock()


def shared_limiter(settings: ClientSettings, host: Host) -> RateLimiter:
    """
    Return the limiter of a key, the same one for everything that this process sends with it.

    :param settings: whose key, and where to.
    :param host: ``main`` or ``files``, which count separately.
    """
    base = settings.files_host if host == "files" else settings.host
    name = f"{host} {base} {sha256(settings.api_key.encode()).hexdigest()}"
    with _registry:
        return _limiters.setdefault(name, RateLimiter())


def wait_for_place(limiter: RateLimiter) -> float:
    """
    Wait until a request may go.

    :param limiter: the limiter of its key.
    :return: when it goes, for :meth:`RateLimiter.learn`.
    """
    while (at := limiter.book()) is None:
        time.sleep(PATIENCE_FOR_FIRST_REPLY)
    while (seconds := limiter.delay(at)) > 0:
        time.sleep(seconds)
    return limiter.leave(at)


async def wait_for_place_async(limiter: RateLimiter) -> float:
    """
    Wait until a request may go, without blocking the event loop.

    :param limiter: the limiter of its key.
    :return: when it goes, for :meth:`RateLimiter.learn`.
    """
    while (at := limiter.book()) is None:
        await asyncio.sleep(PATIENCE_FOR_FIRST_REPLY)
    while (seconds := limiter.delay(at)) > 0:
        await asyncio.sleep(seconds)
    return limiter.leave(at)


def _whole(value: str | None) -> int | None:
    try:
        return int(float(value)) if value is not None else None
    except (ValueError, OverflowError):
        return None
