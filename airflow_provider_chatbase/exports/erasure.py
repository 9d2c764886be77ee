"""Taking a person's or a conversation's rows out of an output, and out of what is staged there."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.files_target import HashingStream
from airflow_provider_chatbase.exports.manifest import (
    MANIFESTS,
    ExportedFile,
    Manifest,
    OutputState,
    read_manifest,
    read_state,
)
from airflow_provider_chatbase.exports.redaction import Redaction
from airflow_provider_chatbase.exports.rows import TABLES_OF, user_of
from airflow_provider_chatbase.exports.staging import FOLDER, PIECE, remove_attempt
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.formats import Table, decompressing, escape_formula, open_format

ATTEMPTS = 5
"""How often a partition is looked at again that a run replaced meanwhile."""

Row = tuple[str, str | None, Any]
"""A stored row: its conversation's id, its user's id where the table has one, and what to write again."""


@dataclass(slots=True)
class ErasureReport:
    """What was erased, or would be."""

    conversations: int = 0
    rows: dict[str, int] = field(default_factory=dict)  # for each table
    files_changed: int = 0
    files_checked: int = 0
    staged_attempts: int = 0  # whose staged rows were removed

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "conversations": self.conversations,
            "rows": self.rows,
            "files_changed": self.files_changed,
            "files_checked": self.files_checked,
            "staged_attempts": self.staged_attempts,
        }


def erase(
    directory: Directory,
    user_ids: Collection[str],
    conversation_ids: Collection[str],
    salt: str | None = None,
    dry_run: bool = False,
) -> ErasureReport:
    """Erase rows from all exports in an output. Files without such rows stay as they are, byte by byte."""
    if not user_ids and not conversation_ids:
        raise ChatbaseInputError("Nobody is named: give user_ids or conversation_ids. Nothing was erased.")
    state = read_state(directory)
    if state is None:
        raise ChatbaseInputError(f"There is no export in {directory.url}. Nothing was erased.")
    if state.contents.get("kind") != "conversations":
        raise ChatbaseInputError(
            f"{directory.url} holds no conversations. Nothing was erased; export leads or contacts anew "
            "after erasing them at Chatbase."
        )
    with tempfile.TemporaryDirectory(prefix="chatbase-erase-") as local, _long_cells():
        erasure = _Erasure(directory, state, Path(local))
        users = _as_stored(user_ids, state.contents, salt)
        wanted = set(conversation_ids) | (erasure.conversations_of(users) if users else set())
        return erasure.run(wanted, dry_run=dry_run)


class _Erasure:
    def __init__(self, directory: Directory, state: OutputState, local: Path) -> None:
        self._directory = directory
        self._state = state
        self._local = local
        contents = state.contents
        self._file_format, self._compression = contents["format"], contents["compression"]
        self._tables = {
            table.name: table for table in TABLES_OF["conversations"] if table.name in contents["tables"]
        }
        self._format = open_format(self._file_format, self._compression)
        self._report = ErasureReport(rows=dict.fromkeys(self._tables, 0))

    def conversations_of(self, users: set[str]) -> set[str]:
        """Find the conversations of users, as their ids are stored."""
        if "conversations" not in self._tables:
            raise ChatbaseInputError(
                "These exports have no table conversations, so no users are known in them. Give "
                "conversation_ids. Nothing was erased."
            )
        return {
            identity
            for manifest in self._manifests().values()
            for file in manifest.files
            if file.table == "conversations"
            for identity, user, _ in self._rows(file)
            if user in users
        }

    def run(self, wanted: set[str], *, dry_run: bool) -> ErasureReport:
        """Take the rows out of every partition, and what is staged away with it."""
        report, found = self._report, set[str]()
        staged = self._directory.names(FOLDER)
        report.staged_attempts = len(staged)
        if not dry_run:
            # A run that has read its rows before sees this, and publishes nothing.
            replace(self._state, erasures=self._state.erasures + 1).write(self._directory.write)
            for key in staged:
                remove_attempt(self._directory, key)
        for name, manifest in self._manifests().items():
            report.files_checked += len(manifest.files)
            for attempt in range(ATTEMPTS):
                hit = self._hit(manifest, wanted)
                if not hit or dry_run or self._replace(name, manifest, hit, wanted):
                    break
                if attempt == ATTEMPTS - 1:
                    raise ChatbaseInputError(
                        f"{name} in {self._directory.url} is replaced again and again while rows are erased "
                        "from it. Stop the exports there, and run the task again."
                    )
                manifest = read_manifest(self._directory, name) or manifest
            for file, ids in hit.items():
                found.update(ids)
                report.rows[file.table] += len(ids)
            report.files_changed += len(hit)
        report.conversations = len(found)
        return report

    def _manifests(self) -> dict[str, Manifest]:
        names = [f"{MANIFESTS}/{name}" for name in self._directory.names(MANIFESTS) if name.endswith(".json")]
        read = {name: read_manifest(self._directory, name) for name in names}
        return {name: manifest for name, manifest in read.items() if manifest is not None}

    def _hit(self, manifest: Manifest, wanted: set[str]) -> dict[ExportedFile, list[str]]:
        found = {
            file: [identity for identity, _, _ in self._rows(file) if identity in wanted]
            for file in manifest.files
        }
        return {file: ids for file, ids in found.items() if ids}

    def _replace(
        self, name: str, manifest: Manifest, hit: Mapping[ExportedFile, list[str]], wanted: set[str]
    ) -> bool:
        """Replace a partition's files; ``False`` when a run has just replaced the partition itself."""
        changed = {file: self._rewrite(file, wanted) for file in hit}
        gone = sum(len(ids) for file, ids in hit.items() if file.table == "conversations")
        new = replace(
            manifest,
            files=tuple(changed.get(file, file) for file in manifest.files),
            rows=None if manifest.rows is None else manifest.rows - gone,
        )
        there = read_manifest(self._directory, name) == manifest
        if there:
            self._directory.write(name, new.as_bytes())
        obsolete = hit if there else changed.values()
        for path in {file.path for file in obsolete} - (new.paths if there else manifest.paths):
            self._directory.remove(path)
        return there

    def _rewrite(self, file: ExportedFile, wanted: set[str]) -> ExportedFile:
        rows, local = 0, self._local / "file"
        with local.open("wb") as stream:
            target = HashingStream(stream)
            with self._format.writer(self._tables[file.table], target) as writer:  # type: ignore[arg-type]
                for identity, _, row in self._rows(file):
                    if identity not in wanted:
                        (writer.write if isinstance(row, bytes) else writer.write_row)(row)
                        rows += 1
        path = file.path.replace(file.sha256[:12], target.sha256[:12])
        with local.open("rb") as written, self._directory.replacing(path) as copy:
            shutil.copyfileobj(written, copy, PIECE)
        return replace(file, path=path, rows=rows, size=target.size, sha256=target.sha256)

    def _rows(self, file: ExportedFile) -> Iterator[Row]:
        with self._directory.open(file.path) as stream:
            yield from _READERS[self._file_format](stream, self._tables[file.table], self._compression)


