"""Two runs never work in one directory: with slow writes, in other containers, after a freeze."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.files import ChatbaseOutputBusyError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import TEMPORARY, Directory
from airflow_provider_chatbase.files.lock import Lock, LockTimes, has_died, this_process
from tests.support.buckets import Bucket
from tests.support.s3 import s3_fs

NAME, FOLDER = "locks/mine", "locks"
QUICK = LockTimes(beat=0.1, stale=0.6)


def _lock(directory: Directory, task: str = "a", times: LockTimes = QUICK) -> Lock:
    return Lock(directory, NAME, task, times)


def _claim(directory: Directory, **changes: object) -> None:
    claim = {**this_process(), "task": "b", "beat": time.time(), **changes}
    directory.write(f"{NAME}-other.json", json.dumps(claim).encode())


class Watch:
    """
    Runs that all want one lock, and how many ever held it at one moment.

    Who has it keeps it for the given seconds, but not once so many have been refused.
    """

    def __init__(self, until_refused: int | None = None) -> None:
        self._until_refused = until_refused
        self._enough = threading.Event()
        self.most = 0
        self.had_it = 0
        self.refused = 0
        self.errors: list[BaseException] = []
        self._now = 0
        self._guard = threading.Lock()

    def run(self, lock: Lock, seconds: float, delay: float = 0.0) -> threading.Thread:
        def work() -> None:
            time.sleep(delay)
            try:
                with lock:
                    self._change(1)
                    self._enough.wait(seconds)
                    self._change(-1)
            except ChatbaseOutputBusyError:
                with self._guard:
                    self.refused += 1
                    if self.refused == self._until_refused:
                        self._enough.set()
            except BaseException as error:  # noqa: BLE001 - it is looked at by the test
                self.errors.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def _change(self, by: int) -> None:
        with self._guard:
            self._now += by
            self.most = max(self.most, self._now)
            self.had_it += by > 0


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.45])
@pytest.mark.parametrize("tasks", ["ab", "aa"])
def test_writes_that_take_long_let_no_two_in(bucket: Bucket, delay: float, tasks: str):
    """With a put of 0.4 s and a second run at any moment of it."""
    bucket.put = 0.4
    directory = Directory(bucket, "/bucket/out", "memory://bucket/out")
    times = LockTimes(beat=0.5, stale=5.0)
    watch = Watch(until_refused=1)
    threads = [
        watch.run(_lock(directory, tasks[0], times), 60.0),
        watch.run(_lock(directory, tasks[1], times), 60.0, delay),
    ]
    for thread in threads:
        thread.join()
    assert (watch.most, watch.had_it + watch.refused, watch.errors) == (1, 2, [])
    assert directory.names(FOLDER) == []


def test_of_many_that_want_it_at_once_one_has_it(directory: Directory):
    times = LockTimes(beat=0.1, stale=20.0)
    watch = Watch()
    threads = [watch.run(_lock(directory, f"task {n}", times), 1.0) for n in range(8)]
    for thread in threads:
        thread.join()
    assert (watch.most, watch.errors) == (1, [])
    assert watch.had_it >= 1
    assert watch.had_it + watch.refused == 8
    assert directory.names(FOLDER) == []


def test_over_s3(s3_url: str):
    watch = Watch(until_refused=2)
    times = LockTimes(beat=0.3, stale=20.0)
    directories = [
        Directory(s3_fs(s3_url, "locks", new=n == 0), "locks/out", "s3://locks/out") for n in range(3)
    ]
    threads = [watch.run(_lock(each, each.root + str(n), times), 60.0) for n, each in enumerate(directories)]
    for thread in threads:
        thread.join()
    assert (watch.most, watch.had_it, watch.refused, watch.errors) == (1, 1, 2, [])


IN_A_CONTAINER = textwrap.dedent("""
    import sys, time
    from fsspec.implementations.local import LocalFileSystem
    from airflow_provider_chatbase.files.directory import Directory
    from airflow_provider_chatbase.files.lock import Lock, LockTimes

    directory = Directory(LocalFileSystem(), sys.argv[1], sys.argv[1])
    with Lock(directory, "locks/mine", "a", LockTimes(beat=0.1, stale=30.0)):
        print("held", flush=True)
        sys.stdin.read()
