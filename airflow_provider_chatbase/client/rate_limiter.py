"""
Keeps what a process sends with one key below the limit that Chatbase states in its replies.

The limit is learned from each reply's ``X-RateLimit-Limit`` and ``-Remaining``; none is written down here.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256

from airflow_provider_chatbase.client.request import Host
from airflow_provider_chatbase.client.settings import ClientSettings

WINDOW = 10.0
"""Seconds over which Chatbase counts, sliding. With a longer window, ``-Remaining`` slows us down."""

MARGIN = 0.2
"""Seconds to stay clear of the window's edge: a request arrives a little later than it is sent."""

LATE = 0.01
"""Seconds after which a request that goes later than booked is counted from then on."""

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

    :param clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._booked: deque[float] = deque()
        self._limit: int | None = None
        self._heard = False
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
            if not self._heard and len(self._booked) >= FIRST_BURST:
                return None
            last = self._booked[-1] if self._booked else now
            at = max(now, self._hold_until, last, self._free_place())
            self._booked.append(at)
            return at

    def delay(self, at: float) -> float:
        """
        Return the seconds until a booked place comes, later than booked where all have to hold.

        :param at: from :meth:`book`.
        """
        with self._lock:
            now = self._clock()
            seconds = max(at, self._hold_until) - now
            if seconds <= 0 and now - at > LATE:
                self._rebook(at, now)
            return seconds

    def learn(self, headers: Mapping[str, str]) -> None:
        """
        Learn from a reply.

        :param headers: its headers, with lower-case names.
        """
        limit = _whole(headers.get("x-ratelimit-limit"))
        remaining = _whole(headers.get("x-ratelimit-remaining"))
        with self._lock:
            self._heard = True
            if limit is None or limit < 1:
                return
            self._limit = limit
            now = self._clock()
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

    def _rebook(self, at: float, now: float) -> None:
        """Count a request from when it really goes: Chatbase does so, too."""
        future = self._take_future(now)
        with suppress(ValueError):  # so late that it was forgotten
            self._booked.remove(at)
        self._booked.append(now)
        self._booked.extend(future)

    def _take_future(self, now: float) -> list[float]:
        """Take out the places that are booked for later, the earliest first."""
        future: deque[float] = deque()
        while self._booked and self._booked[-1] > now:
            future.appendleft(self._booked.pop())
        return list(future)

    def _free_place(self) -> float:
        if self._limit is None:
            return float("-inf")
        places = max(int(self._limit * self._share), 1)
        if len(self._booked) < places:
            return float("-inf")
        return self._booked[-places] + WINDOW + MARGIN

    def _make_room_for_others(self, used: int, now: float) -> None:
        """Count what others sent with the same key: what the server counted beyond all that we sent."""
        future = self._take_future(now)
        others = used - len(self._booked)
        self._booked.extend([now] * max(others, 0))
        self._booked.extend(future)

    def _recover(self, now: float) -> None:
        if self._share < 1.0 and now - self._share_changed >= WINDOW:
            self._share = min(self._share * RECOVERY, 1.0)
            self._share_changed = now

    def _forget(self, now: float) -> None:
        while self._booked and self._booked[0] <= now - WINDOW - MARGIN:
            self._booked.popleft()


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


def wait_for_place(limiter: RateLimiter) -> None:
    """
    Wait until a request may go.

    :param limiter: the limiter of its key.
    """
    while (at := limiter.book()) is None:
        time.sleep(PATIENCE_FOR_FIRST_REPLY)
    while (seconds := limiter.delay(at)) > 0:
        time.sleep(seconds)


async def wait_for_place_async(limiter: RateLimiter) -> None:
    """
    Wait until a request may go, without blocking the event loop.

    :param limiter: the limiter of its key.
    """
    while (at := limiter.book()) is None:
        await asyncio.sleep(PATIENCE_FOR_FIRST_REPLY)
    while (seconds := limiter.delay(at)) > 0:
        await asyncio.sleep(seconds)


def _whole(value: str | None) -> int | None:
    try:
        return int(float(value)) if value is not None else None
    except (ValueError, OverflowError):
        return None
