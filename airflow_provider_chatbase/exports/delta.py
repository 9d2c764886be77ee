"""
Tables that are always current: what was read is merged by id, and the newest state of an object wins.

An object (a conversation, a lead, a contact) has one row in the first table of its kind, and rows of what
belongs to it in the others. Those are committed first and the object last: whoever sees a conversation finds
its messages, and the watermark, which lies in that last commit, is never ahead of a row. A run that loses the
race for the last commit begins the merge again, on what the winner left.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Literal

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports import ChatbaseExportError, ChatbaseReplacedExportError
from airflow_provider_chatbase.exports.delta_rows import (
    Chunk,
    ReadState,
    arrow_time,
    flat,
    only,
    replaced,
    state_columns,
    together,
)
from airflow_provider_chatbase.exports.delta_table import (
    COVERED_FROM,
    ERASED,
    GONE,
    WATERMARK,
    CommitFailedError,
    CurrentTable,
    DataFile,
    TableKind,
    check_log,
    open_or_create,
    open_table,
    pa,
    pc,
)
from airflow_provider_chatbase.exports.erasure import AtSource, ErasureReport, require_named, users_as_stored
from airflow_provider_chatbase.exports.manifest import DAY_COLUMN
from airflow_provider_chatbase.exports.rows import TABLES_OF, choose_tables
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.delta_storage import DeltaStorage

log = logging.getLogger(__name__)

TRIES = 40
LONGEST_PAUSE = 2.0
FEW_MISSING = 100
"""So many rows may go unasked; more, and more than half of the window, are a question."""
CODECS: dict[str | None, Literal["SNAPPY", "GZIP", "ZSTD"]] = {None: "SNAPPY", "gzip": "GZIP", "zstd": "ZSTD"}
ERASING_SECONDS = 3600
"""An erasure that takes longer counts as killed."""


@dataclass(slots=True)
class Merged:
    """What a run did to the tables."""

    rows: dict[str, int] = field(default_factory=dict)
    days: set[date] = field(default_factory=set)
    removed: int = 0
    commits: int = 0
    watermark: datetime | None = None


class DeltaTables:
    """The tables of one kind of export, below one directory."""

    def __init__(
        self,
        storage: DeltaStorage,
        kind: str,
        selection: Mapping[str, Any],
        tables: Sequence[str] | None = None,
        compression: str | None = None,
    ) -> None:
        chosen = choose_tables("delta", kind, tables)
        if chosen[0] != TABLES_OF[kind][0]:
            raise ChatbaseInputError(
                f"tables must have {kind!r} in it for file_format='delta': the others are merged by its rows."
            )
        if compression not in CODECS:
            raise ChatbaseInputError(f"compression {compression!r} is unknown. Give 'gzip', 'zstd' or None.")
        selection = {**selection, "tables": [table.name for table in chosen]}
        self.kinds = [TableKind(table, DAY_COLUMN[kind], selection, CODECS[compression]) for table in chosen]
        self.merged = Merged(dict.fromkeys([table.name for table in chosen], 0))
        self._storage = storage
        self._objects = self.kinds[0]
        self._belongings = self.kinds[1:]
        self.days: set[date] = set()  # of which there were rows when it was checked
        self._erased: dict[str, int] = {}
        self._there: Any = None
        self._listed: list[Any] = []

    # -- before the reading

    def check(self) -> datetime | None:
        """Refuse what cannot be written to, before anything is read; return the watermark."""
        self._storage.probe()
        for kind in self.kinds:
            check_log(self._storage, kind)
        opened = self._open_all()
        if self._lost(opened):
            opened = self._open_all()  # another run may just have been making them, one after the other
        if lost := self._lost(opened):
            raise ChatbaseOutputError(
                f"{self._storage.url} has a table {', '.join(opened)}, and {', '.join(lost)} is gone. An "
                "export into what is left would not bring that back: restore it, or move all away and export "
                "from the beginning. Nothing was exported."
            )
        objects = opened.get(self._objects.table.name)
        return objects.covered.end if objects is not None and objects.covered else None

    def _open_all(self) -> dict[str, CurrentTable]:
        opened: dict[str, CurrentTable] = {}
        for kind in self.kinds:
            if (table := open_table(self._storage, kind)) is not None:
                self._refuse_while_erasing(table)
                self._erased[kind.table.name] = table.erased
                self.days.update(table.days)
                opened[kind.table.name] = table
        return opened

    def _lost(self, opened: Mapping[str, CurrentTable]) -> list[str]:
        """Name the tables that are gone: the table of objects is made first, and written to last."""
        # The version tells nothing: two runs that make a table at once make it twice.
        written = {name for name, table in opened.items() if table.days or table.covered}
        objects = self._objects.table.name
        if not written or (objects in opened and objects not in written):
            return []
        return [kind.table.name for kind in self.kinds if kind.table.name not in opened]

    def _refuse_while_erasing(self, table: CurrentTable) -> None:
        milliseconds, going_on = divmod(table.erased, 2)
        if going_on and time.time() - milliseconds / 1000 < ERASING_SECONDS:
            raise ChatbaseStorageError(
                f"Rows are just being erased from {self._storage.url}, or an erasure was killed in the last "
                "hour. Nothing was exported. Run the task again when it has ended."
            )

    @property
    def may_remove(self) -> bool:
        """Whether there are rows that Chatbase may no longer list."""
        return self._there is not None and self._there.num_rows > 0

    def note_window(self, window: Window) -> None:
        """Note what the table has of a window: what of it is not read until the end is removed then."""
        if (objects := open_table(self._storage, self._objects)) is not None:
            found = objects.rows([*state_columns(self._objects), "created_at"], self._objects.within(window))
            at = found["created_at"]
            within = pc.and_(
                pc.greater_equal(at, arrow_time(window.start)), pc.less(at, arrow_time(window.end))
            )
            self._there = found.filter(within)

    # -- days of which nothing is there

    def append(self, files: Mapping[date, Mapping[str, DataFile]], covered: Window | None) -> set[date]:
        """
        Put in files of days of which no table has rows, and say what is covered.

        Return the days that are to be merged instead, since another run has put in rows of them meanwhile
        or a table has constraints. Nothing is said then of what is covered.
        """
        others: set[date] = set()
        done: set[str] = set()  # tables whose rows of these days are ours

        def put(kind: TableKind) -> None:
            table = self._open(kind)
            others.update(_to_merge(table, files))
            table.append(_of_table(kind, files, others), {})
            done.add(kind.table.name)

        def attempt() -> None:
            objects = self._open(self._objects)
            others.update(_to_merge(objects, files))
            for kind in self._belongings:
                if kind.table.name not in done:
                    persist(self._storage, kind, partial(put, kind))
            transactions = {} if others else _progress(objects.covered, covered)
            objects.append(_of_table(self._objects, files, others), transactions)
            self.merged.watermark = _moved(objects.covered, transactions)

        persist(self._storage, self._objects, attempt)
        self.merged.commits += 1
        self.merged.days.update(files.keys() - others)
        for day in files.keys() - others:
            for name, file in files[day].items():
                self.merged.rows[name] += file.rows
        return others

    # -- merging

    def merge(self, chunk: Chunk) -> None:
        """Merge objects and what belongs to them; each must be there once."""
        self._note_listed(chunk)
        self._merge(chunk, None, None)

    def finish(self, chunk: Chunk, covered: Window | None) -> Merged:
        """Merge the last of them, and say in the same commit what is covered; remove what is missing."""
        self._note_listed(chunk)
        self._merge(chunk, covered, self._missing(covered))
        return self.merged

    def _note_listed(self, chunk: Chunk) -> None:
        if self._there is not None:
            self._listed += chunk[self._objects.table.name][self._objects.keys[0]].chunks

    def _missing(self, covered: Window | None) -> Any:
        if self._there is None:
            return None
        ids = self._there[self._objects.keys[0]]
        listed = flat(pa.chunked_array(self._listed, pa.string()))
        missing = self._there.filter(pc.invert(pc.is_in(ids, value_set=listed)))
        if covered is not None:  # what came later need not be listed yet
            missing = missing.filter(pc.less(missing["created_at"], arrow_time(covered.end)))
        missing = missing.drop(["created_at"])
        if missing.num_rows > FEW_MISSING and missing.num_rows * 2 > self._there.num_rows:
            raise ChatbaseExportError(
                f"Chatbase does not list {missing.num_rows} of the {self._there.num_rows} "
                f"{self._objects.table.name} that {self._storage.url} has of this window. That is more than "
                "half, so nothing was removed: look whether agent and key are the right ones. If they are "
                "really gone, erase them."
            )
        return missing

    def _merge(self, chunk: Chunk, covered: Window | None, missing: Any) -> None:
        """Merge a chunk into all tables; begin again while other commits come between."""
        read = chunk[self._objects.table.name]
        changed = []  # of all tries: a run that saw the tables before must not commit after them

        def attempt() -> None:
            objects = self._open(self._objects)
            state = ReadState.of(self._objects, objects, chunk, missing)
            changed.extend([self._merge_belongings(kind, chunk, state) for kind in self._belongings])
            transactions = _progress(objects.covered, covered)
            change = together(self._objects, only(read, state.wins), state.missing)
            if objects.change(change, transactions):
                self.merged.commits += 1
            elif transactions or any(changed):
                objects.touch(state.days, transactions)
                self.merged.commits += 1
            self.merged.removed += state.missing.num_rows
            self.merged.watermark = _moved(objects.covered, transactions)

        persist(self._storage, self._objects, attempt)
        self.merged.days.update(read[self._objects.day].to_pylist())
        for name, table in chunk.items():
            self.merged.rows[name] += table.num_rows

    def _merge_belongings(self, kind: TableKind, chunk: Chunk, state: ReadState) -> bool:
        """Replace what belongs to the chunk's objects, except where what is there is of a newer state."""
        changed = False

        def attempt() -> None:
            nonlocal changed
            table = self._open(kind)
            there = table.rows([*kind.keys, kind.day, "updated_at"], kind.on(state.days))
            rows, gone = replaced(kind, chunk[kind.table.name], there, state)
            changed = table.change(together(kind, rows, gone), {}) or changed

        persist(self._storage, kind, attempt)
        return changed

    def _open(self, kind: TableKind) -> CurrentTable:
        table = open_or_create(self._storage, kind)
        if table.erased != self._erased.get(kind.table.name, 0):
            raise ChatbaseReplacedExportError(
                f"Rows were erased from {self._storage.url} after this run began, and what it read may hold "
                "them. Nothing more was merged. Run the task again."
            )
        return table

    # -- after it

    def maintain(self, compact: bool, vacuum_days: int | None) -> None:
        """Make few files of many, and remove those that no version of the last days needs."""
        for kind in self.kinds:
            table = open_table(self._storage, kind)
            try:
                if table is not None and compact:
                    table.compact(self.merged.days)
                if table is not None and vacuum_days is not None:
                    log.info("%d old files of %s removed.", table.vacuum(vacuum_days * 24), kind.table.name)
            except CommitFailedError:
                log.info("Another run is writing to %s: the next one tidies up.", kind.table.name)


