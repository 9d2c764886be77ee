"""A run owns what it writes; a reader sees it whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
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

from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseServerError
from airflow_provider_chatbase.exports import ChatbaseReplacedExportError
from airflow_provider_chatbase.exports.erasure import erase
from airflow_provider_chatbase.exports.files_target import FilesTarget
from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Fault

DAY = timedelta(days=1)
TODAY = floor_day(datetime.now(tz=UTC))
OLD, NEW = Window(TODAY - 50 * DAY, TODAY - 40 * DAY), Window(TODAY - 40 * DAY, TODAY)
WHOLE = {"_manifests", "_output.json", "_watermark", "conversations"}


def names(export) -> set[str]:
    return {name.split("/")[0] for name in export.everything()}


def test_an_export_is_its_files_a_manifest_and_a_watermark(exports):
    export = exports(conversations=20, months=1)
    export.run(NEW)
    assert names(export) == WHOLE
    [manifest] = export.manifests()
    assert {name for name in export.everything() if name[0] != "_"} == {
        file["path"] for file in manifest["files"]
    }


def test_files_of_others_stay(exports):
    export = exports(conversations=20, months=1)
    export.path.mkdir()
    (export.path / "notes.txt").write_text("mine")
    export.run(OLD)
    export.run(NEW)
    assert (export.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b'{"version": 1, "files": 7}', b'{"version": 3}']
)
@pytest.mark.parametrize("name", ["_output.json", "_manifest.json", f"_manifests/{NEW.name}.json"])
def test_what_cannot_be_read_is_refused_and_left_alone(exports, name, content):
    export = exports(conversations=20, months=1)
    there = export.path / name
    there.parent.mkdir(parents=True)
    there.write_bytes(content)
    with pytest.raises(ChatbaseOutputError, match=r"neither used nor replaced|They are left alone"):
        export.run(NEW)
    assert export.everything() == {name: content}
    assert export.simulator.requests == []


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


@pytest.mark.parametrize("killed", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_failure_at_any_step_shows_a_whole_export_and_the_next_run_mends_it(exports, killed):
    simulator = exports(conversations=60, months=1).simulator
    whole = exports(simulator, "whole")
    whole.run(NEW)
    old = whole.truth(NEW)
    base = shutil.copytree(whole.path, whole.path.with_name("base"))
    simulator.create_conversations(at=(TODAY - DAY).timestamp())
    watched, files = broken(whole)
    watched.run(NEW, concurrency=1)
    finished = whole.everything()
    assert len(files.steps) > 20
    for at, step in enumerate(files.steps):
        export = exports(simulator, f"export-{killed}-{at}")
        shutil.copytree(base, export.path)
        before = export.everything()
        breaking, _ = broken(export, at, killed=killed)
        with suppress(ChatbaseStorageError):
            breaking.run(NEW, concurrency=1)
        # Whatever was half done, a reader who goes by the manifest sees the old export or the new one.
        assert export.seen() in (old, export.truth(NEW)), step
        kept = {name: content for name, content in export.everything().items() if name in before}
        assert kept == before or export.seen() == export.truth(NEW), step
        export.run(NEW, concurrency=1)
        assert export.everything() == finished, step
        assert {each.name for each in export.path.iterdir()} == WHOLE, step


def test_a_failure_at_any_step_of_a_first_export_shows_none(exports):
    simulator = exports(conversations=60, months=1).simulator
    watched, files = broken(exports(simulator, "whole"))
    watched.run(NEW, concurrency=1)
    for at, step in enumerate(files.steps):
        export = exports(simulator, f"first-{at}")
        breaking, _ = broken(export, at)
        with suppress(ChatbaseStorageError):
            breaking.run(NEW, concurrency=1)
        if export.manifests():
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
    export = replace(export, directory=Directory(LocalFileSystem(), path, f"file://{path}"))
    with pytest.raises(ChatbaseOutputError, match=why) as raised:
        export.run(NEW)
    assert f"path file://{path}" in str(raised.value)
    assert raised.value.permanent
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == [file]


KILLED = textwrap.dedent("""
    import sys
    from datetime import datetime
    from fsspec.implementations.local import LocalFileSystem
    from airflow_provider_chatbase.client import AsyncChatbaseClient
    from airflow_provider_chatbase.client.settings import ClientSettings
    from airflow_provider_chatbase.exports.export import ExportSettings, export
    from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
    from airflow_provider_chatbase.exports.window import Window
    from airflow_provider_chatbase.files.directory import Directory

    url, key, agent, path, start, end = sys.argv[1:]
    async def client():
        return AsyncChatbaseClient(ClientSettings(api_key=key, host=url))
    window = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    settings = ExportSettings("conversations", agent, window, concurrency=2)
    target = FilesTarget(Directory(LocalFileSystem(), path, f"file://{path}"), settings, FileSettings())
    export(client, target, settings)
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
    deadline = time.monotonic() + 100
    while len(list(export.path.glob("_staging/*/part-*"))) < 3:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_retry_after_kill_9_goes_on_from_the_finished_parts(exports):
    export = exports(conversations=2400, months=1, latency=0.04)
    killed_export(export)
    done = len(list(export.path.glob("_staging/*/part-*")))
    assert not export.manifests()
    export.simulator.reset_log()
    export.run(NEW)
    assert export.seen() == export.truth(NEW)
    assert names(export) == WHOLE
    resumed = len(export.simulator.requests)

    alone = exports(export.simulator, "alone")
    export.simulator.reset_log()
    alone.run(NEW)
    assert alone.everything() == export.everything()
    assert done >= 3
    assert resumed <= len(export.simulator.requests) - done


