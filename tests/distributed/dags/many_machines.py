"""A DAG for each case. Its tasks have queues of their own, so a test says which machine gets them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator
from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator
from airflow_provider_chatbase.operators.sources import ChatbaseSyncSourcesOperator
from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

PROMPTS, SOURCES, WAITS = 40, 40, 50
DISK = os.environ["DISK_OF_THE_MACHINE"]


def batch(case: str, output_path: str, name: str = "batch", count: int = PROMPTS, **kwargs: object) -> None:
    ChatbaseBatchPromptOperator(
        task_id=name,
        prompts=[f"{case} {name}: question {number}" for number in range(count)],
        output_path=output_path,
        concurrency=4,
        **kwargs,
    )


def export(output_path: str, name: str = "export", **kwargs: object) -> None:
    ChatbaseExportConversationsOperator(
        task_id=name,
        start="2000-01-01",
        end="{{ params.end }}",
        output_path=output_path,
        concurrency=4,
        **kwargs,
    )


def sync(case: str) -> None:
    texts = [{"key": f"text {number}", "content": f"The text {number}."} for number in range(SOURCES)]
    ChatbaseSyncSourcesOperator(task_id="sync", sources=texts, sync_id=case, prune=True)


def case(name: str, **defaults: object) -> DAG:
    common = {
        "queue": name,
        "chatbase_conn_id": name,
        "pool": "cases",
        "retries": 5,
        "retry_delay": timedelta(seconds=1),
        **defaults,
    }
    params = {"end": "2100-01-01", "source": ""}
    start_date = datetime(2026, 1, 1, tzinfo=UTC)
    return DAG(name, schedule=None, start_date=start_date, params=params, default_args=common)


for name in ("killed", "drained", "drained_all", "stopped", "frozen", "overtaken", "lost", "cleared"):
    with case(name) as dag:
        batch(name, f"s3://s3@cases/{name}/batch")
        export(f"s3://s3@cases/{name}/export")
        sync(name)
        if name == "killed":
            batch(name, f"file://{DISK}/local", "local")
    globals()[name] = dag

with case("one_key") as one_key:
    for machine in ("ant", "bee"):
        batch("one_key", f"s3://s3@cases/one_key/{machine}", machine, 2 * PROMPTS, queue=machine)

with case("away") as away:
    batch("away", "s3://s3_away@cases/away/batch")

with case("twins", retry_delay=timedelta(seconds=5)) as twins:
    for machine in ("fox", "gnu"):
        export("s3://s3_twins@cases/twins/export", f"export_{machine}", queue=machine)

with case("waits", pool="waits", deferrable=True, poke_interval=2) as waits:
    ChatbaseTrainingSensor.partial(task_id="wait").expand(source_ids=["{{ params.source }}"] * WAITS)
