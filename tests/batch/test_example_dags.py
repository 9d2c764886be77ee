"""The example DAGs of batches, run as they are in real Airflow against the simulator."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_chatbase.simulator import Simulator

EXAMPLES = Path(__file__).parents[2] / "example_dags"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(conversations=3) as simulator:
        yield simulator


@pytest.fixture
def run_example(run_dag: Callable[..., Any], simulator: Simulator) -> Callable[..., Any]:
    connection = {
        "conn_type": "chatbase",
        "host": simulator.url,
        "password": simulator.api_key,
        "extra": {"agent_id": simulator.agent_id},
    }

    def run(name: str, **conf: Any) -> Any:
        from datetime import timedelta

        dag = runpy.run_path(str(EXAMPLES / f"{name}.py"))["dag"]
        for task in dag.tasks:
            task.retry_delay = timedelta(0)
        return run_dag(dag, conf=conf, connections={"chatbase_default": connection})

    return run


def test_batch_prompts(run_example: Callable[..., Any], simulator: Simulator, tmp_path: Path):
    run = run_example("chatbase_batch_prompts", output_path=f"file://{tmp_path}")
    assert run.state == "success"
    assert run.xcoms["count_answers"] == {
        "credits": 2.0,
        "answers": {"support": 1, "billing": 1, "sales": 1},
    }
    assert simulator.prompts_charged == 2
    (results,) = tmp_path.glob("*/answers/results.jsonl")
    assert [json.loads(line)["id"] for line in results.read_text().splitlines()] == [
        "hours",
        "refund",
        "refund-again",
    ]


@pytest.mark.parametrize(
    ("instructions", "state"),
    [("Be brief.", "success"), ('End every answer with "Sorry, goodbye."', "failed")],
)
def test_golden_questions(
    run_example: Callable[..., Any], simulator: Simulator, tmp_path: Path, instructions: str, state: str
):
    live = simulator.store.agents[simulator.agent_id]
    before = live.fields["instructions"]
    run = run_example(
        "chatbase_golden_questions",
        output_path=f"file://{tmp_path}",
        instructions=instructions,
        golden=[{"id": "a", "message": "What does shipping cost?", "not_contains": "sorry"}, "Hello?"],
    )
    assert run.state == state
    assert live.fields["instructions"] == (instructions if state == "success" else before)
    assert list(simulator.store.agents) == [simulator.agent_id], "the clone is gone"
    assert run.xcoms["ask_live"]["expectations"]["pass_rate"] == 1
    assert ("compare" in run.xcoms) == (state == "success")
