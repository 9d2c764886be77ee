"""The quickstart, and waits of every kind, in Airflow's own processes: nothing is played here."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from exporting import manifest_at, rows_at
from quickstart_demo.airflow_api import ENDED, AirflowApi
from quickstart_demo.airflow_instance import AirflowInstance
from quickstart_demo.child_processes import ChildProcesses

from airflow_provider_chatbase.simulator import Simulator

pytestmark = pytest.mark.system

CHECKOUT = Path(__file__).parents[2]
KEY = "sk-of-the-system-test-4711"
QUICKSTART = CHECKOUT / "example_dags" / "chatbase_quickstart.py"
WAITING = Path(__file__).parent / "dags" / "waiting.py"
FAILING = "sim:fail-training"
SECONDS_TO_RUN = 60
IN_TRIGGERER = "*.trigger.*.log"


@pytest.fixture(scope="module")
def simulator():
    with Simulator(api_key=KEY, conversations=50, training_seconds=8.0) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("system")


@pytest.fixture(scope="module")
def processes(folder):
    children = ChildProcesses(folder)
    yield children
    children.stop()


@pytest.fixture(scope="module")
def airflow(folder, simulator, processes):
    connection = {
        "conn_type": "chatbase",
        "host": simulator.url,
        "password": KEY,
        "extra": {"agent_id": simulator.agent_id},
    }
    airflow = AirflowInstance(folder / "airflow", QUICKSTART, {"chatbase_default": json.dumps(connection)})
    airflow.prepare()
    shutil.copy(WAITING, airflow.home / "dags")
    airflow.start(processes)
    for _ in airflow.components_as_they_become_healthy(processes):
        pass
    return airflow


@pytest.fixture(scope="module")
def api(airflow, processes):
    with airflow.api() as api:
        deadline = time.monotonic() + SECONDS_TO_RUN
        while not (api.knows_dag("chatbase_quickstart") and api.knows_dag("waiting")):
            processes.check()
            assert api.import_errors() == []
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield api


class Run:
    def __init__(self, api: AirflowApi, dag_id: str, conf: dict) -> None:
        self._api, self._dag_id = api, dag_id
        self._run_id = api.trigger(dag_id, conf)

    def ended(self, processes: ChildProcesses) -> str:
        deadline = time.monotonic() + SECONDS_TO_RUN
        while (state := self._api.run_state(self._dag_id, self._run_id)) not in ENDED:
            processes.check()
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.1)
        return state

    def states(self) -> dict[str, str | None]:
        return {task.task_id: task.state for task in self._api.tasks(self._dag_id, self._run_id)}

    def returned(self, task_id: str):
        return self._api.returned_value(self._dag_id, self._run_id, task_id)


@pytest.fixture(scope="module")
def sources(simulator):
    """Give the agent a source that never trains and one whose training fails in a moment."""
    from airflow_provider_chatbase.simulator import agents

    agent = simulator.store.agents[simulator.agent_id]

    def add(name: str, content: str, seconds: float) -> str:
        source = agents.add_source(simulator._world, agent, "text", name, content)
        source.ready_at += seconds
        return source.id

    return {"stuck": add("Stuck", "text", 3600), "failing": add("Failing", FAILING, 12)}


@pytest.fixture(scope="module")
def runs(api, sources, folder):
    """Start both DAGs at once."""
    conf = {"output_path": (folder / "export").as_uri(), "instructions": "Be short."}
    return {
        "quickstart": Run(api, "chatbase_quickstart", conf),
        "waiting": Run(api, "waiting", sources),
    }


def logs_of(airflow: AirflowInstance, dag_id: str, task_id: str, name: str = "*.log") -> str:
    found = airflow.logs.glob(f"dag_id={dag_id}/run_id=*/task_id={task_id}/{name}")
    return "".join(file.read_text(errors="replace") for file in found)


def test_the_quickstart_runs_to_its_end(runs, airflow, processes, simulator, folder):
    run = runs["quickstart"]
    assert run.ended(processes) == "success", run.states()
    assert set(run.states().values()) == {"success"}
    assert "1 source trained." in logs_of(airflow, "chatbase_quickstart", "wait_for_training", IN_TRIGGERER)

    assert run.returned("update_agent")["changed"]["instructions"]["to"] == "Be short."
    assert simulator.store.agents[simulator.agent_id].fields["instructions"] == "Be short."
    answer = run.returned("ask")
    assert answer["text"]
    assert (answer["credits"], simulator.prompts_charged) == (1, 1)

    result = run.returned("export")
    exported = {row["id"] for row in rows_at(folder / "export")}
    before = {each.id for each in simulator.store.conversations(simulator.agent_id)}
    assert result["rows"] == manifest_at(folder / "export")["rows"] == len(exported)
    assert before - exported <= {answer["conversation_id"]}, (
        "it may be of the second in which the window ends"
    )
    assert len(json.dumps(result)) < 2048


def test_waits_end_in_the_triggerer_as_they_end_on_a_worker(runs, airflow, processes):
    run = runs["waiting"]
    assert run.ended(processes) == "failed"
    assert run.states() == {
        "out_of_time": "failed",
        "out_of_time_soft": "skipped",
        "failed": "failed",
        "failed_soft": "skipped",
        "wrong_agent_soft": "failed",
    }
    for task_id in ("out_of_time", "out_of_time_soft", "failed", "failed_soft"):
        assert "(" in logs_of(airflow, "waiting", task_id, IN_TRIGGERER), task_id
    assert "Not trained within 9 s. Last seen:" in logs_of(airflow, "waiting", "out_of_time")
    assert "'Failing' (" in logs_of(airflow, "waiting", "failed")
    assert "AGENT_NOT_FOUND" in logs_of(airflow, "waiting", "wrong_agent_soft")


def test_nothing_is_left_running_and_the_key_is_nowhere(runs, airflow, processes, folder):
    """Also in Airflow's database, with its trigger rows, XComs and rendered fields."""
    pids = {process.pid for process in processes._running.values()}
    assert pids
    processes.stop()
    assert [process for process in psutil.process_iter() if _runs_in(process, pids)] == []

    files = [file for file in folder.rglob("*") if file.is_file()]
    assert any(file.suffix == ".db" for file in files)
    assert [str(file) for file in files if KEY.encode() in file.read_bytes()] == []


def _runs_in(process: psutil.Process, sessions: set[int]) -> bool:
    try:
        return os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False
