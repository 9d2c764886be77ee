"""The ``run_dag`` fixture itself: the other tests believe what it says."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

import pytest


@pytest.fixture
def dag():
    from airflow.providers.common.compat.sdk import BaseHook
    from airflow.sdk import DAG, task

    with DAG("run_dag_fixture", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC)) as dag:

        @task
        def read_connection(dag_run=None):
            connection = BaseHook.get_connection("chatbase_default")
            return {"host": connection.host, "extra": connection.extra_dejson, "conf": dag_run.conf}

        @task
        def double(number):
            if number < 0:
                raise ValueError(number)
            return 2 * number

        read_connection() >> double.expand(number=[1, -2, 3])
    return dag


def test_says_how_each_task_ended_and_what_it_returned(run_dag, dag):
    handler = signal.getsignal(signal.SIGTERM)

    run = run_dag(
        dag,
        conf={"asked": True},
        connections={
            "chatbase_default": {
                "conn_type": "chatbase",
                "host": "http://127.0.0.1:9/base",
                "password": "sk-test",
                "extra": {"timeout": 30},
            }
        },
    )

    assert run.state == "failed"
    assert run.task_states == {"read_connection": "success", "double": ["success", "failed", "success"]}
    assert run.xcoms == {
        "read_connection": {
            "host": "http://127.0.0.1:9/base",
            "extra": {"timeout": 30},
            "conf": {"asked": True},
        },
        "double": [2, 6],
    }
    assert signal.getsignal(signal.SIGTERM) is handler, "pytest could no longer be ended with SIGTERM"
