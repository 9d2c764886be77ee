"""The quickstart, and waits of every kind, in Airflow's own processes: nothing is played here."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from datetime import datetime

import pytest
from exporting import manifest_at, rows_at
from quickstart_demo.airflow_api import ENDED, AirflowApi
from quickstart_demo.airflow_instance import AirflowInstance

from airflow_provider_chatbase.simulator import agents

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]

FAILING = "sim:fail-training"
IN_TRIGGERER = "*.trigger.*.log"
TRAINING = 3600.0  # until a test says that it is over


class Run:
    def __init__(self, api: AirflowApi, dag_id: str, conf: dict, wait: Callable[..., None]) -> None:
        self._api, self._dag_id, self._wait = api, dag_id, wait
        self._run_id = api.trigger(dag_id, conf)

    def ended(self) -> str:
        self._wait(lambda: self.state in ENDED, seen=self.states)
        return self.state

    @property
    def state(self) -> str:
        return self._api.run_state(self._dag_id, self._run_id)

    def states(self) -> dict[str, str | None]:
        return {task.task_id: task.state for task in self._api.tasks(self._dag_id, self._run_id)}

    def returned(self, task_id: str):
        return self._api.returned_value(self._dag_id, self._run_id, task_id)


@pytest.fixture(scope="module")
def sources(simulator):
    """Give the agent a source that never trains and one whose training fails once it is told to."""
    agent = simulator.store.agents[simulator.agent_id]

    def add(name: str, content: str):
        source = agents.add_source(simulator._world, agent, "text", name, content)
        source.ready_at += TRAINING
        return source

    return {"stuck": add("Stuck", "text"), "failing": add("Failing", FAILING)}


@pytest.fixture(scope="module")
def runs(api, sources, folder, wait):
    """Start both DAGs at once."""
    conf = {"output_path": (folder / "export").as_uri(), "instructions": "Be short."}
    ids = {name: source.id for name, source in sources.items()}
    return {
        "quickstart": Run(api, "chatbase_quickstart", conf, wait),
        "waiting": Run(api, "waiting", ids, wait),
    }


def logs_of(airflow: AirflowInstance, dag_id: str, task_id: str, name: str = "*.log") -> str:
    found = airflow.logs.glob(f"dag_id={dag_id}/run_id=*/task_id={task_id}/{name}")
    return "".join(file.read_text(errors="replace") for file in found)


def in_triggerer(airflow: AirflowInstance, dag_id: str, task_id: str) -> bool:
    """Say whether the task's trigger has seen a source that is not trained, which it shows with its state."""
    return "(" in logs_of(airflow, dag_id, task_id, IN_TRIGGERER)


def test_the_quickstart_runs_to_its_end(runs, airflow, simulator, sources, folder, wait):
    run = runs["quickstart"]
    wait(lambda: in_triggerer(airflow, "chatbase_quickstart", "wait_for_training"), seen=run.states)
    for source in simulator.store.sources(simulator.agent_id):
        source.ready_at -= TRAINING if source not in sources.values() else 0
    assert run.ended() == "success", run.states()
    assert set(run.states().values()) == {"success"}
    assert "1 source trained." in logs_of(airflow, "chatbase_quickstart", "wait_for_training", IN_TRIGGERER)

    assert run.returned("update_agent")["changed"]["instructions"]["to"] == "Be short."
    assert simulator.store.agents[simulator.agent_id].fields["instructions"] == "Be short."
    answer = run.returned("ask")
    assert answer["text"]
    assert (answer["credits"], simulator.prompts_charged) == (1, 1)

    result = run.returned("export")
    exported = {row["id"] for row in rows_at(folder / "export")}
    end = datetime.fromisoformat(result["window"]["end"]).timestamp()
    there = simulator.store.conversations(simulator.agent_id)
    assert result["rows"] == manifest_at(folder / "export")["rows"] == len(exported)
    assert exported == {each.id for each in there if each.created_at < end}
    assert len(json.dumps(result)) < 2048


def metrics_in(statsd: socket.socket) -> set[str]:
    found = set()
    while True:
        try:
            found.add(statsd.recv(65536).decode())
        except BlockingIOError:
            return found


def test_metrics_of_a_task_and_of_a_trigger_reach_statsd(runs, statsd):
    runs["quickstart"].ended()
    found = metrics_in(statsd)
    of = "connection=chatbase_default,operation"
    assert f"airflow.chatbase.credits,{of}=chatWithAgent,agent=agent-1:1|c" in found
    assert f"airflow.chatbase.requests,{of}=updateAgent,agent=agent-1,outcome=ok:1|c" in found
    assert f"airflow.chatbase.requests,{of}=getSource,agent=agent-1,outcome=ok:1|c" in found


def test_waits_end_in_the_triggerer_as_they_end_on_a_worker(runs, airflow, sources, wait):
    run = runs["waiting"]
    for task_id in ("failed", "failed_soft"):
        wait(lambda task_id=task_id: in_triggerer(airflow, "waiting", task_id), seen=run.states)
    sources["failing"].ready_at -= 2 * TRAINING
    assert run.ended() == "failed"
    assert run.states() == {
        "out_of_time": "failed",
        "out_of_time_soft": "skipped",
        "failed": "failed",
        "failed_soft": "skipped",
        "wrong_agent_soft": "failed",
    }
    for task_id in ("out_of_time", "out_of_time_soft", "failed", "failed_soft"):
        assert in_triggerer(airflow, "waiting", task_id), task_id
    assert "Not trained within 20 s. Last seen:" in logs_of(airflow, "waiting", "out_of_time")
    assert "'Failing' (" in logs_of(airflow, "waiting", "failed")
    assert "AGENT_NOT_FOUND" in logs_of(airflow, "waiting", "wrong_agent_soft")
