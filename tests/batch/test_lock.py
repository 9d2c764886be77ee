from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from airflow_provider_chatbase.batch.batch import LOCK
from airflow_provider_chatbase.exceptions import ChatbaseBatchError, ChatbaseOutputBusyError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.lock import Lock, this_process
from airflow_provider_chatbase.simulator import Simulator
from tests.batch.conftest import QUICK_LOCK, new_batch, questions


def _lock(output: Directory, task: str = "a") -> Lock:
    return Lock(output, LOCK, task, QUICK_LOCK)


def _write(output: Directory, **changes: object) -> None:
    found = {**this_process(), "task": "b", "beat": time.time(), **changes}
    output.write(f"{LOCK}-other.json", json.dumps(found).encode())


def _take_over(output: Directory) -> None:
    """Do to the one run there is what another one does that found it silent."""
    for name in output.names("_checkpoint"):
        if name.startswith("_lock-") and name.endswith(".json") and name != "_lock-other.json":
            output.write(f"_checkpoint/{name.removesuffix('.json')}.over", b"{}")
    _write(output)


def test_two_at_once_are_refused_and_told_who_has_it(output: Directory):
    with _lock(output), pytest.raises(ChatbaseOutputBusyError, match=f"task a, process {os.getpid()} on"):
        _lock(output, "b").__enter__()
    with _lock(output, "b"):
        pass
    assert output.names("_checkpoint") == []


def test_the_same_task_instance_is_refused_while_the_other_lives(output: Directory):
    with _lock(output), pytest.raises(ChatbaseOutputBusyError):
        _lock(output).__enter__()


def test_a_dead_process_is_taken_over_at_once(output: Directory):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    _write(output, pid=dead.pid)
    began = time.monotonic()
    with _lock(output):
        assert time.monotonic() - began < QUICK_LOCK.stale


def test_a_process_id_that_is_used_again_is_another_process(output: Directory):
    _write(output, started="12345")
    with _lock(output):
        pass


def test_a_silent_lock_of_another_machine_is_taken_over(output: Directory):
    _write(output, host="elsewhere", beat=time.time() - 100)
    with _lock(output):
        pass


def test_a_lively_lock_of_another_machine_is_not(output: Directory):
    _write(output, host="elsewhere")
    with pytest.raises(ChatbaseOutputBusyError, match="elsewhere"):
        _lock(output).__enter__()


def test_with_another_clock_the_signs_of_life_count(output: Directory):
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


def test_a_retry_elsewhere_waits_until_the_first_is_silent(output: Directory):
    _write(output, host="elsewhere", task="a")
    began = time.monotonic()
    with _lock(output):
        assert time.monotonic() - began >= QUICK_LOCK.stale


def test_one_that_was_taken_over_learns_it(output: Directory):
    lost = threading.Event()
    with _lock(output) as lock:
        lock.on_lost = lost.set
        _take_over(output)
        assert lost.wait(20)
        assert not lock.held
    assert output.names("_checkpoint") == ["_lock-other.json"]


def test_a_batch_that_lost_its_lock_sends_no_more(simulator: Simulator, output: Directory):
    simulator.on_request = lambda request: (
        _take_over(output) if len(simulator.requests_for("chatWithAgent")) == 5 else time.sleep(0.02)
    )
    with pytest.raises(Exception, match="took over"):
        new_batch(simulator, output, concurrency=2).ask_all(questions(500))
    assert len(simulator.requests_for("chatWithAgent")) < 100
    assert output.read("results.jsonl") is None


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]"])
def test_a_broken_lock_file_is_no_obstacle_for_long(output: Directory, content: bytes):
    output.write(f"{LOCK}-other.json", content)
    with _lock(output):
        pass


def test_a_later_try_of_the_same_task_tells_the_earlier_one_to_end_and_takes_over(
    start: Callable[..., Simulator], output: Directory
):
    """Airflow loses sight of a task that goes on working, and begins its next try."""
    with start(latency={"chatWithAgent": 0.05}) as simulator:
        begun, ended = threading.Event(), []
        simulator.on_request = lambda request: (
            begun.set() if len(simulator.requests_for("chatWithAgent")) == 20 else None
        )

        def first() -> None:
            try:
                new_batch(simulator, output, concurrency=4).ask_all(questions(300))
            except ChatbaseBatchError as error:
                ended.append(str(error))

        thread = threading.Thread(target=first)
        thread.start()
        assert begun.wait(60)
        simulator.on_request = None
        report = new_batch(
            simulator, output, concurrency=8, try_number=2, earlier_try_began=time.time() - 60
        ).ask_all(questions(300))
        thread.join(60)
        assert "took over" in ended[0]
        assert report.tally.outcomes["answered"] == 300
        assert simulator.prompts_charged == 300


def test_an_earlier_try_does_not_end_a_later_one(output: Directory):
    with (
        Lock(output, LOCK, "a", QUICK_LOCK, try_number=2) as later,
        pytest.raises(ChatbaseOutputBusyError),
    ):
        Lock(output, LOCK, "a", QUICK_LOCK, try_number=1).__enter__()
    assert not later._lost
