"""A directory shows whole exports or none, whatever happens while one is written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_chatbase.exports import publishing
from airflow_provider_chatbase.exports.directory import ExportDirectory
from airflow_provider_chatbase.exports.errors import (
    ChatbaseOutputError,
    ChatbaseReplacedExportError,
    ChatbaseStorageError,
)
from airflow_provider_chatbase.exports.staging import Staging
from airflow_provider_chatbase.exports.window import Window, floor_day

DAY = timedelta(days=1)
TODAY = floor_day(datetime.now(tz=UTC))
OLD, NEW = Window(TODAY - 20 * DAY, TODAY - 10 * DAY), Window(TODAY - 40 * DAY, TODAY)


def names(export) -> set[str]:
    return {name.split("/")[0] for name in export.everything()}


def test_an_export_is_its_files_and_a_manifest(exports):
    export = exports(conversations=20, months=1)
    export.run(NEW)
    assert names(export) == {"_manifest.json", "conversations"}


def test_files_of_others_stay(exports):
    export = exports(conversations=20, months=1)
    export.path.mkdir()
    (export.path / "notes.txt").write_text("mine")
    export.run(OLD)
    export.run(NEW)
    assert (export.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b'{"version": 1, "files": 7}'])
def test_a_manifest_of_somebody_else_is_replaced(exports, content):
    export = exports(conversations=20, months=1)
    export.path.mkdir()
    (export.path / "_manifest.json").write_bytes(content)
    export.run(NEW)
    assert export.seen() == export.truth(NEW)


class BreakingFiles(LocalFileSystem):
    """A disk that fails at a chosen step; when it is killed, everything after fails too."""

    cachable = False

    def __init__(self, break_at: int | None = None, killed: bool = False) -> None:
        super().__init__()
        self.steps: list[str] = []
        self._break_at = break_at
        self._killed = killed

    def step(self, name: str) -> None:
        self.steps.append(name)
        at = len(self.steps) - 1
        if self._break_at is not None and (at == self._break_at or (self._killed and at > self._break_at)):
            raise OSError(5, f"Input/output error at {name}")

    def makedirs(self, path, exist_ok=False):
        self.step(f"make {Path(path).name}")
        super().makedirs(path, exist_ok=exist_ok)

    def ls(self, path, detail=False, **kwargs):
        self.step("list")
        return super().ls(path, detail=detail, **kwargs)

    def mv(self, path1, path2, **kwargs):
        self.step(f"move to {Path(path2).name}")
        return super().mv(path1, path2, **kwargs)

    def rm(self, path, recursive=False, maxdepth=None):
        self.step(f"remove {path}")
        super().rm(path, recursive=recursive, maxdepth=maxdepth)

    def rm_file(self, path):
        self.step(f"remove {path}")
        super().rm_file(path)

    def rmdir(self, path):
        self.step(f"remove {path}")
        super().rmdir(path)

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self.step(f"write {Path(path).name}")
        super().pipe_file(path, value, mode=mode, **kwargs)

    def open(self, path, mode="rb", **kwargs):
        self.step(f"open {Path(path).name}")
        return super().open(path, mode, **kwargs)


def broken(export, break_at: int | None = None, *, killed: bool = False):
    files = BreakingFiles(break_at, killed)
    return replace(export, directory=replace(export.directory, fs=files)), files


@pytest.fixture
def impatient(monkeypatch):
    """A lock that was left behind is broken at once."""
    monkeypatch.setattr(publishing, "LOCK_PATIENCE", 0.0)
    monkeypatch.setattr(publishing, "LOCK_POLL", 0.0)


@pytest.mark.parametrize("killed", [False, True])
def test_a_failure_at_any_step_shows_a_whole_export_and_the_next_run_mends_it(exports, impatient, killed):
    simulator = exports(conversations=60, months=1).simulator
    whole = exports(simulator, "whole")
    whole.run(OLD)
    watched, files = broken(whole)
    watched.run(NEW, concurrency=1)
    finished = whole.everything()
    assert len(files.steps) > 20
    for at, step in enumerate(files.steps):
        export = exports(simulator, f"export-{killed}-{at}")
        export.run(OLD)
        before = export.everything()
        breaking, _ = broken(export, at, killed=killed)
        with suppress(ChatbaseStorageError):
            breaking.run(NEW, concurrency=1)
        # Whatever was half done, a reader who goes by the manifest sees the old export or the new one.
        assert export.seen() in (export.truth(OLD), export.truth(NEW)), step
        kept = {name: content for name, content in export.everything().items() if name in before}
        assert kept == before or export.seen() == export.truth(NEW), step
        export.run(NEW, concurrency=1)
        assert export.everything() == finished, step
        assert {each.name for each in export.path.iterdir()} == {"_manifest.json", "conversations"}, step


def test_a_failure_at_any_step_of_a_first_export_shows_none(exports, impatient):
    simulator = exports(conversations=60, months=1).simulator
    watched, files = broken(exports(simulator, "whole"))
    watched.run(NEW, concurrency=1)
    for at, step in enumerate(files.steps):
        export = exports(simulator, f"first-{at}")
        breaking, _ = broken(export, at)
        with suppress(ChatbaseStorageError):
            breaking.run(NEW, concurrency=1)
        if "_manifest.json" in export.everything():
            assert export.seen() == export.truth(NEW), step
        else:
            assert all(name.startswith("_") for name in names(export)), step


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("{file}/below", "Not a directory"),
        ("{file}", "File exists|Not a directory"),
        ("/proc/chatbase/export", "No such file|Permission|Read-only"),
        ("/dev/null/export", "Not a directory"),
        ("{tmp}/" + "x" * 300, "File name too long"),
    ],
)
def test_a_path_that_cannot_be_written_is_one_sentence(exports, tmp_path, path, why):
    file = tmp_path / "file"
    file.write_text("mine")
    path = path.format(file=file, tmp=tmp_path)
    export = exports(conversations=5)
    export = replace(export, directory=ExportDirectory(LocalFileSystem(), path, f"file://{path}"))
    with pytest.raises(ChatbaseOutputError, match=why) as raised:
        export.run(NEW)
    assert str(raised.value).startswith(f"The output path file://{path} cannot be written: ")
    assert str(raised.value).endswith(". Nothing was exported.")
    assert raised.value.permanent
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [file]


KILLED = textwrap.dedent("""
    import sys
    from datetime import datetime
    from fsspec.implementations.local import LocalFileSystem
    from airflow_provider_chatbase.client import AsyncChatbaseClient
    from airflow_provider_chatbase.client.settings import ClientSettings
    from airflow_provider_chatbase.exports.directory import ExportDirectory
    from airflow_provider_chatbase.exports.job import export
    from airflow_provider_chatbase.exports.manifest import Layout
    from airflow_provider_chatbase.exports.spec import ExportSpec
    from airflow_provider_chatbase.exports.window import Window

    url, key, agent, path, start, end = sys.argv[1:]
    async def client():
        return AsyncChatbaseClient(ClientSettings(api_key=key, host=url))
    window = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    directory = ExportDirectory(LocalFileSystem(), path, f"file://{path}")
    export(client, directory, ExportSpec(Layout("conversations", agent), window, concurrency=2))
