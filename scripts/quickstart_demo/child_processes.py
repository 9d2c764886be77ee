"""Processes that live as long as the demo does, and no longer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from quickstart_demo.errors import DemoError

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SECONDS_TO_STOP = 3  # what takes longer, as the triggerer does, has nothing to lose here
LINES_TO_SHOW = 15


class ChildProcesses:
    """
    Start processes in sessions of their own, and end them with all that they started.

    :param log_folder: where each process's output goes, in ``<name>.log``.
    """

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> None:
        """Start a process. Its own session keeps the terminal's Ctrl-C from it: we end it, in order."""
        with self._log_of(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise ``DemoError`` with the end of its log when a process has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = self._log_of(name)
                end = "\n".join(log.read_text(errors="replace").splitlines()[-LINES_TO_SHOW:])
                raise DemoError(f"{name} ended with exit code {process.returncode}; the end of {log}:\n{end}")

    def stop(self) -> None:
        """End every process and whatever it left running."""
        with undisturbed():
            # Only the processes that we started: Airflow's workers are ended by their parents, in order.
            for process in self._running.values():
                process.terminate()
            deadline = time.monotonic() + SECONDS_TO_STOP
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0, deadline - time.monotonic()))
            for left_running in _members_of({process.pid for process in self._running.values()}):
                os.kill(left_running, signal.SIGKILL)
            for process in self._running.values():
                process.wait()
            self._running.clear()

    def _log_of(self, name: str) -> Path:
        return self._log_folder / f"{name}.log"


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let nobody interrupt a block that puts things in order."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _members_of(sessions: set[int]) -> list[int]:
    return [pid for pid in psutil.pids() if _session_of(pid) in sessions]


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
