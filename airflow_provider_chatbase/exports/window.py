"""Which stretch of time an export covers. Half-open, in UTC: no conversation twice, none missed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
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
        """Say whether a conversation belongs to the window."""
        at = read_moment(created_at)
        return at is None or self.start <= at < self.end

    def as_json(self) -> dict[str, str]:
        """Return the bounds as ISO 8601 in UTC."""
        return {"start": in_utc(self.start), "end": in_utc(self.end)}

    def covers(self, other: Window) -> bool:
        """Say whether another window lies within this one."""
        return self.start <= other.start and other.end <= self.end

    def meets(self, other: Window) -> bool:
        """Say whether the two have a moment in common."""
        return self.start < other.end and other.start < self.end

    def without(self, other: Window) -> list[Window]:
        """Return what of this window lies outside of another."""
        if not self.meets(other):
            return [self]
        before, after = Window(self.start, other.start), Window(other.end, self.end)
        return [each for each in (before, after) if each.start < each.end]

    @property
    def name(self) -> str:
        """The bounds as they stand in file names."""
        return f"{compact(self.start)}-{compact(self.end)}"

    @property
    def seconds(self) -> int:
        """How long it is, in whole seconds."""
        return int((self.end - self.start).total_seconds())


def choose_window(
    start: Moment | None,
    end: Moment | None,
    interval: tuple[datetime | None, datetime | None],
    now: datetime,
    watermark: datetime | None = None,
    first_start: Moment | None = None,
) -> Window | None:
    """Choose the window: the one that is given, else the run's data interval, else since the watermark."""
    if start in (None, "") and end in (None, ""):
        return _interval_window(interval) or _since(watermark, first_start, now)
    first = EPOCH if start in (None, "") else parse_moment("start", start)
    last = whole_second(now) if end in (None, "") else parse_moment("end", end)
    if last <= first:
        raise ChatbaseInputError(
            f"The window's end {in_utc(last)} is not after its start {in_utc(first)}. "
            "It is half-open: start is in it, end is not. Nothing was exported."
        )
    return Window(first, last)


def ends_now(
    start: Moment | None, end: Moment | None, interval: tuple[datetime | None, datetime | None]
) -> bool:
    """Say whether the window that :func:`choose_window` chooses ends at the present."""
    if end not in (None, ""):
        return False
    return start not in (None, "") or _interval_window(interval) is None


def floor_day(at: datetime) -> datetime:
    """Return the start of a moment's day in UTC."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def look_back(window: Window, by: timedelta) -> Window:
    """Move a window's start back, to the start of a day."""
    try:
        return Window(floor_day(window.start - by), window.end)
    except OverflowError:
        return Window(EPOCH, window.end)


def require_days(window: Window) -> Window:
    """Refuse a window that is not whole days: a day that is read in part would lose its rest."""
    if (floor_day(window.start), floor_day(window.end)) == (window.start, window.end):
        return window
    raise ChatbaseInputError(
        f"partition_by='day' replaces whole days (UTC), and the window from {in_utc(window.start)} to "
        f"{in_utc(window.end)} is none: of a day that is only read in part the rest would be lost. Give "
        "start and end at midnight in UTC. For a schedule by the hour, or in local time, leave partition_by "
        "out and give each run a directory of its own by output_path. Nothing was exported."
    )


def parse_moment(name: str, value: Any) -> datetime:
    """Read a bound; without a time zone it is UTC, a date alone is the start of that day."""
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
    """
    return at.astimezone(UTC).replace(microsecond=0)


def read_moment(value: Any) -> datetime | None:
    """Read a time of the API: seconds since the epoch, milliseconds, or ISO 8601."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return datetime.fromtimestamp(value / 1000 if value >= MILLISECONDS_FROM else value, tz=UTC)
        except (OverflowError, OSError, ValueError):
            return None
    return _read_iso(value) if isinstance(value, str) else None


def compact(at: datetime) -> str:
    """Write a moment without punctuation, as in file names."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def read_window(found: Any) -> Window | None:
    """Read a window from JSON, as :meth:`Window.as_json` writes it."""
    if not isinstance(found, dict):
        return None
    start, end = read_moment(found.get("start")), read_moment(found.get("end"))
    return Window(start, end) if start is not None and end is not None else None


def named_window(name: str) -> Window | None:
    """Read a window from its :attr:`Window.name`."""
    try:
        start, end = (
            datetime.strptime(each, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for each in name.split("-")
        )
    except ValueError:
        return None
    return Window(start, end)


def in_utc(at: datetime) -> str:
    """Write a moment as ISO 8601 in UTC, with ``Z``."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _interval_window(interval: tuple[datetime | None, datetime | None]) -> Window | None:
    start, end = interval
    if start is None or end is None or whole_second(end) <= whole_second(start):
        return None  # a manual run, one that an asset started, or a schedule of moments
    return Window(whole_second(start), whole_second(end))


def _since(watermark: datetime | None, first_start: Moment | None, now: datetime) -> Window | None:
    end = whole_second(now)
    if watermark is None and first_start in (None, ""):
        raise ChatbaseInputError(
            "There is no window to export: this run has no data interval, and no earlier export left a "
            "watermark at output_path. Give start and end, for example start='2026-01-01', end='2026-02-01' "
            "(end is not in it), or first_start for the first run. Nothing was exported."
        )
    start = watermark if watermark is not None else parse_moment("first_start", first_start)
    return Window(start, end) if start < end else None


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
