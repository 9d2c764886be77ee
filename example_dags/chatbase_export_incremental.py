"""
Land what is new and what changed, every night, as Parquet that a warehouse can read.

The first run begins at ``first_start``; each later run goes on where the last one ended, and reads the last
days again, since conversations go on after they were exported. Their partitions are replaced, so no
conversation is there twice. Each run ends with the last whole day (UTC).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import DAG, Asset, Param
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_chatbase.operators.exports import (
    ChatbaseExportConversationsOperator,
    ChatbaseExportLeadsOperator,
)

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "output_path": Param(
        "file:///tmp/chatbase/warehouse",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
    "first_start": Param("2020-01-01", type="string", description="Where the first run begins (UTC)."),
    "lookback": Param(7, type="integer", minimum=0, description="Days that are read again."),
}

with DAG(
    dag_id="chatbase_export_incremental",
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC"),  # a moment, not an interval
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it for UTC
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    ChatbaseExportConversationsOperator(
        task_id="export_conversations",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}/conversations",
        first_start="{{ params.first_start }}",
        strategy="lookback",
        lookback="{{ params.lookback }}",
        file_format="parquet",
        compression="zstd",
        outlets=[Asset("chatbase_conversations")],
    )
    ChatbaseExportLeadsOperator(
        task_id="export_leads",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}/leads",
        first_start="{{ params.first_start }}",
        file_format="parquet",
        partition_by="day",
        outlets=[Asset("chatbase_leads")],
    )
