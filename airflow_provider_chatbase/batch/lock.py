"""
One run at a time writes to an output.

The lock is a file with a sign of life, renewed every few seconds. A lock whose process is known to be dead is
taken over at once; one that gives no sign of life, after a while.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from airflow_provider_chatbase.batch.errors import ChatbaseBatchError, ChatbaseOutputBusyError
from airflow_provider_chatbase.batch.storage import Storage

log = logging.getLogger(__name__)

LOCK = "_checkpoint/_lock.json"


@dataclass(frozen=True, slots=True)
class LockTimes:
    """
    The lock's times, in seconds.

    :param beat: between two signs of life.
    :param stale: without a sign of life, after which a lock may be taken over.
    :param settle: after which a lock that was written counts as won, where storage cannot create exclusively.
    """

    beat: float = 10.0
    stale: float = 45.0
    settle: float = 1.0


class OutputLock:
    """The lock of an output; a context manager."""

    def __init__(self, storage: Storage, task: str, times: LockTimes | None = None) -> None:
        self._storage = storage
        self._times = times or LockTimes()
        self._owner = {"owner": uuid.uuid4().hex, "task": task, **_this_process()}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._alive_at = time.monotonic()
        self._lost = False
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def held(self) -> bool:
        """Whether nobody can have taken it over yet."""
        return not self._lost and time.monotonic() - self._alive_at < self._times.stale

    def __enter__(self) -> Self:
        """Take the lock."""
        while not self._take():
            pass
        self._thread = threading.Thread(target=self._beat, name="chatbase-batch-lock", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if not self._lost:
            with suppress(ChatbaseBatchError):
                if self._is_ours(self._read()):
                    self._storage.remove(LOCK)

    def _take(self) -> bool:
        found = self._read()
        if found is not None:
            self._require_dead(found)
            if not _same(self._read(), found):
                return False
            self._storage.remove(LOCK)
        self._alive_at = time.monotonic()
        created = self._storage.create(LOCK, self._content())
        if not self._storage.local or found is not None:
            time.sleep(self._times.settle)
        if not created or not self._is_ours(self._read()):
            raise self._busy(self._read() or {})
        return True

    def _require_dead(self, found: dict[str, Any]) -> None:
        if _died_here(found):
            log.info("The process that wrote to %s is dead; its lock is taken over.", self._storage.url)
            return
        age = time.time() - float(found.get("beat") or 0)
        same_task = found.get("task") == self._owner["task"]
        if not same_task and age < self._times.stale:
            raise self._busy(found)
        # Clocks may differ, so what counts is whether it changes before our eyes.
        patience = self._times.stale if age < self._times.stale else 1.5 * self._times.beat
        log.info("Waiting %.0f s for a sign of life of what holds %s.", patience, self._storage.url)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            time.sleep(min(1.0, self._times.beat / 2))
            now = self._read()
            if now is None:
                return
            if not _same(now, found):
                raise self._busy(now)
        log.warning("The lock of %s gave no sign of life; it is taken over.", self._storage.url)

    def _beat(self) -> None:
        while not self._ended.wait(self._times.beat):
            try:
                if not self._is_ours(self._read()):
                    break
                self._storage.write(LOCK, self._content())
                self._alive_at = time.monotonic()
            except ChatbaseBatchError as error:
                log.warning("The lock could not be renewed: %s", error)
                if not self.held:
                    break
        else:
            return
        self._lost = True
        self.on_lost()

    def _read(self) -> dict[str, Any] | None:
        """Return the lock; an unreadable one is empty, and gives no sign of life."""
        content = self._storage.read(LOCK)
        if content is None:
            return None
        return self._storage.read_json(LOCK) or {}

    def _is_ours(self, found: dict[str, Any] | None) -> bool:
        return found is not None and found.get("owner") == self._owner["owner"]

    def _content(self) -> bytes:
        return json.dumps({**self._owner, "beat": time.time()}).encode()

    def _busy(self, found: dict[str, Any]) -> ChatbaseOutputBusyError:
        return ChatbaseOutputBusyError(
            f"Another run writes to {self._storage.url}: task {found.get('task') or 'unknown'}, process "
            f"{found.get('pid')} on {found.get('host')}. Give each run an output path of its own, or wait; a "
            f"run that died is taken over {self._times.stale:g} s after its last sign of life. Nothing was "
            "sent."
        )


def _same(one: dict[str, Any] | None, other: dict[str, Any]) -> bool:
    return one is not None and (one.get("owner"), one.get("beat")) == (other.get("owner"), other.get("beat"))


def _this_process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()), **_machine()}


def _machine() -> dict[str, Any]:
    """Return what tells apart machines, and containers that count their processes separately."""
    machine = {"boot": "", "processes": ""}
    with suppress(OSError):
        machine["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        machine["processes"] = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it is no path
    return machine


def _started(pid: int) -> str | None:
    """Return when a process began, as the kernel counts it; ``None`` when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _died_here(found: dict[str, Any]) -> bool:
    machine = _machine()
    here = found.get("host") == socket.gethostname() and {key: found.get(key) for key in machine} == machine
    if not here or not machine["boot"] or not isinstance(found.get("pid"), int):
        return False
    return _started(found["pid"]) != found.get("started")
