"""
One run at a time works in a directory.

Each run has a file of its own there, its claim, and renews it every few seconds. A run writes
its claim first and lists the claims then; it begins when it sees no other. Of two runs at least one lists
after both have written, however slow the storage is, so it sees the other and does not begin. Nobody writes
to the file of another, so a write that arrives late takes nothing away. All that is asked of the storage is
that a listing shows what was written before it.

A claim whose process is known to be dead is passed over at once; one that does not change before our eyes for
a while is taken over: a second file says so to its owner, should it still live.
"""

from __future__ import annotations

import logging
import os
import posixpath
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

from airflow_provider_chatbase.files import (
    ChatbaseDamagedFileError,
    ChatbaseOutputBusyError,
    ChatbaseStorageError,
)
from airflow_provider_chatbase.files.directory import Directory

log = logging.getLogger(__name__)

CLAIM, TAKEN_OVER = ".json", ".over"
GIVEN_UP_AFTER = 20
"""How many times ``stale`` a lock may be in doubt before its run gives up."""

Claim = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LockTimes:
    """The lock's times, in seconds."""

    beat: float = 10.0  # between two signs of life
    stale: float = 45.0  # without a sign of life, after which a claim may be taken over


class Lock:
    """The right to work in a directory; a context manager."""

    def __init__(
        self, directory: Directory, name: str, task: str, times: LockTimes | None = None, try_number: int = 1
    ) -> None:
        self._directory = directory
        self._folder, self._prefix = posixpath.split(f"{name}-")
        self._task = task
        self._try_number = try_number
        self._told: set[str] = set()  # earlier tries of the same task, which were told to end
        self._times = times or LockTimes()
        self._owner = uuid.uuid4().hex
        self._seen: dict[str, tuple[Claim, float]] = {}  # the others' claims, and since when they are so
        self._stepped_back = False
        self._alive_at = 0.0
        self._lost = False
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.on_lost: Callable[[], None] = lambda: None

    @property
    def held(self) -> bool:
        """Whether nobody can have taken it over; in doubt it is not, until a renewal succeeds again."""
        lease = self._times.stale - self._times.beat  # less than others wait, for what is being done just now
        return not self._lost and time.monotonic() - self._alive_at < lease

    def require_held(self) -> None:
        """Refuse to go on in doubt."""
        if not self.held:
            raise ChatbaseStorageError(
                f"The lock of {self._directory.url} could not be renewed, so another run may have taken it "
                "over. Run the task again; it goes on from what is there."
            )

    def __enter__(self) -> Self:
        """Take the lock, or say who has it."""
        try:
            while not self._take():
                time.sleep(min(1.0, self._times.beat / 2))
            self._thread = threading.Thread(target=self._keep, name="chatbase-lock", daemon=True)
            self._thread.start()
        except BaseException as error:  # a task's time-out may strike anywhere, and must not leave it renewed
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lock back."""
        self._ended.set()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        self._withdraw()

    # -- taking

    def _take(self) -> bool:
        began = time.monotonic()
        if not self._stepped_back:
            self._write_claim(holds=False)
        others = self._others()
        for owner, claim in others.items():
            self._tell_earlier_try(owner, claim)
        living = {owner: claim for owner, claim in others.items() if not self._is_dead(owner, claim, began)}
        for claim in living.values():
            self._refuse_if_held(claim)
        first = any(owner < self._owner for owner, claim in living.items() if not _holds(claim))
        if first and not self._stepped_back:  # of several that want it at one moment, one goes on
            self._withdraw()
        was_back, self._stepped_back = self._stepped_back, first
        if living or was_back or not self._take_over(others):
            return False
        self._alive_at = began
        return True

    def _is_dead(self, owner: str, claim: Claim, now: float) -> bool:
        """Say whether a claim's process has ended, or has given no sign of life while we looked on."""
        if has_died(claim):
            return True
        # Clocks may differ, so what counts is whether a claim changes before our eyes.
        before, since = self._seen.get(owner, (claim, time.monotonic()))
        if before != claim:
            if _holds(claim) and owner not in self._told:
                raise self._busy(claim)
            since = time.monotonic()
        elif owner not in self._seen:
            log.info("Waiting %g s for a sign of life of what holds %s.", self._times.stale, self._place)
        self._seen[owner] = (claim, since)
        return now - since >= self._times.stale

    def _tell_earlier_try(self, owner: str, claim: Claim) -> None:
        """Tell an earlier try of the same task, of which Airflow has lost sight, to end: it is waited for."""
        tried = claim.get("try")
        is_earlier = isinstance(tried, int) and tried < self._try_number
        if owner in self._told or claim.get("task") != self._task or not _holds(claim) or not is_earlier:
            return
        if has_died(claim):
            return
        log.warning("An earlier try of this task still works in %s. It is told to end.", self._place)
        self._directory.write_json(self._name(owner, TAKEN_OVER), {"by": self._owner, "at": time.time()})
        self._told.add(owner)

    def _refuse_if_held(self, claim: Claim) -> None:
        """Refuse at once where another task has just shown a sign of life; our own may have been killed."""
        beat = claim.get("beat")
        age = time.time() - beat if isinstance(beat, int | float) else self._times.stale
        if _holds(claim) and claim.get("task") != self._task and age < self._times.stale:
            raise self._busy(claim)

    def _take_over(self, dead: dict[str, Claim]) -> bool:
        """Remove the claims of the dead. One that was only silent is told, and looked at once more."""
        for owner, claim in dead.items():
            if not has_died(claim):
                self._directory.write_json(
                    self._name(owner, TAKEN_OVER), {"by": self._owner, "at": time.time()}
                )
        now = self._others()
        for owner in dead.keys() & now.keys():
            if now[owner] != dead[owner]:  # it lives after all; being told, it will end
                raise self._busy(now[owner])
        for owner in dead:
            log.warning("The lock of %s was left by a run that is dead; it is taken over.", self._place)
            self._directory.remove(self._name(owner, CLAIM))
        return True

    # -- keeping

    def _keep(self) -> None:
        pause = 0.0  # at once the first time, to tell others that it is not only wanted
        sure_at = time.monotonic()
        while not self._ended.wait(pause) and not self._lost:
            pause = self._times.beat
            try:
                self._renew()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next beat tries again
                log.warning("The lock of %s could not be renewed: %s", self._place, error)
            if self.held:
                sure_at = time.monotonic()
            elif time.monotonic() - sure_at > GIVEN_UP_AFTER * self._times.stale:
                self._lost = True
        if self._lost:
            self.on_lost()

    def _renew(self) -> None:
        began = time.monotonic()
        self._write_claim(holds=True)
        self._lost = self._directory.read(self._name(self._owner, TAKEN_OVER)) is not None
        if not self._lost:
            self._alive_at = began  # before the write: one that takes long lasts less

    def _withdraw(self) -> None:
        with suppress(ChatbaseStorageError):
            self._directory.remove(self._name(self._owner, CLAIM))
            if self._lost:
                self._directory.remove(self._name(self._owner, TAKEN_OVER))

    # -- claims

    def _write_claim(self, *, holds: bool) -> None:
        claim = {
            "task": self._task,
            "try": self._try_number,
            **this_process(),
            "holds": holds,
            "beat": time.time(),
        }
        self._directory.write_json(self._name(self._owner, CLAIM), claim)

    def _others(self) -> dict[str, Claim]:
        """Return the claims of the others; an unreadable one is empty, and gives no sign of life."""
        names = [name for name in self._directory.names(self._folder) if name.startswith(self._prefix)]
        owners = [
            name.removeprefix(self._prefix).removesuffix(CLAIM) for name in names if name.endswith(CLAIM)
        ]
        if self._owner not in owners and not self._stepped_back:
            raise ChatbaseStorageError(
                f"{self._place} does not show what was just written to it, so two runs could not be kept "
                "apart there. Use a storage whose listings are up to date."
            )
        found = {owner: self._read_claim(owner) for owner in owners if owner != self._owner}
        return {owner: claim for owner, claim in found.items() if claim is not None}

    def _read_claim(self, owner: str) -> Claim | None:
        try:
            return self._directory.read_json(self._name(owner, CLAIM))
        except ChatbaseDamagedFileError:
            return {}

    def _name(self, owner: str, suffix: str) -> str:
        return posixpath.join(self._folder, f"{self._prefix}{owner}{suffix}")

    @property
    def _place(self) -> str:
        return posixpath.join(self._directory.url, self._folder)

    def _busy(self, claim: Claim) -> ChatbaseOutputBusyError:
        return ChatbaseOutputBusyError(
            f"Another run works in {self._directory.url}: task {claim.get('task') or 'unknown'}, process "
            f"{claim.get('pid')} on {claim.get('host')}. Give each run a path of its own, or wait; a run "
            f"that died is taken over {self._times.stale:g} s after its last sign of life. Nothing was sent."
        )


def _holds(claim: Claim) -> bool:
    return claim.get("holds") is not False


def this_process() -> Claim:
    """Say which process this is, for :func:`has_died`."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _started("self"), **_kernel()}


def has_died(process: Claim) -> bool:
    """Say whether a process is known to be no more: only of one that was counted together with this one."""
    pid, kernel = process.get("pid"), _kernel()
    here = process.get("host") == socket.gethostname() and all(
        process.get(key) == kernel[key] for key in kernel
    )
    if not here or not kernel["processes"] or not isinstance(pid, int) or not process.get("started"):
        return False
    started = _started(str(pid))
    if started is None:  # or it is hidden from us
        return not _exists(pid)
    return bool(started != process["started"])


def _kernel() -> dict[str, str]:
    """Return what tells apart machines, and containers that count their processes separately."""
    kernel = {"boot": "", "processes": ""}
    with suppress(OSError):
        kernel["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        if str(Path("/proc/self").readlink()) == str(os.getpid()):  # else it is another container's /proc
            kernel["processes"] = str(Path("/proc/self/ns/pid").readlink())
    return kernel


def _started(pid: str) -> str | None:
    """Return when a process began, as the kernel counts it; ``None`` when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return "ended" if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
