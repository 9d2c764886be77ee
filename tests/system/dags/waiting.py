"""Waits that end in each of the ways in which a wait can end, in the triggerer."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

STUCK = {"source_ids": "{{ dag_run.conf['stuck'] }}", "timeout": 20}
FAILING = {"source_ids": "{{ dag_run.conf['failing'] }}"}

# Airflow may take a task for lost whose trigger fires before the scheduler has seen it deferred, and retry
# it; so the waits are long enough to make that rare. Those that fail for good are not retried at all.
DEFAULTS = {"deferrable": True, "poke_interval": 2, "retries": 5, "retry_delay": timedelta(seconds=1)}

with DAG("waiting", schedule=None, default_args=DEFAULTS):
    ChatbaseTrainingSensor(task_id="out_of_time", **STUCK)
    ChatbaseTrainingSensor(task_id="out_of_time_soft", soft_fail=True, **STUCK)
    ChatbaseTrainingSensor(task_id="failed", **FAILING)
    ChatbaseTrainingSensor(task_id="failed_soft", soft_fail=True, **FAILING)
    ChatbaseTrainingSensor(task_id="wrong_agent_soft", soft_fail=True, agent_id="nobody", retries=0)
