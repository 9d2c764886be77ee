"""
What one attempt has read, between its arrival and its files.

Rows wait in memory up to a budget and then on the local disk; a finished part is a file there, of which the
files of the export are made. A copy of each part lies in the output: a retry on any machine goes on from it.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import IO, Any

import msgspec

from airflow_provider_chatbase.exports.window import Window, named_window, read_window
from airflow_provider_chatbase.files import (
    ChatbaseDamagedFileError,
    ChatbaseOutputError,
    ChatbaseStorageError,
)
from airflow_provider_chatbase.files.directory import Directory, os_errors, temporary_told

log = logging.getLogger(__name__)

FOLDER = "_staging"
PLAN, PUBLISHING, PROBE = "plan.json", "publishing", "probe"
PUBLISHING_TAKES = 3600.0
"""Seconds after which an attempt that said it is publishing counts as dead."""

ATTEMPTS_TO_REMOVE = ATTEMPTS_TO_STAGE = 5

HELD_IN_MEMORY = 16 * 1024 * 1024
PIECE = 2 * 1024 * 1024
_FOOTER = 16
"""How many bytes at the end of a part say where its list of segments begins."""

Rows = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """Rows that wait on the local disk."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """An object of the API, as it will be written."""

    at: datetime | None  # by which it is sorted
    identity: str
    rows: Rows | OnDisk | None  # for each table; ``None`` when it is left out on purpose
    size: int = 0


class RowSpool:
    """Rows whose part is not finished: in memory up to a budget, beyond it on the local disk."""

    def __init__(self, folder: Path, budget: int = HELD_IN_MEMORY) -> None:
        self._file = os.open(folder / "rows", os.O_RDWR | os.O_CREAT, 0o600)
        self._end = 0
        self._left = budget

    def keep(self, rows: Rows, size: int) -> Rows | OnDisk:
        """Keep rows of about so many bytes."""
        if size <= self._left:
            self._left -= size
            return rows
        content = msgspec.msgpack.encode(rows)
        with os_errors(temporary_told):
            os.pwrite(self._file, content, self._end)
        self._end += len(content)
        return OnDisk(self._end - len(content), len(content))

    def take(self, item: Encoded) -> Rows:
        """Return kept rows, for the last time."""
        if not isinstance(item.rows, OnDisk):
            self._left += item.size
            return item.rows or {}
        rows: Rows = msgspec.msgpack.decode(os.pread(self._file, item.rows.size, item.rows.offset))
        return rows

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a part's file: rows of one table, of one day where the export is cut by day."""

    table: str
    day: str | None
    rows: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many objects the API counted from a moment to a part's end, before some were given away."""

    start: datetime
    total: int


