"""
Try a change of an agent on a clone, ask it golden questions, compare, and only then change the live agent.

Set up a connection ``chatbase_default``. Both agents are asked, so a run costs message credits; the live
agent's answers are kept for a day, and asked for again only when its settings have changed.
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
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator

LEAST_PASS_RATE = 0.9

with DAG(
    dag_id="chatbase_golden_questions",
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
            [
                {"id": "hours", "message": "When is your support open?", "not_contains": "I do not know"},
                {"id": "refund", "message": "How do I get a refund?", "regex": r"\w{3,}"},
            ],
            type="array",
            description="Questions with what is expected: contains, not_contains, regex, min_score.",
        ),
        "output_path": Param(
            "file:///tmp/chatbase/golden",
            type="string",
            description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    settings = {"instructions": "{{ params.instructions }}"}
    output = "{{ params.output_path }}/{{ run_id | replace(':', '_') }}"

    @task
    def golden_questions(params: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the questions; they could come from a table as well."""
        return params["golden"]

    clone = ChatbaseCloneAgentOperator(
        task_id="clone",
        agent_id="{{ params.agent_id or '' }}",
        name="golden questions {{ run_id | truncate(80, True, '') }}",
        wait_for_training=True,
        deferrable=True,
        poll_interval=5,
        multiple_outputs=True,  # so that the id can be handed on by itself
    )
    clone_id = clone.output["agent_id"]
    change = ChatbaseUpdateAgentOperator(task_id="change_clone", agent_id=clone_id, settings=settings)

    questions = golden_questions()
    ask_clone = ChatbaseBatchPromptOperator(
        task_id="ask_clone",
        agent_id=clone_id,
        prompts=questions,
        output_path=f"{output}/clone",
        min_pass_rate=LEAST_PASS_RATE,
    )
    ask_live = ChatbaseBatchPromptOperator(
        task_id="ask_live",
        agent_id="{{ params.agent_id or '' }}",
        prompts=questions,
        output_path=f"{output}/live",
        cache_path="{{ params.output_path }}/cache",
        cache_ttl=timedelta(days=1),
    )

    @task(retries=0)
    def compare(changed: dict[str, Any], live: dict[str, Any]) -> dict[str, float]:
        """Fail when the changed agent passes fewer questions than the live one."""
        rates = {
            "changed": changed["expectations"]["pass_rate"],
            "live": live["expectations"]["pass_rate"],
        }
        if rates["changed"] < rates["live"]:
            raise ValueError(f"The change makes the answers worse: {rates}. See {changed['output_path']}")
        return rates

    apply = ChatbaseUpdateAgentOperator(
        task_id="apply_to_live", agent_id="{{ params.agent_id or '' }}", settings=settings
    )
    delete = ChatbaseDeleteAgentOperator(
        task_id="delete_clone", agent_id=clone_id, confirm=clone_id, trigger_rule="all_done"
    )

    change >> ask_clone >> delete
    compare(ask_clone.output, ask_live.output) >> apply
