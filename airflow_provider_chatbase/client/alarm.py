"""
The alarm by which Airflow ends a task, so that it strikes where it can be told.

What a signal's handler raises in a finalizer or in a weakref's callback is raised to nobody, and hundreds of
these run while modules are imported. What it raises within an import, a log or an exchange with Airflow's
supervisor can leave a lock taken for which others, or the task itself, then wait for ever.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import FrameType, TracebackType
from typing import Any

AGAIN = 0.05
"""Seconds after which an alarm looks again whether it can be told, or was."""

GRACE = 1.0
"""Seconds for which what an alarm raised may live, and nobody handle it."""

LONGEST_WAIT = 30.0
"""Seconds after which an alarm strikes wherever the task is."""

_NOT_WITHIN = frozenset({"importlib", "logging", "structlog"})
_SUPERVISOR = "CommsDecoder."
_WAITS = frozenset({"Condition.wait", "Thread.join", "Thread._wait_for_tstate_lock"})


class _Alarm:
    """Stands before the handler of an alarm."""

    def __init__(self, handler: Callable[[int, FrameType | None], Any]) -> None:
        self.handler = handler
        self._is_within = False
        self._due: float | None = None
        self._raised: Callable[[], BaseException | None] = lambda: None
        self._raised_at = 0.0

    def strike(self, number: int, frame: FrameType | None) -> None:
        """Tell the task that its time is over, unless it was told or cannot be told here; look again soon."""
        now = time.monotonic()
        self._due = now if self._due is None else self._due
        waits = self._is_on_its_way(now) or (_breaks(frame) and now < self._due + LONGEST_WAIT)
        if waits or self._is_within:
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        if waits:
            return
        try:
            self.handler(number, frame)
        except BaseException as error:
            self._raised, self._raised_at = _reference(error), now
            raise
        signal.setitimer(signal.ITIMER_REAL, 0)

    def __enter__(self) -> None:
        self._is_within = True
        signal.signal(signal.SIGALRM, self.strike)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_within = False
        raised = self._raised()
        if raised is None or error is None or raised not in _causes(error):
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        if raised is not error:
            raise raised from None  # what came of it is no reason of its own

    def _is_on_its_way(self, now: float) -> bool:
        # What nobody can raise any more is gone; what puts things in order after an alarm has it at hand.
        return self._raised() is not None and (now < self._raised_at + GRACE or sys.exc_info()[0] is not None)


def alarm_kept() -> AbstractContextManager[None]:
    """
    See to it that the alarm which is set ends this block, once, and by nothing but what it raises.

    After the block too it waits for an import, a log or the supervisor.
    """
    handler = signal.getsignal(signal.SIGALRM)
    is_main = threading.current_thread() is threading.main_thread()  # no signal strikes in others
    is_ours = isinstance(getattr(handler, "__self__", None), _Alarm)
    if not is_main or is_ours or not callable(handler) or not signal.getitimer(signal.ITIMER_REAL)[0]:
        return nullcontext()
    return _Alarm(handler)


def _causes(error: BaseException) -> list[BaseException]:
    from airflow_provider_chatbase.client.lasting import causes

    return causes(error)


def _reference(error: BaseException) -> Callable[[], BaseException | None]:
    try:
        return weakref.ref(error)
    except TypeError:  # one of Python's own
        return lambda: error


def _breaks(frame: FrameType | None) -> bool:
    """Say whether an exception could leave something half done that the whole process needs."""
    if frame is not None and _module(frame) == "threading" and frame.f_code.co_qualname not in _WAITS:
        return True  # a condition's lock could stay taken
    while frame is not None:
        if _module(frame) in _NOT_WITHIN or frame.f_code.co_qualname.startswith(_SUPERVISOR):
            return True
        frame = frame.f_back
    return False


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0]
