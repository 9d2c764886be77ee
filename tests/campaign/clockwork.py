"""
Simulated time and processes, for the real code.

Each simulated thread is a thread of the system, of which one runs at a time: it runs until it waits for
something (a clock, a lock, an event loop, the network, the storage), and hands over then. What comes next,
and what happens at the same moment, the seed decides. Nothing waits for a real clock.
"""

from __future__ import annotations

import heapq
import itertools
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

EPOCH = 1_800_000_000.0
LONGEST = 6 * 3600.0  # simulated seconds after which whoever still works counts as hanging
REAL_SECONDS = 60.0  # that one step may take

real = {name: getattr(time, name) for name in ("time", "monotonic", "sleep", "perf_counter")}
RealThread, RealLock = threading.Thread, threading.Lock
present: list[Clockwork] = []


def _baton() -> Any:
    """Return what one thread waits for and another one gives."""
    lock = RealLock()
    lock.acquire()
    return lock


class Killed(BaseException):
    """The process is dead; nothing that it does afterwards reaches anybody."""


class TaskTimeout(BaseException):
    """What Airflow raises on the main thread when a task takes too long."""


class HangsError(AssertionError):
    """Somebody waits for what never comes."""


class Process:
    """A simulated process on a machine of its own, with a clock that may be wrong."""

    def __init__(self, clockwork: Clockwork, name: str, machine: str, skew: float = 0.0) -> None:
        self.name, self.machine, self.skew = name, machine, skew
        self.clockwork = clockwork
        self.pid = next(clockwork.pids)
        self.points = 0
        self.kill_at: int | None = None
        self.writes = 0
        self.kill_at_write: int | None = None
        self.freeze_at: int | None = None
        self.freeze_for = 0.0
        self.frozen_until = 0.0
        self.timed_out_at: float | None = None
        self.ended_at = 0.0
        self.dead = False  # killed
        self.gone = False  # what still runs in it runs no more
        self.shared: dict[Any, Any] = {}  # what its threads have in common
        self.finished = False
        self.result: Any = None
        self.error: BaseException | None = None

    def kill(self) -> None:
        """End it here and now, as kill -9 does."""
        self.dead = True
        self.clockwork.note("kill", self.name)
        self.go()

    def go(self) -> None:
        """End its threads."""
        self.gone = True
        for thread in self.clockwork.threads:
            if thread.process is self:
                self.clockwork.wake(thread)

    @property
    def ended(self) -> bool:
        """Whether it is no more."""
        return self.dead or self.finished


class SimulatedThread:
    """One thread of a simulated process; has the face of ``threading.Thread``."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., Any] = lambda: None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        process: Process | None = None,
    ) -> None:
        self._work = lambda: target(*args, **(kwargs or {}))
        self.name, self.daemon = name or "thread", daemon
        self.clockwork = running()
        self.process = process or current_process()
        self.baton = _baton()
        self.ended = False
        self.token = 0
        self.to_raise: BaseException | None = None
        self._joined: list[SimulatedThread] = []
        self._real: threading.Thread | None = None

    def start(self) -> None:
        self._real = RealThread(target=self._run, name=f"{self.process.name}/{self.name}", daemon=True)
        self._real.simulated = self
        self._real._started._cond = threading.Condition(RealLock())  # both threads use it at one time
        self.clockwork.threads.append(self)
        self._real.start()
        self.clockwork.wake(self)

    def join(self, timeout: float | None = None) -> None:
        deadline = None if timeout is None else self.clockwork.now + timeout
        while not self.ended and (deadline is None or self.clockwork.now < deadline):
            me = current_thread()
            self._joined.append(me)
            self.clockwork.park(deadline)

    def is_alive(self) -> bool:
        return self._real is not None and not self.ended

    @property
    def ident(self) -> int | None:
        return None if self._real is None else self._real.ident

    def _run(self) -> None:
        self.baton.acquire()
        try:
            if not self.process.gone:
                self._work()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - told by the campaign
            self.clockwork.crashed.append((self, error))
        finally:
            self.ended = True
            self.clockwork.threads.remove(self)
            for waiting in self._joined:
                self.clockwork.wake(waiting)
            self.clockwork.baton.release()


class SimulatedEvent:
    """As ``threading.Event``."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[SimulatedThread] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for thread in self._waiting:
            running().wake(thread)
        self._waiting.clear()

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        clockwork = running()
        deadline = None if timeout is None else clockwork.now + max(timeout, 0.0)
        while not self._is_set and (deadline is None or clockwork.now < deadline):
            self._waiting.append(current_thread())
            clockwork.park(deadline)
        return self._is_set


