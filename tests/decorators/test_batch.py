"""``@task.chatbase_batch`` within Airflow: the function makes the prompts, the task asks them all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_chatbase.simulator import Simulator

TEXT = "[sim:answer] {{ conn.chatbase_default.password }} {% raw"


@pytest.mark.parametrize("kind", ["list", "generator", "text"])
def test_a_function_makes_the_prompts(run_dag: Callable[..., Any], tmp_path: Path, kind: str):
    with Simulator(conversations=3) as simulator:
        with DAG("decorated_batch", schedule=None) as dag:

            @task
            def from_customers() -> list[str]:
                return [TEXT, "[sim:answer] fine"]

            @task.chatbase_batch(output_path=f"file://{tmp_path}/{{{{ dag.dag_id }}}}", concurrency=2)
            def ask(texts: list[str], dag_run: Any = None) -> Any:
                prompts = ({"id": f"{dag_run.dag_id}{n}", "message": text} for n, text in enumerate(texts))
                return TEXT if kind == "text" else list(prompts) if kind == "list" else prompts

            ask(from_customers())
        connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
        connection["extra"] = {"agent_id": simulator.agent_id}  # type: ignore[assignment]
        run = run_dag(dag, connections={"chatbase_default": connection})
        if kind == "text":
            assert (run.task_states["ask"], simulator.prompts_charged) == ("failed", 0)
            return
        assert run.xcoms["ask"]["outcomes"]["answered"] == 2
        lines = (tmp_path / "decorated_batch" / "results.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        assert [(row["id"], row["message"]) for row in rows] == [
            ("decorated_batch0", TEXT),
            ("decorated_batch1", "[sim:answer] fine"),
        ]
