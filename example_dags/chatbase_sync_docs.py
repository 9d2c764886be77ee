"""
Keep an agent's knowledge in step with a folder of documents, every night.

Set up a connection ``chatbase_default`` and set ``docs_path`` to a folder on any storage that Airflow knows.
Without one, the DAG writes two small documents to try it with. What is no longer in the folder is deleted
from the agent, but never more than 20 documents at once, and nothing that somebody else gave it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_chatbase.operators.sources import ChatbaseSyncSourcesOperator

SAMPLES = {
    "opening-hours.md": "# Opening hours\n\nOur support is open from Monday to Friday, 8:00 to 18:00 UTC.\n",
    "returns.txt": "Parcels can be returned within 30 days, free of charge.\n",
}

with DAG(
    dag_id="chatbase_sync_docs",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "agent_id": Param(
            None, type=["null", "string"], description="Empty: the connection's default agent."
        ),
        "docs_path": Param(
            None, type=["null", "string"], description="URL of a folder. Empty: write a small one."
        ),
        "samples_path": Param(
            "file:///tmp/chatbase/docs",
            type="string",
            description="Where to. Several workers: to where they share it, as s3://bucket/folder.",
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def choose_folder(params: dict[str, Any]) -> str:
        """Return the folder to read."""
        from airflow.sdk import ObjectStoragePath

        if params["docs_path"]:
            return str(params["docs_path"])
        folder = ObjectStoragePath(params["samples_path"])
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in SAMPLES.items():
            (folder / name).write_text(text)
        return str(params["samples_path"])

    ChatbaseSyncSourcesOperator(
        task_id="sync",
        agent_id="{{ params.agent_id or '' }}",
        path=choose_folder(),
        sync_id="docs",
        prune=True,
        max_deletes=20,
        wait_for_training=True,
        deferrable=True,
        poll_interval=5,
    )