def test_a_retry_reads_little_again_of_what_a_failed_try_had_read(exports):
    export = exports(conversations=3000, months=1)
    half = 75  # of 150 pages
    export.simulator.faults.add(Fault(kind="status", status=500, skip=half))
    with pytest.raises(ChatbaseServerError):
        export.run(NEW, concurrency=8)
    export.simulator.faults.clear()
    export.simulator.reset_log()
    export.run(NEW, concurrency=8)
    assert export.seen() == export.truth(NEW)
    retry = len(export.simulator.requests)

    export.simulator.reset_log()
    exports(export.simulator, "alone").run(NEW, concurrency=8)
    assert retry <= len(export.simulator.requests) - 0.6 * half


def test_another_run_of_the_window_removes_what_a_killed_one_left(exports):
    export = exports(conversations=2400, months=1, latency=0.04)
    killed_export(export)
    export.run(OLD, attempt="another run")
    assert list(export.path.glob("_staging/*/part-*")), "another window is none of its business"
    export.run(NEW, attempt="another run")
    assert names(export) == WHOLE
    assert export.seen() == export.truth(Window(OLD.start, NEW.end))


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


def test_two_live_runs_of_one_window_end_in_one_whole_result(exports):
    export = exports(conversations=600, months=1, latency=0.02)
    runs = [
        in_thread(lambda each=each: export.run(NEW, concurrency=4, attempt=str(each))) for each in range(2)
    ]
    for thread, errors in runs:
        thread.join()
        assert errors == []
    assert export.seen() == export.truth(NEW)
    assert names(export) == WHOLE


def test_of_two_runs_that_read_different_rows_only_the_files_of_one_stay(exports, monkeypatch):
    """Both have written their files, and neither its manifest, when they meet."""
    export = exports(conversations=100, months=1)
    both = threading.Barrier(2)
    move = Directory.move

    def together(self, name, to):
        if to.startswith("_manifests/"):
            both.wait(20)
        move(self, name, to)

    first_has_read = threading.Event()
    begin = Directory.replacing

    def slowly(self, name):
        if name.startswith("_staging/"):
            first_has_read.set()
        return begin(self, name)

    monkeypatch.setattr(Directory, "move", together)
    monkeypatch.setattr(Directory, "replacing", slowly)
    first, errors = in_thread(lambda: export.run(NEW, attempt="first"))
    first_has_read.wait(20)
    export.simulator.create_conversations(at=(TODAY - DAY).timestamp())
    second, more = in_thread(lambda: export.run(NEW, attempt="second"))
    first.join()
    second.join()
    assert errors + more == []
    [file] = export.files()
    [manifest] = export.manifests()
    assert [each["path"] for each in manifest["files"]] == [file]
    assert len(export.seen()) in (100, 101)
    assert names(export) == WHOLE


