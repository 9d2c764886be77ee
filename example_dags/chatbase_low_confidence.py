"""
Answers that the agent was not sure of go to people, and what a person writes becomes a source of the agent.

Set up a connection ``chatbase_default``. Runs start by themselves when such answers appear; for one by hand,
give a conversation. A person answers under "Required Actions" of the run; left empty, nothing is kept. Asking
people needs Airflow 3.1; before it, a run only finds the questions.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException
from airflow.sdk import DAG, Asset, AssetWatcher, Param, task, task_group

from airflow_provider_chatbase.triggers.conversations import ChatbaseConversationTrigger

try:
    from airflow.providers.standard.operators.hitl import HITLEntryOperator
except AirflowOptionalProviderFeatureException:
    HITLEntryOperator = None

CONFIDENCE = 0.5

unsure = Asset(
    "chatbase_low_confidence",
    watchers=[
        AssetWatcher(
            name="chatbase_low_confidence",
            trigger=ChatbaseConversationTrigger("low_confidence", confidence_below=CONFIDENCE),
        )
    ],
)


def text_of(message: dict[str, Any]) -> str:
    """Return what a message says."""
    return "".join(part.get("text", "") for part in message["parts"] if part["type"] == "text")


with DAG(
    dag_id="chatbase_low_confidence",
    schedule=[unsure],
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params={
        "conversation_id": Param(
            None, type=["null", "string"], description="By hand: the conversation to look at."
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:

    @task(show_return_value_in_logs=False)
    def find_questions(params: dict[str, Any], triggering_asset_events: Any = None) -> list[dict[str, str]]:
        """Return the questions whose answers had a low score, with these answers."""
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        wanted = {}  # message ids by conversation; every message where there are none
        for events in (triggering_asset_events or {}).values():
            for event in events:
                for found in event.extra["payload"]["conversations"]:
                    wanted.setdefault(found["conversation_id"], set()).update(found["message_ids"])
        if params["conversation_id"]:
            wanted[params["conversation_id"]] = set()
        questions = {}
        with ChatbaseHook() as hook:
            for conversation_id, message_ids in wanted.items():
                for conversation in hook.export_conversations(conversation_id=conversation_id):
                    asked = ""
                    for message in conversation["messages"]:
                        score = (message.get("metadata") or {}).get("score")
                        if message["role"] == "user":
                            asked = text_of(message)
                            continue
                        is_wanted = not message_ids or message["id"] in message_ids
                        if asked and is_wanted and score is not None and score < CONFIDENCE:
                            questions[message["id"]] = {
                                "id": message["id"],
                                "question": asked,
                                "answer": text_of(message),
                            }
        return list(questions.values())

    @task_group
    def ask_people(question: dict[str, str]) -> None:
        """Ask a person, and keep the answer."""

        @task(show_return_value_in_logs=False)
        def describe(question: dict[str, str]) -> str:
            """Return what the person sees. Indented it is shown as it is: customers' text is no Markdown."""
            lines = ["A customer asked:", "", *_quoted(question["question"]), ""]
            lines += ["The agent answered, and was not sure:", "", *_quoted(question["answer"])]
            return "\n".join(lines)

        @task(show_return_value_in_logs=False)
        def keep(question: dict[str, str], response: dict[str, Any]) -> str | None:
            """Give the agent the question with the person's answer; a second time changes what is there."""
            from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

            answer = (response["params_input"].get("answer") or "").strip()
            if not answer:
                return None
            name = f"answered by a person: {question['id']}"[:100]
            with ChatbaseHook() as hook:
                for source in hook.list_sources(types=["qna"], name=name):
                    if source["name"] == name:
                        return hook.update_source(source["id"], {"answer": answer})["id"]
                return hook.create_qna_source(name, [question["question"]], answer)["id"]

        ask = HITLEntryOperator(
            task_id="ask",
            subject="What should the agent have answered?",
            body=describe(question),
            params={"answer": Param(None, type=["null", "string"], title="The right answer")},
            response_timeout=timedelta(days=3),
        )
        keep(question, ask.output)

    def _quoted(text: str) -> list[str]:
        return [f"    {line}" for line in text.splitlines()]

    found = find_questions()
    if HITLEntryOperator is not None:
        ask_people.expand(question=found)
