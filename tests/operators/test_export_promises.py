"""
What an export promises, against a real server, real files and real processes.

It equals the API's own set for its window, whatever is created, removed or broken while it runs; a reader
sees a whole export or none; memory does not grow.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from exporting import ExportProcess, export, files_below, manifest_at, own_files, rows_at, shown_at

from airflow_provider_chatbase import exceptions as errors
from airflow_provider_chatbase.simulator import Fault, Simulator

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
JANUARY = {"start": START, "end": END}
SECOND = timedelta(seconds=1)
OPERATION = "exportConversations"
CURSORS = pytest.mark.parametrize("cursor_mode", ["keyset", "offset"])


@pytest.fixture
def start(start_simulator, connect):
    """Start a simulator with 100 conversations and point the default connection at it."""

    def start(**switches) -> Simulator:
        simulator = start_simulator(**{"conversations": 100, **switches})
        connect(simulator, extra={"max_attempts": 1})
        return simulator

    return start


@pytest.fixture
def simulator(start):
    return start()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "export"


def truth(simulator: Simulator, start: datetime | None = None, end: datetime | None = None) -> set[str]:
    low, high = (start or NOON.min.replace(tzinfo=UTC)), (end or NOON.max.replace(tzinfo=UTC))
    return {
        each.id
        for each in simulator.store.conversations(simulator.agent_id)
        if low <= datetime.fromtimestamp(each.created_at, UTC) < high
    }


def ids_at(path: Path) -> set[str]:
    ids = shown_at(path)
    assert len(ids) == len(set(ids)), "a conversation is in twice"
    return set(ids)


def newest(simulator: Simulator) -> str:
    return simulator.store.conversations(simulator.agent_id)[0].id


def oldest(simulator: Simulator) -> str:
    return simulator.store.conversations(simulator.agent_id)[-1].id


def remove(simulator: Simulator, conversation_id: str) -> None:
    """Delete a conversation, as people do in Chatbase's dashboard."""
    index = simulator.store.agents[simulator.agent_id].conversations
    conversation = index.by_id.pop(conversation_id)
    for positions in (index.by_creation, index.by_source[conversation.source]):
        positions.discard((conversation.created_at, conversation.id))


def in_the_middle(simulator: Simulator, work) -> None:
    """Do something when a second page is asked for for the first time."""
    done = []

    def see(request) -> None:
        if "cursor" in request.query and not done:
            done.append(request)
            work()

    simulator.on_request = see


