"""A cleared task goes on with what its earlier try made, though clearing lets the run start anew."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta

import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import clear_task_instances
from airflow.sdk import DAG
from airflow.sdk.definitions.dag import _run_task
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import select

from airflow_provider_chatbase.operators.agents import (
    ChatbaseCloneAgentOperator,
    ChatbaseCreateAgentOperator,
    ChatbaseDeleteAgentOperator,
)
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from tests.operators.conftest import writes


@pytest.fixture
def run(run_dag):
    """Return a function that runs a DAG of one task."""

    def run(build, **arguments) -> tuple[DAG, str]:
        with DAG("cleared", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            build(task_id="task", **arguments)
        return dag, run_dag(dag).state

    return run


def clear_and_run(dag: DAG) -> str:
    """Clear the task of the newest run as the user interface does, and run it as ``dag.test()`` would."""
    with create_session() as session:
        newest = select(DagRun).where(DagRun.dag_id == dag.dag_id).order_by(DagRun.id.desc()).limit(1)
        dag_run = session.scalars(newest).one()
        clear_task_instances(dag_run.get_task_instances(session=session), session)
        session.commit()
        assert dag_run.clear_number == 1
        # From here on as the scheduler does it; an hour later, since a minute counts as clocks that differ.
        dag_run.state, dag_run.start_date = DagRunState.RUNNING, datetime.now(tz=UTC) + timedelta(hours=1)
        (ti,) = dag_run.get_task_instances(session=session)
        ti.try_number += 1
        ti.state = TaskInstanceState.SCHEDULED
        session.commit()
    task = dag.task_dict[ti.task_id]
    if "task" in inspect.signature(_run_task).parameters:
        _run_task(ti=ti, task=task, run_triggerer=True)
    else:  # 3.0
        ti.task = task
        _run_task(ti=ti, run_triggerer=True)
    return TaskInstanceState(ti.state).value


@pytest.mark.parametrize("arguments", [{"name": "Green"}, {}], ids=["named", "unnamed"])
def test_a_cleared_clone_finds_its_copy(start, run, arguments):
    simulator = start()
    dag, state = run(ChatbaseCloneAgentOperator, **arguments)
    assert state == "success"
    assert clear_and_run(dag) == "success"
    assert writes(simulator).count("cloneAgent") == 1
    assert len(simulator.store.agents) == 2


@pytest.mark.parametrize("if_exists", ["fail", "create"])
def test_a_cleared_create_whose_training_failed_finds_its_agent(start, run, if_exists):
    simulator = start()
    dag, state = run(
        ChatbaseCreateAgentOperator,
        name="Parcels",
        url="https://x.example/sim:fail-training",
        if_exists=if_exists,
        wait_for_training=True,
        poll_interval=0.05,
    )
    assert state == "failed"
    (agent,) = (each for each in simulator.store.agents.values() if each.name == "Parcels")
    for source in agent.sources.values():
        source.fails = False
    assert clear_and_run(dag) == "success"
    assert writes(simulator) == ["createAgent"]


def test_a_cleared_delete_knows_that_it_was_done(start, run):
    simulator = start()
    dag, state = run(ChatbaseDeleteAgentOperator, agent_id=simulator.agent_id, confirm=simulator.agent_id)
    assert state == "success"
    assert clear_and_run(dag) == "success"


def test_a_cleared_message_finds_its_answer(start, run):
    simulator = start()
    dag, state = run(ChatbaseSendMessageOperator, message="Hello?")
    assert state == "success"
    assert clear_and_run(dag) == "success"
    assert writes(simulator) == ["chatWithAgent"]


def test_another_run_makes_an_agent_of_its_own(start, run):
    simulator = start()
    run(ChatbaseCreateAgentOperator, name="Parcels", if_exists="create")
    run(ChatbaseCreateAgentOperator, name="Parcels", if_exists="create")
    assert writes(simulator) == ["createAgent"] * 2
