"""How long a reply asks us to wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MILLISECONDS_FROM = 1e11
"""``X-RateLimit-Reset`` at or above this is in milliseconds: in seconds it would be the year 5138."""


def asked_wait(headers: Mapping[str, str], now: float, *, rate_limited: bool) -> float | None:
    """
    Return the seconds that a reply asks to wait: ``Retry-After``, else ``X-RateLimit-Reset``.

    :param headers: the reply's headers, with lower-case names.
    :param now: the present, in seconds since the epoch.
    :param rate_limited: whether the request was refused for the number of requests. Every reply says when
        the window of the rate limit ends; only then does it matter.
    :return: the seconds, or ``None`` where the reply does not say, or speaks of the past.
    """
    wait = _retry_after(headers.get("retry-after", ""), now)
    if wait is None and rate_limited:
        wait = until_reset(headers.get("x-ratelimit-reset", ""), now)
    return wait


def _retry_after(value: str, now: float) -> float | None:
    seconds = _number(value)
    if seconds is not None:
        return max(seconds, 0.0)
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(at.timestamp() - now, 0.0)


def until_reset(value: str, now: float) -> float | None:
    """
    Return the seconds until a time of ``X-RateLimit-Reset``.

    :param value: the header: seconds or milliseconds since the epoch.
    :param now: the present, in seconds since the epoch.
    :return: the seconds, or ``None`` where it is no time, or one of the past.
    """
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
