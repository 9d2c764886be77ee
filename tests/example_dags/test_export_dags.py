"""The example DAGs about exports, run as they are."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from assets import activate

from airflow_provider_chatbase.simulator import Simulator

EXAMPLES = Path(__file__).parents[2] / "example_dags"


def load(name: str) -> Any:
    import runpy

    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture
def simulator():
    with Simulator(conversations=400, months=2) as simulator:
        yield simulator


@pytest.fixture
def connections(simulator):
    connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
    return {"chatbase_default": {**connection, "extra": {"agent_id": simulator.agent_id}}}


def a_night_later(output: Path) -> None:
    """Let the last run have been that of the night before."""
    [there] = (output / "_watermark").iterdir()
    found = json.loads(there.read_bytes())
    night_before = datetime.fromisoformat(found["watermark"]) - timedelta(days=1)
    there.unlink()
    (output / "_watermark" / f"created-{night_before:%Y%m%dT%H%M%SZ}.json").write_text(
        json.dumps({**found, "watermark": night_before.isoformat()})
    )


def test_the_nightly_export_goes_on_where_it_ended(run_dag, connections, simulator, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    dag = load("chatbase_export_incremental")["dag"]
    for outlet in (outlet for each in dag.tasks for outlet in each.outlets):
        activate(outlet)
    conf = {"output_path": f"file://{tmp_path}"}
    assert run_dag(dag, conf=conf, connections=connections).state == "success"
    recent = datetime.now(tz=UTC).timestamp() - timedelta(days=3).total_seconds()
    grown = next(
        each for each in simulator.store.conversations(simulator.agent_id) if each.created_at < recent
    )
    simulator.add_message(grown.id, "One more thing")
    midnight = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    simulator.create_conversations(at=midnight.timestamp() - 5)
    for output in ("conversations", "leads"):
        a_night_later(tmp_path / output)
    finished = run_dag(dag, conf=conf, connections=connections)
    assert finished.state == "success"
    rows = pq.read_table(tmp_path / "conversations" / "conversations", partitioning=None).to_pylist()
    counts = {row["conversation_id"]: row["message_count"] for row in rows}
    assert len(counts) == len(rows)
    truth = simulator.store.conversations(simulator.agent_id)
    assert counts == {each.id: len(each.messages) for each in truth if each.created_at < midnight.timestamp()}


def test_the_report_shows_what_there_is(run_dag, connections, simulator, tmp_path):
    pytest.importorskip("duckdb")
    pytest.importorskip("matplotlib")
    dag = load("chatbase_analytics")["dag"]
    report = tmp_path / "deep" / "report.html"
    conf = {"output_path": f"file://{tmp_path}/export", "report_path": f"file://{report}", "days": 30}
    finished = run_dag(dag, conf=conf, connections=connections)
    assert finished.state == "success"
    start, end = (
        datetime.fromisoformat(finished.xcoms["export"]["window"][name]).timestamp()
        for name in ("start", "end")
    )
    everything = simulator.store.conversations(simulator.agent_id)
    truth = [each for each in everything if start <= each.created_at < end]
    messages = [message for each in truth for message in each.messages]
    totals = finished.xcoms["report"]
    assert totals["conversations"] == len(truth) > 0
    assert totals["messages"] == len(messages)
    assert totals["negative"] == sum(each.feedback == "negative" for each in messages) > 0
    assert totals["unsure"] == sum(each.score is not None and each.score < 0.5 for each in messages) > 0
    first = datetime.fromisoformat(finished.xcoms["analytics"]["window"]["start"]).timestamp()
    last = datetime.fromisoformat(finished.xcoms["analytics"]["window"]["end"]).timestamp()
    answers = [m for each in everything for m in each.messages if m.role == "assistant" and m.created_at]
    assert totals["credits"] == sum(first <= m.created_at < last for m in answers) > 0
    page = report.read_text()
    if os.environ.get("KEEP_REPORT"):
        Path(os.environ["KEEP_REPORT"]).write_text(page)
    assert page.count("<svg") == 2
    assert page.count("<path") > 60, "a bar a day"
    assert "Credits per day" in page
    assert "Ridgeline Support" in page
    assert "<script" not in page
    assert "@example.com" not in page