@dataclass(frozen=True, slots=True)
class PartRows:
    """All of a part, its objects newest first."""

    items: list[Encoded]
    api_total: int | None  # how many the API counted in it; ``None`` where it does not say
    count: Count | None = None  # where some of it was given away


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A part that was read to its end."""

    key: str  # which one; keys sort like the parts
    rows: int  # how many objects of the API it brought
    api_total: int | None  # how many the API counted; ``None`` where it does not say
    excluded: int  # how many were left out on purpose
    path: str  # on the local disk
    segments: tuple[Segment, ...]
    count: Count | None = None  # where some of it was given away

    @property
    def window(self) -> Window | None:
        """The window that its key names, if it names one."""
        return named_window(self.key)

    @property
    def objects(self) -> int:
        """How many objects are in it, with those that were left out on purpose."""
        return self.rows + self.excluded

    @property
    def days(self) -> set[str]:
        """The days of its rows, where it is cut by day."""
        return {each.day for each in self.segments if each.day is not None}

    def pieces(self, table: str, day: str | None) -> Iterator[tuple[int, bytes]]:
        """Read the rows of a table and a day: how many, and their bytes."""
        wanted = [each for each in self.segments if (each.table, each.day) == (table, day)]
        if wanted:
            with Path(self.path).open("rb") as stream:
                for each in wanted:
                    stream.seek(each.offset)
                    yield each.rows, stream.read(each.size)


class Staging:
    """The parts of one attempt, on the local disk and in the output; a retry of the task has the same key."""

    def __init__(self, directory: Directory, key: str) -> None:
        self._directory = directory
        self.key = key
        # Of this process alone: two tries of one task may be alive, and each clears up after itself.
        self._announcement = f"{PUBLISHING}-{uuid.uuid4().hex}.json"
        with os_errors(temporary_told):
            self._local = tempfile.TemporaryDirectory(prefix="chatbase-export-")
            self.local = Path(self._local.name)
            self.rows = RowSpool(self.local)

    def plan(self) -> dict[str, Any] | None:
        """Return the plan of an earlier attempt, or ``None`` where there is none."""
        return self._directory.read_json(self._path(PLAN))

    def begin(self, plan: dict[str, Any]) -> None:
        """Note what is to be read, and see whether files can be written and removed here."""
        self._directory.write(self._path(PROBE), b"")
        try:
            self._directory.remove(self._path(PROBE))
        except ChatbaseOutputError as error:
            raise ChatbaseOutputError(
                f"{error.message} An export removes what it has staged and what it replaces: give the "
                "storage's connection the right to delete (s3:DeleteObject on S3) below output_path. "
                "Nothing was exported."
            ) from error
        self._directory.write_json(self._path(PLAN), plan)

    def earlier_parts(
        self, together: Callable[[Callable[[str], FinishedPart], list[str]], list[FinishedPart]]
    ) -> list[FinishedPart]:
        """Fetch what earlier tries have read. They are taken to be dead, and to publish nothing."""
        there = self._directory.names(f"{FOLDER}/{self.key}")
        for name in there:
            if name.startswith(PUBLISHING):
                self._directory.remove(self._path(name))
        names = [name for name in there if name.startswith("part-")]
        return sorted(together(self._fetch, names), key=lambda part: part.key)

    @os_errors(temporary_told)
    def finish_part(
        self,
        key: str,
        rows: PartRows,
        day_of: Callable[[Encoded], str | None],
        join: Callable[[str, list[Any]], bytes],
    ) -> FinishedPart:
        """Write a part. Its copy in the output appears whole or not at all."""
        kept = [each for each in rows.items if each.rows is not None]
        local, segments = self.local / f"part-{key}", []
        with local.open("wb") as stream:
            for day, of_day in groupby(kept, key=day_of):
                for some in by_size(of_day):
                    for segment, piece in _joined([self.rows.take(each) for each in some], day, join):
                        segments.append(replace(segment, offset=stream.tell()))
                        stream.write(piece)
            excluded = len(rows.items) - len(kept)
            part = FinishedPart(
                key, len(kept), rows.api_total, excluded, str(local), tuple(segments), rows.count
            )
            _write_footer(stream, part)
        small = local.stat().st_size <= HELD_IN_MEMORY // 4
        self._stage(lambda: self._copy(local.read_bytes() if small else local, self._path(local.name)))
        return part

    def write(self, name: str, content: bytes | Path) -> None:
        """
        Write a file of the output, which appears whole.

        Where folders are things of their own, what a kill leaves of it lies among what is staged.
        """
        if not self._directory.has_folders:
            self._copy(content, name)
            return

        def move() -> None:
            beside = self._path(f"new-{uuid.uuid4().hex}")
            self._copy(content, beside)
            self._directory.move(beside, name)

        self._stage(move)

    def announce(self, window: Window | None) -> None:
        """Say that files are about to appear that no manifest names yet."""
        said = {"window": window.as_json() if window else None, "at": time.time()}
        self._stage(lambda: self._directory.write_json(self._path(self._announcement), said))

    def is_announced(self) -> bool:
        """Say whether nobody has taken it back: another try that took this one to be dead."""
        return self._directory.read_json(self._path(self._announcement)) is not None

    def withdraw(self) -> None:
        """Say that the manifests are there."""
        self._directory.remove(self._path(self._announcement))

    def others(self, window: Window | None) -> list[str]:
        """Return the keys of other attempts at this window, or at one that meets it."""
        found = []
        for key in self._directory.names(FOLDER):
            if key != self.key:
                try:
                    plan = self._directory.read_json(f"{FOLDER}/{key}/{PLAN}") or {}
                except ChatbaseDamagedFileError as error:
                    log.warning("%s", error)
                    continue
                theirs = read_window(plan.get("window"))
                if window is None or theirs is None or window.meets(theirs):
                    found.append(key)
        return found

    def publishes(self, key: str) -> bool:
        """Say whether another process of an attempt is about to name its files in its manifests."""
        return is_publishing(self._directory, key, but=self._announcement)

    def remove(self) -> None:
        """Remove what this attempt has staged in the output."""
        remove_attempt(self._directory, self.key)

    def close(self) -> None:
        """Remove what lies on the local disk."""
        self.rows.close()
        self._local.cleanup()

    def _path(self, name: str) -> str:
        return f"{FOLDER}/{self.key}/{name}"

    def _stage(self, write: Callable[[], None]) -> None:
        """Write into the staging folder, which another run of the window may just be removing."""
        for attempt in range(1, ATTEMPTS_TO_STAGE + 1):
            try:
                write()
            except ChatbaseStorageError as error:
                if attempt == ATTEMPTS_TO_STAGE or not isinstance(error.__cause__, FileNotFoundError):
                    raise
            else:
                return

    def _copy(self, content: bytes | Path, to: str) -> None:
        if isinstance(content, bytes):
            self._directory.write(to, content)
            return
        with content.open("rb") as file, self._directory.replacing(to) as copy:
            shutil.copyfileobj(file, copy, PIECE)

    def _fetch(self, name: str) -> FinishedPart:
        with self._directory.open(self._path(name)) as staged, (self.local / name).open("wb") as stream:
            shutil.copyfileobj(staged, stream, PIECE)
        try:
            return _read_part(self.local / name)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._directory.damaged(self._path(name), str(error)) from error


def is_publishing(directory: Directory, key: str, but: str = "") -> bool:
    """Say whether a process of an attempt is about to name its files in its manifests."""
    names = [name for name in directory.names(f"{FOLDER}/{key}") if name.startswith(PUBLISHING)]
    said = [directory.read_json(f"{FOLDER}/{key}/{name}") or {} for name in names if name != but]
    return any(time.time() - float(each.get("at", 0)) < PUBLISHING_TAKES for each in said)


def remove_attempt(directory: Directory, key: str) -> None:
    """Remove what an attempt has staged, even if it is just writing, or somebody else removes it too."""
    folder = f"{FOLDER}/{key}"
    for attempt in range(1, ATTEMPTS_TO_REMOVE + 1):
        try:
            directory.remove_folder(folder)
        except ChatbaseStorageError:
            if attempt == ATTEMPTS_TO_REMOVE:
                raise
        if not directory.names(folder):
            break
    if directory.local:
        with suppress(OSError):  # others work there
            Path(directory.path(FOLDER)).rmdir()


def by_size(items: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    """Group objects, so that no group is much longer than a piece."""
    some: list[Encoded] = []
    size = 0
    for each in items:
        some.append(each)
        size += each.size
        if size >= PIECE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _joined(
    items: list[Rows], day: str | None, join: Callable[[str, list[Any]], bytes]
) -> Iterator[tuple[Segment, bytes]]:
    for table in items[0]:
        if rows := [row for each in items for row in each[table]]:
            piece = join(table, rows)
            yield Segment(table, day, len(rows), 0, len(piece)), piece


def _write_footer(stream: IO[bytes], part: FinishedPart) -> None:
    begins = stream.tell()
    stream.write(msgspec.json.encode({**asdict(part), "path": ""}))
    stream.write(f"{begins:0{_FOOTER}x}".encode())


def _read_part(path: Path) -> FinishedPart:
    with path.open("rb") as stream:
        stream.seek(-_FOOTER, os.SEEK_END)
        ends = stream.tell()
        begins = int(stream.read(), 16)
        stream.seek(begins)
        part = msgspec.json.decode(stream.read(ends - begins), type=FinishedPart)
    return replace(part, path=str(path))
