"""How a batch is to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from airflow_provider_chatbase.client.asking import (
    ON_AMBIGUOUS,
    PATIENCE,
    PATIENCE_AFTER_TIMEOUT,
    OnAmbiguous,
)
from airflow_provider_chatbase.client.errors import ChatbaseInputError
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
    max_failure_rate: Fraction | None = None
    fail_fast: bool = False
    dedupe: bool = False
    json_schema: Mapping[str, Any] | None = None
    min_pass_rate: Fraction | None = None
    cache_ttl: timedelta | None = None  # ``None`` means for ever
    file_format: FileFormat = "jsonl"
    compression: Compression | None = None
    patience: float = PATIENCE  # seconds after which a prompt that is not found counts as never arrived
    patience_after_timeout: float = PATIENCE_AFTER_TIMEOUT  # where the agent may still be writing its answer
    grace: float = GRACE
    seconds_between_reports: float = 5.0
    lock_times: LockTimes = field(default_factory=LockTimes)


def read_settings(**given: Any) -> BatchSettings:
    """Check a user's arguments."""
    return BatchSettings(
        **{name: _CHECKS[name](name, value) if name in _CHECKS else value for name, value in given.items()}
    )


def _one_of(*known: Any) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if value not in known:
            raise _wrong(name, value, f"one of {', '.join(map(str, known))}")
        return value

    return check


def _whole(least: int) -> Callable[[str, Any], int]:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise _wrong(name, value, f"a whole number from {least}")
        return value

    return check


def _optional(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else check(name, value)


def _credits(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite() or number < 0:
        raise _wrong(name, value, "a number from 0")
    return number


def _share(name: str, value: Any) -> Fraction:
    """Read a share exactly as it is written: 0.07 of 100 is 7, not a little more."""
    try:
        share = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise _wrong(name, value, "a number from 0 to 1")
    return share


def _duration(name: str, value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _wrong(name, value, "a timedelta or a number of seconds from 0")
    return timedelta(seconds=value)


def _wrong(name: str, value: Any, wanted: str) -> ChatbaseInputError:
    return ChatbaseInputError(f"{name} must be {wanted}, not {value!r}. Nothing was sent.")


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "concurrency": _whole(1),
    "on_ambiguous": _one_of(*ON_AMBIGUOUS),
    "max_items": _optional(_whole(0)),
    "max_credits": _optional(_credits),
    "max_failure_rate": _optional(_share),
    "min_pass_rate": _optional(_share),
    "cache_ttl": _optional(_duration),
    "file_format": _one_of(*FORMATS),
    "compression": _one_of(*SUFFIX),
}
