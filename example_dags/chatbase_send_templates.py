"""
Tell customers on WhatsApp that their order is on its way, each at most once.

Set up a connection ``chatbase_default`` and give the table as ``recipients_path``: a CSV or Parquet with the
columns ``to``, ``language`` and the template's variables, such as ``body[1]``. Nothing is sent while ``send``
is off: the task then only counts. A killed or cleared task goes on where it was; a message whose reply was
lost is never sent again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_chatbase.operators.whatsapp import ChatbaseSendTemplatesOperator

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "recipients_path": Param(
        None,
        type=["null", "string"],
        description="URL of the table. Empty: a small one is written to begin with.",
    ),
    "template": Param("order_shipped", type="string", description="The template's name in WhatsApp."),
    "send": Param(False, type="boolean", description="Off: only count what would be sent."),
    "output_path": Param(
        "file:///tmp/chatbase/whatsapp",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
}
SAMPLE = """id,to,language,body[1],body[2]
A-1001,+49 30 1234567,de,Ada,A-1001
A-1002,+44 20 7946 0018,en,Bo,A-1002
"""

with DAG(
    dag_id="chatbase_send_templates",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    output = "{{ params.output_path }}/{{ run_id | replace(':', '_') }}"

    @task
    def table(output_path: str, params: dict[str, Any]) -> str:
        """Return the table of customers."""
        if params["recipients_path"]:
            return params["recipients_path"]
        folder = ObjectStoragePath(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "recipients.csv"
        path.write_text(SAMPLE)
        return str(path)

    ChatbaseSendTemplatesOperator(
        task_id="send",
        agent_id="{{ params.agent_id or '' }}",
        template="{{ params.template }}",
        recipients_path=table(output),
        output_path=f"{output}/messages",
        plan_only="{{ not params.send }}",
        max_messages=5000,
    )