def _as_stored(user_ids: Collection[str], contents: Mapping[str, Any], salt: str | None) -> set[str]:
    """Return what stands in the files in the place of users' ids."""
    plain = {str(each) for each in user_ids}
    stored = plain | {Redaction({}, salt).hashed(each) for each in plain} if salt else plain
    if contents.get("escape_formulas"):
        return {escape_formula(each) for each in stored}
    return stored


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let the csv module read cells of any length: a conversation may be longer than its limit."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _json_lines(stream: IO[bytes], _table: Table, compression: str | None) -> Iterator[Row]:
    for line in decompressing(stream, compression):
        item = json.loads(line)
        yield str(item.get("id")), user_of(item), line


def _csv_rows(stream: IO[bytes], _table: Table, compression: str | None) -> Iterator[Row]:
    """Read rows with the very text that they had."""
    text = io.TextIOWrapper(decompressing(stream, compression), encoding="utf-8", newline="")
    lines: list[str] = []

    def remembered() -> Iterator[str]:
        for line in text:
            lines.append(line)
            yield line

    reader = csv.reader(remembered())
    header = next(reader)
    conversation = header.index("conversation_id")
    user = header.index("user_id") if "user_id" in header else None
    lines.clear()
    for cells in reader:
        yield cells[conversation], None if user is None else cells[user], "".join(lines).encode()
        lines.clear()


def _parquet_rows(stream: IO[bytes], table: Table, _compression: str | None) -> Iterator[Row]:
    from airflow_provider_chatbase.files.parquet import read_rows

    for row in read_rows(stream):
        cells = tuple(row[column.name] for column in table.columns)
        yield str(row["conversation_id"]), row.get("user_id"), cells


_READERS: dict[str, Callable[[IO[bytes], Table, str | None], Iterator[Row]]] = {
    "jsonl": _json_lines,
    "csv": _csv_rows,
    "parquet": _parquet_rows,
}
