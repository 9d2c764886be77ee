"""
Change an agent, teach it a text, wait until it is trained, ask it, and export its conversations.

Set up a connection ``chatbase_default`` and trigger the DAG.
Everything is a parameter; nothing has to be edited.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_chatbase.operators.agents import ChatbaseUpdateAgentOperator
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator
from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "instructions": Param(
        "You are the support agent of a parcel service. Answer in short sentences.",
        type="string",
        minLength=1,
        description="The agent's new instructions.",
    ),
    "source_name": Param("Opening hours", type="string", minLength=1, maxLength=100),
    "source_text": Param(
        "Our support is open from Monday to Friday, 8:00 to 18:00 UTC, and on Saturday until 12:00.",
        type="string",
        minLength=1,
    ),
    "question": Param("When is your support open?", type="string", minLength=1),
    "output_path": Param(
        "file:///tmp/chatbase/conversations",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
    "start": Param("2020-01-01", type="string", description="Export from this time on (UTC)."),
    "end": Param(None, type=["null", "string"], description="Export until before this time. Empty: now."),
}

with DAG(
    dag_id="chatbase_quickstart",
    schedule=None,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=10)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    update_agent = ChatbaseUpdateAgentOperator(
        task_id="update_agent",
        agent_id="{{ params.agent_id or '' }}",
        settings={"instructions": "{{ params.instructions }}"},
    )

    @task
    def add_source(params: dict[str, Any]) -> dict[str, Any]:
        """Write the text once: a second run changes the source of that name, it does not add another."""
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        name, text, agent_id = params["source_name"], params["source_text"], params["agent_id"]
        with ChatbaseHook() as hook:
            found = hook.list_sources(agent_id, types=["text"], name=name)
            same = [each for each in found if each["name"] == name and each["status"] != "toBeDeleted"]
            if same:
                source = hook.update_source(same[0]["id"], {"content": text}, agent_id)
            else:
                source = hook.create_text_source(name, text, agent_id)
        # Each field becomes an XCom of its own, and Airflow 3.0 refuses one that is None.
        return {field: value for field, value in source.items() if value is not None}

    source = add_source()

    wait_for_training = ChatbaseTrainingSensor(
        task_id="wait_for_training",
        agent_id="{{ params.agent_id or '' }}",
        source_ids=[source["id"]],
        deferrable=True,
        poke_interval=5,
        timeout=1800,
    )

    ask = ChatbaseSendMessageOperator(
        task_id="ask",
        agent_id="{{ params.agent_id or '' }}",
        message="{{ params.question }}",
    )

    export = ChatbaseExportConversationsOperator(
        task_id="export",
        agent_id="{{ params.agent_id or '' }}",
        output_path="{{ params.output_path }}",
        start="{{ params.start }}",
        end="{{ params.end or '' }}",
    )

    update_agent >> source >> wait_for_training >> ask >> export
