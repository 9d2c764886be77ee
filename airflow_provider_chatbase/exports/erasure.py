"""Taking a person's or a conversation's rows out of an output, and out of what is staged there."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import (
    ChatbaseError,
    ChatbaseInputError,
    ChatbasePermissionError,
    ChatbasePlanError,
    ChatbaseUnsupportedError,
    counted,
)
from airflow_provider_chatbase.client.replies import all_items
from airflow_provider_chatbase.client.v2.conversations import delete_conversation, search_conversations
from airflow_provider_chatbase.exports.manifest import (
    MANIFESTS,
    ExportedFile,
    Manifest,
    OutputState,
    exported_file,
    read_manifest,
    read_state,
)
from airflow_provider_chatbase.exports.redaction import Redaction, detect
from airflow_provider_chatbase.exports.rows import TABLES_OF, identity_of, user_of
from airflow_provider_chatbase.exports.staging import FOLDER, PIECE, is_publishing, remove_attempt
from airflow_provider_chatbase.files import ChatbaseOutputBusyError
from airflow_provider_chatbase.files.directory import Directory, os_errors, temporary_told
from airflow_provider_chatbase.files.formats import (
    CsvStyle,
    Table,
    decompressing,
    escape_formula,
    open_format,
)
from airflow_provider_chatbase.files.lock import Lock

ATTEMPTS = 5
"""How often a partition is looked at again that a run replaced meanwhile."""

LOCK = "_erasing/lock"
"""Of two erasures at once, the later would put back what the other took out of the same manifest."""

MOST_SECONDS_OF_PUBLISHING, PAUSE = 60.0, 0.5
"""How long an export is waited for that is just naming its files in its manifests."""

_OURS = re.compile(r"[0-9a-f]{12}\.")
_DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, csv.Error, zlib.error)
"""What reading a file that was cut or changed by others raises."""

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
    deleted_at_source: int | None = None  # how many conversations; ``None`` where only files are meant


def erase(
    directory: Directory,
    user_ids: Collection[str],
    conversation_ids: Collection[str],
    salt: str | None = None,
    dry_run: bool = False,
    at_source: AtSource | None = None,
) -> ErasureReport:
    """Erase rows from all exports in an output. Files without such rows stay as they are, byte by byte."""
    _state_of_conversations(directory, user_ids, conversation_ids)
    with nullcontext() if dry_run else Lock(directory, LOCK, "erasing") as lock:
        # Read again: an erasure that has just ended counted itself in it.
        state = _state_of_conversations(directory, user_ids, conversation_ids)
        users = users_as_stored(user_ids, state.contents, salt)
        with tempfile.TemporaryDirectory(prefix="chatbase-erase-") as local, _long_cells():
            erasure = _Erasure(directory, state, Path(local), lock)
            wanted = set(conversation_ids) | (erasure.conversations_of(users) if users else set())
            if at_source is None:
                return erasure.run(wanted, dry_run=dry_run)
            wanted |= at_source.find(state.contents["agent_id"], user_ids)
            deleted = at_source.delete(state.contents["agent_id"], wanted, dry_run=dry_run)
            report = erasure.run(wanted, dry_run=dry_run)
            report.deleted_at_source = deleted
            return report


@dataclass(frozen=True, slots=True)
class AtSource:
    """Deleting at Chatbase itself, before the files: else a later export brings the rows back."""

    client: ChatbaseClient
    max_deletes: int

    def find(self, agent_id: str, user_ids: Collection[str]) -> set[str]:
        """Find users' conversations, also those that were not exported."""
        if not user_ids:
            return set()
        try:
            found = self.client.run(all_items(search_conversations(agent_id, user_ids=sorted(user_ids))))
            return {str(each["id"]) for each in found if user_of(each) in user_ids}
        except (ChatbasePlanError, ChatbasePermissionError, ChatbaseUnsupportedError) as error:
            raise ChatbaseUnsupportedError(
                f"at_source=True with user_ids needs the search of API v2 and cannot use it here: {error} "
                "Give conversation_ids. Nothing was erased.",
                operation="searchConversations",
            ) from error

    def delete(self, agent_id: str, conversation_ids: Collection[str], *, dry_run: bool) -> int:
        """Delete conversations for good; return how many there were, or how many it would be."""
        if len(conversation_ids) > self.max_deletes:
            raise ChatbaseInputError(
                f"{counted(len(conversation_ids), 'conversation')} would be deleted at Chatbase for good, "
                f"and max_deletes is {self.max_deletes}. Check who is named, with dry_run=True, and raise "
                "it. Nothing was erased."
            )
        if dry_run:
            return len(conversation_ids)
        requests = [delete_conversation(agent_id, each) for each in sorted(conversation_ids)]
        return sum(self.client.send(request) for request in requests)


