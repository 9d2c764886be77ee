"""Our operators in DAGs: templated, mapped, one after the other; and the quickstart as it is."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from exporting import rows_at

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def simulator(start_simulator, connect):
    simulator = start_simulator(training_seconds=0.5)
    connect(simulator)
    return simulator


@pytest.fixture
def quickstart(airflow_db):
    return runpy.run_path(str(CHECKOUT / "example_dags" / "chatbase_quickstart.py"))["dag"]


def test_the_quickstart(quickstart, run_dag, simulator, tmp_path, shown):
    quickstart.get_task("wait_for_training").poke_interval = 0.6
    conf = {"output_path": (tmp_path / "export").as_uri(), "question": "How long does a refund take?"}
    run = run_dag(quickstart, conf=conf)
    assert run.state == "success", run.task_states
    assert set(run.task_states.values()) == {"success"}
    assert run.xcoms["ask"]["text"]
    assert run.xcoms["export"]["rows"] == len(rows_at(tmp_path / "export")) >= 30
    assert simulator.prompts_charged == 1
    assert simulator.api_key not in str(run.xcoms)
    # Airflow 3.0 prints what it is told to mask, when a DAG is tested.
    lines = [line for line in shown().splitlines() if "msg=MaskSecret(" not in line]
    assert simulator.api_key not in "".join(lines)


def test_the_quickstart_adds_its_text_once(quickstart, simulator):
    add_source = quickstart.get_task("add_source").python_callable
    params = {"agent_id": "", "source_name": "Our hours", "source_text": "From 8 to 18."}
    first = add_source(params=params)
    simulator.advance(1)
    again = add_source(params={**params, "source_text": "From 9 to 17."})
    assert again["id"] == first["id"]
    [source] = [s for s in simulator.store.sources(simulator.agent_id) if s.name == "Our hours"]
    assert source.content == "From 9 to 17."
    assert None not in again.values()


@pytest.fixture
def mapped(airflow_db):
    from airflow.sdk import DAG, task

    from airflow_provider_chatbase.operators.agents import ChatbaseUpdateAgentOperator
    from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator
    from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

    with DAG("mapped", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task
        def sources(dag_run=None):
            from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

            with ChatbaseHook() as hook:
                return [hook.create_text_source(name, "Text.")["id"] for name in dag_run.conf["names"]]

        @task
        def as_lists(ids):
            return [[each] for each in ids]

        ids = sources()
        update = ChatbaseUpdateAgentOperator.partial(task_id="update").expand(
            settings=[{"instructions": "Answer in {{ dag_run.conf['words'] }} words."}]
        )
        wait = ChatbaseTrainingSensor.partial(task_id="wait", poke_interval=0.1, deferrable=False).expand(
            source_ids=as_lists(ids)
        )
        ask = ChatbaseSendMessageOperator.partial(task_id="ask", retries=0).expand(
            message=["", "{{ dag_run.conf['question'] }}"]
        )
        export = ChatbaseExportConversationsOperator.partial(
            task_id="export", start="{{ dag_run.conf['start'] }}", trigger_rule="all_done"
        ).expand(output_path=["{{ dag_run.conf['folder'] }}/{agent_id}"])
        update >> ids
        wait >> ask >> export
    return dag


def test_mapped_and_templated(mapped, run_dag, simulator, tmp_path):
    conf = {
        "names": ["One", "Two"],
        "words": "seven",
        "question": "Where is my order?",
        "start": "2020-01-01",
        "folder": tmp_path.as_uri(),
    }
    run = run_dag(mapped, conf=conf)
    assert run.task_states["update"] == ["success"]
    assert run.task_states["wait"] == ["success", "success"]
    assert run.task_states["ask"] == ["failed", "success"], "an empty message sinks no other"
    assert run.task_states["export"] == ["success"]
    fields = simulator.store.agents[simulator.agent_id].fields
    assert fields["instructions"] == "Answer in seven words."
    [asked] = simulator.requests_for("chatWithAgent")
    assert asked.json["message"] == "Where is my order?"
    assert len(rows_at(tmp_path / simulator.agent_id)) >= 30


def test_an_agent_that_an_upstream_task_did_not_name_is_not_the_default_one(airflow_db, run_dag, simulator):
    from airflow.sdk import DAG

    from airflow_provider_chatbase.operators.agents import (
        ChatbaseCreateAgentOperator,
        ChatbaseUpdateAgentOperator,
    )

    with DAG("not_named", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        made = ChatbaseCreateAgentOperator(task_id="make", settings={"name": "Another"})
        ChatbaseUpdateAgentOperator(
            task_id="change", agent_id=made.output["agent_id"], settings={"instructions": "Say no."}
        )
    before = dict(simulator.store.agents[simulator.agent_id].fields)
    run = run_dag(dag)
    assert run.task_states == {"make": "success", "change": "failed"}
    assert simulator.store.agents[simulator.agent_id].fields == before


@pytest.mark.parametrize("argument", ["agent_id", "source_ids"])
def test_a_sensor_does_not_wait_for_the_default_where_an_upstream_task_named_nothing(
    airflow_db, run_dag, simulator, argument
):
    from airflow.sdk import DAG, task

    from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

    with DAG("waits_for_nothing", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:

        @task
        def names_nothing():
            return None

        ChatbaseTrainingSensor(task_id="wait", **{argument: names_nothing()})
    assert run_dag(dag).task_states == {"names_nothing": "success", "wait": "failed"}
