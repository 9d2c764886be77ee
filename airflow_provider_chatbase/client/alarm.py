"""
The alarm by which Airflow ends a task, where Python tells nobody of it.

What a signal's handler raises in a finalizer or in a weakref's callback is raised to nobody, and hundreds
of these run while modules are imported. So a task whose time was over went on to its end.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GRACE = 0.5
"""Seconds that an alarm has to be told as usual."""

_kept: tuple[Any, float] | None = None  # of the main thread: the handler, and when the alarm is due


@contextmanager
def alarm_kept() -> Iterator[None]:
    """Remember the alarm that is set, so that ``raise_lost_alarm`` knows in this block when it was lost."""
    global _kept
    if not _is_main_thread():  # where no signal strikes
        yield
        return
    before = _kept
    if left := signal.getitimer(signal.ITIMER_REAL)[0]:
        _kept = signal.getsignal(signal.SIGALRM), time.monotonic() + left
    try:
        yield
    finally:
        _kept = before


def raise_lost_alarm() -> None:
    """Call the handler of an alarm again that is over and that nobody was told of, once."""
    global _kept
    if _kept is None or not _is_main_thread():
        return
    handler, due = _kept
    is_over = time.monotonic() > due + GRACE and not signal.getitimer(signal.ITIMER_REAL)[0]
    # Where an exception is being handled, it may well be that of the alarm.
    if (
        is_over
        and sys.exc_info()[0] is None
        and callable(handler)
        and handler == signal.getsignal(signal.SIGALRM)
    ):
        _kept = None
        handler(signal.SIGALRM, None)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
