"""How a batch is to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def read_settings(
    *,
    concurrency: Any = 10,
    on_ambiguous: Any = "reconcile",
    max_items: Any = None,
    max_credits: Any = None,
    max_failure_rate: Any = None,
    min_pass_rate: Any = None,
    cache_ttl: Any = None,
    file_format: Any = "jsonl",
    compression: Any = None,
    **rest: Any,
) -> BatchSettings:
    """Check a user's arguments."""
    _require_one_of("on_ambiguous", on_ambiguous, ON_AMBIGUOUS)
    _require_one_of("file_format", file_format, FORMATS)
    _require_one_of("compression", compression, tuple(SUFFIX))
    return BatchSettings(
        concurrency=_whole("concurrency", concurrency, least=1) or 1,
        on_ambiguous=on_ambiguous,
        max_items=_whole("max_items", max_items, least=0),
        max_credits=_credits(max_credits),
        max_failure_rate=_share("max_failure_rate", max_failure_rate),
        min_pass_rate=_share("min_pass_rate", min_pass_rate),
        cache_ttl=_duration(cache_ttl),
        file_format=file_format,
        compression=compression,
        **rest,
    )


def _require_one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        raise _wrong(name, value, f"one of {', '.join(map(str, known))}")


def _whole(name: str, value: Any, *, least: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(name, value, f"a whole number from {least}")
    return value


def _credits(value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite() or number < 0:
        raise _wrong("max_credits", value, "a number from 0")
    return number


def _share(name: str, value: Any) -> Fraction | None:
    """Read a share exactly as it is written: 0.07 of 100 is 7, not a little more."""
    if value is None:
        return None
    try:
        share = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        share = Fraction(-1)
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise _wrong(name, value, "a number from 0 to 1")
    return share


def _duration(value: Any) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise _wrong("cache_ttl", value, "a timedelta or a number of seconds from 0")
    return timedelta(seconds=value)


def _wrong(name: str, value: Any, wanted: str) -> ChatbaseInputError:
    return ChatbaseInputError(f"{name} must be {wanted}, not {value!r}. Nothing was sent.")
