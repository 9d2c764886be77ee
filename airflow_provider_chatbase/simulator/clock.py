"""The simulator's time, which tests may move forward."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class Clock:
    """
    Wall-clock and monotonic time that runs at normal speed from a chosen start.

    :param start: epoch seconds at which the wall clock starts; None means the real time.
    """

    def __init__(self, start: float | None = None) -> None:
        self._offset = 0.0 if start is None else start - time.time()
        self._skipped = 0.0

    def time(self) -> float:
        """Return the simulated epoch time, in seconds."""
        return time.time() + self._offset + self._skipped

    def monotonic(self) -> float:
        """Return the simulated monotonic time, in seconds."""
        return time.monotonic() + self._skipped

    def advance(self, seconds: float) -> None:
        """Let time pass at once: trainings finish and rate-limit windows empty."""
        self._skipped += seconds


def iso(epoch: float) -> str:
    """Write an epoch time as Chatbase does: ISO 8601, UTC, milliseconds, ``Z``."""
    moment = datetime.fromtimestamp(epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
