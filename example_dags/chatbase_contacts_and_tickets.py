"""
Keep the agent's contacts as in a table of customers, and land the help desk's tickets, every night.

Set up a connection ``chatbase_default`` and give the table as ``customers_path``: a CSV or Parquet with
``external_id``, ``name``, ``email``, ``phone``, and ``plan`` and ``seats``, which become attributes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_chatbase.operators.contacts import ChatbaseSyncContactsOperator
from airflow_provider_chatbase.operators.exports import ChatbaseExportTicketsOperator

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "customers_path": Param(
        None,
        type=["null", "string"],
        description="URL of the table. Empty: a small one is written to begin with.",
    ),
    "prune": Param(False, type="boolean", description="Delete contacts that are not in the table."),
    "output_path": Param(
        "file:///tmp/chatbase/helpdesk",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
}
SAMPLE = """external_id,name,email,phone,plan,seats
customer-1,Ada,ada@example.com,+49 30 1234567,pro,12
customer-2,Bo,bo@example.com,,free,1
"""

with DAG(
    dag_id="chatbase_contacts_and_tickets",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def table(params: dict[str, Any]) -> str:
        """Return the table of customers."""
        if params["customers_path"]:
            return params["customers_path"]
        folder = ObjectStoragePath(params["output_path"])
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "customers.csv"
        path.write_text(SAMPLE)
        return str(path)

    ChatbaseSyncContactsOperator(
        task_id="contacts",
        agent_id="{{ params.agent_id or '' }}",
        contacts=table(),
        create_attributes={"plan": "text", "seats": "number"},
        prune="{{ params.prune }}",
        max_deletes=0.1,
    )

    ChatbaseExportTicketsOperator(
        task_id="tickets",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}/tickets",
        file_format="csv",
        redact={"attachments": "drop"},
    )