class SimulatedLock:
    """As ``threading.Lock``; outside of simulated threads nobody contends for it."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: list[SimulatedThread] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        deadline = None if timeout < 0 else running().now + timeout
        while self._held:
            if not blocking or (deadline is not None and running().now >= deadline):
                return False
            self._waiting.append(current_thread())
            running().park(deadline)
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        for thread in self._waiting:
            running().wake(thread)
        self._waiting.clear()

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Clockwork:
    """The time of one scenario, and all that happens in it."""

    def __init__(self, seed: object) -> None:
        self.random = random.Random(f"clockwork {seed}")
        self.now = 0.0  # seconds since EPOCH: small numbers, so that short waits are not lost in rounding
        self.baton = _baton()
        self.threads: list[SimulatedThread] = []
        self.crashed: list[tuple[SimulatedThread, BaseException]] = []
        self.pids = itertools.count(1000)
        self.history: list[str] = []
        self.notes: dict[str, int] = {}
        self._order = itertools.count()
        self._agenda: list[tuple[float, float, int, Callable[[], None]]] = []

    def note(self, what: str, detail: object = "") -> None:
        """Count something that happened, and keep it for whoever looks at a failure."""
        self.notes[what] = self.notes.get(what, 0) + 1
        self.tell(f"{what} {detail}")

    def tell(self, what: str) -> None:
        """Keep something for whoever looks at a failure."""
        self.history.append(f"{self.now:10.3f} {what}")

    def at(self, moment: float, work: Callable[[], None]) -> None:
        """Do something at a moment; what happens at the same moment comes in an order of chance."""
        entry = (max(moment, self.now), self.random.random(), next(self._order), work)
        heapq.heappush(self._agenda, entry)

    def wake(self, thread: SimulatedThread) -> None:
        """Let a thread go on, from now."""
        token = thread.token
        self.at(self.now, lambda: self._resume(thread, token))

    def park(self, until: float | None) -> None:
        """Wait, as the running thread, until a moment or until somebody wakes it."""
        thread = current_thread()
        if thread.process.gone:
            raise Killed
        thread.token += 1
        token = thread.token
        if until is not None:
            self.at(until, lambda: self._resume(thread, token))
        self.baton.release()
        thread.baton.acquire()
        if thread.process.gone:
            raise Killed
        if thread.to_raise is not None:
            error, thread.to_raise = thread.to_raise, None
            raise error

    def point(self, *, freezes: bool = True) -> None:
        """Pass a point at which the running process may be killed or, if it may, frozen."""
        process = current_process()
        if process.gone:
            raise Killed
        process.points += 1
        if process.points == process.kill_at:
            process.kill()
            raise Killed
        if freezes and process.freeze_at is not None and process.points >= process.freeze_at:
            process.freeze_at = None
            self.note("freeze", f"{process.name} for {process.freeze_for:.0f} s")
            process.frozen_until = self.now + process.freeze_for
            self.park(process.frozen_until)

    def start(self, process: Process, work: Callable[[], Any]) -> SimulatedThread:
        """Start a process."""

        def main() -> None:
            try:
                process.result = work()
            except Killed:
                pass
            except BaseException as error:  # noqa: BLE001 - judged by the scenario
                process.error = error
            process.finished = True
            process.ended_at = self.now
            process.go()
            self.note("end", f"{process.name}: {describe(process)}")

        self.note("start", f"{process.name} on {process.machine}, clock {process.skew:+.0f} s")
        thread = SimulatedThread(target=main, name="main", process=process)
        thread.start()
        return thread

    def time_out(self, thread: SimulatedThread, seconds: float) -> None:
        """Let Airflow end a task after a while, where its main thread waits."""

        def strike() -> None:
            if not thread.ended and not thread.process.gone:
                self.note("time-out", thread.process.name)
                thread.process.timed_out_at = self.now
                thread.to_raise = TaskTimeout("AirflowTaskTimeout")
                self.wake(thread)

        self.at(self.now + seconds, strike)

    def run(self, done: Callable[[], bool]) -> None:
        """Let time pass until something is so."""
        limit = self.now + LONGEST
        while not done():
            if not self._agenda:
                raise HangsError(f"nothing will ever happen again, but these wait:\n{self.stacks()}")
            if self._agenda[0][0] > limit:
                raise HangsError(f"still not done after {LONGEST / 3600:.0f} hours:\n{self.stacks()}")
            moment, _, _, work = heapq.heappop(self._agenda)
            self.now = max(self.now, moment)
            work()
            if self.crashed:
                thread, error = self.crashed.pop()
                raise AssertionError(f"thread {thread.name} of {thread.process.name} crashed") from error

    def let_pass(self, seconds: float) -> None:
        """Let time pass."""
        moment, passed = self.now + seconds, []
        self.at(moment, lambda: passed.append(True))
        self.run(lambda: bool(passed))

    def end(self) -> None:
        """End all that still runs."""
        for _ in range(200):
            alive = [thread for thread in self.threads if not thread.ended]
            if not alive:
                return
            for thread in alive:
                thread.process.gone = True
                self._resume(thread, thread.token, even_frozen=True)

    def stacks(self) -> str:
        """Tell where each thread waits."""
        frames = sys._current_frames()
        told = []
        for thread in self.threads:
            frame = frames.get(thread.ident or 0)
            where = "".join(traceback.format_stack(frame)[-9:-3]) if frame else "?"
            told.append(f"-- {thread.process.name}/{thread.name}\n{where}")
        return "\n".join(told)

    def _resume(self, thread: SimulatedThread, token: int, *, even_frozen: bool = False) -> None:
        if thread.ended or token != thread.token:
            return
        if self.now < thread.process.frozen_until and not thread.process.gone and not even_frozen:
            self.at(thread.process.frozen_until, lambda: self._resume(thread, token))
            return
        thread.token += 1
        thread.baton.release()
        if not self.baton.acquire(timeout=REAL_SECONDS):
            raise HangsError(f"a step takes more than {REAL_SECONDS:.0f} real seconds:\n{self.stacks()}")


def describe(process: Process) -> str:
    """Tell how a process ended."""
    if process.dead:
        return "killed"
    if process.error is None:
        return "success"
    return f"{type(process.error).__name__}: {str(process.error)[:160]}"


def running() -> Clockwork:
    """Return the clockwork of the present scenario."""
    return present[0]


def current_thread() -> SimulatedThread:
    """Return the simulated thread that is running."""
    return threading.current_thread().simulated


def current_process() -> Process:
    """Return the simulated process that is running."""
    return current_thread().process


def is_simulated() -> bool:
    """Say whether a simulated thread is running."""
    return hasattr(threading.current_thread(), "simulated")


def sleep(seconds: float) -> None:
    """Wait, in simulated time."""
    clockwork = running()
    moment = clockwork.now + max(seconds, 0.0)
    while True:
        clockwork.park(moment)
        if clockwork.now >= moment:
            return


@contextmanager
def turning(clockwork: Clockwork) -> Iterator[Clockwork]:
    """Let a clockwork be the present one; what still runs in the end is ended."""
    present.append(clockwork)
    try:
        yield clockwork
    finally:
        clockwork.end()
        present.clear()
