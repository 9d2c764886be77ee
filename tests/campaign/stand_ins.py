"""
What stands in for time, threads and event loops of the real world, in the code under test.

``install`` has to come before that code is imported, since it keeps functions such as ``time.time``.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Self

from tests.campaign.clockwork import (
    EPOCH,
    HangsError,
    Killed,
    RealLock,
    SimulatedEvent,
    SimulatedLock,
    SimulatedThread,
    current_process,
    current_thread,
    is_simulated,
    present,
    real,
    running,
    sleep,
)

MOST_TURNS = 100_000  # rounds of an event loop at one moment, after which it counts as running in circles


class _Selector:
    """Waits for nothing but the clock, and for being woken from another thread."""

    def __init__(self) -> None:
        self._moment, self._turns = -1.0, 0
        self.woken = False
        self.thread: SimulatedThread | None = None

    def select(self, timeout: float | None = None) -> list[Any]:
        clockwork = running()
        if timeout is not None and timeout <= 0:
            self._turns = self._turns + 1 if clockwork.now == self._moment else 0
            self._moment = clockwork.now
            if self._turns > MOST_TURNS:
                raise HangsError("an event loop runs in circles, without any time that passes")
            if self._turns % 50 == 49:
                clockwork.park(clockwork.now)
            elif current_process().gone:
                raise Killed
            return []
        self.thread = current_thread()
        if not self.woken:
            clockwork.park(None if timeout is None else clockwork.now + timeout)
        self.woken = False
        return []

    def close(self) -> None:
        """Have nothing to close."""


class SimulatedLoop(BaseEventLoop):
    """An event loop of asyncio, on simulated time."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Selector()
        self._clock_resolution = 1e-6
        self._executing: list[SimulatedThread] = []

    def time(self) -> float:
        return running().now

    def _process_events(self, event_list: list[Any]) -> None:
        """Have no events but those of time."""

    def _write_to_self(self) -> None:
        self._selector.woken = True
        if self._selector.thread is not None:
            running().wake(self._selector.thread)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        future = self.create_future()

        def settle(set_it: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                set_it(value)

        def tell(*what: Any) -> None:
            if not self.is_closed():
                self.call_soon_threadsafe(settle, *what)

        def work() -> None:
            try:
                result = func(*args)
            except Killed:
                raise
            except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                if isinstance(error, StopIteration):
                    error = RuntimeError("StopIteration in an executor")
                tell(future.set_exception, error)
            else:
                tell(future.set_result, result)

        self._executing = [each for each in self._executing if each.is_alive()]
        self._executing.append(SimulatedThread(target=work, name="executor"))
        self._executing[-1].start()
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        for thread in self._executing:
            thread.join()


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self) -> Any:
        return SimulatedLoop() if is_simulated() else super().new_event_loop()


def _time() -> float:
    if not present:
        return real["time"]()
    return EPOCH + present[0].now + (current_process().skew if is_simulated() else 0.0)


def _monotonic() -> float:
    return real["monotonic"]() if not present else present[0].now + 1000.0


def _sleep(seconds: float) -> None:
    if is_simulated():
        sleep(seconds)
    else:
        real["sleep"](seconds)


class OneByOne:
    """Stands in for a pool of threads."""

    def __init__(self, max_workers: int | None = None, **_: Any) -> None:
        """Have no workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Have nothing to wait for."""

    def map(self, work: Callable[..., Any], *values: Any) -> list[Any]:
        return list(map(work, *values))

    def submit(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - raised by whoever asks for the result
            future.set_exception(error)
        return future

    def shutdown(self, **_: Any) -> None:
        """Have nothing to end."""


class SimulatedThreading:
    """Stands in for the module ``threading`` in the code under test."""

    Thread, Event = SimulatedThread, SimulatedEvent

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


def install() -> None:
    """Put simulated time in the place of the real one, for everything that is imported from now on."""
    time.time, time.monotonic, time.sleep = _time, _monotonic, _sleep
    threading.Lock = lambda: SimulatedLock() if is_simulated() else RealLock()
    asyncio.set_event_loop_policy(_Policy())


def take_over(package: str) -> None:
    """Give the modules of a package the simulated threads."""
    for name, module in list(sys.modules.items()):
        if name.startswith(package) and getattr(module, "threading", None) is threading:
            module.threading = SimulatedThreading()
        if name.startswith(package) and hasattr(module, "ThreadPoolExecutor"):
            module.ThreadPoolExecutor = OneByOne
        if name.startswith(package) and hasattr(module, "shared_loop"):
            module.shared_loop = of_each_process(sys.modules[f"{package}.client.loop_thread"].LoopThread)


def of_each_process(make: Callable[[], Any]) -> Callable[[], Any]:
    """Let each simulated process have its own of what a real one makes once."""

    def shared() -> Any:
        found = current_process().shared
        if make not in found:
            found[make] = make()
        return found[make]

    return shared
