"""How a batch is to run, whether one more prompt may be sent, and how far it is. Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any, Literal

from airflow_provider_chatbase.batch.outcome import StopReason
from airflow_provider_chatbase.client.asking import (
    ON_AMBIGUOUS,
    PATIENCE,
    PATIENCE_AFTER_TIMEOUT,
    OnAmbiguous,
)
from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.errors import ChatbaseInputError, counted
from airflow_provider_chatbase.files.formats import FORMATS, SUFFIX, Compression, FileFormat
from airflow_provider_chatbase.files.lock import LockTimes

GRACE = 3.0
"""Seconds for which answers on their way are waited for when the task is killed; Airflow waits 5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How a batch is to run; the operator says what each means to a user."""

    concurrency: int = 10
    on_ambiguous: OnAmbiguous = "reconcile"
    max_items: int | None = None
    max_credits: Decimal | None = None
    max_failure_rate: Fraction = Fraction(1, 10)
    fail_fast: bool = False
    allow_empty: bool = False
    dedupe: bool = False
    json_schema: Mapping[str, Any] | None = None
    min_pass_rate: Fraction | None = None
    cache_ttl: timedelta | None = None  # ``None`` means for ever
    file_format: FileFormat = "jsonl"
    compression: Compression | None = None
    on_limit: Literal["fail", "succeed"] = "fail"
    on_problem: Literal["fail", "report"] = "report"
    prompt_timeout: float | None = 1800.0  # seconds for a prompt, with all waiting and looking
    batch_timeout: float | None = None  # seconds until no more is sent
    storage_patience: float = 60.0  # seconds for which a checkpoint that cannot be written is tried again
    patience: float = PATIENCE  # seconds after which a prompt that is not found counts as never arrived
    patience_after_timeout: float = PATIENCE_AFTER_TIMEOUT  # where the agent may still be writing its answer
    grace: float = GRACE
    seconds_between_reports: float = 5.0
    lock_times: LockTimes = field(default_factory=LockTimes)


_CHOICES: dict[str, tuple[Any, ...]] = {
    "on_ambiguous": ON_AMBIGUOUS,
    "on_limit": ("fail", "succeed"),
    "on_problem": ("fail", "report"),
    "file_format": FORMATS,
    "compression": tuple(SUFFIX),
}
_RANGES: dict[str, tuple[Callable[[str], Any], int, float, str]] = {
    "concurrency": (int, 1, float("inf"), "a whole number from 1"),
    "max_items": (int, 0, float("inf"), "a whole number from 0"),
    "max_credits": (Decimal, 0, 10**12, "a number from 0"),
    # Read as it is written: 0.07 of 100 is 7, not a little more.
    "max_failure_rate": (Fraction, 0, 1, "a number from 0 to 1"),
    "min_pass_rate": (Fraction, 0, 1, "a number from 0 to 1"),
    "prompt_timeout": (float, 1, 10**9, "a number of seconds from 1"),
    "batch_timeout": (float, 1, 10**9, "a number of seconds from 1"),
    "cache_ttl": (lambda text: timedelta(seconds=float(text)), 0, 10**9, "a timedelta or seconds from 0"),
}
"""How each number is read, its bounds, and what it is in words."""


def read_settings(**given: Any) -> BatchSettings:
    """Check a user's arguments."""
    return BatchSettings(**{name: _checked(name, value) for name, value in given.items()})


def _checked(name: str, value: Any) -> Any:
    if name in _CHOICES and value not in _CHOICES[name]:
        raise _wrong(name, value, f"one of {', '.join(map(str, _CHOICES[name]))}")
    if name == "json_schema" and value is not None:
        return _schema(value)
    if name not in _RANGES or (value is None and name not in ("concurrency", "max_failure_rate")):
        return value
    read, least, most, wanted = _RANGES[name]
    try:
        number = read(str(value.total_seconds() if isinstance(value, timedelta) else value))
        fits = least <= (number.total_seconds() if isinstance(number, timedelta) else number) <= most
    except (ValueError, ArithmeticError):
        fits = False
    if not fits:
        raise _wrong(name, value, wanted)
    return number