def persist(storage: DeltaStorage, kind: TableKind, attempt: Callable[[], None]) -> None:
    """Try a change again while other commits come first, with pauses that grow."""
    for tries in range(TRIES):
        try:
            return attempt()
        except CommitFailedError as error:
            log.debug("Another commit to %s came first: %s", kind.table.name, error)
            time.sleep(random.uniform(0, min(LONGEST_PAUSE, 0.02 * 2**tries)))  # noqa: S311
    raise ChatbaseStorageError(
        f"Other runs committed to {storage.url}/{kind.table.name} first, {TRIES} times in a row. What was "
        "merged before is there, and the watermark is as it was. Run the task again, or fewer tasks at once."
    )


def _progress(there: Window | None, new: Window | None) -> dict[str, int]:
    """Return how the watermark moves: never back, and never over a gap."""
    if new is None:
        return {}
    if there is not None:
        if new.start > there.end or new.end < there.start or there.covers(new):
            return {}
        new = Window(min(new.start, there.start), max(new.end, there.end))
    return {COVERED_FROM: int(new.start.timestamp()), WATERMARK: int(new.end.timestamp())}


def _moved(there: Window | None, transactions: Mapping[str, int]) -> datetime | None:
    if WATERMARK in transactions:
        return datetime.fromtimestamp(transactions[WATERMARK], tz=UTC)
    return there.end if there else None


