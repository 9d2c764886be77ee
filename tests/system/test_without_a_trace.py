"""The end of the tests' Airflow, after all that the other files here, whose names come before, did in it."""

from __future__ import annotations

import os

import psutil
import pytest

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]


def test_nothing_is_left_running_and_the_key_is_nowhere(airflow, processes, simulator, folder):
    """Also in Airflow's database, with its trigger rows, XComs and rendered fields."""
    pids = {process.pid for process in processes._running.values()}
    assert pids
    processes.stop()
    assert [process for process in psutil.process_iter() if _runs_in(process, pids)] == []

    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in files)
    assert [str(file) for file in files if simulator.api_key.encode() in file.read_bytes()] == []


def _runs_in(process: psutil.Process, sessions: set[int]) -> bool:
    try:
        return os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False