class TestCompleteness:
    def test_every_conversation_of_every_channel_with_its_messages(self, simulator, path):
        result = export(path)
        assert ids_at(path) == truth(simulator)
        assert result["rows"] == result["api_total"] == 100
        conversations = {each.id: each for each in simulator.store.conversations(simulator.agent_id)}
        for row in rows_at(path):
            conversation = conversations[row["id"]]
            assert row["source"] == conversation.source
            assert [message["id"] for message in row["messages"]] == [m.id for m in conversation.messages]

    def test_newest_first_as_the_api_has_it(self, simulator, path):
        export(path)
        assert shown_at(path) == [each.id for each in simulator.store.conversations(simulator.agent_id)]

    def test_what_is_not_known_yet_is_kept(self, simulator, path):
        export(path)
        channels = {each.source for each in simulator.store.conversations(simulator.agent_id)}
        assert {row["source"] for row in rows_at(path)} == channels
        assert all("country" in row for row in rows_at(path)), "the simulator adds an undocumented field"

    def test_only_the_window(self, start, path):
        simulator = start(conversations=0)
        for at in (START - SECOND, START, NOON, END - SECOND, END, END + SECOND):
            simulator.create_conversations(at=at.timestamp(), count=2)
        result = export(path, **JANUARY)
        assert ids_at(path) == truth(simulator, START, END)
        assert result["rows"] == result["api_total"] == 6

    def test_windows_side_by_side_have_each_conversation_once(self, start, tmp_path):
        simulator = start(conversations=0)
        for seconds in range(6):
            simulator.create_conversations(at=(NOON + seconds * SECOND).timestamp(), count=3)
        found: list[str] = []
        for number, (first, last) in enumerate(pairwise(NOON + n * SECOND for n in (0, 1, 3, 6))):
            export(tmp_path / str(number), start=first, end=last)
            found += shown_at(tmp_path / str(number))
        assert len(found) == len(set(found)) == 18
        assert set(found) == truth(simulator)

    def test_more_conversations_in_a_second_than_a_page_holds(self, start, path):
        simulator = start(conversations=0)
        simulator.create_conversations(at=NOON.timestamp(), count=55)
        export(path, start=NOON, end=NOON + SECOND)
        assert ids_at(path) == truth(simulator)

    def test_an_empty_window(self, simulator, path):
        result = export(path, start="2001-01-01", end="2001-01-02")
        assert (result["rows"], result["api_total"]) == (0, 0)
        assert shown_at(path) == []

    @CURSORS
    def test_some_that_are_created_meanwhile_after_the_window(self, start, path, cursor_mode):
        simulator = start(create_while_exporting=3, cursor_mode=cursor_mode)
        end = datetime.now(UTC) - timedelta(minutes=5)
        before = truth(simulator, end=end)
        export(path, end=end)
        assert ids_at(path) == before

    @CURSORS
    def test_some_that_are_created_meanwhile_in_the_window(self, start, path, cursor_mode):
        """Those that were there at the start are all in; newer ones may be in."""
        simulator = start(create_while_exporting=3, cursor_mode=cursor_mode)
        before = truth(simulator)
        export(path)
        assert before <= ids_at(path) <= truth(simulator)

    def test_some_that_grow_meanwhile(self, start, path):
        simulator = start(grow_while_exporting=10)
        export(path)
        assert ids_at(path) == truth(simulator)

    @CURSORS
    @pytest.mark.parametrize("which", [newest, oldest], ids=["read already", "not read yet"])
    def test_one_that_is_removed_meanwhile_hides_no_other(self, start, path, cursor_mode, which):
        simulator = start(cursor_mode=cursor_mode)
        in_the_middle(simulator, lambda: remove(simulator, which(simulator)))
        export(path)
        assert truth(simulator) <= ids_at(path)

    def test_one_that_shows_up_late_is_a_reason_to_read_again(self, simulator, path):
        at = max(each.created_at for each in simulator.store.conversations(simulator.agent_id))
        in_the_middle(simulator, lambda: simulator.create_conversations(at=at))
        export(path, concurrency=1)
        assert ids_at(path) == truth(simulator)

    def test_a_page_without_items_in_between(self, simulator, path):
        simulator.faults.add(Fault(kind="empty_page", operation=OPERATION, skip=1, times=1))
        export(path)
        assert ids_at(path) == truth(simulator)

    def test_a_last_page_without_items(self, start, path):
        simulator = start(trailing_empty_page=True)
        export(path)
        assert ids_at(path) == truth(simulator)

    def test_odd_characters(self, start, path):
        simulator = start(conversations=0)
        texts = [
            "next\u0085line\u2028separator\u2029paragraph",
            "nul \x00 and bell \x07",
            "\u202eright to left",
            "👩‍👩‍👧‍👦",
            '"quotes" \\ and {braces}',
            "\r\n",
        ]
        for text in texts:
            simulator.create_conversations(message=text, at=NOON.timestamp())
        export(path)
        assert {row["messages"][0]["parts"][0]["text"] for row in rows_at(path)} == set(texts)
        [file] = manifest_at(path)["files"]
        lines = (path / file["path"]).read_text(encoding="utf-8").splitlines()
        assert len(lines) == len(texts), "some readers end a line at characters that JSON allows"


