"""How far a batch is, for the log: numbers only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(slots=True)
class Progress:
    """
    Counts what is done.

    :param total: how many prompts there are.
    :param done: how many are settled.
    :param failed: how many of them failed.
    :param credits: what they cost.
    :param repeats: how often a prompt had to be sent again, mostly since it was refused for a moment.
    :param clock: seconds that only go forward.
    """

    total: int
    done: int = 0
    failed: int = 0
    credits: Decimal = Decimal(0)
    repeats: int = 0
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
            f"{self.done:,} of {self.total:,} prompts done, {self.failed:,} failed, {self.repeats:,} "
            f"repeats; {rate:.1f} a second, {_plain(self.credits)} credits, {left}."
        )

    def _rate(self) -> float:
        seconds = self.clock() - self._began
        return (self.done - self._done_before) / seconds if seconds > 0 else 0.0


def _plain(credits_: Decimal) -> str:
    text = f"{credits_:,.2f}"
    return text.rstrip("0").rstrip(".")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
