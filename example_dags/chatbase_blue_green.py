"""
Try new instructions on a copy of an agent, and give them to the live one only if the copy answers well.

Set up a connection ``chatbase_default``. The copy is asked the golden questions, each of which costs message
credits; an answer has to hold its ``must_contain``, in any case. The copy is deleted at the end, whatever
came out.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_chatbase.operators.agents import (
    ChatbaseCloneAgentOperator,
    ChatbaseDeleteAgentOperator,
    ChatbaseUpdateAgentOperator,
)

with DAG(
    dag_id="chatbase_blue_green",
    schedule=None,
    max_active_runs=1,
    params={
        "agent_id": Param(
            None, type=["null", "string"], description="The live agent. Empty: the connection's default."
        ),
        "instructions": Param(
            "You are the support agent of a parcel service. Answer in short sentences.",
            type="string",
            minLength=1,
            description="The new instructions.",
        ),
        "golden": Param(
            [{"question": "When is your support open?", "must_contain": ""}],
            type="array",
            description="Questions, and what their answers have to hold.",
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    settings = {"instructions": "{{ params.instructions }}"}

    clone = ChatbaseCloneAgentOperator(
        task_id="clone",
        agent_id="{{ params.agent_id or '' }}",
        name="green of {{ run_id | truncate(80, True, '') }}",
        wait_for_training=True,
        deferrable=True,
        poll_interval=5,
        multiple_outputs=True,  # so that the id can be handed on by itself
    )
    green_id = clone.output["agent_id"]

    change = ChatbaseUpdateAgentOperator(task_id="change_green", agent_id=green_id, settings=settings)

    @task(retries=0)
    def ask_golden_questions(agent_id: str, params: dict[str, Any]) -> list[str]:
        """Ask the copy, and fail when an answer lacks what it has to hold."""
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        with ChatbaseHook() as hook:
            answers = [hook.send_message(each["question"], agent_id)["text"] for each in params["golden"]]
        wrong = [
            each["question"]
            for each, answer in zip(params["golden"], answers, strict=True)
            if each.get("must_contain", "").lower() not in answer.lower()
        ]
        if wrong:
            raise ValueError(f"{len(wrong)} of {len(answers)} answers lack what they have to hold: {wrong}")
        return answers

    apply = ChatbaseUpdateAgentOperator(
        task_id="apply_to_live", agent_id="{{ params.agent_id or '' }}", settings=settings
    )

    delete = ChatbaseDeleteAgentOperator(
        task_id="delete_green", agent_id=green_id, confirm=green_id, trigger_rule="all_done"
    )

    change >> ask_golden_questions(green_id) >> [apply, delete]