""")


def killed_export(export) -> None:
    """Run an export in a process of its own, and kill it when it has finished some parts."""
    simulator = export.simulator
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", KILLED, simulator.url, simulator.api_key, simulator.agent_id),
            *(str(export.path), NEW.start.isoformat(), NEW.end.isoformat()),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 30
    while len(list(export.path.glob("_staging-*/done-*"))) < 3:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_retry_after_kill_9_goes_on_from_the_finished_parts(exports):
    export = exports(conversations=2400, months=1, latency=0.04)
    killed_export(export)
    done = len(list(export.path.glob("_staging-*/done-*")))
    assert not (export.path / "_manifest.json").exists()
    export.simulator.reset_log()
    export.run(NEW)
    assert export.seen() == export.truth(NEW)
    assert names(export) == {"_manifest.json", "conversations"}
    resumed = len(export.simulator.requests)

    alone = exports(export.simulator, "alone")
    export.simulator.reset_log()
    alone.run(NEW)
    assert alone.everything() == export.everything()
    assert done >= 3
    assert resumed <= len(export.simulator.requests) - done


def test_another_export_removes_what_a_killed_one_left(exports):
    export = exports(conversations=2400, months=1, latency=0.04)
    killed_export(export)
    export.run(OLD)
    assert names(export) == {"_manifest.json", "conversations"}
    assert export.seen() == export.truth(OLD)


def test_what_is_being_written_on_another_machine_stays(exports):
    export = exports(conversations=20, months=1)
    plan = {"host": "another", "pid": 1, "begun": time.time() - 3600}
    for name, begun in (("alive", plan["begun"]), ("dead", plan["begun"] - 48 * 3600)):
        there = export.path / f"_staging-{name}"
        there.mkdir(parents=True)
        (there / "plan.json").write_text(json.dumps({**plan, "begun": begun}))
    export.run(NEW)
    assert {each.name for each in export.path.glob("_staging-*")} == {"_staging-alive"}


def in_thread(work) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is looked at by the test
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def test_two_live_runs_of_one_window_do_not_spoil_each_other(exports):
    export = exports(conversations=600, months=1, latency=0.02)
    threads = [in_thread(lambda: export.run(NEW, concurrency=4)) for _ in range(2)]
    for thread, _ in threads:
        thread.join()
    failures = [error for _, errors in threads for error in errors]
    assert len(failures) <= 1
    assert all(isinstance(error, ChatbaseReplacedExportError) for error in failures), failures
    assert export.seen() == export.truth(NEW)
    assert names(export) == {"_manifest.json", "conversations"}


def test_live_runs_of_many_windows_all_get_in(exports):
    export = exports(conversations=600, months=1, latency=0.02)
    windows = [Window(TODAY - (n + 1) * 5 * DAY, TODAY - n * 5 * DAY) for n in range(8)]
    threads = [in_thread(lambda window=window: export.run(window, concurrency=2)) for window in windows]
    for thread, errors in threads:
        thread.join()
        assert errors == []
    assert export.seen() == export.truth(NEW)
    assert names(export) == {"_manifest.json", "conversations"}


def test_a_run_whose_window_another_one_overlapped_meanwhile_fails_clearly(exports):
    export = exports(conversations=100, months=1)
    late = Window(OLD.start + DAY, OLD.end + DAY)
    staged = Staging(export.directory, "x")
    other = exports(export.simulator)

    class Late(ExportDirectory):
        def create(self, name, content):
            if not other.directory.read_manifest():
                in_thread(lambda: other.run(OLD))[0].join()
            super().create(name, content)

    slow = replace(export, directory=Late(LocalFileSystem(), export.directory.root, export.directory.url))
    with pytest.raises(ChatbaseReplacedExportError, match="overlapping window meanwhile"):
        slow.run(late)
    assert export.seen() == export.truth(OLD)
    assert staged.plan() is None


def test_of_two_that_create_a_file_at_one_moment_one_succeeds(exports):
    both = threading.Barrier(2)

    class Together(LocalFileSystem):
        cachable = False

        def makedirs(self, path, exist_ok=False):
            super().makedirs(path, exist_ok=exist_ok)
            both.wait(10)

        def exists(self, path, **kwargs):
            found = super().exists(path, **kwargs)
            both.wait(10)
            return found

    export = exports(conversations=1)
    directory = replace(export.directory, fs=Together())
    threads = [in_thread(lambda each=each: directory.create("x", each)) for each in (b"one", b"two")]
    for thread, _ in threads:
        thread.join()
    failures = [type(error) for _, errors in threads for error in errors]
    assert failures == [FileExistsError]


def test_a_run_whose_staged_files_are_going_says_that_another_was_faster(exports):
    export = exports(conversations=20, months=1)

    class Going(ExportDirectory):
        def open(self, name, mode="rb"):
            if mode == "rb":
                (self.path / name).unlink()
            return super().open(name, mode)

        path = export.path

    going = replace(export, directory=Going(LocalFileSystem(), export.directory.root, export.directory.url))
    with pytest.raises(ChatbaseReplacedExportError, match="was faster"):
        going.run(NEW)
    assert not export.path.exists()


def test_the_files_of_a_manifest_stay_that_arrived_although_its_writing_failed(exports):
    export = exports(conversations=20, months=1)

    class LostAnswer(ExportDirectory):
        def put(self, name, content):
            super().put(name, content)
            if name == "_manifest.json":
                raise ConnectionResetError("no answer")

    directory = export.directory
    lost = replace(export, directory=LostAnswer(LocalFileSystem(), directory.root, directory.url))
    with pytest.raises(ChatbaseStorageError):
        lost.run(NEW)
    assert export.seen() == export.truth(NEW)
    export.run(NEW)
    assert export.seen() == export.truth(NEW)
    assert names(export) == {"_manifest.json", "conversations"}


def test_the_lock_of_a_run_that_died_is_broken(exports, monkeypatch):
    monkeypatch.setattr(publishing, "LOCK_PATIENCE", 0.3)
    monkeypatch.setattr(publishing, "LOCK_POLL", 0.05)
    export = exports(conversations=20, months=1)
    export.path.mkdir()
    (export.path / "_publishing.lock").write_text("dead")
    export.run(NEW)
    assert names(export) == {"_manifest.json", "conversations"}


@pytest.fixture
def memory():
    fs = MemoryFileSystem()
    yield fs
    with suppress(FileNotFoundError):
        fs.rm("/bucket", recursive=True)


def test_an_object_store_has_no_directories_and_the_same_files(exports, memory):
    export = exports(conversations=50, months=1)
    export.run(OLD)
    export.run(NEW)
    directory = ExportDirectory(memory, "/bucket/export", "memory://bucket/export")
    stored = replace(export, directory=directory)
    stored.run(OLD)
    stored.run(NEW)
    found = {path.removeprefix("/bucket/export/"): memory.cat_file(path) for path in memory.find("/bucket")}
    assert found == export.everything()