LOSSES = [
    pytest.param({"kind": "drop_items", "amount": 1}, id="an item is missing"),
    pytest.param({"kind": "drop_items", "amount": 20}, id="a page is missing"),
    pytest.param({"kind": "empty_page", "skip": 2}, id="pages are empty"),
    pytest.param({"kind": "wrong_total", "amount": 1}, id="the API counts more than it gives"),
]
BREAKS = [
    pytest.param({"kind": "repeat_cursor", "skip": 2}, errors.ChatbasePagingError, id="repeated cursor"),
    pytest.param({"kind": "status", "status": 500, "skip": 2}, errors.ChatbaseServerError, id="500"),
    pytest.param({"kind": "status", "status": 401, "skip": 2}, errors.ChatbasePermanentError, id="401"),
    pytest.param({"kind": "reset_after", "skip": 2}, errors.ChatbaseConnectionLostError, id="reset"),
    pytest.param({"kind": "truncate", "skip": 2}, errors.ChatbaseConnectionLostError, id="cut"),
    pytest.param({"kind": "truncate_json", "skip": 2}, errors.ChatbaseDamagedReplyError, id="damaged"),
    pytest.param({"kind": "not_json", "skip": 2}, errors.ChatbaseReplyError, id="a proxy's page"),
]


class TestFailure:
    @pytest.mark.parametrize("fault", LOSSES)
    def test_a_shortfall_fails_and_leaves_nothing(self, simulator, tmp_path, fault):
        simulator.faults.add(Fault(**fault, operation=OPERATION))
        with pytest.raises(
            errors.ChatbaseIncompleteExportError, match="The export is not complete"
        ) as raised:
            export(tmp_path / "year" / "month")
        assert "Nothing was exported" in str(raised.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("fault", LOSSES)
    def test_a_shortfall_leaves_the_export_before(self, simulator, path, fault):
        export(path)
        before = files_below(path)
        simulator.faults.add(Fault(**fault, operation=OPERATION))
        with pytest.raises(errors.ChatbaseIncompleteExportError):
            export(path)
        assert files_below(path) == before

    @pytest.mark.parametrize("fault", LOSSES)
    def test_a_shortfall_that_passes_is_read_again(self, simulator, path, fault):
        simulator.faults.add(Fault(**{"skip": 1, **fault}, operation=OPERATION, times=1))
        assert export(path)["rows"] == 100
        assert ids_at(path) == truth(simulator)

    @pytest.mark.parametrize(("fault", "error"), BREAKS)
    def test_a_break_in_the_middle_leaves_nothing(self, simulator, tmp_path, fault, error):
        simulator.faults.add(Fault(**fault, operation=OPERATION))
        with pytest.raises(error):
            export(tmp_path / "year" / "month", concurrency=1)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(("fault", "error"), BREAKS)
    def test_a_break_in_the_middle_leaves_the_export_before(self, simulator, path, fault, error):
        export(path)
        before = files_below(path)
        simulator.faults.add(Fault(**fault, operation=OPERATION))
        with pytest.raises(error):
            export(path, concurrency=1)
        assert files_below(path) == before

    def test_a_break_that_passes_is_no_break(self, simulator, connect, path):
        connect(simulator, extra={"max_attempts": 3})
        simulator.faults.add(
            *(Fault(kind=kind, operation=OPERATION, skip=1, times=1) for kind in ("reset_before", "truncate"))
        )
        export(path)
        assert ids_at(path) == truth(simulator)


class TestRerun:
    def test_writes_the_same_bytes(self, simulator, path):
        end = datetime.now(UTC) - timedelta(minutes=1)
        export(path, end=end)
        first = files_below(path)
        export(path, end=end)
        assert files_below(path) == first

    def test_writes_the_same_bytes_somewhere_else(self, simulator, tmp_path):
        end = datetime.now(UTC) - timedelta(minutes=1)
        for name in ("a", "b"):
            export(tmp_path / name, end=end)
        assert files_below(tmp_path / "a") == files_below(tmp_path / "b")

    def test_replaces_what_has_changed(self, simulator, path):
        export(path)
        names = len(files_below(path))
        gone = newest(simulator)
        remove(simulator, gone)
        simulator.create_conversations(at=NOON.timestamp())
        export(path)
        assert ids_at(path) == truth(simulator)
        assert gone not in ids_at(path)
        assert len(files_below(path)) == names, "nothing is left of the export before"

    def test_the_manifest_says_what_is_there(self, simulator, path):
        result = export(path)
        manifest = manifest_at(path)
        assert set(files_below(path)) == own_files(path)
        assert manifest["rows"] == result["rows"] == 100
        assert manifest["bytes"] == sum(file["bytes"] for file in manifest["files"])
        assert (manifest["agent_id"], manifest["kind"], manifest["format"]) == (
            simulator.agent_id,
            "conversations",
            "jsonl",
        )
        assert len(json.dumps(result)) < 2048


class TestKilled:
    """The process dies at once, with no chance to clean up."""

    def test_while_it_reads(self, simulator, path):
        export(path)
        before = shown_at(path)
        simulator.create_conversations(at=NOON.timestamp())
        simulator.reset_log()
        simulator.faults.add(
            Fault(kind="slow", operation=OPERATION, skip=2, times=1, seconds=60, after=False)
        )
        process = ExportProcess(path)
        deadline = time.monotonic() + 100
        while len(simulator.requests_for(OPERATION)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
        assert shown_at(path) == before
        export(path)
        assert ids_at(path) == truth(simulator)
        assert set(files_below(path)) == own_files(path)

    @pytest.mark.long
    @pytest.mark.parametrize("first", [True, False], ids=["the first export", "a rerun"])
    def test_before_each_move_of_a_file(self, simulator, tmp_path, first):
        for move in itertools.count():
            path = tmp_path / str(move)
            before = None
            if not first:
                export(path)
                before = shown_at(path)
                simulator.create_conversations(at=NOON.timestamp())
            process = ExportProcess(path, stop_before_move=move)
            if process.says() != "stopped":
                break
            process.kill()
            shown = shown_at(path)
            assert shown in (before, None) or set(shown) == truth(simulator), "the watermark comes last"
            export(path)
            assert ids_at(path) == truth(simulator)
            assert set(files_below(path)) == own_files(path)
        assert move > 0


@pytest.fixture
def reading(path) -> Iterator[list[bool]]:
    """Read all the time, as a careful reader does: what stood under one manifest belongs together."""
    seen: list[bool] = []
    stop = threading.Event()

    def read() -> None:
        manifest = b""
        while not stop.is_set():
            try:
                [name] = (path / "_manifests").glob("*.json")
                manifest = name.read_bytes()
                files = json.loads(manifest)["files"]
                right = all(
                    hashlib.sha256((path / file["path"]).read_bytes()).hexdigest() == file["sha256"]
                    for file in files
                )
            except (FileNotFoundError, ValueError):
                right = False
            with suppress(FileNotFoundError, UnboundLocalError):
                if name.read_bytes() == manifest:
                    seen.append(right)

    thread = threading.Thread(target=read)
    thread.start()
    yield seen
    stop.set()
    thread.join()


def test_a_reader_meanwhile_never_sees_half_an_export(simulator, path, reading):
    for _ in range(15):
        simulator.create_conversations(at=NOON.timestamp())
        export(path)
    assert len(reading) > 15
    assert all(reading)


@pytest.mark.long
def test_memory_does_not_grow_with_the_number_of_conversations(start, tmp_path):
    """What is kept are the parts that are read at the same time, and of each conversation its name."""
    peaks, counts = [], (40_000, 120_000)
    for count in counts:
        start(conversations=count, rate_limit=100_000)
        process = ExportProcess(tmp_path / str(count))
        peaks.append(process.says())
        assert manifest_at(tmp_path / str(count))["bytes"] > 1_000 * count
    assert (peaks[1] - peaks[0]) / (counts[1] - counts[0]) < 300  # bytes; each has more than 1,000


@pytest.mark.long
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_memory_does_not_grow_with_the_size_of_conversations(start, tmp_path, file_format):
    simulator = start(conversations=0, rate_limit=100_000)
    for number in range(1_500):
        at = START + number * timedelta(minutes=29)
        simulator.create_conversations(at=at.timestamp(), message="long text, " * 9_100)
    process = ExportProcess(tmp_path / "large", file_format=file_format, **JANUARY)
    assert process.says() < 400_000_000  # a third of it is Airflow, more on 3.0
    assert manifest_at(tmp_path / "large")["rows"] == 1_500
