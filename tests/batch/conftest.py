from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
from airflow_provider_chatbase.batch.settings import read_settings
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.lock import LockTimes
from airflow_provider_chatbase.simulator import Simulator

QUICK_LOCK = LockTimes(beat=0.1, stale=0.5)
PATIENT_LOCK = LockTimes(beat=0.1, stale=20.0)
"""For batches that are not about their lock: a busy machine may not give a sign of life for half a second."""


@pytest.fixture
def start() -> Callable[..., Simulator]:
    """Make a simulator with the given switches, to be started by ``with``."""
    return lambda **switches: Simulator(**{"conversations": 3, **switches})


@pytest.fixture
def simulator(start: Callable[..., Simulator]) -> Iterator[Simulator]:
    with start() as simulator:
        yield simulator


@pytest.fixture
def output(tmp_path: Path) -> Directory:
    return storage_of(tmp_path / "out")


def storage_of(path: Path) -> Directory:
    return Directory(LocalFileSystem(), str(path), f"file://{path}")


def new_batch(
    simulator: Simulator, output: Directory, *, run: str = "run-1", kind: Any = PromptBatch, **given: Any
) -> Any:
    """Make a batch; patience is short, since the simulator shows all at once; failures are put up with."""
    names = ("agent_id", "cache", "template", "on_duplicate", "try_number", "earlier_try_began")
    own = {name: given.pop(name) for name in names if name in given}
    speaks = {name: given.pop(name) for name in ("api_key", "api_version", "max_attempts") if name in given}
    connection = ClientSettings(
        **{
            "api_key": simulator.api_key,
            "host": simulator.url,
            "files_host": simulator.url,
            "max_attempts": 8,
            **speaks,
        }
    )
    settings = {
        "patience": 1.0,
        "patience_after_timeout": 1.0,
        "storage_patience": 0.5,
        "lock_times": PATIENT_LOCK,
        "max_failure_rate": 1,
        **given,
    }
    return kind(
        connection=connection,
        run=run,
        output=output,
        settings=read_settings(**settings),
        **{"agent_id": simulator.agent_id, **own},
    )


def rows_of(output: Directory) -> list[dict[str, Any]]:
    content = output.read("results.jsonl")
    assert content is not None
    return [json.loads(line) for line in content.splitlines()]


def questions(count: int) -> list[str]:
    return [f"Question {number}" for number in range(count)]


KILL_ME = Path(__file__).with_name("kill_me.py")


def run_and_kill(simulator: Simulator, output: Directory, kill_after: int | None, *how: Any) -> bool:
    """Run a batch in a process, kill it in the middle of a request, and say whether it was killed."""
    where = [simulator.url, simulator.api_key, simulator.agent_id, output.root]
    process = subprocess.Popen(
        [sys.executable, str(KILL_ME), *where, *map(str, how)],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    seen = 0

    def kill(request: object) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_after:
            process.kill()
            process.wait(200)  # meanwhile the server stands still: a slow death lets nothing through

    simulator.on_request = kill
    _, errors = process.communicate()
    simulator.on_request = None
    assert process.returncode in (0, -signal.SIGKILL), errors.decode()[-3000:]
    return process.returncode != 0
