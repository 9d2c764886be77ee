"""Exports of the simulator into Delta tables, as a task does them."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import deltalake
import pytest
from delta_lake import conversation, rows, tables
from matrix import matrix
from s3 import s3_fs

from airflow_provider_chatbase.exceptions import ChatbasePermanentError
from airflow_provider_chatbase.exports import (
    ChatbaseReplacedExportError,
    delta,
    delta_table,
    delta_target,
)
from airflow_provider_chatbase.exports.delta import erase
from airflow_provider_chatbase.exports.delta_days import DayFiles
from airflow_provider_chatbase.exports.delta_rows import rows_written
from airflow_provider_chatbase.exports.delta_target import as_tables
from airflow_provider_chatbase.exports.rows import rows_of
from airflow_provider_chatbase.exports.staging import FinishedPart, Segment
from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files import ChatbaseStorageError
from airflow_provider_chatbase.files.delta_storage import find_storage
from airflow_provider_chatbase.operators.exports import (
    ChatbaseEraseConversationsOperator,
    ChatbaseExportContactsOperator,
    ChatbaseExportConversationsOperator,
    ChatbaseExportLeadsOperator,
)
from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.simulator.conversations import ConversationIndex

TODAY = floor_day(datetime.now(tz=UTC))
DAY = timedelta(days=1)
OPERATORS = {
    "conversations": ChatbaseExportConversationsOperator,
    "leads": ChatbaseExportLeadsOperator,
    "contacts": ChatbaseExportContactsOperator,
}


@pytest.fixture
def lake(simulate, airflow_db, monkeypatch, tmp_path):
    class Lake:
        def __init__(self) -> None:
            self.simulator = simulate(conversations=200, months=1)
            connection = {
                "conn_type": "chatbase",
                "host": self.simulator.url,
                "password": self.simulator.api_key,
            }
            monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(connection))
            self.url = f"file://{tmp_path}/lake"

        def run(self, kind: str = "conversations", **more: Any) -> dict[str, Any]:
            arguments = {"task_id": "export", "agent_id": self.simulator.agent_id, "file_format": "delta"}
            if "start" not in more and "first_start" not in more:
                more |= {"start": TODAY - 60 * DAY, "end": TODAY}
            return OPERATORS[kind](**{"output_path": self.url, **arguments, **more}).execute({})

        def delete(self, ids: list[str]) -> None:
            def work() -> None:
                agent = self.simulator.store.agents[self.simulator.agent_id]
                left = [each for each in agent.conversations.by_id.values() if each.id not in ids]
                agent.conversations = ConversationIndex()
                agent.conversations.load(left)

            self.simulator.run(work)

        @property
        def place(self):
            return find_storage(self.url)

        def truth(self, start: datetime = TODAY - 60 * DAY, end: datetime = TODAY) -> dict[str, list[str]]:
            return {
                each.id: sorted(message.id for message in each.messages)
                for each in self.simulator.store.conversations(self.simulator.agent_id)
                if start.timestamp() <= each.created_at < end.timestamp()
            }

        def seen(self) -> dict[str, list[str]]:
            conversations = rows(self.place)
            found: dict[str, list[str]] = {row["conversation_id"]: [] for row in conversations}
            assert len(found) == len(conversations)
            for row in rows(self.place, "messages"):
                found[row["conversation_id"]].append(row["message_id"])
            for row in conversations:
                assert row["message_count"] == len(found[row["conversation_id"]])
            return {identity: sorted(messages) for identity, messages in found.items()}

    return Lake()


def test_an_export_is_what_chatbase_has(lake):
    result = lake.run()
    assert lake.seen() == lake.truth()
    assert result["tables"] == {
        name: len(rows(lake.place, name)) for name in ("conversations", "messages", "tool_calls")
    }
    assert result["rows"] == result["tables"]["conversations"] == result["api_total"]
    assert (result["files"], result["manifest_path"], result["removed"]) == (None, None, 0)
    assert result["output_path"] == lake.url
    assert result["watermark"].startswith(str(TODAY.date()))
    assert len(json.dumps(result)) < 2000


def test_windows_lookback_changes_and_reruns_end_alike(lake):
    for first, last in ((60, 30), (30, 10), (12, 0), (60, 0)):
        lake.run(start=TODAY - first * DAY, end=TODAY - last * DAY)
    grown = list(lake.truth())[:5]
    for each in grown:
        lake.simulator.add_message(each, "One more thing")
    lake.run(strategy="changed_since", start=TODAY - DAY, end=TODAY + DAY)
    assert lake.seen() == lake.truth()
    lake.run(strategy="lookback", lookback=30, start=TODAY - DAY, end=TODAY)
    assert lake.seen() == lake.truth()


def test_a_night_goes_on_where_the_last_one_ended(lake):
    lake.run(start=TODAY - 60 * DAY, end=TODAY - 5 * DAY)
    result = lake.run(first_start="2020-01-01")
    assert result["window"]["start"].startswith(str((TODAY - 5 * DAY).date()))
    now = datetime.now(tz=UTC)
    assert lake.seen() == lake.truth(end=now - timedelta(seconds=120))
    assert datetime.fromisoformat(result["watermark"]) <= now - timedelta(seconds=119)


def test_one_conversation_is_merged_and_moves_no_watermark(lake):
    before = lake.run()["watermark"]
    one = next(iter(lake.truth()))
    lake.simulator.add_message(one, "One more thing")
    result = lake.run(conversation_id=one, start=None)
    assert lake.seen() == lake.truth()
    assert result["watermark"] == before


def test_what_was_deleted_at_chatbase_is_removed_when_asked_for(lake):
    lake.run()
    gone = list(lake.truth())[:7]
    lake.delete(gone)
    lake.run()
    assert set(lake.seen()) > set(lake.truth())
    assert lake.run(remove_missing=True)["removed"] == 7
    assert lake.seen() == lake.truth()


@pytest.mark.parametrize(
    "more",
    [
        {"channels": ["API"]},
        {"exclude_user_prefix": "airflow-"},
        {"strategy": "changed_since"},
        {"conversation_id": "x"},
        {"kind": "contacts"},
    ],
)
def test_what_is_missing_is_not_removed_by_a_selection(lake, more):
    with pytest.raises(ChatbasePermanentError, match="remove_missing needs"):
        lake.run(remove_missing=True, **more)


@pytest.mark.parametrize(
    "more",
    [
        {"vacuum_days": 6},
        {"tables": ["messages"]},
        {"file_format": "parquet", "remove_missing": True},
        {"compression": "rar"},
        {"output_path": "ftp://x/y"},
    ],
)
def test_arguments_that_cannot_be_are_refused_before_the_reading(lake, more):
    lake.simulator.reset_log()
    with pytest.raises(ChatbasePermanentError):
        lake.run(**more)
    assert not lake.simulator.requests_for("exportConversations")


def test_another_selection_is_refused_before_the_reading(lake):
    lake.run()
    lake.simulator.reset_log()
    others = (
        {"channels": ["API"]},
        {"include": "summary"},
        {"redact": ["title"]},
        {"tables": ["conversations"]},
    )
    for more in others:
        with pytest.raises(ChatbasePermanentError, match="holds another selection"):
            lake.run(**more)
    assert not lake.simulator.requests_for("exportConversations")


def test_an_export_that_breaks_off_changes_nothing(lake):
    lake.run(end=TODAY - 20 * DAY, start=TODAY - 60 * DAY)
    before = lake.seen()
    lake.simulator.faults.add(Fault(kind="status", status=403, skip=3))
    with pytest.raises(ChatbasePermanentError):
        lake.run()
    assert lake.seen() == before


def test_leads_and_contacts(lake):
    result = lake.run("leads")
    assert result["rows"] == len(rows(lake.place, "leads")) > 0
    result = lake.run("contacts", start="1970-01-01", end=None)
    assert result["rows"] == len(rows(lake.place, "contacts")) > 0


@pytest.mark.long
def test_many_runs_at_once_and_an_erasure_between(lake, monkeypatch):
    monkeypatch.setattr(delta_target, "CHUNK_BYTES", 20_000)
    windows = [(60, 40), (45, 20), (30, 0), (60, 0)]
    failed: list[BaseException] = []

    def run(first: int, last: int) -> None:
        try:
            lake.run(start=TODAY - first * DAY, end=TODAY - last * DAY)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=run, args=each) for each in windows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert lake.seen() == lake.truth()
    one = next(iter(lake.truth()))
    erase(lake.place, [], [one])
    assert set(lake.truth()) - set(lake.seen()) == {one}


class KilledError(Exception):
    """Ends a run where a kill would."""


def last_commit(place, table: str) -> list[dict[str, Any]]:
    log = sorted(Path(place.below(table).uri, "_delta_log").glob("*.json"))
    return [json.loads(line) for line in log[-1].read_text().splitlines()]


def test_days_of_which_nothing_is_there_are_put_in_whole_and_others_merged(lake):
    lake.run(start=TODAY - 60 * DAY, end=TODAY - 10 * DAY)
    lake.run(start=TODAY - 5 * DAY, end=TODAY)
    lake.run()
    assert lake.seen() == lake.truth()
    for table in ("conversations", "messages"):
        merged = last_commit(lake.place, table)
        days = {each["add"]["partitionValues"]["conversation_date"] for each in merged if "add" in each}
        assert days == set() or table == "messages"
    url, lake.url = lake.url, f"{lake.url}-2"
    lake.run()
    commit = last_commit(lake.place, "conversations")
    added = [each["add"] for each in commit if "add" in each]
    assert sum(json.loads(each["stats"])["numRecords"] for each in added) == len(lake.truth())
    assert len({each["path"].split("/")[0] for each in added}) == len(added)
    assert any(each.get("txn", {}).get("appId") == "chatbase/watermark" for each in commit)
    first = {name: rows(lake.place, name) for name in ("conversations", "messages", "tool_calls")}
    assert first == {name: rows(find_storage(url), name) for name in first}


def test_constraints_that_somebody_gave_a_table_are_kept_to(lake):
    lake.run(start=TODAY - 60 * DAY, end=TODAY - 59 * DAY)
    messages = lake.place.below("messages").uri
    early = f"conversation_date < DATE '{(TODAY - 50 * DAY).date()}'"
    deltalake.DeltaTable(messages).alter.add_constraint({"early": early})
    before = rows(lake.place, "messages")
    with pytest.raises(ChatbaseStorageError, match="failed validation check"):
        lake.run()
    assert rows(lake.place, "messages") == before


@pytest.mark.parametrize(
    ("table", "what"), matrix(["tool_calls", "messages", "conversations"], ["killed", "overtaken"])
)
def test_a_first_load_that_is_killed_or_overtaken_before_a_commit(lake, monkeypatch, table, what):
    append, met = delta_table.CurrentTable.append, []

    def stopped(self, files, transactions):
        if self.kind.table.name == table and not met:
            met.append(table)
            if what == "killed":
                raise KilledError
            one = next(iter(lake.truth()))
            lake.simulator.add_message(one, "One more thing")
            lake.run(start=TODAY - 30 * DAY, end=TODAY)
        append(self, files, transactions)

    monkeypatch.setattr(delta_table.CurrentTable, "append", stopped)
    if what == "killed":
        with pytest.raises(KilledError):
            lake.run()
        assert not deltalake.DeltaTable(lake.place.below("conversations").uri).file_uris()
    result = lake.run()
    assert met == [table]
    assert lake.seen() == lake.truth()
    assert result["watermark"].startswith(str(TODAY.date()))


def test_an_erasure_before_the_first_commit_ends_a_first_load(lake, monkeypatch):
    lake.run(start=TODAY - 60 * DAY, end=TODAY - 59 * DAY)
    one = next(iter(lake.truth(start=TODAY - 30 * DAY)))
    append = delta.DeltaTables.append

    def after_an_erasure(self, files, covered):
        erase(lake.place, [], [one])
        return append(self, files, covered)

    monkeypatch.setattr(delta.DeltaTables, "append", after_an_erasure)
    with pytest.raises(ChatbaseReplacedExportError):
        lake.run()
    assert one not in {row["conversation_id"] for row in rows(lake.place)}


def test_an_object_that_two_parts_bring_is_merged(tmp_path):
    kinds = tables(find_storage(f"file://{tmp_path}/lake")).kinds
    made = as_tables(kinds, [rows_of("conversations", conversation(1), "agent")])
    window = Window(TODAY - 60 * DAY, TODAY)
    parts = []
    for number in range(2):
        path, segments = tmp_path / str(number), []
        with path.open("wb") as stream:
            for name, found in made.items():
                at = stream.tell()
                stream.write(rows_written(found))
                segments.append(Segment(name, "2026-01-02", found.num_rows, at, stream.tell() - at))
        parts.append(FinishedPart("batch", 1, 1, 0, str(path), tuple(segments)))
    files = DayFiles(kinds, tmp_path)
    files.expect(window, set())
    for part, key in zip(parts, ("c0001", "c0001"), strict=True):
        files.take(part, [key])
    (of_day,) = files.made(parts[:1]).values()
    assert {name: file.rows for name, file in of_day.items()} == {
        "conversations": 1,
        "messages": 2,
        "tool_calls": 1,
    }
    assert files.made(parts) == {}
    files.close()


def test_into_a_bucket_by_an_airflow_connection(lake, s3_url, monkeypatch, request):
    pytest.importorskip("airflow.providers.amazon")
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    storage = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(storage))
    s3_fs(s3_url, "by-connection")
    result = lake.run(output_path="s3://lake@by-connection/deep")
    assert result["output_path"] == "s3://by-connection/deep"
    assert {row["conversation_id"] for row in rows(find_storage("s3://lake@by-connection/deep"))} == set(
        lake.truth()
    )


def test_the_operator_that_erases_finds_the_tables(lake):
    lake.run()
    users = {row["conversation_id"]: row["user_id"] for row in rows(lake.place) if row["user_id"]}
    one, user = next(iter(users.items()))
    arguments = {"task_id": "erase", "output_path": lake.url, "user_ids": [user]}
    counted = ChatbaseEraseConversationsOperator(dry_run=True, **arguments).execute({})
    assert counted["conversations"] == list(users.values()).count(user)
    assert one in lake.seen()
    report = ChatbaseEraseConversationsOperator(**arguments).execute({})
    assert {**report, "dry_run": True, "files_changed": 0} == counted
    assert report["files_changed"] > 0
    assert user not in {row["user_id"] for row in rows(lake.place)}
    assert not [
        each
        for each in Path(lake.place.uri).rglob("*")
        if each.is_file() and one.encode() in each.read_bytes()
    ]


def test_what_is_deleted_at_chatbase_first_is_counted_and_does_not_come_back(lake):
    lake.run()
    one = next(iter(lake.truth()))
    arguments = {"task_id": "erase", "output_path": lake.url, "conversation_ids": [one], "at_source": True}
    with pytest.raises(ChatbasePermanentError, match="max_deletes is 0"):
        ChatbaseEraseConversationsOperator(max_deletes=0, **arguments).execute({})
    assert one in lake.seen()
    report = ChatbaseEraseConversationsOperator(**arguments).execute({})
    assert (report["conversations"], report["deleted_at_source"]) == (1, 1)
    lake.run()
    assert one not in lake.seen()
    assert lake.seen() == lake.truth()