def _to_merge(table: CurrentTable, days: Collection[date]) -> Collection[date]:
    return days if table.checks_rows else table.days.keys() & days


def _of_table(
    kind: TableKind, files: Mapping[date, Mapping[str, DataFile]], others: Collection[date]
) -> dict[date, DataFile]:
    return {
        day: of_day[kind.table.name]
        for day, of_day in files.items()
        if kind.table.name in of_day and day not in others
    }


# -- reading and erasing, whatever the selection


def read_watermark(storage: DeltaStorage, kind: str) -> datetime | None:
    """Return until when everything was exported, or ``None``."""
    objects = open_table(storage, TableKind(TABLES_OF[kind][0], DAY_COLUMN[kind], None))
    return objects.covered.end if objects is not None and objects.covered else None


def erase(
    storage: DeltaStorage,
    user_ids: Collection[str],
    conversation_ids: Collection[str],
    salt: str | None = None,
    dry_run: bool = False,
    at_source: AtSource | None = None,
) -> ErasureReport:
    """Take conversations out of the tables, and then remove the files that held them."""
    require_named(user_ids, conversation_ids)
    kinds = [TableKind(table, DAY_COLUMN["conversations"], None) for table in TABLES_OF["conversations"]]
    opened = {kind.table.name: table for kind in kinds if (table := open_table(storage, kind)) is not None}
    if "conversations" not in opened:
        raise ChatbaseOutputError(f"{storage.url} holds no Delta table of conversations. Nothing was erased.")
    selection = opened["conversations"].selection
    users = users_as_stored(user_ids, selection, salt)
    wanted = set(conversation_ids) | _conversations_of(opened["conversations"], users)
    report = ErasureReport()
    if at_source is not None:
        wanted |= at_source.find(selection["agent_id"], user_ids)
        report.deleted_at_source = at_source.delete(selection["agent_id"], wanted, dry_run=dry_run)
    report.files_checked = sum(len(table.files) for table in opened.values())
    report.rows = {name: _rows_of(table, wanted).num_rows for name, table in opened.items()}
    if not dry_run:
        _erase(storage, [table.kind for table in opened.values()], users, wanted, report)
    report.conversations = report.rows["conversations"]
    return report


