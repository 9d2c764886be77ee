"""The parts of scripts/demo that can be looked at without an Airflow; .ci/check_demo.py runs all of it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from quickstart_demo.chatbase_service import ChatbaseService, check_that_it_answers, service_of
from quickstart_demo.child_processes import ChildProcesses
from quickstart_demo.errors import DemoError
from quickstart_demo.ports import free_port
from quickstart_demo.sections import Sections
from quickstart_demo.task_logs import error_line, provider_lines


def test_no_key_means_the_simulator():
    assert service_of({"CHATBASE_AGENT_ID": "agent", "CHATBASE_BASE_URL": "http://127.0.0.1:1"}) is None


def test_key_without_agent_says_what_to_set():
    with pytest.raises(DemoError, match="set it to the agent"):
        service_of({"CHATBASE_API_KEY": "sk-secret"})


def test_named_service_becomes_a_connection_and_hides_its_key():
    service = service_of(
        {
            "CHATBASE_API_KEY": "sk-secret",
            "CHATBASE_AGENT_ID": "agent",
            "CHATBASE_BASE_URL": "http://127.0.0.1:1/",
        }
    )

    assert json.loads(service.airflow_connection()) == {
        "conn_type": "chatbase",
        "host": "http://127.0.0.1:1/",
        "password": "sk-secret",
    }
    assert service.address == "http://127.0.0.1:1"
    assert "sk-secret" not in repr(service)


def test_service_that_answers_passes_and_a_closed_port_does_not(chatbase_simulator):
    check_that_it_answers(ChatbaseService("agent", "sk-secret", chatbase_simulator.url))

    with pytest.raises(DemoError, match="does not answer"):
        check_that_it_answers(ChatbaseService("agent", "sk-secret", f"http://127.0.0.1:{free_port()}"))


def write_log(logs: Path, name: str, *records: dict[str, object]) -> None:
    file = logs / "dag_id=d" / "run_id=r" / "task_id=wait" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(record)}\n" for record in records) + "not JSON\n")


def record(
    second: int, event: str, logger: str = "airflow_provider_chatbase.triggers.training"
) -> dict[str, object]:
    return {"timestamp": f"2026-01-01T00:00:{second:02}Z", "event": event, "logger": logger}


def test_lines_of_worker_and_triggerer_come_in_order_of_time(tmp_path):
    write_log(
        tmp_path, "attempt=1.log", record(1, "untrained"), record(9, "done"), record(2, "x", "airflow.task")
    )
    write_log(tmp_path, "attempt=1.log.trigger.2.log", record(5, "training"), record(7, "trained"))

    texts = [line.text for line in provider_lines(tmp_path, "wait")]

    assert texts == ["untrained", "training", "trained", "done"]


def test_error_is_that_of_the_last_attempt(tmp_path):
    for attempt, why in enumerate(["reset", "wrong key"], start=1):
        detail = [{"exc_type": "ChatbaseError", "exc_value": why}]
        write_log(
            tmp_path, f"attempt={attempt}.log", record(attempt, "Task failed") | {"error_detail": detail}
        )

    assert error_line(tmp_path, "wait") == "ChatbaseError: wrong key"
    assert error_line(tmp_path, "other") is None


class RunOf:
    """A DAG run that has ended, with these returned values."""

    def __init__(self, values: dict[str, object]) -> None:
        self._values = values

    def returned(self, task_id: str) -> object:
        return self._values[task_id]


def test_sections_keep_the_order_of_the_story(tmp_path):
    run = RunOf({"update_agent": {"changed": {}}, "add_source": {"name": "Opening hours", "id": "s1"}})
    sections = Sections(run, tmp_path, tmp_path)

    assert list(sections.after("add_source")) == []
    assert [title for title, _ in sections.after("update_agent")] == [
        "What changed on the agent",
        "The source that was added",
    ]


STUBBORN_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
print(child.pid, flush=True)
time.sleep(60)
"""


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_stop_leaves_nothing_running_not_even_what_ignores_it(tmp_path, monkeypatch):
    monkeypatch.setattr("quickstart_demo.child_processes.SECONDS_TO_STOP", 0.2)
    children = ChildProcesses(tmp_path)
    children.start("family", [sys.executable, "-c", STUBBORN_FAMILY], env={}, cwd=tmp_path)
    log = tmp_path / "family.log"
    wait_until(lambda: log.read_text().strip())
    grandchild = psutil.Process(int(log.read_text()))

    children.stop()

    grandchild.wait(5)
    assert not grandchild.is_running()


def test_process_that_ends_by_itself_is_reported_with_its_last_words(tmp_path):
    children = ChildProcesses(tmp_path)
    children.start("broken", [sys.executable, "-c", "raise SystemExit('no port')"], env={}, cwd=tmp_path)

    with pytest.raises(DemoError, match=r"broken ended with exit code 1(.|\n)*no port"):
        wait_until(children.check)