def _schema(value: Any) -> Mapping[str, Any]:
    try:
        found = decode_json(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise _wrong("json_schema", value, "a JSON object, or the text of one")
    return found


def _wrong(name: str, value: Any, wanted: str) -> ChatbaseInputError:
    return ChatbaseInputError(f"{name} must be {wanted}, not {value!r}. Nothing was sent.")


class Admission(Enum):
    """The answer to a prompt that wants to be sent."""

    GO = "go"
    WAIT = "wait"
    """Until the cost of one on its way is known."""
    STOP = "stop"


class Budget:
    """
    Keeps count of prompts and credits.

    A prompt on its way counts with the average cost of those before it, and so does an answer whose cost is
    not known. So the limit is passed by no more than the last answers cost above the average.
    """

    def __init__(
        self,
        max_items: int | None = None,
        max_credits: Decimal | None = None,
        items: int = 0,
        spent: Decimal = Decimal(0),
        priced: int = 0,
        unpriced: int = 0,
    ) -> None:
        self._max_items = max_items
        self._max_credits = max_credits
        self._items = items
        self._on_way = 0
        self._priced = priced
        self._unpriced = unpriced
        self.spent = spent

    @property
    def average(self) -> Decimal | None:
        """What an answer costs on average; ``None`` before the first."""
        return self.spent / self._priced if self._priced else None

    @property
    def estimate(self) -> Decimal:
        """What is spent, with the average for what is not known."""
        return self.spent + self._unpriced * (self.average or Decimal(1))

    def admit(self, *, again: bool = False, doubted: bool = False) -> Admission:
        """Say whether a prompt may go; one that is doubted may have cost something, and counts already."""
        if not again and self._max_items is not None and self._items >= self._max_items:
            return Admission.STOP
        if self._max_credits is None:
            return Admission.GO
        estimate = self.estimate - doubted * (self.average or Decimal(1))
        if estimate >= self._max_credits:
            return Admission.STOP
        if self.average is None:  # the first answer tells what one costs
            return Admission.WAIT if self._on_way else Admission.GO
        if estimate + (self._on_way + 1) * self.average <= self._max_credits:
            return Admission.GO
        return Admission.WAIT if self._on_way else Admission.STOP

    def stop_reason(self) -> StopReason:
        """Return which limit stopped a prompt."""
        reached = self._max_items is not None and self._items >= self._max_items
        return StopReason.MAX_ITEMS if reached else StopReason.MAX_CREDITS

    def begin(self, *, again: bool = False, doubted: bool = False) -> None:
        """Take note of a prompt that goes."""
        self._items += not again
        self._on_way += 1
        self._unpriced -= doubted

    def end(self, cost: float | None, *, charged: bool) -> None:
        """Take note of how it ended."""
        self._on_way -= 1
        if cost is not None:
            self.spent += Decimal(str(cost))
            self._priced += cost > 0
        elif charged:
            self._unpriced += 1

    def withdraw(self, *, again: bool = False, doubted: bool = False) -> None:
        """Take note that a prompt did not go after all."""
        self._on_way -= 1
        self._items -= not again
        self._unpriced += doubted


@dataclass(slots=True)
class Progress:
    """Counts what is done, for the log: numbers only."""

    total: int
    done: int = 0
    failed: int = 0
    credits: Decimal = Decimal(0)
    repeats: int = 0  # how often a prompt had to be sent again, mostly since it was refused for a moment
    clock: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _done_before: int = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._done_before = self.done

    @property
    def line(self) -> str:
        """What to log."""
        rate = self._rate()
        left = f"about {_duration((self.total - self.done) / rate)} left" if rate else "time left unknown"
        return (
            f"{self.done:,} of {counted(self.total, 'prompt')} done, {self.failed:,} failed, "
            f"{counted(self.repeats, 'repeat')}; {rate:.1f} a second, "
            f"{counted(round(self.credits, 2), 'credit')}, {left}."
        )

    def _rate(self) -> float:
        seconds = self.clock() - self._began
        return (self.done - self._done_before) / seconds if seconds > 0 else 0.0


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
