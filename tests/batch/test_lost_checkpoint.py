"""The API is the ledger: without its checkpoint, a later try looks each prompt up before it sends it."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_chatbase.batch import checkpoint
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Fault, Simulator
from tests.batch.conftest import new_batch, questions, rows_of, storage_of
from tests.support.buckets import Bucket, bucket

__all__ = ["bucket"]  # a fixture


def _later(simulator: Simulator, output: Directory, try_number: int = 2, **given: Any) -> Any:
    began = time.time() - 60
    return new_batch(simulator, output, try_number=try_number, earlier_try_began=began, **given)


def test_what_another_machine_paid_for_is_found(
    simulator: Simulator, output: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    given = [*questions(20), {"message": "a", "user_id": "u"}, {"id": "x", "message": "b"}]
    new_batch(simulator, output, max_items=12).ask_all(given)
    elsewhere = storage_of(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        report = _later(simulator, elsewhere).ask_all(given[::-1])
    assert report.tally.outcomes["answered"] == 22
    assert report.tally.recovered == 12
    assert simulator.prompts_charged == 22
    assert "looked for before it is sent" in caplog.text
    assert simulator.prompts_charged == 22


def test_who_lost_the_folder_pays_nothing_again(simulator: Simulator, output: Directory):
    new_batch(simulator, output).ask_all(questions(15))
    shutil.rmtree(output.root)
    _later(simulator, output, 5).ask_all(questions(15))
    assert simulator.prompts_charged == 15


@pytest.mark.parametrize("lose", [Path.unlink, lambda log: log.write_bytes(b"")], ids=["gone", "empty"])
def test_a_log_that_is_lost_beside_its_description_pays_nothing_again(
    simulator: Simulator, output: Directory, lose: Callable[[Path], object]
):
    new_batch(simulator, output, max_items=5).ask_all(questions(10))
    [log] = Path(output.root, "_checkpoint").rglob("*.jsonl")
    lose(log)
    _later(simulator, output).ask_all(questions(10))
    assert simulator.prompts_charged == 10


@pytest.mark.parametrize("lost", [0, 3, -1], ids=["the first", "one between", "the last"])
def test_a_part_of_the_log_that_is_lost_pays_nothing_again(
    simulator: Simulator, output: Directory, monkeypatch: pytest.MonkeyPatch, lost: int
):
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 300)
    new_batch(simulator, output, max_items=12, concurrency=1).ask_all(questions(20))
    logs = sorted(Path(output.root, "_checkpoint").rglob("0*.jsonl"))
    assert len(logs) > 6
    logs[lost].unlink()
    report = _later(simulator, output).ask_all(questions(20))
    assert report.tally.outcomes["answered"] == simulator.prompts_charged == 20


def test_nothing_is_missed_in_a_log_that_is_whole(
    simulator: Simulator, output: Directory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(checkpoint, "SEGMENT_BYTES", 300)
    for tries, most in enumerate((5, 9, 20), 1):
        _later(simulator, output, tries, max_items=most).ask_all(questions(20))
    assert "damaged" not in caplog.text
    assert simulator.prompts_charged == 20


def test_a_checkpoint_that_knows_the_try_before_is_believed(simulator: Simulator, output: Directory):
    new_batch(simulator, output, max_items=5).ask_all(questions(10))
    _later(simulator, output).ask_all(questions(10))
    assert simulator.requests_for("listUserConversations") == []


def test_a_try_that_wrote_nothing_into_a_bucket_has_sent_nothing(simulator: Simulator, bucket: Bucket):
    output = Directory(bucket, "/bucket/out", "memory://bucket/out")
    new_batch(simulator, output, max_items=5).ask_all(questions(10))
    _later(simulator, output, 3).ask_all(questions(10))  # the second one found the storage away
    assert simulator.requests_for("listUserConversations") == []
    assert simulator.prompts_charged == 10


def test_a_machine_that_did_not_see_the_try_before_looks(
    simulator: Simulator, output: Directory, tmp_path: Path
):
    """Tries 1 and 3 on one machine, try 2 on another."""
    new_batch(simulator, output, max_items=4).ask_all(questions(12))
    _later(simulator, storage_of(tmp_path / "elsewhere"), max_items=8).ask_all(questions(12))
    _later(simulator, output, 3).ask_all(questions(12))
    assert {row["outcome"] for row in rows_of(output)} == {"answered"}
    assert simulator.prompts_charged == 12


def test_a_try_that_died_while_it_looked_leaves_the_rest_to_be_looked_for(
    simulator: Simulator, output: Directory, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO")
    new_batch(simulator, output, max_items=12).ask_all(questions(20))
    elsewhere = storage_of(tmp_path / "elsewhere")
    _later(simulator, elsewhere, max_items=3, concurrency=1).ask_all(questions(20))
    caplog.clear()
    _later(simulator, elsewhere, 3).ask_all(questions(20))
    assert "17 may have been sent by an earlier attempt: each is looked for before it is sent" in caplog.text
    assert {row["outcome"] for row in rows_of(elsewhere)} == {"answered"}
    assert simulator.prompts_charged == 20


def test_a_key_that_is_echoed_is_kept_nowhere(simulator: Simulator, output: Directory):
    said = f"The key {simulator.api_key} may not\x1b[2J do that"
    fault = Fault(kind="status", status=400, code="VALIDATION_X", message=said, operation="chatWithAgent")
    simulator.faults.add(fault)
    new_batch(simulator, output).ask_all(questions(3))
    written = b"".join(path.read_bytes() for path in Path(output.root).rglob("*.json*"))
    assert b"VALIDATION_X" in written
    assert simulator.api_key.encode() not in written


def test_tasks_of_one_run_do_not_replace_each_other(simulator: Simulator, output: Directory):
    new_batch(simulator, output, run="d r t 0").ask_all(["a"])
    before = rows_of(output)
    for other in ("d r t 1", "d r other -1"):
        with pytest.raises(ChatbaseOutputError, match="another task of this run"):
            new_batch(simulator, output, run=other).ask_all(["b"])
    assert (rows_of(output), simulator.prompts_charged) == (before, 1)


@pytest.mark.parametrize("kind", [RuntimeError, OSError, KeyboardInterrupt, SystemExit])
def test_every_waiter_is_woken_by_every_failure(
    start: Callable[..., Simulator], bucket: Bucket, kind: type[BaseException]
):
    stored = Directory(bucket, "/bucket/out", "memory://bucket/out")
    puts = 0

    def fail(call: str, path: str) -> BaseException | None:
        nonlocal puts
        puts += call == "put" and "_lock-" not in path
        return kind("away") if call == "put" and "_lock-" not in path and puts > 6 else None

    with start() as simulator:
        bucket.fails = fail  # type: ignore[assignment]
        with pytest.raises((ChatbaseStorageError, kind)):
            new_batch(simulator, stored, concurrency=10).ask_all(questions(40))
        bucket.fails = lambda _call, _path: None
        assert [name for name in stored.names("_checkpoint") if name.startswith("_lock")] == []
        assert new_batch(simulator, stored).ask_all(questions(40)).tally.outcomes["answered"] == 40
        assert simulator.prompts_charged == 40


def test_a_storage_that_is_away_for_a_while_is_waited_for(start: Callable[..., Simulator], bucket: Bucket):
    stored = Directory(bucket, "/bucket/out", "memory://bucket/out")
    away = threading.Event()

    def fail(call: str, path: str) -> Exception | None:
        return RuntimeError("503: the cloud is away") if away.is_set() else None

    with start(latency={"chatWithAgent": 0.02}) as simulator:

        def note(request: Any) -> None:
            if len(simulator.requests_for("chatWithAgent")) == 10 and not away.is_set():
                away.set()
                threading.Timer(4.0, away.clear).start()

        bucket.fails = fail
        simulator.on_request = note
        report = new_batch(simulator, stored, storage_patience=60).ask_all(questions(60))
        assert report.tally.outcomes["answered"] == 60
        assert simulator.prompts_charged == 60


def test_a_temporary_directory_that_is_full_is_told(
    simulator: Simulator, output: Directory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    with pytest.raises(ChatbaseStorageError, match=r"temporary directory of .* cannot be written.*TMPDIR"):
        new_batch(simulator, output).ask_all(questions(3))
    assert simulator.requests_for("chatWithAgent") == []
