"""
Keeps what a process sends with one key below Chatbase's limits.

That of all requests is learned from each reply's ``X-RateLimit-Limit``, ``-Remaining`` and ``-Reset``, and
not written down here; that of uploads is, since no reply tells it.
"""

from __future__ import annotations

import random
import threading
import time
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256

from airflow_provider_chatbase.client.request import Host
from airflow_provider_chatbase.client.settings import ClientSettings

MILLISECONDS_FROM = 1e11
"""``X-RateLimit-Reset`` at or above this is in milliseconds: in seconds it would be the year 5138."""


def asked_wait(headers: Mapping[str, str], now: float, *, rate_limited: bool) -> float | None:
    """Return the seconds that a reply asks to wait: ``Retry-After``, else ``X-RateLimit-Reset``."""
    now = _told_now(headers, now)
    wait = _retry_after(headers.get("retry-after", ""), now)
    if wait is None and rate_limited:
        wait = until_reset(headers.get("x-ratelimit-reset", ""), now)
    return wait


def _retry_after(value: str, now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return max(seconds, 0.0)
    at = _date(value)
    return None if at is None else max(at - now, 0.0)


def _told_now(headers: Mapping[str, str], now: float) -> float:
    """Return the present by the clock of who wrote the reply's times, which may be far from ours."""
    told = _date(headers.get("date", ""))
    return now if told is None else told


@lru_cache(maxsize=16)  # the replies of one second say the same
def _date(value: str) -> float | None:
    try:
        at = parsedate_to_datetime(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def until_reset(value: str, now: float) -> float | None:
    """Return the seconds until a time of ``X-RateLimit-Reset``."""
    reset = _number(value)
    if reset is None:
        return None
    if reset >= MILLISECONDS_FROM:
        reset /= 1000
    # A reset in the past is another clock, or a window that is over; it says nothing of how long to wait.
    return reset - now if reset > now else None


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number == number and abs(number) != float("inf") else None


WINDOW = 10.0
"""Seconds over which Chatbase's documents say it counts, sliding. Of another window, the replies tell."""

MOST_COUNTED = 10_000
"""Requests in a window: a limit beyond that limits nobody here."""

MARGIN = 0.3
"""Seconds to stay clear of the window's edge: a request arrives a little later than it is sent."""

TELLING = 1.0
"""Seconds up to which a reply tells how long its request was on the way; others took long to be made."""

ON_THE_WAY = 0.2
CLOCKS = 0.02
"""Seconds that a request may need to get there, and by which the clocks of both sides may differ."""

FIRST_BURST = 20
"""Requests to have on their way before the first reply has said what the limit is."""

LOOK_AGAIN = 0.02
LONGEST_LOOK = 0.25
"""Seconds between two looks for a free place, at the least and at the most."""

BACK_OFF = 0.7
RECOVERY = 1.3
LEAST_SHARE = 0.1

FRESH = 3.0
"""Seconds for which a reply's ``X-RateLimit-Remaining`` counts, where others send with the same key."""

RESERVE = 0.06
"""The part of the limit that many leave free, for who comes and knows nothing yet; two need none."""

GREED = 2.0
"""How much more than its part of the room beyond the reserve each takes: not all of them look at once."""

KEPT = 2.0
"""Seconds for which a place in the window that one of ours has left counts as ours; then others took it."""


class RateLimiter:
    """
    Tells each request when it may go. Thread-safe, and used from any number of event loops.

    A request may go when fewer than the limit went in the last window, when the replies say that there is
    room beyond all that is on its way, or, alone, when the time has come at which they said the limit is
    reset. Where others send with the same key, each takes its own places in the window again and, of the
    room that a reply leaves beyond a reserve, about the part that it had of what was sent. It learns of
    others by its replies alone, so more at once would be taken by all of them at once.

    For each request it keeps when Chatbase counted it at the latest: at first a margin after it went, then
    what the time of its reply tells.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._counted: list[float] = []
        self._fastest = float("inf")
        self._on_their_way = 0
        self._room = 0
        self._room_is_old = True
        self._limit: int | None = None
        self._heard = False
        self._reset_at = float("inf")
        self._share = 1.0
        self._share_changed = float("-inf")
        self._hold_until = float("-inf")
        self._server_ahead: float | None = None
        self._mine: list[float] = []  # when those of the last window were counted at the latest
        self._free: deque[float] = deque()  # places that ours have left, and that ours may take again
        self._crowd = 1.0  # how often as many as ours were sent with the key
        self._heard_at = float("-inf")
        self._granted = 0  # places beyond our own that the last reply left to us
        self._refused = False  # and none has gone since
        self._next_at = float("inf")  # when to try again after a refusal

    def try_to_go(self) -> float:
        """Take a place for one request, or say when to try again. Who took one calls :meth:`done`."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            wait = self._wait(now)
            if wait > 0:
                return wait
            if self._on_their_way == 0:
                self._room_is_old = True
            insort(self._counted, now + MARGIN)
            insort(self._mine, now + MARGIN)
            if self._free:
                self._free.popleft()
            elif self._granted > 0:
                self._granted -= 1
            self._refused = False
            self._on_their_way += 1
            return 0.0

    def done(self) -> None:
        """Take note that a request is no longer on its way, however it ended."""
        with self._lock:
            self._on_their_way -= 1

    def learn(self, headers: Mapping[str, str], seconds: float | None = None) -> None:
        """Learn from a reply, before its request is :meth:`done`."""
        limit = _whole(headers.get("x-ratelimit-limit"))
        remaining = _whole(headers.get("x-ratelimit-remaining"))
        with self._lock:
            self._heard = True
            told = _date(headers.get("date", ""))
            self._server_ahead = self._server_ahead if told is None else told - self._now()
            if limit is None or limit < 1:
                return
            self._limit = limit
            now = self._clock()
            if seconds is not None and seconds <= TELLING:
                self._note_way(now, seconds)
            self._forget(now)
            self._recover(now)
            if remaining is not None:
                # Replies overtake each other; the smallest one counts all that have come back.
                self._room = remaining if self._room_is_old else min(self._room, remaining)
                self._room_is_old = False
                self._heard_at = now
                self._note_crowd(limit, remaining)
                self._count_others(limit - remaining, now)
                self._note_reset(headers, remaining, now)

    def server_now(self) -> datetime:
        """Return the present by the server's clock, where a reply told its ``Date``; else by ours."""
        return datetime.fromtimestamp(self._now() + (self._server_ahead or 0.0), tz=UTC)

    def server_time(self) -> float | None:
        """Return the present by the server's clock in seconds since the epoch, where a reply told it."""
        return None if self._server_ahead is None else self._now() + self._server_ahead

    def hold(self, seconds: float) -> None:
        """Let all requests wait, after one was told to, and go on more slowly."""
        with self._lock:
            now = self._clock()
            self._heard = True
            self._room = 0
            if self._mine:
                self._mine.pop()  # it was refused, and does not count
            if self._crowd <= 1.0:
                self._hold_until = max(self._hold_until, now + seconds)
            else:
                self._refused = True
                self._granted = 0
                self._next_at = now + seconds + random.random()  # noqa: S311 - not all at the same time
            if self._crowd <= 1.0 and now - self._share_changed >= WINDOW:
                self._share = max(self._share * BACK_OFF, LEAST_SHARE)
                self._share_changed = now

    def _wait(self, now: float) -> float:
        if now < self._hold_until:
            return self._hold_until - now
        if not self._heard:
            return LOOK_AGAIN if self._on_their_way >= FIRST_BURST else 0.0
        if self._limit is None:
            return 0.0
        if self._crowd > 1.0:
            return self._wait_in_crowd(now)
        if self._room > self._on_their_way:
            return 0.0
        places = max(int(self._limit * self._share), 1)
        if len(self._counted) < places:
            return 0.0
        if now >= self._reset_at and self._on_their_way == 0:
            self._reset_at = float("inf")
            return 0.0
        free_at = min(self._counted[-places] + WINDOW, self._reset_at)
        return min(max(free_at - now, LOOK_AGAIN / 4), LONGEST_LOOK)

    def _wait_in_crowd(self, now: float) -> float:
        if self._refused:
            free_at = self._next_at
        elif self._free or not self._mine or (self._granted > 0 and now - self._heard_at <= FRESH):
            return 0.0
        else:
            free_at = self._mine[0] + WINDOW
        return min(max(free_at - now, LOOK_AGAIN / 4), LONGEST_LOOK) if now < free_at else 0.0

    def _note_crowd(self, limit: int, remaining: int) -> None:
        used, others_on_their_way = limit - remaining, self._on_their_way - 1
        arrived = max(len(self._mine) - others_on_their_way, 1)
        self._crowd = used / arrived if used > len(self._mine) + 1 else 1.0
        room = remaining - min(RESERVE * limit, 2.0 * max(self._crowd - 2.0, 0.0))
        share = max(room, 0.0) * min(GREED / self._crowd, 1.0)
        # What is less than one place is one now and then.
        self._granted = int(max(share - others_on_their_way + random.random(), 0.0))  # noqa: S311

    def _note_reset(self, headers: Mapping[str, str], remaining: int, now: float) -> None:
        wait = until_reset(headers.get("x-ratelimit-reset", ""), _told_now(headers, self._now()))
        if remaining <= 0 and wait is not None:
            self._reset_at = now + wait + MARGIN

    def _count_others(self, used: int, now: float) -> None:
        """Count what others sent with the same key: what the server counted beyond all that we sent."""
        others = min(used, MOST_COUNTED) - len(self._counted)
        place = bisect_right(self._counted, now)
        self._counted[place:place] = [now] * others

    def _note_way(self, now: float, seconds: float) -> None:
        """Say more closely when a request was counted at the latest: not after its reply."""
        self._fastest = min(self._fastest, seconds)
        counted = min(now, now - self._fastest + ON_THE_WAY) + CLOCKS
        for times in (self._counted, self._mine):
            place = bisect_left(times, now - seconds + MARGIN - LOOK_AGAIN)
            if place < len(times):
                del times[place]
                insort(times, counted)

    def _recover(self, now: float) -> None:
        if self._share < 1.0 and now - self._share_changed >= WINDOW:
            self._share = min(self._share * RECOVERY, 1.0)
            self._share_changed = now

    def _forget(self, now: float) -> None:
        del self._counted[: bisect_right(self._counted, now - WINDOW)]
        left = bisect_right(self._mine, now - WINDOW)
        self._free.extend(each + WINDOW for each in self._mine[:left])
        del self._mine[:left]
        while self._free and self._free[0] <= now - KEPT:
            self._free.popleft()


_limiters: dict[str, RateLimiter] = {}
_registry = threading.Lock()


def shared_limiter(settings: ClientSettings, host: Host) -> RateLimiter:
    """Return the limiter of a key, the same one for everything that this process sends with it."""
    base = settings.files_host if host == "files" else settings.host
    name = f"{host} {base} {sha256(settings.api_key.encode()).hexdigest()}"
    with _registry:
        return _limiters.setdefault(name, RateLimiter())


def _whole(value: str | None) -> int | None:
    number = _number(value or "")
    return None if number is None else int(number)


# -- uploads, which have a limit of their own that no reply tells

UPLOADS_A_MINUTE = 10
"""Uploads that an account may make in a minute; a refused one counts too."""

UPLOAD_INTERVAL = 60 / (UPLOADS_A_MINUTE - 1)
"""Seconds between uploads. One place of ten stays free, for an upload that an attempt made before it died."""


@dataclass(slots=True)
class _Turn:
    """Whose turn it is, and when the last upload was over."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    last: float = -float("inf")


_TURNS: defaultdict[int, _Turn] = defaultdict(_Turn)
"""By account: all uploads of a process with the same key wait in one line."""


class UploadPacer:
    """Lets the uploads of an account through one by one."""

    def __init__(
        self,
        account: str,
        interval: float = UPLOAD_INTERVAL,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._turn = _TURNS[hash(account)]
        self._interval = interval
        self._clock = clock
        self._sleep = sleep or time.sleep

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until an upload may be made, and keep others waiting meanwhile."""
        with self._turn.lock:
            wait = self._turn.last + self._interval - self._clock()
            if wait > 0:
                self._sleep(wait)
            try:
                yield
            finally:
                self._turn.last = self._clock()

    def note_earlier(self, created_at: str, now: float) -> None:
        """Take note of an upload that another process made, perhaps an attempt that was killed."""
        try:
            age = now - datetime.fromisoformat(created_at).timestamp()
        except ValueError:
            return
        if abs(age) < self._interval:
            with self._turn.lock:
                self._turn.last = max(self._turn.last, self._clock() - max(age, 0.0))