def require_named(user_ids: Collection[str], conversation_ids: Collection[str]) -> None:
    """Refuse to erase nobody, or whoever has no name."""
    if not user_ids and not conversation_ids:
        raise ChatbaseInputError("Nobody is named: give user_ids or conversation_ids. Nothing was erased.")
    if not all(str(each).strip() for each in [*user_ids, *conversation_ids]):
        raise ChatbaseInputError("One of user_ids or conversation_ids is empty. Nothing was erased.")


def _state_of_conversations(
    directory: Directory, user_ids: Collection[str], conversation_ids: Collection[str]
) -> OutputState:
    require_named(user_ids, conversation_ids)
    state = read_state(directory)
    if state is None:
        raise ChatbaseInputError(f"There is no export in {directory.url}. Nothing was erased.")
    if state.contents.get("kind") != "conversations":
        raise ChatbaseInputError(
            f"{directory.url} holds no conversations. Nothing was erased; export leads or contacts anew "
            "after erasing them at Chatbase."
        )
    return state


class _Erasure:
    def __init__(self, directory: Directory, state: OutputState, local: Path, lock: Lock | None) -> None:
        self._directory = directory
        self._lock = lock
        self._state = state
        self._local = local
        contents = state.contents
        self._file_format, self._compression = contents["format"], contents["compression"]
        self._tables = {
            table.name: table for table in TABLES_OF["conversations"] if table.name in contents["tables"]
        }
        style = CsvStyle(**contents["csv"]) if contents.get("csv") else None
        self._format = open_format(self._file_format, self._compression, csv_style=style)
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
            # A run that has read its rows before sees this, and publishes nothing, or is waited for.
            replace(self._state, erasures=self._state.erasures + 1).write(self._directory.write)
            self._wait_for_publishing()
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
        self._settle_others(dry_run=dry_run)
        return report

    def _wait_for_publishing(self) -> None:
        deadline = time.monotonic() + MOST_SECONDS_OF_PUBLISHING
        while key := next(filter(partial(is_publishing, self._directory), self._directory.names(FOLDER)), ""):
            if time.monotonic() > deadline:
                raise ChatbaseOutputBusyError(
                    f"An export is publishing in {self._directory.url} ({FOLDER}/{key}), or was killed while "
                    "it did, and might bring rows back. Run this task again when it is over, or that export "
                    "of its window again."
                )
            time.sleep(PAUSE)

    def _settle_others(self, *, dry_run: bool) -> None:
        """
        Remove what a run left beside the files of a manifest: it may hold rows that are to be erased.

        The order makes it safe, as in an export. Where no manifest is at all, it is for people to decide.
        """
        there = {each for table in self._tables for each in self._directory.files(table)}
        busy = any(is_publishing(self._directory, key) for key in self._directory.names(FOLDER))
        known = {path for manifest in self._manifests().values() for path in manifest.paths}
        folders = {path.rpartition("/")[0] for path in known}
        others = sorted(each for each in there - known if _OURS.match(each.rpartition("/")[2]))
        for each in others if not dry_run and not busy else ():
            if each.rpartition("/")[0] in folders:
                self._directory.remove(each)
        others = [each for each in others if dry_run or busy or each.rpartition("/")[0] not in folders]
        if others:
            raise ChatbaseInputError(
                f"{others[0]} in {self._directory.url} is in no manifest ({len(others)} such files): a run "
                "that was killed left it, and it may hold rows that are to be erased. All others are done. "
                "Run the export of its window again, or remove it, and then this task again."
            )

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
        now = read_manifest(self._directory, name) or manifest
        there = now == manifest
        if there:
            if self._lock is not None:
                self._lock.require_held()
            self._directory.write(name, new.as_bytes())
        obsolete = hit if there else changed.values()
        for path in {file.path for file in obsolete} - (new if there else now).paths:
            self._directory.remove(path)
        return there

    @os_errors(temporary_told)
    def _rewrite(self, file: ExportedFile, wanted: set[str]) -> ExportedFile:
        rows, local = 0, self._local / "file"
        with local.open("wb") as stream, self._format.writer(self._tables[file.table], stream) as writer:
            for identity, _, row in self._rows(file):
                if identity not in wanted:
                    (writer.write if isinstance(row, bytes) else writer.write_row)(row)
                    rows += 1
        folder, _, name = file.path.rpartition("/")
        new = exported_file(local, folder, name[12:], file.table, rows)
        # Not named by its content: an export that gives up removes what it wrote, and may have made the same.
        new = replace(new, path=f"{folder}/{uuid.uuid4().hex[:12]}{name[12:]}")
        with local.open("rb") as written, self._directory.replacing(new.path) as copy:
            shutil.copyfileobj(written, copy, PIECE)
        return new

    def _rows(self, file: ExportedFile) -> Iterator[Row]:
        rows, read = 0, _READERS[self._file_format]
        try:
            with self._directory.open(file.path) as stream:
                if stream.seek(0, os.SEEK_END) != file.size:
                    raise self._directory.damaged(file.path, f"it has another size than {file.size} bytes")
                stream.seek(0)
                for row in read(stream, self._tables[file.table], self._compression):
                    rows += 1
                    yield row
        except ChatbaseError:
            raise
        except _DAMAGED as error:
            raise self._directory.damaged(file.path, str(error)) from error
        if rows != file.rows:
            raise self._directory.damaged(file.path, f"it has {rows} of its {file.rows} rows")


