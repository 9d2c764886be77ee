"""When a task is tried again after Chatbase asked to wait, by the policy that Airflow 3.3 asks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_chatbase.exceptions import ChatbaseError
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.retry_policy import ChatbaseRetryPolicy
from airflow_provider_chatbase.simulator import Fault


@pytest.fixture
def policies():
    return pytest.importorskip("airflow.sdk.definitions.retry_policy", reason="Airflow before 3.3 has none")


def failure(simulator, fault: Fault) -> ChatbaseError:
    simulator.faults.add(fault)
    with pytest.raises(ChatbaseError) as raised:
        ChatbaseSendMessageOperator(task_id="ask", message="Hello").execute({})
    return raised.value


@pytest.mark.parametrize(("asked", "waited"), [(90, 90), (10**9, 6 * 3600)])
def test_the_wait_that_is_asked_for_becomes_the_retry_delay(policies, simulator, connect, asked, waited):
    connect(simulator)
    error = failure(simulator, Fault(kind="status", status=429, retry_after=asked, times=20))
    decision = ChatbaseRetryPolicy().evaluate(exception=error, try_number=1, max_tries=3, context=None)
    assert decision.action is policies.RetryAction.RETRY
    assert decision.retry_delay == timedelta(seconds=waited)


def test_another_failure_waits_as_the_task_says(policies, simulator, connect):
    connect(simulator, extra={"max_attempts": 1})
    error = failure(simulator, Fault(kind="status", status=500))
    for each in (error, ValueError("of the task's own")):
        assert ChatbaseRetryPolicy().evaluate(each, 1, 3).action is policies.RetryAction.DEFAULT


def test_a_dag_gives_it_to_all_its_tasks_whatever_the_airflow(airflow_db):
    from airflow.sdk import DAG

    policy = ChatbaseRetryPolicy()
    with DAG("asks", schedule=None, default_args={"retry_policy": policy, "retries": 3}):
        task = ChatbaseSendMessageOperator(task_id="ask", message="Hello")
    assert getattr(task, "retry_policy", policy) is policy
