"""Many exports in one directory: nothing twice, nothing lost, the watermark only forward."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_chatbase.client.errors import ChatbaseUnsupportedError
from airflow_provider_chatbase.exports.errors import ChatbaseOutputError
from airflow_provider_chatbase.exports.manifest import Commit, ExportedFile, Layout, Manifest
from airflow_provider_chatbase.exports.spec import cover_files
from airflow_provider_chatbase.exports.window import Window, days_of, floor_day, look_back
from airflow_provider_chatbase.simulator import Fault

DAY = timedelta(days=1)
TODAY = floor_day(datetime.now(tz=UTC))


def days(first: int, last: int) -> Window:
    return Window(TODAY - first * DAY, TODAY - last * DAY)


def planned(export, window: Window, partition_by=None) -> Window:
    return cover_files(window, export.directory.read_manifest(), "created", partition_by)


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


def test_a_wider_window_replaces_those_that_it_covers(exports):
    export = exports(conversations=100, months=1)
    export.run(days(20, 10))
    export.run(days(40, 0))
    assert export.seen() == export.truth(days(40, 0))
    assert len(export.everything()) == 2


def test_a_window_that_cuts_an_earlier_one_is_widened(exports):
    export = exports(conversations=200, months=1)
    export.run(days(20, 10))
    window = planned(export, days(15, 5))
    assert window == days(20, 5)
    export.run(window)
    assert export.seen() == export.truth(days(20, 5))


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
    window = planned(export, look_back(days(2, 1), 3 * DAY), "day")
    assert window == days(5, 1)
    export.run(window, partition_by="day", file_format=file_format)
    after = {name: content for name, content in export.everything().items() if "conversations/" in name}
    changed = {name.split("/")[1] for name, _ in before.items() ^ after.items()}
    grown = f"conversation_date={datetime.fromtimestamp(old.created_at, UTC).date()}"
    assert grown in changed
    assert changed <= {grown, f"conversation_date={days(2, 1).start.date()}"}
    if file_format == "jsonl":
        assert export.seen() == export.truth(days(12, 1))


def test_a_day_that_is_not_over_is_replaced_by_the_next_run(exports):
    export = exports(conversations=0)
    noon = TODAY - DAY + DAY / 2
    export.simulator.create_conversations(at=noon.timestamp() - 60)
    export.run(planned(export, Window(TODAY - 2 * DAY, noon), "day"), partition_by="day")
    export.simulator.create_conversations(at=noon.timestamp() + 60)
    export.run(planned(export, Window(noon, TODAY), "day"), partition_by="day")
    assert export.seen() == export.truth()
    assert len(export.everything()) == 2


def test_the_watermark_only_moves_forward(exports):
    export = exports(conversations=50, months=1)
    assert export.run(days(10, 5)).manifest.watermark == days(10, 5).end
    assert export.run(days(30, 20)).manifest.watermark == days(10, 5).end
    assert export.run(days(5, 4)).manifest.watermark == days(5, 4).end


def test_the_watermark_stays_out_of_the_future(exports):
    export = exports(conversations=5)
    before = datetime.now(tz=UTC).replace(microsecond=0)
    watermark = export.run(Window(TODAY - DAY, TODAY + 40 * DAY)).manifest.watermark
    assert before <= watermark <= datetime.now(tz=UTC)


def test_another_agent_or_format_is_refused(exports):
    export = exports(conversations=20, months=1)
    export.run(days(20, 10))
    before = export.everything()
    with pytest.raises(ChatbaseOutputError, match=r"\{agent_id\} in output_path"):
        export.run(days(10, 0), agent_id="somebody-else")
    with pytest.raises(ChatbaseOutputError, match="format: jsonl, now csv"):
        export.run(days(10, 0), file_format="csv")
    assert export.everything() == before
    export.run(days(30, 0), file_format="csv")
    assert not [name for name in export.everything() if name.endswith(".jsonl")]


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
    assert outcome.commit.rows == 2
    newest = {}
    for each in sorted(export.objects(), key=lambda each: each["updatedAt"]):
        newest[each["id"]] = [message["id"] for message in each["messages"]]
    assert newest == export.truth()


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


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=8), st.booleans())
def test_any_windows_in_any_order_hold_each_moment_once(spans, by_day):
    layout = Layout("conversations", "a", partition_by="day" if by_day else None)
    manifest = Manifest(layout)
    asked: list[Window] = []
    for number, (first, length) in enumerate(spans):
        start = TODAY - 90 * DAY + first * DAY / 4
        window = Window(start, start + length * DAY / 4)
        asked.append(window)
        window = cover_files(window, manifest, "created", layout.partition_by)
        slices = days_of(window) if by_day else [window]
        files = [ExportedFile(f"{each.name}-{number}", "conversations", 1, 1, "", each) for each in slices]
        before = manifest.watermark
        manifest = manifest.with_export(Commit(window, len(files), len(files)), files, window.end)
        assert before is None or manifest.watermark >= before
    for quarter in range(90 * 4):
        moment = Window(
            TODAY - 90 * DAY + quarter * DAY / 4, TODAY - 90 * DAY + quarter * DAY / 4 + timedelta(hours=1)
        )
        holding = [each for each in manifest.files if each.window.meets(moment)]
        assert len(holding) <= 1
        assert bool(holding) >= any(each.meets(moment) for each in asked)
        commits = [each for each in manifest.commits if each.window.meets(moment)]
        assert len(commits) == len(holding)
