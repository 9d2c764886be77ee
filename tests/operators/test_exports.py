"""The export operators in real Airflow runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from assets import activate

from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.simulator import Fault, Simulator

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
MARGIN = timedelta(minutes=2)
TODAY = floor_day(datetime.now(tz=UTC))
pytestmark = pytest.mark.usefixtures("airflow_db")


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    with ExitStack() as stack:
        yield lambda **switches: stack.enter_context(Simulator(**{"conversations": 60, **switches}))


@pytest.fixture
def simulator(simulate) -> Simulator:
    return simulate(months=1)


@pytest.fixture
def execute(simulator, monkeypatch, tmp_path):
    """Run an operator's ``execute`` with the context of a run of the given kind."""

    def run(cls: Any, *, context: dict[str, Any] | None = None, version: str = "v2", **arguments: Any) -> Any:
        extra = {"agent_id": simulator.agent_id, "api_version": version}
        connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
        monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps({**connection, "extra": extra}))
        arguments.setdefault("output_path", f"file://{tmp_path}/out")
        return cls(task_id="export", **arguments).execute(context or {})

    return run


@pytest.fixture
def conversations():
    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    return ChatbaseExportConversationsOperator


class Run:
    def __init__(self, run_type: str) -> None:
        self.run_type = run_type


def manifests(path: Path) -> dict[str, Any]:
    return {each.name: json.loads(each.read_bytes()) for each in (path / "_manifests").glob("*.json")}


def objects(path: Path) -> list[dict[str, Any]]:
    files = [file for manifest in manifests(path).values() for file in manifest["files"]]
    return [json.loads(line) for file in files for line in (path / file["path"]).open()]


def truth(simulator: Simulator, window: Window) -> set[str]:
    found = simulator.store.conversations(simulator.agent_id)
    return {each.id for each in found if window.holds(each.created_at)}


def ids(path: Path) -> set[str]:
    found = [each["id"] for each in objects(path)]
    assert len(found) == len(set(found))
    return set(found)


def interval(start: datetime | None, end: datetime | None, run_type: str) -> dict[str, Any]:
    return {"data_interval_start": start, "data_interval_end": end, "dag_run": Run(run_type)}


def test_the_interval_of_a_scheduled_or_backfill_run(execute, conversations, simulator, tmp_path):
    for run_type, first in (("scheduled", 20), ("backfill", 30)):
        context = interval(TODAY - first * DAY, TODAY - (first - 10) * DAY, run_type)
        result = execute(conversations, context=context)
        assert result["window"] == {
            "start": f"{(TODAY - first * DAY):%Y-%m-%dT%H:%M:%SZ}",
            "end": f"{(TODAY - (first - 10) * DAY):%Y-%m-%dT%H:%M:%SZ}",
        }
    assert ids(tmp_path / "out") == truth(simulator, Window(TODAY - 30 * DAY, TODAY - 10 * DAY))


@pytest.mark.parametrize("run_type", ["manual", "asset_triggered"])
@pytest.mark.parametrize("moment", [None, TODAY - 3 * DAY])
def test_runs_without_an_interval_go_on_at_the_watermark(
    execute, conversations, simulator, tmp_path, run_type, moment
):
    execute(conversations, start=TODAY - 40 * DAY, end=TODAY - 5 * DAY)
    before = datetime.now(tz=UTC).replace(microsecond=0)
    result = execute(conversations, context=interval(moment, moment, run_type))
    assert result["window"]["start"] == f"{(TODAY - 5 * DAY):%Y-%m-%dT%H:%M:%SZ}"
    end = datetime.fromisoformat(result["window"]["end"])
    assert before - MARGIN - SECOND <= end <= datetime.now(tz=UTC) - MARGIN
    assert ids(tmp_path / "out") == truth(simulator, Window(TODAY - 40 * DAY, end))


