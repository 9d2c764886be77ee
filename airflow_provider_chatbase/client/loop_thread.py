"""
An event loop in a thread of its own, for code that blocks.

Airflow ends a task by an exception that a signal raises on the main thread. Inside of asyncio it would be
swallowed or leave a loop that hangs; here it meets a thread that does nothing but wait.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from functools import cache
from typing import Any, Self, TypeVar

Result = TypeVar("Result")

CLEARING_UP = 60.0
"""Seconds that work has to put things in order after it was interrupted."""

LOOK_UP = 0.5
"""Seconds after which who waits looks whether a signal has come."""


class LoopThread:
    """Runs coroutines for threads that wait for them. Code that runs in it must not wait for it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="chatbase-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine to its end. What interrupts the wait cancels it, and waits until it has ended."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("What runs on an event loop cannot wait for it: use the async client there.")
        tasks: list[asyncio.Task[Result]] = []
        ended = threading.Lock()  # what waits for a bare lock leaves nothing half done when a signal raises
        ended.acquire()

        def begin() -> None:
            tasks.append(self._loop.create_task(coroutine))
            tasks[0].add_done_callback(lambda _: ended.release())

        def cancel() -> None:
            if tasks:
                tasks[0].cancel()
            else:  # the signal came before the loop was told to begin
                coroutine.close()
                ended.release()

        try:
            self._loop.call_soon_threadsafe(begin)
            # A signal that comes just before the wait begins does not end it, and would be seen after it.
            while not ended.acquire(timeout=LOOK_UP):
                pass
        except BaseException:
            self._loop.call_soon_threadsafe(cancel)
            if not (tasks and tasks[0].done()):  # else the lock may be ours already, and is released no more
                ended.acquire(timeout=CLEARING_UP)
            raise
        return tasks[0].result()

    def close(self) -> None:
        """End the loop, and whatever still runs in it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLEARING_UP)

    def __enter__(self) -> Self:
        """Return the loop, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the loop."""
        self.close()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


def run_in_thread(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a thread with an event loop of its own, as ``asyncio.run`` does on this one."""
    with LoopThread() as loop:
        return loop.run(coroutine)


_ONE = threading.Lock()


def shared_loop() -> LoopThread:
    """Return the loop of all clients of this process that block; it stays until the process ends."""
    with _ONE:  # two threads that ask at once must not get two: a client works in one loop alone
        return _shared_loop()


@cache
def _shared_loop() -> LoopThread:
    return LoopThread()


def _begin_in_child() -> None:
    _shared_loop.cache_clear()
    _ONE.release()


os.register_at_fork(before=_ONE.acquire, after_in_parent=_ONE.release, after_in_child=_begin_in_child)
