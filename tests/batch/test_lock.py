from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from airflow_provider_chatbase.batch.lock import LOCK, OutputLock, _this_process
from airflow_provider_chatbase.batch.storage import Storage
from airflow_provider_chatbase.exceptions import ChatbaseOutputBusyError
from airflow_provider_chatbase.simulator import Simulator
from tests.batch.conftest import QUICK_LOCK, new_batch, questions


def _lock(output: Storage, task: str = "a") -> OutputLock:
    return OutputLock(output, task, QUICK_LOCK)


def _write(output: Storage, **changes: object) -> None:
    found = {**_this_process(), "owner": "other", "task": "b", "beat": time.time(), **changes}
    output.write(LOCK, json.dumps(found).encode())


def test_two_at_once_are_refused_and_told_who_has_it(output: Storage):
    with _lock(output), pytest.raises(ChatbaseOutputBusyError, match=f"task a, process {os.getpid()} on"):
        _lock(output, "b").__enter__()
    with _lock(output, "b"):
        pass
    assert output.read(LOCK) is None


def test_the_same_task_instance_is_refused_while_the_other_lives(output: Storage):
    with _lock(output), pytest.raises(ChatbaseOutputBusyError):
        _lock(output).__enter__()


def test_a_dead_process_is_taken_over_at_once(output: Storage):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _write(output, pid=dead.pid)
    began = time.monotonic()
    with _lock(output):
        assert time.monotonic() - began < QUICK_LOCK.stale


def test_a_process_id_that_is_used_again_is_another_process(output: Storage):
    _write(output, started="12345")
    with _lock(output):
        pass


def test_a_silent_lock_of_another_machine_is_taken_over(output: Storage):
    _write(output, host="elsewhere", beat=time.time() - 100)
    with _lock(output):
        pass


def test_a_lively_lock_of_another_machine_is_not(output: Storage):
    _write(output, host="elsewhere")
    with pytest.raises(ChatbaseOutputBusyError, match="elsewhere"):
        _lock(output).__enter__()


def test_with_another_clock_the_signs_of_life_count(output: Storage):
    stop = threading.Event()

    def live() -> None:
        beat = time.time() - 1000
        while not stop.wait(0.05):
            beat += 1
            _write(output, host="elsewhere", beat=beat)

    _write(output, host="elsewhere", beat=time.time() - 1000)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(ChatbaseOutputBusyError):
            _lock(output).__enter__()
    finally:
        stop.set()
        thread.join()


def test_a_retry_elsewhere_waits_until_the_first_is_silent(output: Storage):
    _write(output, host="elsewhere", task="a")
    began = time.monotonic()
    with _lock(output):
        assert time.monotonic() - began >= QUICK_LOCK.stale


def test_one_that_was_taken_over_learns_it(output: Storage):
    lost = threading.Event()
    with _lock(output) as lock:
        lock.on_lost = lost.set
        for _ in range(50):  # a renewal that is under way may still write over it
            _write(output)
            if lost.wait(0.1):
                break
        assert not lock.held
    assert json.loads(output.read(LOCK) or b"")["owner"] == "other"


def test_a_batch_that_lost_its_lock_sends_no_more(simulator: Simulator, output: Storage):
    simulator.on_request = lambda request: (
        _write(output) if len(simulator.requests_for("chatWithAgent")) == 5 else time.sleep(0.02)
    )
    with pytest.raises(Exception, match="took over"):
        new_batch(simulator, output, concurrency=2).ask_all(questions(500))
    assert len(simulator.requests_for("chatWithAgent")) < 100
    assert output.read("results.jsonl") is None


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]"])
def test_a_broken_lock_file_is_no_obstacle_for_long(output: Storage, content: bytes):
    output.write(LOCK, content)
    with _lock(output):
        pass