def test_a_schedule_of_moments_goes_from_one_to_the_next(execute, conversations, simulator, tmp_path):
    for day in (10, 9, 8):
        moment = TODAY - day * DAY
        result = execute(
            conversations, context=interval(moment, moment, "scheduled"), first_start=TODAY - 40 * DAY
        )
        assert datetime.fromisoformat(result["window"]["end"]) == moment
    assert ids(tmp_path / "out") == truth(simulator, Window(TODAY - 40 * DAY, TODAY - 8 * DAY))


def test_no_window_at_all_is_one_sentence_that_says_what_to_give(execute, conversations, tmp_path):
    from airflow_provider_chatbase.exceptions import ChatbasePermanentError

    with pytest.raises(ChatbasePermanentError, match=r"Give start and end, for example .* or first_start"):
        execute(conversations, context=interval(None, None, "manual"))
    assert not list(tmp_path.iterdir())


def test_nothing_new_is_skipped_not_exported(execute, conversations, tmp_path):
    from airflow.providers.common.compat.sdk import AirflowSkipException

    moment = TODAY - 3 * DAY
    execute(conversations, start=TODAY - 9 * DAY, end=moment)
    before = manifests(tmp_path / "out")
    with pytest.raises(AirflowSkipException, match="To export a window again, give start and end"):
        execute(conversations, context=interval(moment, moment, "scheduled"))
    assert manifests(tmp_path / "out") == before


def test_the_watermark_stays_when_the_export_fails(execute, conversations, simulator, tmp_path):
    from airflow_provider_chatbase.exceptions import ChatbaseIncompleteExportError

    execute(conversations, start=TODAY - 40 * DAY, end=TODAY - 9 * DAY)
    before = manifests(tmp_path / "out")
    simulator.faults.add(Fault(kind="drop_items", operation="exportConversations"))
    with pytest.raises(ChatbaseIncompleteExportError):
        execute(conversations, context=interval(None, None, "manual"))
    assert manifests(tmp_path / "out") == before
    simulator.faults.clear()
    result = execute(conversations, context=interval(None, None, "manual"))
    assert result["window"]["start"] == f"{(TODAY - 9 * DAY):%Y-%m-%dT%H:%M:%SZ}"


def test_lookback_reads_the_last_days_again(execute, conversations, simulator, tmp_path):
    execute(conversations, start=TODAY - 40 * DAY, end=TODAY - DAY, partition_by="day")
    grown = next(
        each
        for each in simulator.store.conversations(simulator.agent_id)
        if each.created_at < (TODAY - DAY).timestamp()
    )
    message = simulator.add_message(grown.id, "One more thing")
    days = (TODAY - datetime.fromtimestamp(grown.created_at, UTC)).days + 1
    context = interval(TODAY - DAY, TODAY, "scheduled")
    result = execute(conversations, context=context, strategy="lookback", lookback=str(days))
    assert result["window"]["start"] == f"{(TODAY - DAY - days * DAY):%Y-%m-%dT%H:%M:%SZ}"
    found = {each["id"]: each for each in objects(tmp_path / "out")}
    assert found[grown.id]["messages"][-1]["id"] == message.id
    assert ids(tmp_path / "out") == truth(simulator, Window(TODAY - 40 * DAY, TODAY))


