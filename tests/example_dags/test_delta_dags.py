"""The nightly tables, and the recipe that brings them into PostgreSQL, run as they stand."""

from __future__ import annotations

import re
import runpy
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from assets import activate
from delta_lake import rows
from postgres import postgres_port  # noqa: F401 - a fixture

from airflow_provider_chatbase.exports.delta import erase, read_watermark
from airflow_provider_chatbase.files.delta_storage import find_storage, read_delta
from airflow_provider_chatbase.simulator import Simulator

CHECKOUT = Path(__file__).parents[2]
TABLES = ("conversations", "messages", "tool_calls")


@pytest.fixture
def night(run_dag, tmp_path):
    """Return a function that runs the nightly DAG."""
    dag = runpy.run_path(str(CHECKOUT / "example_dags" / "chatbase_delta_nightly.py"))["dag"]
    for outlet in (outlet for each in dag.tasks for outlet in each.outlets):
        activate(outlet)
    with Simulator(conversations=150, months=1) as simulator:
        connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
        connections = {"chatbase_default": {**connection, "extra": {"agent_id": simulator.agent_id}}}

        def run(**more: Any) -> Any:
            conf = {"output_path": f"file://{tmp_path}/lake", "database": f"{tmp_path}/lake.duckdb", **more}
            pass_the_watermark(run.url)
            finished = run_dag(dag, conf=conf, connections=connections)
            assert set(finished.task_states.values()) == {"success"}, finished.task_states
            return finished

        run.simulator = simulator
        run.url = f"file://{tmp_path}/lake"
        yield run


def pass_the_watermark(url: str) -> None:
    """Windows are whole seconds: within the one that the last export ended at there is nothing to export."""
    for kind in ("conversations", "leads"):
        watermark = read_watermark(find_storage(url), kind)
        while watermark and datetime.now(tz=UTC) < watermark + timedelta(seconds=121):
            time.sleep(0.05)


def settled(simulator: Simulator) -> dict[str, Any]:
    """Return the conversations that are older than the margin of an export that ends now."""
    until = datetime.now(tz=UTC).timestamp() - 120
    return {
        each.id: each for each in simulator.store.conversations(simulator.agent_id) if each.created_at < until
    }


def test_the_nightly_tables_have_views(night, tmp_path):
    import duckdb

    first = night()
    there = settled(night.simulator)
    assert first.xcoms["views"]["conversations"] == len(there)
    assert first.xcoms["views"]["leads"] == len(rows(find_storage(night.url), "leads"))
    recent = datetime.now(tz=UTC) - timedelta(days=3)
    grown = next(each for each in there.values() if each.created_at > recent.timestamp())
    night.simulator.add_message(grown.id, "One more thing")
    night()
    with duckdb.connect(f"{tmp_path}/lake.duckdb", read_only=True) as database:
        found = database.execute("SELECT conversation_id, count(*) FROM messages GROUP BY ALL").fetchall()
        last = database.execute(
            "SELECT last_text FROM unanswered WHERE conversation_id = $1", [grown.id]
        ).fetchall()
    assert dict(found) == {each.id: len(each.messages) for each in there.values() if each.messages}
    assert last == [("One more thing",)]


def recipe() -> dict[str, Any]:
    """Run the code of the page."""
    page = (CHECKOUT / "docs" / "guides" / "warehouse.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python[^\n]*\n(.*?)```", page[page.index("## PostgreSQL") :], re.DOTALL)
    module: dict[str, Any] = {}
    exec(compile(code, "docs/guides/warehouse.md", "exec"), module)
    return module


@pytest.mark.long
def test_the_recipe_brings_the_tables_into_postgresql(night, run_dag, postgres_port):  # noqa: F811
    hooks = pytest.importorskip("airflow.providers.postgres.hooks.postgres")
    warehouse = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": postgres_port,
        "login": "test",
        "schema": "postgres",
    }
    dag = recipe()["dag"]

    def load() -> list[int]:
        finished = run_dag(dag, conf={"output_path": night.url}, connections={"warehouse": warehouse})
        assert finished.state == "success", finished.task_states
        return list(finished.xcoms["load"])

    def same() -> None:
        for name in TABLES:
            columns = [field.name for field in read_delta(night.url, name).schema().fields]
            listed = ", ".join(f'"{column}"' for column in columns)
            stored = hooks.PostgresHook("warehouse").get_records(f"SELECT {listed} FROM chatbase_{name}")
            wanted = [tuple(row[column] for column in columns) for row in rows(find_storage(night.url), name)]
            assert sorted(map(repr, map(in_utc, stored))) == sorted(map(repr, map(in_utc, wanted)))

    night()
    odd = next(iter(settled(night.simulator).values()))
    assert min(load()) > 0
    same()
    assert load() == [0, 0, 0]
    night.simulator.add_message(odd.id, 'It\'s "quoted", 50 % of {{ it }} and \U0001f600')
    night(lookback=60)
    assert load()[0] == 1
    same()
    erase(find_storage(night.url), [], [odd.id])
    assert load()[0] == 1
    same()


def in_utc(row: Any) -> tuple[Any, ...]:
    return tuple(cell.astimezone(UTC) if isinstance(cell, datetime) else cell for cell in row)
