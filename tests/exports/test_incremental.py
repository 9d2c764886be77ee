"""Many exports into one output: nothing twice, nothing lost, the watermark only forward."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError, ChatbaseUnsupportedError
from airflow_provider_chatbase.exports import files_target
from airflow_provider_chatbase.exports.manifest import CREATED, read_watermark
from airflow_provider_chatbase.exports.window import Window, floor_day, look_back
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Fault

DAY = timedelta(days=1)
TODAY = floor_day(datetime.now(tz=UTC))


def days(first: int, last: int) -> Window:
    return Window(TODAY - first * DAY, TODAY - last * DAY)


def test_windows_add_up_in_any_order(exports):
    export = exports(conversations=300, months=1)
    for window in (days(10, 5), days(40, 10), days(5, 0)):
        export.run(window)
    assert export.seen() == export.truth(days(40, 0))


def test_a_rerun_of_a_window_writes_the_same_bytes(exports):
    export = exports(conversations=100, months=1)
    export.run(days(20, 10))
    export.run(days(10, 0))
    before = export.everything()
    export.run(days(20, 10))
    assert export.everything() == before


def test_a_wider_window_by_day_replaces_the_days_that_it_covers(exports):
    export = exports(conversations=100, months=1)
    export.run(days(20, 10), partition_by="day")
    export.run(days(40, 0), partition_by="day")
    assert export.seen() == export.truth(days(40, 0))
    assert all(len(manifest["files"]) == 1 for manifest in export.manifests())


def test_days_in_any_order_hold_each_conversation_once(exports):
    export = exports(conversations=200, months=1)
    for window in (days(20, 10), days(15, 5), days(18, 17), days(30, 12)):
        export.run(window, partition_by="day")
    assert export.seen() == export.truth(days(30, 5))


def test_a_day_without_rows_has_files_with_their_columns_from_the_first_night(exports):
    duckdb = pytest.importorskip("duckdb")
    export = exports(conversations=0)
    export.run(days(2, 1), file_format="parquet", partition_by="day")
    for table, columns in (("conversations", 11), ("messages", 13), ("tool_calls", 13)):
        found = duckdb.sql(f"FROM read_parquet('{export.path}/{table}/**')")
        assert (found.fetchall(), len(found.columns)) == ([], columns)


def test_the_days_before_the_first_conversation_have_no_files(exports):
    export = exports(conversations=0)
    export.simulator.create_conversations(at=days(3, 2).start.timestamp())
    export.run(days(2000, 1), partition_by="day")
    assert sorted(name.split("/")[1] for name in export.files()) == [
        f"conversation_date={days(n, 0).start:%Y-%m-%d}" for n in (3, 2)
    ]


def test_a_worker_whose_clock_is_behind_loses_no_day(exports, monkeypatch):
    export = exports(conversations=200, months=1)
    real = time.time
    monkeypatch.setattr(files_target.time, "time", lambda: real() - 10 * 86_400)
    export.run(days(20, 0), partition_by="day")
    assert export.seen() == export.truth(days(20, 0))


def test_the_thousandth_run_asks_the_storage_no_more_than_the_second(exports):
    class Counting(LocalFileSystem):
        cachable = False
        calls = 0

        def __getattribute__(self, name):
            if name in ("cat_file", "ls", "rm_file", "makedirs", "open", "info"):
                Counting.calls += 1
            return super().__getattribute__(name)

    export = exports(conversations=20, months=1)
    export = replace(export, directory=replace(export.directory, fs=Counting()))
    counts = []
    for number in range(40):
        Counting.calls = 0
        export.run(days(41 - number, 40 - number), partition_by="day")
        counts.append(Counting.calls)
    assert max(counts[1:]) <= counts[1] + 1, counts


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_lookback_replaces_the_partitions_of_its_days(exports, file_format):
    export = exports(conversations=300, months=1)
    whole = days(12, 2)
    export.run(whole, partition_by="day", file_format=file_format)
    before = {name: content for name, content in export.everything().items() if "conversations/" in name}
    old = next(
        each
        for each in export.simulator.store.conversations(export.simulator.agent_id)
        if days(4, 3).holds(each.created_at)
    )
    export.simulator.add_message(old.id, "One more thing")
    window = look_back(days(2, 1), 3 * DAY)
    assert window == days(5, 1)
    export.run(window, partition_by="day", file_format=file_format)
    after = {name: content for name, content in export.everything().items() if "conversations/" in name}
    changed = {name.split("/")[1] for name, _ in before.items() ^ after.items()}
    grown = f"conversation_date={datetime.fromtimestamp(old.created_at, UTC).date()}"
    assert grown in changed
    assert changed <= {grown, f"conversation_date={days(2, 1).start.date()}"}
    if file_format == "jsonl":
        assert export.seen() == export.truth(days(12, 1))


def test_the_watermark_only_moves_forward(exports):
    export = exports(conversations=50, months=1)
    assert export.run(days(10, 5)).watermark == days(10, 5).end
    assert export.run(days(30, 20)).watermark == days(10, 5).end
    assert export.run(days(5, 4)).watermark == days(5, 4).end


def test_the_watermark_moves_over_no_gap_until_it_is_closed(exports):
    export = exports(conversations=50, months=1)
    export.run(days(20, 15))
    assert export.run(days(8, 7)).watermark == days(20, 15).end
    assert export.run(days(7, 6)).watermark == days(20, 15).end
    assert len(list((export.path / "_watermark").glob("ahead-*"))) == 1
    assert export.run(days(12, 10)).watermark == days(20, 15).end
    assert export.run(days(15, 12)).watermark == days(12, 10).end
    assert export.run(days(10, 8)).watermark == days(7, 6).end
    assert len(list((export.path / "_watermark").iterdir())) == 1


def test_a_watermark_that_another_run_moves_just_now_is_read_anew(exports, monkeypatch):
    export = exports(conversations=5)
    export.run(days(5, 4))
    read_json = Directory.read_json

    def read_late(directory, name):
        monkeypatch.setattr(Directory, "read_json", read_json)
        export.run(days(4, 3))
        return read_json(directory, name)

    monkeypatch.setattr(Directory, "read_json", read_late)
    assert read_watermark(export.directory, CREATED) == days(4, 3).end


def test_the_watermark_stays_out_of_the_future(exports):
    export = exports(conversations=5)
    before = datetime.now(tz=UTC).replace(microsecond=0)
    watermark = export.run(Window(TODAY - DAY, TODAY + 40 * DAY)).watermark
    assert (
        before - timedelta(seconds=1) <= watermark <= datetime.now(tz=UTC)
    )  # the reply's Date has no fraction


def test_changed_since_finds_old_conversations_that_grew(exports):
    export = exports(conversations=200, months=3)
    start = datetime.now(tz=UTC).replace(microsecond=0)
    export.run(days(120, 0))
    grown = export.simulator.store.conversations(export.simulator.agent_id)[150]
    export.simulator.add_message(grown.id, "Hello again")
    [new] = export.simulator.create_conversations()
    outcome = export.run(Window(start, start + timedelta(seconds=90)), by="updated")
    found = {each["id"]: each for each in export.objects() if each["updatedAt"] >= start.timestamp()}
    assert set(found) == {grown.id, new.id}
    assert found[grown.id]["messages"][-1]["parts"][0]["text"] == "Hello again"
    assert outcome.rows == 2
    newest = {}
    for each in sorted(export.objects(), key=lambda each: each["updatedAt"]):
        newest[each["id"]] = [message["id"] for message in each["messages"]]
    assert newest == export.truth()


def test_a_conversation_deleted_after_it_was_found_is_gone(exports):
    export = exports(conversations=30, months=1)
    window = Window(TODAY - 40 * DAY, datetime.now(tz=UTC).replace(microsecond=0) + DAY)
    gone = {"operation": "exportConversations", "kind": "status", "status": 404, "times": 1, "skip": 5}
    export.simulator.faults.add(Fault(code="RESOURCE_NOT_FOUND", **gone))
    assert export.run(window, by="updated").rows == len(export.truth()) - 1
    export.simulator.faults.add(Fault(code="AGENT_NOT_FOUND", **gone))
    with pytest.raises(ChatbaseNotFoundError, match="AGENT_NOT_FOUND"):
        export.run(window, by="updated")


def test_changed_since_many_in_batches(exports):
    export = exports(conversations=130, months=1)
    window = Window(TODAY - 40 * DAY, datetime.now(tz=UTC).replace(microsecond=0) + DAY)
    export.run(window, by="updated")
    assert export.seen() == export.truth()
    created = [each["createdAt"] for each in export.objects()]
    assert created == sorted(created, reverse=True)


def test_changed_since_without_search_names_lookback(exports, tmp_path):
    export = exports(conversations=5)
    export.simulator.faults.add(
        Fault(
            kind="status", operation="searchConversations", status=403, code="CONVERSATION_SEARCH_UNAVAILABLE"
        )
    )
    with pytest.raises(ChatbaseUnsupportedError, match="strategy='lookback'"):
        export.run(days(3, 0), by="updated")
    assert not list(tmp_path.iterdir())
