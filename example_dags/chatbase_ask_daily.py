"""
Ask an agent a question every morning, and hand its answer on.

Set up a connection ``chatbase_default``. The answer is paid for once: a retry finds it again.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

with DAG(
    dag_id="chatbase_ask_daily",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "agent_id": Param(
            None, type=["null", "string"], description="Empty: the connection's default agent."
        ),
        "topic": Param("opening hours", type="string", minLength=1),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:

    @task.chatbase(agent_id="{{ params.agent_id or '' }}", stream=True)
    def ask(params: dict[str, Any]) -> str:
        """Return the message; the task returns the answer."""
        return f"What do customers need to know about {params['topic']} today?"

    @task
    def hand_on(answer: dict[str, Any]) -> dict[str, Any]:
        """Use the answer: here it is only measured."""
        return {
            "conversation_id": answer["conversation_id"],
            "characters": len(answer["text"]),
            "credits": answer["credits"],
        }

    hand_on(ask())