def users_as_stored(user_ids: Collection[str], contents: Mapping[str, Any], salt: str | None) -> set[str]:
    """Return what stands in an export in the place of users' ids; refused where that cannot be told."""
    stored = {str(each) for each in user_ids}
    action = (contents.get("redacted") or {}).get("user_id") if stored else None
    if action in ("drop", "mask") or (action == "detect" and any(detect(each) != each for each in stored)):
        raise ChatbaseInputError(
            f"These exports hide users (redact user_id: {action}), so it cannot be told whose a conversation "
            "is. Give conversation_ids. Nothing was erased."
        )
    if action == "hash":
        redaction = Redaction({"user_id": "hash"}, salt or "")
        if redaction.as_json()["salt"] != contents.get("salt"):
            raise ChatbaseInputError(
                "These exports hash users, and "
                + ("the salt is another. Give the one of the exports." if salt else "redact_salt is missing.")
                + " Without it nobody would be found. Nothing was erased."
            )
        stored = {redaction.hashed(each) for each in stored}
    style = contents.get("csv") or {}
    if style.get("null") and style["null"] in stored:
        raise ChatbaseInputError(
            f"The user {style['null']!r} looks like null in these files. Give conversation_ids. "
            "Nothing was erased."
        )
    return {escape_formula(each) for each in stored} if style.get("escape_formulas") else stored


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
        yield identity_of(item), user_of(item), line


def _csv_rows(stream: IO[bytes], _table: Table, compression: str | None) -> Iterator[Row]:
    """Read rows with the very text that they had."""
    text = io.TextIOWrapper(decompressing(stream, compression), encoding="utf-8-sig", newline="")
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
