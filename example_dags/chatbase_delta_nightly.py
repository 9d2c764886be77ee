"""
Keep tables of an agent's conversations and leads that are always current, and look at them in DuckDB.

The tables are in Delta Lake: each conversation and each message is there once, in its newest state, whatever
is read again. Each night goes on where the last one ended and reads the last days again, since conversations
go on; what was deleted at Chatbase meanwhile is removed. Spark, Trino, Databricks, Polars and DuckDB read
such tables; here DuckDB gets a database file with a view of each. Needs ``duckdb`` and the extra ``delta``.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Asset, Param, task
from airflow.timetables.trigger import CronTriggerTimetable

from airflow_provider_chatbase.operators.exports import (
    ChatbaseExportConversationsOperator,
    ChatbaseExportLeadsOperator,
)

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "output_path": Param(
        "file:///tmp/chatbase/tables",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
    "database": Param(
        "file:///tmp/chatbase/tables.duckdb",
        type="string",
        description="URL of a file for DuckDB. Several workers: where you find it, as s3://bucket/tables.duckdb.",
    ),
    "first_start": Param("2020-01-01", type="string", description="Where the first run begins (UTC)."),
    "lookback": Param(7, type="integer", minimum=0, description="Days that are read again."),
}

OPEN_QUESTIONS = """
CREATE OR REPLACE VIEW unanswered AS
SELECT c.conversation_date, c.conversation_id, c.channel, arg_max(m.text, m.position) AS last_text
FROM conversations c JOIN messages m USING (conversation_id)
GROUP BY ALL HAVING arg_max(m.role, m.position) = 'user'
"""

with DAG(
    dag_id="chatbase_delta_nightly",
    schedule=CronTriggerTimetable("0 2 * * *", timezone="UTC"),  # a moment, not an interval
    start_date=datetime(2026, 1, 1),  # noqa: DTZ001 - Airflow takes it for UTC
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    conversations = ChatbaseExportConversationsOperator(
        task_id="export_conversations",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}",
        file_format="delta",
        compression="zstd",
        first_start="{{ params.first_start }}",
        strategy="lookback",
        lookback="{{ params.lookback }}",
        remove_missing=True,
        vacuum_days=7,
        outlets=[Asset("chatbase_conversations_table")],
    )
    leads = ChatbaseExportLeadsOperator(
        task_id="export_leads",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}",
        file_format="delta",
        compression="zstd",
        first_start="{{ params.first_start }}",
        vacuum_days=7,
        outlets=[Asset("chatbase_leads_table")],
    )

    @task(multiple_outputs=False)
    def views(params: dict[str, Any]) -> dict[str, int]:
        """Point DuckDB at the files of the newest versions; vacuum keeps them for some days."""
        from pathlib import Path
        from tempfile import TemporaryDirectory

        import duckdb
        from airflow.sdk import ObjectStoragePath

        from airflow_provider_chatbase.files.delta_storage import read_delta

        path = ObjectStoragePath(params["database"])
        if path.protocol in ("file", ""):
            path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as folder:
            made = Path(folder, "tables.duckdb")
            with duckdb.connect(made) as database:
                for name in ("conversations", "messages", "tool_calls", "leads"):
                    show(database, name, read_delta(params["output_path"], name))
                database.execute(OPEN_QUESTIONS)
                names = ("conversations", "messages", "leads", "unanswered")
                counts = {name: database.table(name).count("*").fetchall()[0][0] for name in names}
            path.write_bytes(made.read_bytes())
        return counts

    [conversations, leads] >> views()


def show(database: Any, name: str, table: Any) -> None:
    """
    Show DuckDB a Delta table's newest version: by a view of its files, or by a copy.

    It reads files of an object store only with extensions and keys of its own; with them,
    ``FROM delta_scan('…')`` needs neither a copy nor a renewing.

    :param database: the open database.
    :param name: of what is to be seen.
    :param table: the table, as deltalake opened it.
    """
    if "://" not in table.table_uri.removeprefix("file://"):
        database.execute(view_of(name, table))
        return
    import pyarrow as pa

    database.from_arrow(pa.table(table.scan())).create(name)


def view_of(name: str, table: Any) -> str:
    """
    Write a view of a Delta table's newest version.

    :param name: the view's name.
    :param table: the table, as deltalake opened it.
    """
    types = {
        "string": "VARCHAR",
        "long": "BIGINT",
        "double": "DOUBLE",
        "date": "DATE",
        "timestamp": "TIMESTAMPTZ",
    }
    columns = {field.name: types[field.type.type] for field in table.schema().fields}
    files = table.file_uris()
    if not files:
        empty = ", ".join(f"NULL::{kind} AS {column}" for column, kind in columns.items())
        return f"CREATE OR REPLACE VIEW {name} AS SELECT {empty} LIMIT 0"
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    return (
        f"CREATE OR REPLACE VIEW {name} AS SELECT {', '.join(columns)} "  # noqa: S608 - names of our own columns
        f"FROM read_parquet([{listed}], hive_partitioning = true)"
    )