def test_changed_since_on_v1_names_lookback(execute, conversations):
    from airflow_provider_chatbase.exceptions import ChatbasePermanentError

    with pytest.raises(ChatbasePermanentError, match="Use strategy='lookback'"):
        execute(conversations, version="v1", strategy="changed_since", start=TODAY - 3 * DAY)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"file_format": "xml"}, "file_format 'xml' is unknown"),
        ({"compression": "rar"}, "compression 'rar' is unknown"),
        ({"tables": ["messages"]}, "tables is for csv and parquet"),
        ({"file_format": "csv", "tables": ["people"]}, "tables must be a list of conversations, messages"),
        ({"partition_by": "hour"}, "partition_by must be 'day'"),
        ({"strategy": "guess"}, "strategy must be"),
        ({"strategy": "lookback"}, "needs lookback"),
        ({"lookback": -1}, "lookback must be a number of days"),
        ({"lookback": 3, "strategy": "changed_since"}, "does not go with"),
        ({"include": "all"}, "include must be"),
        ({"channels": "WhatsApp"}, "channels must be a list"),
        ({"concurrency": 0}, "concurrency must be a number from 1"),
        ({"redact": {"user_id": "hash"}}, "needs redact_salt"),
        ({"redact": {"user_id": "shred"}}, "'shred' for 'user_id' is unknown"),
        ({"end": TODAY - 40 * DAY}, "is not after its start"),
        ({"start": "yesterday"}, "is no time"),
        ({"output_path": ""}, "names no directory"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_writes_nothing(execute, conversations, tmp_path, arguments, why):
    from airflow_provider_chatbase.exceptions import ChatbasePermanentError

    with pytest.raises(ChatbasePermanentError, match=why):
        execute(conversations, **{"start": TODAY - 3 * DAY, **arguments})
    assert not list(tmp_path.iterdir())


def test_a_wrong_key_is_one_sentence_and_writes_nothing(execute, conversations, simulator, tmp_path):
    from airflow_provider_chatbase.exceptions import ChatbasePermanentError

    simulator.faults.add(Fault(kind="status", status=401))
    with pytest.raises(ChatbasePermanentError, match="Check the password"):
        execute(conversations, start=TODAY - 3 * DAY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_both_versions_of_the_api(execute, conversations, simulator, tmp_path, version):
    window = Window(TODAY - 20 * DAY + DAY / 3, TODAY - DAY / 2)
    execute(conversations, version=version, start=window.start, end=window.end)
    assert ids(tmp_path / "out") == truth(simulator, window)


def test_what_is_returned_is_small_however_many_files_there_are(execute, conversations, simulate, tmp_path):
    result = execute(conversations, start=TODAY - 400 * DAY, end=TODAY, file_format="csv", partition_by="day")
    assert result["file_count"] > 40
    assert len(json.dumps(result)) < 2048
    there = manifests(tmp_path / "out").values()
    assert sum(len(each["files"]) for each in there) == result["file_count"]
    assert result["manifest_path"] == f"file://{tmp_path}/out/_manifests"


def test_an_asset_event_says_what_was_committed(run_dag, simulator, tmp_path):
    from airflow.models.asset import AssetEvent
    from airflow.sdk import DAG, Asset
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    with DAG("export_asset", schedule=None) as dag:
        ChatbaseExportConversationsOperator(
            task_id="export",
            agent_id=simulator.agent_id,
            output_path=f"file://{tmp_path}/out",
            start=TODAY - 20 * DAY,
            end=TODAY,
            outlets=[Asset("conversations_of_ours")],
        )
    activate(Asset("conversations_of_ours"))
    finished = run_dag(dag, connections=connection_to(simulator))
    assert finished.state == "success"
    with create_session() as session:
        [extra] = session.scalars(select(AssetEvent.extra).where(AssetEvent.source_dag_id == "export_asset"))
    result = finished.xcoms["export"]
    assert extra["rows"] == result["rows"] > 0
    assert extra["window"] == result["window"]
    assert extra["watermark"] == f"{TODAY:%Y-%m-%dT%H:%M:%SZ}"
    assert extra["manifest_uri"] == result["manifest_path"]


def test_many_agents_at_once_do_not_meet(run_dag, simulator, tmp_path):
    from airflow.sdk import DAG

    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    second = simulator.run(lambda: _second_agent(simulator))
    with DAG("export_many", schedule=None) as dag:
        for name in ("plain", "named/{agent_id}/x"):
            ChatbaseExportConversationsOperator.partial(
                task_id=name.split("/")[0],
                output_path=f"file://{tmp_path}/{name}",
                start=TODAY - 20 * DAY,
                end=TODAY,
            ).expand(agent_id=[simulator.agent_id, second])
    finished = run_dag(dag, connections=connection_to(simulator))
    assert finished.state == "success"
    for agent_id in (simulator.agent_id, second):
        for path in (f"plain/agent_id={agent_id}", f"named/{agent_id}/x"):
            [manifest] = manifests(tmp_path / path).values()
            assert manifest["agent_id"] == agent_id


def _second_agent(simulator: Simulator) -> str:
    from airflow_provider_chatbase.simulator.agents import create_agent

    return create_agent(simulator._world, "Second").id


def connection_to(simulator: Simulator) -> dict[str, Any]:
    return {
        "chatbase_default": {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
    }


def test_the_hook_reads_leads_contacts_and_searches(simulator, monkeypatch):
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

    monkeypatch.setenv(
        "AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(connection_to(simulator)["chatbase_default"])
    )
    with ChatbaseHook() as hook:
        agent_id = simulator.agent_id
        assert list(hook.get_leads(agent_id)) == simulator.store.leads(agent_id)
        assert list(hook.list_contacts(agent_id)) == simulator.store.contacts(agent_id)
        channel = ["WhatsApp"]
        found = {each["id"] for each in hook.search_conversations(agent_id, channels=channel)}
    everyone = simulator.store.conversations(agent_id)
    assert found == {each.id for each in everyone if each.source == "WhatsApp"}
    assert found


def test_erasing(execute, conversations, simulator, tmp_path):
    from airflow_provider_chatbase.exceptions import ChatbasePermanentError
    from airflow_provider_chatbase.operators.exports import ChatbaseEraseConversationsOperator

    simulator.create_conversations(at=(TODAY - DAY).timestamp(), user_id="subject")
    execute(conversations, start=TODAY - 9 * DAY, end=TODAY)
    arguments = {"task_id": "erase", "output_path": f"file://{tmp_path}/out", "user_ids": ["subject"]}
    before = manifests(tmp_path / "out")
    counted = ChatbaseEraseConversationsOperator(dry_run=True, **arguments).execute({})
    assert (counted["conversations"], counted["dry_run"]) == (1, True)
    assert manifests(tmp_path / "out") == before
    with pytest.raises(ChatbasePermanentError, match="is None, which is no id"):
        ChatbaseEraseConversationsOperator(**{**arguments, "user_ids": [None]}).execute({})
    report = ChatbaseEraseConversationsOperator(**arguments).execute({})
    assert report == {**counted, "dry_run": False}
    assert all(each["userId"] != "subject" for each in objects(tmp_path / "out"))


def test_lineage_says_what_was_read_and_written(run_dag, simulator, tmp_path):
    pytest.importorskip("airflow.providers.openlineage")
    from airflow.providers.openlineage.extractors.base import DefaultExtractor

    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    operator = ChatbaseExportConversationsOperator(task_id="export", output_path="s3://lake@bucket/a/b")
    operator._exported = {
        "agent_id": "a1",
        "kind": "conversations",
        "output_path": "s3://lake@bucket/a/b",
        "rows": 3,
        "bytes": 7,
    }
    lineage = DefaultExtractor(operator).extract_on_complete(None)
    [read], [written] = lineage.inputs, lineage.outputs
    assert (read.namespace, read.name) == ("chatbase://www.chatbase.co", "agents/a1/conversations")
    assert (written.namespace, written.name) == ("s3://bucket", "a/b")
    assert written.facets["outputStatistics"].rowCount == 3


def test_a_watermark_belongs_to_its_output(run_dag, simulator, tmp_path):
    from airflow.sdk import DAG, Asset

    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    with DAG("export_moved", schedule=None) as dag:
        ChatbaseExportConversationsOperator(
            task_id="export",
            agent_id=simulator.agent_id,
            output_path=f"file://{tmp_path}/{{{{ dag_run.conf['to'] }}}}",
            first_start=str(TODAY - 20 * DAY),
            outlets=[Asset("moved")],
        )
    activate(Asset("moved"))
    for to in ("first", "second"):
        finished = run_dag(dag, conf={"to": to}, connections=connection_to(simulator))
        assert finished.state == "success"
        assert finished.xcoms["export"]["window"]["start"] == f"{(TODAY - 20 * DAY):%Y-%m-%dT%H:%M:%SZ}"
    assert ids(tmp_path / "second") == ids(tmp_path / "first") != set()
