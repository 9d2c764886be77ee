"""
Keep agents as files in a repository: create and change them from YAML, and check each for drift.

Set up a connection ``chatbase_default`` and set ``agents_path`` to a folder of YAML files, one for each
agent, with the names of the settings that an agent shows. Without one, the DAG writes a small one to try.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_chatbase.operators.agents import (
    ChatbaseCreateAgentOperator,
    ChatbaseUpdateAgentOperator,
)

SAMPLE = """\
name: Parcel support
instructions: |
  You are the support agent of a parcel service. Answer in short sentences.
temp: 0.2
visibility: private
creditLimit: 500
"""

with DAG(
    dag_id="chatbase_agents_as_code",
    schedule="@daily",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "agents_path": Param(
            None, type=["null", "string"], description="URL of a folder. Empty: write a small one."
        ),
        "samples_path": Param(
            "file:///tmp/chatbase/agents",
            type="string",
            description="Where to. Several workers: to where they share it, as s3://bucket/folder.",
        ),
    },
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["chatbase", "example"],
    doc_md=__doc__,
) as dag:

    @task
    def list_agent_files(params: dict[str, Any]) -> list[str]:
        """Return the URLs of the agents' files."""
        from airflow.sdk import ObjectStoragePath

        folder = ObjectStoragePath(params["agents_path"] or params["samples_path"])
        if not params["agents_path"]:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "parcels.yaml").write_text(SAMPLE)
        return sorted(str(path) for path in folder.iterdir() if path.name.endswith((".yaml", ".yml")))

    files = list_agent_files()

    apply = ChatbaseCreateAgentOperator.partial(task_id="apply", if_exists="update").expand(
        settings_path=files
    )

    @task
    def pair(files: list[str], agents: Any) -> list[dict[str, str]]:
        """Return each agent with its file."""
        return [
            {"agent_id": agent["agent_id"], "settings_path": path}
            for agent, path in zip(agents, files, strict=True)
        ]

    ChatbaseUpdateAgentOperator.partial(task_id="check", mode="check").expand_kwargs(
        pair(files, apply.output)
    )
