"""Erased rows are in no file; every other file stays as it is."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from matrix import matrix

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports import erasure
from airflow_provider_chatbase.exports.erasure import AtSource, erase
from airflow_provider_chatbase.exports.redaction import read_redaction
from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files import ChatbaseDamagedFileError, ChatbaseOutputBusyError
from airflow_provider_chatbase.files.formats import CsvStyle
from airflow_provider_chatbase.files.lock import Lock, LockTimes

TODAY = floor_day(datetime.now(tz=UTC))
WINDOW = Window(TODAY - timedelta(days=40), TODAY + timedelta(days=1))


@pytest.fixture
def export(exports):
    export = exports(conversations=120, months=1)
    then = TODAY.timestamp() - 5 * 86_400
    export.simulator.create_conversations(at=then, user_id="subject", count=2, message="This is my secret")
    return export


@pytest.mark.parametrize(
    ("file_format", "compression"), matrix(["jsonl", "csv", "parquet"], [None, "gzip", "zstd"])
)
def test_a_user_is_erased_and_other_files_stay(export, exports, file_format, compression):
    arguments = {"file_format": file_format, "compression": compression, "partition_by": "day"}
    export.run(WINDOW, **arguments)
    before = export.everything()
    counted = erase(export.directory, ["subject"], [], dry_run=True)
    assert export.everything() == before
    report = erase(export.directory, ["subject"], [])
    assert report == counted
    assert report.conversations == 2
    assert report.rows["conversations"] == 2
    assert file_format == "jsonl" or report.rows["messages"] == 4
    after = export.everything()
    gone = {name for name in before if name[0] != "_"} - set(after)
    assert len(gone) == report.files_changed == (1 if file_format == "jsonl" else 2)
    assert {name: after[name] for name in before if name in after and name[0] != "_"} == {
        name: content for name, content in before.items() if name not in gone and name[0] != "_"
    }
    again = erase(export.directory, ["subject"], [])
    assert (again.conversations, again.files_changed) == (0, 0)

    # What is left has the bytes of an export that never had them.
    conversations = export.simulator.store.agents[export.simulator.agent_id].conversations
    for each in export.simulator.store.conversations_of_user(export.simulator.agent_id, "subject"):
        conversations.by_creation.discard((each.created_at, each.id))
    never = exports(export.simulator, "never")
    never.run(WINDOW, **arguments)
    written, as_never = (
        sorted((name.rpartition("/")[0], content) for name, content in each.files().items())
        for each in (export, never)
    )
    assert written == as_never
    assert sum(manifest["rows"] for manifest in export.manifests()) == 120
    assert export.watermark is not None


def test_a_conversation_by_its_id(export):
    export.run(WINDOW)
    [first, *_] = export.objects()
    erase(export.directory, [], [first["id"]])
    assert set(export.seen()) == set(export.truth(WINDOW)) - {first["id"]}


def test_a_user_whose_id_is_hashed(export):
    export.run(WINDOW, redaction=read_redaction({"user_id": "hash"}, "pepper"))
    before = export.everything()
    for salt in (None, "salt"):
        with pytest.raises(ChatbaseInputError, match=r"hash users, and .* Nothing was erased"):
            erase(export.directory, ["subject"], [], salt=salt)
    assert export.everything() == before
    assert erase(export.directory, ["subject"], [], salt="pepper").conversations == 2
    assert "secret" not in json.dumps(export.objects())


@pytest.mark.parametrize("action", ["drop", "mask"])
def test_users_that_are_hidden_are_refused(export, action):
    export.run(WINDOW, redaction=read_redaction({"userId": action}, None))
    with pytest.raises(ChatbaseInputError, match=f"redact user_id: {action}.*Give conversation_ids"):
        erase(export.directory, ["subject"], [])


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_a_cell_of_any_length_and_users_that_look_alike(export, file_format):
    then = TODAY.timestamp() - 4 * 86_400
    create = export.simulator.create_conversations
    create(at=then, user_id="x", message="long" * 100_000)
    for user in ("'x", "=x", "'=x", 'y,\n"y"'):
        create(at=then, user_id=user)
    style = CsvStyle(null="NULL", bom=True)
    export.run(WINDOW, file_format=file_format, csv_style=style)
    for number, user in enumerate(("x", "'x", "=x", "'=x", 'y,\n"y"'), 1):
        assert erase(export.directory, [user], []).conversations == 1, user
        assert sum(manifest["rows"] for manifest in export.manifests()) == 127 - number
    assert erase(export.directory, ["subject"], []).conversations == 2


def test_what_is_staged_is_erased(export):
    export.run(WINDOW)
    there = export.path / "_staging" / "somebodys" / "part-x"
    there.parent.mkdir(parents=True)
    there.write_bytes(b"my secret")
    assert erase(export.directory, ["subject"], [], dry_run=True).staged_attempts == 1
    assert there.exists()
    assert erase(export.directory, ["subject"], []).staged_attempts == 1
    assert not there.parent.parent.exists()


def test_what_a_killed_run_left_beside_the_manifests_is_told(export):
    export.run(WINDOW)
    [manifest] = (export.path / "_manifests").glob("*.json")
    [left] = (export.path / "conversations").rglob("*.jsonl")
    (left.parent / "notes.txt").write_text("somebody's own")
    erase(export.directory, ["nobody"], [])
    manifest.unlink()
    with pytest.raises(ChatbaseInputError, match=f"{left.name} in .* is in no manifest"):
        erase(export.directory, ["subject"], [])


def test_what_is_left_beside_files_of_a_manifest_is_removed(export):
    """Such as by an erasing that could not remove what it had replaced."""
    export.run(WINDOW)
    [file] = (export.path / "conversations").rglob("*.jsonl")
    left = file.with_name(f"0123456789ab.{file.name.partition('.')[2]}")
    left.write_bytes(file.read_bytes())
    with pytest.raises(ChatbaseInputError, match="is in no manifest"):
        erase(export.directory, ["nobody"], [], dry_run=True)
    erase(export.directory, ["subject"], [])
    assert not left.exists()


def test_two_at_once_take_no_files_from_each_other_where_the_lock_was_lost(export, monkeypatch):
    export.run(WINDOW)
    monkeypatch.setattr(erasure, "Lock", lambda *_: nullcontext())
    rewrite = erasure._Erasure._rewrite

    def meanwhile(self, *given):
        made = rewrite(self, *given)
        monkeypatch.setattr(erasure._Erasure, "_rewrite", rewrite)
        erase(export.directory, ["subject"], [])
        return made

    monkeypatch.setattr(erasure._Erasure, "_rewrite", meanwhile)
    erase(export.directory, ["subject"], [])
    assert set(export.files()) == {file["path"] for each in export.manifests() for file in each["files"]}
    assert len(export.seen()) == 120


def test_an_export_that_publishes_is_waited_for(export, monkeypatch):
    export.run(WINDOW)
    said = export.path / "_staging" / "somebodys" / "publishing-1.json"
    said.parent.mkdir(parents=True)
    said.write_text(json.dumps({"at": time.time()}))
    monkeypatch.setattr(erasure, "MOST_SECONDS_OF_PUBLISHING", 0.1)
    with pytest.raises(ChatbaseOutputBusyError, match=r"An export is publishing in .*_staging/somebodys"):
        erase(export.directory, ["subject"], [])
    said.write_text(json.dumps({"at": time.time() - 4000}))
    assert erase(export.directory, ["subject"], []).conversations == 2


@pytest.mark.parametrize(
    "look", [{}, {"compression": "gzip"}, {"file_format": "csv"}, {"file_format": "parquet"}], ids=str
)
@pytest.mark.parametrize("cut", [20, -1])
def test_a_file_that_was_cut_is_refused_and_left_alone(export, look, cut):
    export.run(WINDOW, **look)
    file = next((export.path / "conversations").rglob("*.*"))
    left = file.read_bytes()[:cut]
    file.write_bytes(left)
    with pytest.raises(ChatbaseDamagedFileError, match=file.name):
        erase(export.directory, ["subject"], [])
    assert file.read_bytes() == left


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_a_file_of_another_content_is_refused(export, file_format, compression):
    export.run(WINDOW, file_format=file_format, compression=compression)
    file = next((export.path / "conversations").rglob("*.*"))
    file.write_bytes(b"?" * file.stat().st_size)
    with pytest.raises(ChatbaseDamagedFileError, match=file.name):
        erase(export.directory, ["subject"], [])


@pytest.mark.parametrize("contents", [{}, {"kind": "conversations"}])
def test_a_state_that_says_too_little_is_refused(export, contents):
    export.run(WINDOW)
    (export.path / "_output.json").write_text(json.dumps({"version": 2, "erasures": 0, "contents": contents}))
    for task in (lambda: erase(export.directory, ["subject"], []), lambda: export.run(WINDOW)):
        with pytest.raises(ChatbaseDamagedFileError, match=r"_output\.json"):
            task()


def test_of_two_erasures_at_once_one_is_told_to_wait(export, monkeypatch):
    export.run(WINDOW)
    first, second = export.objects()[:2]
    monkeypatch.setattr(erasure, "Lock", partial(Lock, times=LockTimes(beat=0.1, stale=60)))
    has_read, may_write = threading.Event(), threading.Event()
    write_back = erasure._Erasure._replace

    def slowly(*given):
        has_read.set()
        assert may_write.wait(60)
        return write_back(*given)

    monkeypatch.setattr(erasure._Erasure, "_replace", slowly)
    with ThreadPoolExecutor() as pool:
        earlier = pool.submit(erase, export.directory, [], [first["id"]])
        assert has_read.wait(60)
        try:
            with pytest.raises(ChatbaseOutputBusyError, match="Another run works in"):
                erase(export.directory, [], [second["id"]])
        finally:
            may_write.set()
        assert earlier.result().conversations == 1
    assert erase(export.directory, [], [second["id"]]).conversations == 1
    left = {each["id"] for each in export.objects()}
    assert left.isdisjoint({first["id"], second["id"]})
    assert left


def test_conversations_are_deleted_at_chatbase_first(export):
    export.run(Window(WINDOW.start, TODAY - timedelta(days=5)))  # neither of the subject's is in it
    simulator = export.simulator

    def at_chatbase() -> int:
        return len(simulator.store.conversations_of_user(simulator.agent_id, "subject"))

    with ChatbaseClient(export.settings()) as client:
        with pytest.raises(ChatbaseInputError, match=r"2 conversations would be deleted .* max_deletes is 1"):
            erase(export.directory, ["subject"], [], at_source=AtSource(client, 1))
        assert (
            erase(
                export.directory, ["subject"], [], dry_run=True, at_source=AtSource(client, 2)
            ).deleted_at_source
            == 2
        )
        assert at_chatbase() == 2
        assert erase(export.directory, ["subject"], [], at_source=AtSource(client, 2)).deleted_at_source == 2
        assert at_chatbase() == 0
        [first, *_] = export.objects()
        for there in (1, 0):
            report = erase(export.directory, [], [first["id"]], at_source=AtSource(client, 2))
            assert (report.deleted_at_source, report.conversations) == (there, there)


def test_where_nothing_can_be_erased(exports, export):
    with pytest.raises(ChatbaseInputError, match="Nobody is named"):
        erase(export.directory, [], [])
    with pytest.raises(ChatbaseInputError, match="There is no export"):
        erase(export.directory, ["subject"], [])
    assert not export.path.exists()
    export.run(WINDOW, file_format="csv", tables=["messages"])
    with pytest.raises(ChatbaseInputError, match="Give conversation_ids"):
        erase(export.directory, ["subject"], [])
