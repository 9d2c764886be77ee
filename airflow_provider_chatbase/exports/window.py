"""Which stretch of time an export covers. Half-open, in UTC: no conversation twice, none missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS_FROM = 1e11

Moment = str | date | datetime


@dataclass(frozen=True, slots=True)
class Window:
    """
    The conversations created at or after ``start`` and before ``end``.

    :param start: the first moment, in UTC.
    :param end: the first moment after it, in UTC.
    """

    start: datetime
    end: datetime

    def holds(self, created_at: Any) -> bool:
        """
        Say whether a conversation belongs to the window.

        :param created_at: the API's ``createdAt``; one that cannot be read is the API's to judge, and is in.
        """
        at = read_moment(created_at)
        return at is None or self.start <= at < self.end

    def as_json(self) -> dict[str, str]:
        """Return the bounds as ISO 8601 in UTC."""
        return {"start": in_utc(self.start), "end": in_utc(self.end)}


def choose_window(
    start: Moment | None, end: Moment | None, interval: tuple[datetime | None, datetime | None], now: datetime
) -> Window:
    """
    Choose the window: the one that is given, else the run's data interval.

    :param start: the first moment; with only an end given, the beginning of time.
    :param end: the first moment after the window; with only a start given, now.
    :param interval: the run's data interval, empty where the run has none.
    :param now: the present.
    :return: the window.
    :raises ChatbaseInputError: when a bound is no time, the end is not after the start, or there is no
        window at all.
    """
    if start in (None, "") and end in (None, ""):
        return _interval_window(interval)
    first = EPOCH if start in (None, "") else parse_moment("start", start)
    last = whole_second(now) if end in (None, "") else parse_moment("end", end)
    if last <= first:
        raise ChatbaseInputError(
            f"The window's end {in_utc(last)} is not after its start {in_utc(first)}. "
            "It is half-open: start is in it, end is not. Nothing was exported."
        )
    return Window(first, last)


def parse_moment(name: str, value: Any) -> datetime:
    """
    Read a bound; without a time zone it is UTC, a date alone is the start of that day.

    :param name: the argument's name, for the error.
    :param value: ISO 8601 text, a date or a datetime.
    :return: the moment in UTC, in whole seconds.
    :raises ChatbaseInputError: when it is none of these.
    """
    if isinstance(value, datetime):
        at = _to_utc(value)
    elif isinstance(value, date):
        at = datetime.combine(value, time.min, tzinfo=UTC)
    elif isinstance(value, str):
        at = _read_iso(value)
    else:
        raise ChatbaseInputError(f"{name} must be a time, not {value!r}. Nothing was exported.")
    if at is None:
        raise ChatbaseInputError(
            f"{name} {value!r} is no time. Give ISO 8601, such as 2026-01-31 or 2026-01-31T12:00:00Z. "
            "Nothing was exported."
        )
    return whole_second(at)


def whole_second(at: datetime) -> datetime:
    """
    Cut a bound to its second, in UTC.

    The API shows creation times in whole seconds, so only windows that meet at one miss nothing.

    :param at: the bound, with a time zone.
    """
    return at.astimezone(UTC).replace(microsecond=0)


def read_moment(value: Any) -> datetime | None:
    """
    Read a time of the API: seconds since the epoch, milliseconds, or ISO 8601.

    :param value: what the API gave.
    :return: the moment in UTC, or ``None`` where it is no time.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value / 1000 if value >= MILLISECONDS_FROM else value, tz=UTC)
        except (OverflowError, OSError, ValueError):
            return None
    return _read_iso(value) if isinstance(value, str) else None


def in_utc(at: datetime) -> str:
    """
    Write a moment as ISO 8601 in UTC, with ``Z``.

    :param at: the moment.
    """
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _interval_window(interval: tuple[datetime | None, datetime | None]) -> Window:
    start, end = interval
    if start is None or end is None or whole_second(end) <= whole_second(start):
        raise ChatbaseInputError(
            "There is no window to export: this run has no data interval. Give start and end, for example "
            "start='2026-01-01', end='2026-02-01' (end is not in it). Nothing was exported."
        )
    return Window(whole_second(start), whole_second(end))


def _read_iso(text: str) -> datetime | None:
    try:
        return _to_utc(datetime.fromisoformat(text.strip()))
    except ValueError:
        return None


def _to_utc(at: datetime) -> datetime | None:
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:  # at the edge of the calendar, in another zone
        return None
