"""The example DAGs of this part, run as they are in real Airflow against the simulator."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture
def example(airflow_db):
    """Return the DAG of an example file, without pauses between attempts."""

    def load(name):
        from datetime import timedelta

        dag = runpy.run_path(str(EXAMPLES / f"{name}.py"))["dag"]
        for task in dag.tasks:
            if not task.is_mapped:
                task.retry_delay = timedelta(0)
        return dag

    return load


def test_docs_are_synced_and_trained(start, example, run_dag, tmp_path, monkeypatch):
    from airflow_provider_chatbase.client import rate_limiter

    monkeypatch.setattr(rate_limiter, "UPLOAD_INTERVAL", 0.0)
    simulator = start(training_seconds=0.5)
    samples = f"file://{tmp_path}/docs"
    run = run_dag(example("chatbase_sync_docs"), conf={"samples_path": samples})
    assert run.state == "success"
    assert run.xcoms["sync"]["created"] == 2
    (tmp_path / "docs" / "extra.md").write_text("more")
    again = run_dag(example("chatbase_sync_docs"), conf={"docs_path": samples})
    assert (again.xcoms["sync"]["created"], again.xcoms["sync"]["unchanged"]) == (1, 2)
    names = [source.name for source in simulator.store.sources(simulator.agent_id)]
    assert sum(name.startswith("docs:") for name in names) == 3


def test_agents_as_code(start, example, run_dag, tmp_path):
    simulator = start()
    conf = {"samples_path": f"file://{tmp_path}/agents"}
    run = run_dag(example("chatbase_agents_as_code"), conf=conf)
    assert run.state == "success"
    (agent,) = [agent for agent in simulator.store.agents.values() if agent.name == "Parcel support"]
    assert agent.fields["creditLimit"] == 500
    agent.fields["temp"] = 0.9
    run = run_dag(example("chatbase_agents_as_code"), conf=conf)
    assert run.state == "success"
    assert run.xcoms["apply"][0]["changed"] == {"temp": {"from": 0.9, "to": 0.2}}
    assert run.xcoms["check"][0]["drift"] is False


@pytest.mark.parametrize(("must_contain", "state"), [("", "success"), ("no answer has this", "failed")])
def test_blue_green(start, example, run_dag, must_contain, state):
    simulator = start()
    live = simulator.store.agents[simulator.agent_id]
    before = live.fields["instructions"]
    conf = {
        "instructions": "Be brief.",
        "golden": [{"question": "What does shipping cost?", "must_contain": must_contain}],
    }
    run = run_dag(example("chatbase_blue_green"), conf=conf)
    assert run.state == state
    assert live.fields["instructions"] == ("Be brief." if state == "success" else before)
    assert list(simulator.store.agents) == [simulator.agent_id], "the copy is gone"
    assert run.task_states["delete_green"] == "success"


@pytest.mark.parametrize("send", [False, True])
def test_templates_are_sent_when_it_is_said(start, example, run_dag, tmp_path, send):
    simulator = start()
    run = run_dag(
        example("chatbase_send_templates"), conf={"output_path": f"file://{tmp_path}", "send": send}
    )
    assert run.state == "success"
    assert len(simulator.store.templates_sent) == (2 if send else 0)


def test_contacts_and_tickets(start, example, run_dag, tmp_path):
    simulator = start()
    conf = {"output_path": f"file://{tmp_path}"}
    runs = [run_dag(example("chatbase_contacts_and_tickets"), conf=conf) for _ in range(2)]
    assert [run.state for run in runs] == ["success", "success"]
    assert [run.xcoms["contacts"]["created"] for run in runs] == [2, 0]
    assert [each["name"] for each in simulator.store.contacts(simulator.agent_id)] == ["Ada", "Bo"]
    assert {"tickets", "ticket_messages"} <= {path.name for path in (tmp_path / "tickets").rglob("*")}
