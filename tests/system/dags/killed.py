"""Three tasks that each send one message, and say which process does it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator


def note_pid(context):
    (Path(__file__).parent.parent / f"{context['ti'].task_id}.pid").write_text(str(os.getpid()))


with DAG("killed", schedule=None):
    for name, arguments in {"whole": {}, "streamed": {"stream": True}, "named": {"user_id": "ann"}}.items():
        ChatbaseSendMessageOperator(
            task_id=name,
            chatbase_conn_id="chatbase_killed",
            message="a message that nobody logs",
            agent_id="agent-1",
            pre_execute=note_pid,
            retries=1,
            retry_delay=timedelta(seconds=1),
            max_active_tis_per_dag=1,
            **arguments,
        )
