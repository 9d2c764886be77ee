"""
Every night, put a file of questions to an agent and land the answers as a data set.

Set up a connection ``chatbase_default`` and give the file as ``prompts_path``: JSONL, CSV or Parquet with a
column ``message``. A killed or cleared task goes on where it was; no question is paid for twice.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator

PARAMS = {
    "agent_id": Param(None, type=["null", "string"], description="Empty: the connection's default agent."),
    "prompts_path": Param(
        None,
        type=["null", "string"],
        description="URL of the file. Empty: a few questions are written to begin with.",
    ),
    "output_path": Param(
        "file:///tmp/chatbase/batch",
        type="string",
        description="URL of a directory. Several workers: one that they share, as s3://bucket/folder.",
    ),
}
QUESTIONS = [
    {"id": "hours", "message": "When is your support open?", "team": "support"},
    {"id": "refund", "message": "How do I get a refund?", "team": "billing"},
    {"id": "refund-again", "message": "How do I get a refund?", "team": "sales"},
]

with DAG(
    dag_id="chatbase_batch_prompts",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    params=PARAMS,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:
    output = "{{ params.output_path }}/{{ run_id | replace(':', '_') }}"

    @task
    def prompts_file(output_path: str, params: dict[str, Any]) -> str:
        """Return the file of questions."""
        if params["prompts_path"]:
            return params["prompts_path"]
        folder = ObjectStoragePath(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "prompts.jsonl"
        path.write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
        return str(path)

    ask = ChatbaseBatchPromptOperator(
        task_id="ask",
        agent_id="{{ params.agent_id or '' }}",
        prompts_path=prompts_file(output),
        output_path=f"{output}/answers",
        concurrency=20,
        dedupe=True,
        max_credits=1000,
        max_failure_rate=0.05,
    )

    @task
    def count_answers(manifest: dict[str, Any]) -> dict[str, Any]:
        """Use the answers: here they are only counted by team."""
        teams: dict[str, int] = {}
        results = ObjectStoragePath(manifest["output_path"]) / manifest["files"][0]
        for row in map(json.loads, results.read_bytes().splitlines()):
            if row["outcome"] == "answered":
                team = row["metadata"].get("team", "none")
                teams[team] = teams.get(team, 0) + 1
        return {"credits": manifest["credits"], "answers": teams}

    count_answers(ask.output)