def test_a_try_that_fails_takes_no_files_from_another_one_of_its_task(exports, monkeypatch):
    export = exports(conversations=100, months=1)
    stay, move, looks, missing = FilesTarget._stay_announced, Directory.move, [], []
    fails = iter([True])

    def meanwhile(self, *given):
        looks.append(self)
        if len(looks) == 1:  # the files of the first are there, and its manifest is not
            with pytest.raises(ChatbaseStorageError):
                export.run(NEW)
        stay(self, *given)

    def failing(self, name, to):
        if to.startswith("_manifests/") and next(fails, False):
            raise ChatbaseStorageError("no more space")
        move(self, name, to)
        named = [file["path"] for each in export.manifests() for file in each["files"]]
        missing.extend(path for path in named if not (export.path / path).exists())

    monkeypatch.setattr(FilesTarget, "_stay_announced", meanwhile)
    monkeypatch.setattr(Directory, "move", failing)
    export.run(NEW)

    assert len(looks) == 2
    assert missing == []
    assert export.seen() == export.truth(NEW)
    assert names(export) == WHOLE


def test_live_runs_of_many_windows_all_get_in(exports):
    export = exports(conversations=600, months=1, latency=0.02)
    windows = [Window(TODAY - (n + 1) * 5 * DAY, TODAY - n * 5 * DAY) for n in range(8)]
    threads = [in_thread(lambda window=window: export.run(window, concurrency=2)) for window in windows]
    for thread, errors in threads:
        thread.join()
        assert errors == []
    assert export.seen() == export.truth(NEW)
    assert names(export) == WHOLE
    assert export.watermark == TODAY


def test_rows_that_were_erased_meanwhile_are_not_published(exports):
    export = exports(conversations=1300, months=1, latency=0.04)
    export.run(OLD)
    thread, errors = in_thread(lambda: export.run(NEW, concurrency=1))
    while not list(export.path.glob("_staging/*/part-*")):
        time.sleep(0.01)
    erase(export.directory, ["somebody"], [])
    thread.join()
    assert [type(error) for error in errors] == [ChatbaseReplacedExportError]
    assert export.seen() == export.truth(OLD)
    assert names(export) == WHOLE


def test_a_storage_that_lets_nothing_be_removed_is_told_before_anything_is_read(exports):
    class NoDelete(LocalFileSystem):
        cachable = False

        def rm_file(self, path):
            raise PermissionError(13, "Access Denied")

    export = exports(conversations=20, months=1)
    locked = replace(export, directory=replace(export.directory, fs=NoDelete()))
    with pytest.raises(ChatbaseOutputError, match=r"Access Denied.*right to delete \(s3:DeleteObject"):
        locked.run(NEW)
    assert export.simulator.requests == []


def test_the_files_of_a_manifest_stay_that_arrived_although_its_writing_failed(exports):
    export = exports(conversations=20, months=1)

    class LostAnswer(Directory):
        def move(self, name, to):
            super().move(name, to)
            if to.startswith("_manifests/"):
                raise ChatbaseStorageError("no answer")

    directory = export.directory
    lost = replace(export, directory=LostAnswer(LocalFileSystem(), directory.root, directory.url))
    with pytest.raises(ChatbaseStorageError):
        lost.run(NEW)
    assert export.seen() == export.truth(NEW)
    export.run(NEW)
    assert export.seen() == export.truth(NEW)
    assert names(export) == WHOLE


@pytest.mark.parametrize(
    "other",
    [
        {"channels": ("WhatsApp",)},
        {"summary": True},
        {"exclude_user_prefix": "airflow-"},
        {"api_version": "v1"},
        {"agent_id": "somebody-else"},
        {"file_format": "csv"},
        {"compression": "gzip"},
        {"partition_by": "day"},
        {"by": "conversation", "conversation_id": "x"},
        {"kind": "leads"},
    ],
    ids=str,
)
def test_another_selection_into_the_same_output_is_refused(exports, other):
    export = exports(conversations=20, months=1)
    export.run(NEW)
    before = export.everything()
    with pytest.raises(ChatbaseInputError, match="holds exports with other settings"):
        export.run(None if "conversation_id" in other else NEW, **other)
    assert export.everything() == before


def test_a_delta_table_is_no_place_for_files(exports):
    export = exports(conversations=5, months=1)
    log = export.path / "conversations" / "_delta_log" / "0.json"
    log.parent.mkdir(parents=True)
    log.write_text("{}")
    with pytest.raises(ChatbaseInputError, match="conversations is a Delta table"):
        export.run(NEW)
    assert list(export.everything()) == ["conversations/_delta_log/0.json"]


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
    directory = Directory(memory, "/bucket/export", "memory://bucket/export")
    stored = replace(export, directory=directory)
    stored.run(OLD)
    stored.run(NEW)
    found = {path.removeprefix("/bucket/export/"): memory.cat_file(path) for path in memory.find("/bucket")}
    assert found == export.everything()