""")


def _in_a_container(path: Path) -> subprocess.Popen[str]:
    """Hold the lock in a PID namespace of its own, with the same host name."""
    unshare = shutil.which("unshare")
    command = [str(unshare), "--pid", "--fork", "--mount-proc", "--kill-child"]
    if unshare is None or subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine makes no PID namespaces")
    process = subprocess.Popen(
        [*command, sys.executable, "-c", IN_A_CONTAINER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("task", ["a", "b"])
def test_a_live_run_in_another_container_is_not_dead(tmp_path: Path, task: str):
    directory = Directory(LocalFileSystem(), str(tmp_path), f"file://{tmp_path}")
    process = _in_a_container(tmp_path)
    try:
        names = [name for name in directory.names(FOLDER) if not name.startswith(TEMPORARY)]  # it renews
        claim = directory.read_json(f"{FOLDER}/{names[0]}")
        assert claim is not None
        assert (claim["host"], claim["boot"]) == (this_process()["host"], this_process()["boot"])
        assert not has_died(claim)
        with pytest.raises(ChatbaseOutputBusyError):
            _lock(directory, task, LockTimes(beat=0.1, stale=30.0)).__enter__()
    finally:
        process.communicate("")
    with _lock(directory):
        pass


@pytest.mark.parametrize(
    "changes", [{"boot": "another"}, {"processes": "pid:[1]"}, {"host": "another"}, {"started": None}]
)
def test_who_cannot_be_looked_for_is_not_dead(changes: dict[str, object]):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert has_died({**this_process(), "pid": ended.pid})
    assert not has_died({**this_process(), "pid": ended.pid, **changes})
    assert not has_died(this_process())


def _is_true_within(seconds: float, condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


@pytest.mark.parametrize("error", [OSError(5, "I/O error"), RuntimeError("no OSError"), ValueError("odd")])
def test_the_renewing_survives_whatever_the_storage_raises(bucket: Bucket, error: Exception):
    lost = threading.Event()
    with _lock(Directory(bucket, "/bucket/out", "memory://bucket/out")) as lock:
        lock.on_lost = lost.set
        assert lock.held
        bucket.fails = lambda _call, _path: error
        assert _is_true_within(30, lambda: not lock.held)  # in doubt
        with pytest.raises(ChatbaseStorageError, match="could not be renewed"):
            lock.require_held()
        bucket.fails = lambda _call, _path: None
        assert _is_true_within(30, lambda: lock.held)  # a renewal succeeded
        assert not lost.is_set()


@pytest.mark.parametrize("slow", [False, True])
def test_a_lock_in_doubt_for_very_long_is_given_up(bucket: Bucket, slow: bool):
    lost = threading.Event()
    with _lock(Directory(bucket, "/bucket/out", "u"), times=LockTimes(beat=0.02, stale=0.1)) as lock:
        lock.on_lost = lost.set
        if slow:
            bucket.put = 0.3
        else:
            bucket.fails = lambda _call, _path: OSError(5, "I/O error")
        assert lost.wait(60)
        assert not lock.held


def test_a_slow_renewal_counts_from_its_beginning(bucket: Bucket):
    with _lock(Directory(bucket, "/bucket/out", "u"), times=LockTimes(beat=0.2, stale=1.0)) as lock:
        assert _is_true_within(30, lambda: lock.held)
        bucket.put = 1.5
        assert _is_true_within(30, lambda: not lock.held)
        assert not _is_true_within(3, lambda: lock.held)  # when it has arrived, it is too old to count


def test_a_run_that_was_frozen_finds_that_it_was_taken_over(bucket: Bucket):
    """Even when the other has come and gone meanwhile."""
    lost = threading.Event()
    directory = Directory(bucket, "/bucket/out", "u")
    frozen = threading.Event()

    def freeze(call: str, path: str) -> None:
        if call == "put" and threading.current_thread() is lock._thread:
            frozen.set()
            thaw.wait()

    thaw = threading.Event()
    with _lock(directory) as lock:
        lock.on_lost = lost.set
        assert _is_true_within(30, lambda: lock.held)
        bucket.fails = freeze
        assert frozen.wait(30)
        with _lock(directory):
            assert not lock.held
        thaw.set()
        assert lost.wait(30)
        assert not lock.held
    assert directory.names(FOLDER) == []


def test_a_silent_run_that_wakes_up_in_the_last_moment_is_left_alone(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    directory = Directory(bucket, "/bucket/out", "u")
    _claim(directory, host="elsewhere", beat=1.0)
    bucket.fails = lambda call, path: _claim_when_told(directory, call, path)  # type: ignore[func-returns-value]

    def _claim_when_told(directory: Directory, call: str, path: str) -> None:
        if call == "put" and path.endswith(".over"):
            bucket.fails = lambda _call, _path: None
            _claim(directory, host="elsewhere", beat=2.0)

    with pytest.raises(ChatbaseOutputBusyError, match="elsewhere"):
        _lock(directory).__enter__()


def test_a_storage_that_does_not_show_what_was_written_is_refused(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket, "ls", lambda *_args, **_kwargs: [])
    with pytest.raises(ChatbaseStorageError, match="does not show what was just written"):
        _lock(Directory(bucket, "/bucket/out", "u")).__enter__()
