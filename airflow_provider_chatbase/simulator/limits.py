"""Rate limits: sliding windows per key, and per workspace for file uploads."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from dataclasses import dataclass

from airflow_provider_chatbase.simulator.clock import Clock
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.settings import Settings


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a window said about one request; ``seconds_to_slot`` is when a place becomes free."""

    limit: int
    remaining: int
    seconds_to_slot: float
    granted: bool


class SlidingWindow:
    """
    Count what happened in the last ``seconds``.

    :param limit: how many are granted in a window.
    :param seconds: length of the window.
    :param count_refused: whether a refused one also takes a place.
    """

    def __init__(self, limit: int, seconds: float, *, count_refused: bool = False) -> None:
        self._limit = limit
        self._seconds = seconds
        self._count_refused = count_refused
        self._times: deque[float] = deque()

    def look(self, now: float) -> Allowance:
        """Return the state of the window without taking a place."""
        times = self._times
        while times and times[0] <= now - self._seconds:
            times.popleft()
        remaining = max(0, self._limit - len(times))
        slot = times[-self._limit] if remaining == 0 and self._limit else (times[0] if times else now)
        return Allowance(self._limit, remaining, max(0.0, slot + self._seconds - now), granted=True)

    def take(self, now: float) -> Allowance:
        """Take a place, or be refused."""
        before = self.look(now)
        granted = before.remaining > 0
        if granted or self._count_refused:
            self._times.append(now)
        after = self.look(now)
        return Allowance(after.limit, after.remaining, after.seconds_to_slot, granted)


class RateLimits:
    """The limits of the whole service."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._requests: defaultdict[str, SlidingWindow] = defaultdict(
            lambda: SlidingWindow(settings.rate_limit, settings.rate_window)
        )
        self._uploads: defaultdict[str, SlidingWindow] = defaultdict(
            lambda: SlidingWindow(settings.upload_limit, settings.upload_window, count_refused=True)
        )

    def take_request(self, key: str) -> Allowance:
        """Count one request of a key."""
        return self._requests[key].take(self._clock.monotonic())

    def take_upload(self, workspace: str) -> Allowance:
        """Count one file upload of a workspace."""
        return self._uploads[workspace].take(self._clock.monotonic())

    def untouched(self) -> Allowance:
        """Return the allowance of a caller that is not counted."""
        return Allowance(self._settings.rate_limit, self._settings.rate_limit, 0.0, granted=True)

    def headers(self, allowance: Allowance) -> dict[str, str]:
        """Return the rate-limit headers; the reset is in real time, so that callers can compare."""
        reset = time.time() + allowance.seconds_to_slot
        in_unit = math.ceil(reset * 1000) if self._settings.reset_unit == "milliseconds" else math.ceil(reset)
        return {
            "X-RateLimit-Limit": str(allowance.limit),
            "X-RateLimit-Remaining": str(allowance.remaining),
            "X-RateLimit-Reset": str(in_unit),
        }

    def refusal(
        self, allowance: Allowance, message: str = "Too many requests, please try again later"
    ) -> ApiError:
        """Return the 429 for a request that was not granted."""
        headers = self.headers(allowance)
        if self._settings.retry_after:
            headers["Retry-After"] = str(max(1, math.ceil(allowance.seconds_to_slot)))
        return ApiError(429, "RATE_LIMIT_TOO_MANY_REQUESTS", message, headers=headers)
