"""Taking a person's or a conversation's rows out of earlier exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import IO, Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.assembly import HashingStream
from airflow_provider_chatbase.exports.compression import decompressing
from airflow_provider_chatbase.exports.directory import ExportDirectory
from airflow_provider_chatbase.exports.errors import storage_errors
from airflow_provider_chatbase.exports.formats import FileWriter, csv_line, open_format
from airflow_provider_chatbase.exports.manifest import Commit, ExportedFile, Layout, Manifest
from airflow_provider_chatbase.exports.publishing import Lock, exclusive, replace_manifest
from airflow_provider_chatbase.exports.redaction import Redaction
from airflow_provider_chatbase.exports.rows import user_of
from airflow_provider_chatbase.exports.staging import Staging

Row = tuple[str, str | None, Any]
"""A stored row: its conversation's id, its user's id where the table has one, and what to write again."""


@dataclass(slots=True)
class ErasureReport:
    """
    What was erased, or would be.

    :param conversations: how many conversations.
    :param rows: for each table how many rows.
    :param files_changed: how many files were written anew.
    :param files_checked: how many files were looked at.
    """

    conversations: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    files_changed: int = 0
    files_checked: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "conversations": self.conversations,
            "rows": self.rows,
            "files_changed": self.files_changed,
            "files_checked": self.files_checked,
        }


def erase(
    directory: ExportDirectory,
    user_ids: Collection[str],
    conversation_ids: Collection[str],
    salt: str | None = None,
    dry_run: bool = False,
) -> ErasureReport:
    """Erase rows from all exports in a directory. Files without such rows stay as they are, byte by byte."""
    if not user_ids and not conversation_ids:
        raise ChatbaseInputError("Nobody is named: give user_ids or conversation_ids. Nothing was erased.")
    with storage_errors(directory.url):
        if directory.read_manifest() is None:
            raise ChatbaseInputError(f"There is no export in {directory.url}. Nothing was erased.")
        with exclusive(directory) as lock:
            return _Erasure(directory, lock).run(
                _with_hashes(user_ids, salt), set(conversation_ids), dry_run=dry_run
            )


class _Erasure:
    def __init__(self, directory: ExportDirectory, lock: Lock) -> None:
        manifest = directory.read_manifest()
        if manifest is None or manifest.layout.kind != "conversations":
            raise ChatbaseInputError(
                f"{directory.url} holds no conversations. Nothing was erased; export leads or contacts anew "
                "after erasing them at Chatbase."
            )
        self._directory = directory
        self._lock = lock
        self._manifest: Manifest = manifest
        self._report = ErasureReport(rows=dict.fromkeys(manifest.layout.tables, 0))

    def run(self, users: set[str], conversations: set[str], *, dry_run: bool) -> ErasureReport:
        wanted = conversations | (self._conversations_of(users) if users else set())
        found: set[str] = set()
        hit: dict[ExportedFile, int] = {}
        for file in self._manifest.files:
            self._lock.renew()
            self._report.files_checked += 1
            ids = [identity for identity, _, _ in self._rows(file) if identity in wanted]
            if ids:
                found.update(ids)
                hit[file] = len(ids)
                self._report.rows[file.table] += len(ids)
        self._report.conversations, self._report.files_changed = len(found), len(hit)
        if hit and not dry_run:
            self._rewrite(hit, wanted)
        return self._report

    def _conversations_of(self, users: set[str]) -> set[str]:
        if "conversations" not in self._manifest.layout.tables:
            raise ChatbaseInputError(
                "These exports have no table conversations, so no users are known in them. Give "
                "conversation_ids. Nothing was erased."
            )
        found = set()
        for file in self._manifest.files:
            if file.table == "conversations":
                self._lock.renew()
                found |= {identity for identity, user, _ in self._rows(file) if user in users}
        return found

    def _rewrite(self, hit: dict[ExportedFile, int], wanted: set[str]) -> None:
        staging = Staging(self._directory, "erase")
        staging.begin({})
        try:
            outputs = {}
            changed: dict[str, ExportedFile] = {}
            for number, file in enumerate(hit):
                self._lock.renew()
                staged = f"{number:06}"
                changed[file.path] = outputs[staging.output(staged)] = self._rewrite_one(
                    staging, staged, file, wanted
                )
            kept = [changed.get(file.path, file) for file in self._manifest.files]
            files = tuple(sorted(kept, key=lambda file: file.path))
            commits = tuple(_reduced(commit, hit) for commit in self._manifest.commits)
            new = replace(self._manifest, files=files, commits=commits)
            replace_manifest(self._directory, staging, self._lock, self._manifest, new, outputs)
        finally:
            staging.leave()
            staging.remove()

    def _rewrite_one(
        self, staging: Staging, staged: str, file: ExportedFile, wanted: set[str]
    ) -> ExportedFile:
        layout, rows = self._manifest.layout, 0
        tables = None if layout.file_format == "jsonl" else layout.tables
        files = open_format(layout.file_format, layout.kind, layout.agent_id, tables, layout.compression)
        with staging.open(staged) as stream:
            target = HashingStream(stream)
            with files.writer(file.table, target) as writer:  # type: ignore[arg-type]
                for identity, _, row in self._rows(file):
                    if identity not in wanted:
                        _WRITERS[layout.file_format](writer, row)
                        rows += 1
        path = file.path.replace(file.sha256[:12], target.sha256[:12])
        return replace(file, path=path, rows=rows, size=target.size, sha256=target.sha256)

    def _rows(self, file: ExportedFile) -> Iterator[Row]:
        with self._directory.open(file.path) as stream:
            yield from _READERS[self._manifest.layout.file_format](stream, self._manifest.layout)


def _with_hashes(user_ids: Collection[str], salt: str | None) -> set[str]:
    plain = {str(each) for each in user_ids}
    return plain | {Redaction({}, salt).hashed(each) for each in plain} if salt else plain


def _reduced(commit: Commit, hit: dict[ExportedFile, int]) -> Commit:
    if commit.rows is None:
        return commit
    gone = sum(
        count
        for file, count in hit.items()
        if file.table == "conversations" and file.by == commit.by and _belongs(file, commit)
    )
    return replace(commit, rows=commit.rows - gone)


def _belongs(file: ExportedFile, commit: Commit) -> bool:
    if file.window is None or commit.window is None:
        return file.window is commit.window
    return commit.window.covers(file.window)


def _json_lines(stream: IO[bytes], layout: Layout) -> Iterator[Row]:
    for line in decompressing(stream, layout.compression):
        item = json.loads(line)
        yield str(item.get("id")), user_of(item), line


def _csv_rows(stream: IO[bytes], layout: Layout) -> Iterator[Row]:
    text = io.TextIOWrapper(decompressing(stream, layout.compression), encoding="utf-8", newline="")
    reader = csv.reader(text)
    header = next(reader)
    user = header.index("user_id") if "user_id" in header else None
    for cells in reader:
        user_id = None if user is None else cells[user].removeprefix("'")
        yield cells[header.index("conversation_id")].removeprefix("'"), user_id, cells


def _parquet_rows(stream: IO[bytes], _layout: Layout) -> Iterator[Row]:
    from airflow_provider_chatbase.exports.parquet import read_rows

    for row in read_rows(stream):
        yield str(row["conversation_id"]), row.get("user_id"), row


def _write_parquet_row(writer: Any, row: dict[str, Any]) -> None:
    writer.write_row(row)


_READERS: dict[str, Callable[[IO[bytes], Layout], Iterator[Row]]] = {
    "jsonl": _json_lines,
    "csv": _csv_rows,
    "parquet": _parquet_rows,
}
_WRITERS: dict[str, Callable[[FileWriter, Any], None]] = {
    "jsonl": lambda writer, line: writer.write(line),
    "csv": lambda writer, cells: writer.write(csv_line(cells)),
    "parquet": _write_parquet_row,
}