def _erase(
    storage: DeltaStorage, kinds: list[TableKind], users: set[str], wanted: set[str], report: ErasureReport
) -> None:
    began = int(time.time() * 1000)
    try:
        for kind in kinds:
            _note_erasure(storage, kind, began * 2 + 1)
        # From here on nothing is merged; what came since we looked is there now.
        wanted |= _conversations_of(_opened(storage, kinds[0]), users)
        for kind in reversed(kinds):
            report.rows[kind.table.name], files = _erase_rows(storage, kind, wanted)
            report.files_changed += files
    finally:
        for kind in kinds:
            _note_erasure(storage, kind, int(time.time() * 1000) * 2)


def _conversations_of(conversations: CurrentTable, users: set[str]) -> set[str]:
    found = conversations.rows(["conversation_id", "user_id"])
    theirs = pc.is_in(found["user_id"], value_set=pa.array(sorted(users), pa.string()))
    return set(found.filter(theirs)["conversation_id"].to_pylist())


def _note_erasure(storage: DeltaStorage, kind: TableKind, number: int) -> None:
    """Let every run that has begun to read before fail at its next commit."""
    persist(storage, kind, lambda: _opened(storage, kind).touch(None, {ERASED: number}))


def _erase_rows(storage: DeltaStorage, kind: TableKind, wanted: set[str]) -> tuple[int, int]:
    """Return how many rows were taken out, and of how many files."""
    erased = changed = 0

    def attempt() -> None:
        nonlocal erased, changed
        table = _opened(storage, kind)
        held = table.files
        gone = _rows_of(table, wanted)
        nothing = kind.schema.append(pa.field(GONE, pa.bool_())).empty_table()
        table.change(together(kind, nothing, gone), {})
        erased += gone.num_rows
        changed += len(held - table.files)

    persist(storage, kind, attempt)
    _opened(storage, kind).vacuum(0)
    return erased, changed


def _opened(storage: DeltaStorage, kind: TableKind) -> CurrentTable:
    if (table := open_table(storage, kind)) is not None:
        return table
    raise ChatbaseStorageError(f"The table {storage.url}/{kind.table.name} was there, and is gone.")


def _rows_of(table: CurrentTable, wanted: set[str]) -> Any:
    rows = table.rows([*table.kind.keys, table.kind.day])
    ids = pa.array(sorted(wanted), pa.string())
    return rows.filter(pc.is_in(rows[table.kind.keys[0]], value_set=ids))
