"""The parts of scripts/demo that can be looked at without an Airflow; .ci/check_demo.py runs all of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from quickstart_demo.chatbase_service import ChatbaseService, check_that_it_answers, service_of
from quickstart_demo.child_processes import ChildProcesses
from quickstart_demo.demo import Demo
from quickstart_demo.errors import DemoError
from quickstart_demo.ports import free_port
from quickstart_demo.promises import Promises
from quickstart_demo.sections import Sections
from quickstart_demo.task_logs import error_line, provider_lines

from airflow_provider_chatbase.simulator import Fault

REPOSITORY = Path(__file__).parents[1]


def test_an_environment_is_not_made_anew_because_the_demo_works_in_another_folder():
    script = (
        '. scripts/_environment.sh; cd scripts; here=$(fingerprint); cd ..; [ "$here" = "$(fingerprint)" ]'
    )
    done = subprocess.run(["bash", "-ec", script], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


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


@pytest.mark.parametrize(
    ("recovered", "exported"), [(False, range(30)), (True, range(29)), (True, [*range(29), 0])]
)
def test_a_promise_that_is_broken_is_no_line_of_the_table(chatbase_simulator, tmp_path, recovered, exported):
    promises = Promises(chatbase_simulator.url)
    key = {"Authorization": f"Bearer {chatbase_simulator.api_key}"}
    chat = f"{chatbase_simulator.url}/api/v2/agents/{chatbase_simulator.agent_id}/chat"
    with pytest.raises(httpx.TransportError):
        httpx.post(chat, headers=key, json={"message": "Hello"})
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": {number}}}\n' for number in exported))
    manifest = {"files": [{"path": "rows.jsonl"}]}

    with pytest.raises(DemoError, match="A promise is broken"):
        promises.proofs({"recovered": recovered}, tmp_path, manifest)

    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": {number}}}\n' for number in range(30)))
    assert len(promises.proofs({"recovered": True}, tmp_path, manifest)) == 2


STUBBORN_FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], process_group=0)
print(child.pid, flush=True)
time.sleep(60)
"""


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 100
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


class Screen:
    """Takes down what the demo shows, and answers what it asks."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.shown: list[str] = []
        self._agrees = agrees

    def agrees(self, question: str) -> bool:
        self.shown.append(question)
        return self._agrees

    def section(self, _title: str, content: object) -> None:
        self.shown.append(str(content))

    def happened(self, what: str) -> None:
        self.shown.append(what)

    def waiting_for(self, what: str) -> None:
        """Show nothing."""


@pytest.fixture
def real(chatbase_simulator, tmp_path, monkeypatch):
    """Give a function that runs the demo on a real agent; in place of Airflow something else happens."""
    agent_id = chatbase_simulator.agent_id
    environment = {
        "CHATBASE_API_KEY": chatbase_simulator.api_key,
        "CHATBASE_AGENT_ID": agent_id,
        "CHATBASE_BASE_URL": chatbase_simulator.url,
    }

    def run(happens, screen, *, changes=(), **options) -> None:
        def in_place_of_airflow(self, begin, params) -> None:
            begin()
            happens(chatbase_simulator.store.agents[agent_id], params)

        monkeypatch.setattr(Demo, "_run_until_stopped", in_place_of_airflow)
        folder = tmp_path / ".demo"
        shutil.rmtree(folder, ignore_errors=True)
        Demo(folder, Path("dag.py"), screen, 0).run({**environment, **dict(changes)}, **options)

    return run


def written(simulator) -> list[str]:
    return [each.operation for each in simulator.requests if each.method != "GET"]


def change(agent, params) -> None:
    with httpx.Client(base_url=change.url, headers={"Authorization": f"Bearer {change.key}"}) as http:
        http.put(f"/agents/{agent.id}", json={"instructions": params["instructions"]}).raise_for_status()
        text = {"type": "text", "name": params["source_name"], "content": "Open on Monday."}
        http.post(f"/agents/{agent.id}/sources", json=text).raise_for_status()
    if change.ends_with is not None:
        raise change.ends_with


@pytest.fixture
def changing(chatbase_simulator):
    change.url, change.key = f"{chatbase_simulator.url}/api/v2", chatbase_simulator.api_key
    change.ends_with = None
    return change


def test_real_agent_is_not_touched_without_live(real, chatbase_simulator, monkeypatch):
    monkeypatch.setattr(Demo, "_simulator", lambda *_: None)
    screen = Screen()

    real(lambda *_: None, screen)

    assert chatbase_simulator.requests == []
    assert "--live" in screen.shown[0]


def test_real_agent_is_shown_and_asked_about(real, chatbase_simulator, tmp_path):
    screen = Screen(agrees=False)

    with pytest.raises(DemoError, match="Nothing was changed"):
        real(pytest.fail, screen, live=True)

    assert "Ridgeline Support" in screen.shown[0]
    assert written(chatbase_simulator) == []
    assert not (tmp_path / ".demo-agent-before.json").exists()


@pytest.mark.parametrize("end", [None, KeyboardInterrupt(), SystemExit(143), DemoError("it failed")])
def test_real_agent_is_put_back(real, changing, chatbase_simulator, tmp_path, end):
    agent = chatbase_simulator.store.agents[chatbase_simulator.agent_id]
    before = agent.fields["instructions"], [each.name for each in agent.sources.values()]
    changing.ends_with = end

    with pytest.raises(type(end)) if end else contextlib.nullcontext():
        real(changing, Screen(), live=True)

    assert "updateAgent" in written(chatbase_simulator)
    assert (agent.fields["instructions"], [each.name for each in agent.sources.values()]) == before
    assert not (tmp_path / ".demo-agent-before.json").exists()


def test_what_an_agent_was_like_is_kept_when_it_cannot_be_put_back(
    real, changing, chatbase_simulator, tmp_path
):
    agent = chatbase_simulator.store.agents[chatbase_simulator.agent_id]
    before = agent.fields["instructions"]

    def change_and_break(*arguments) -> None:
        changing(*arguments)
        chatbase_simulator.faults.add(Fault(kind="status", status=403))

    with pytest.raises(DemoError, match="demo-agent-before"):
        real(change_and_break, Screen(), live=True)
    assert json.loads((tmp_path / ".demo-agent-before.json").read_text())["instructions"] == before
    chatbase_simulator.faults.clear()
    with pytest.raises(DemoError, match="An earlier run"):
        real(pytest.fail, Screen(), live=True)


def test_instructions_that_somebody_else_changed_meanwhile_are_left(real, changing, chatbase_simulator):
    def change_by_somebody_else(agent, params) -> None:
        changing(agent, params)
        agent.fields["instructions"] = "Of somebody else."

    real(change_by_somebody_else, Screen(), live=True)

    agent = chatbase_simulator.store.agents[chatbase_simulator.agent_id]
    assert agent.fields["instructions"] == "Of somebody else."


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"CHATBASE_API_KEY": "wrong"}, "Invalid API key"),
        ({"CHATBASE_AGENT_ID": "unknown"}, "Agent not found"),
        ({"CHATBASE_API_KEY": ""}, "set them"),
    ],
)
def test_wrong_key_is_known_before_airflow_starts(real, changes, says):
    with pytest.raises(DemoError, match=says):
        real(pytest.fail, Screen(), live=True, changes=changes)


def test_help_needs_nothing_installed(tmp_path):
    command = [REPOSITORY / "scripts" / "demo", "--help"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHATBASE_API_KEY": "k"}

    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)

    assert "--live" in shown.stdout
    wrong = subprocess.run(
        [command[0], "--alive"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert wrong.returncode == 2
