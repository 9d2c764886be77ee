"""One table of ours in Delta Lake: opening it, refusing what is not ours, changing its rows by their key."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.lasting import is_lasting
from airflow_provider_chatbase.exports.manifest import DELTA_LOG
from airflow_provider_chatbase.exports.rows import KEYS
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.delta_storage import DeltaStorage
from airflow_provider_chatbase.files.formats import Table

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.fs as pafs
    from deltalake import (
        CommitProperties,
        DeltaTable,
        PostCommitHookProperties,
        Transaction,
        WriterProperties,
    )
    from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
    from deltalake.fs import DeltaStorageHandler
    from deltalake.transaction import AddAction
except ImportError as error:
    raise ChatbaseInputError(
        "file_format 'delta' needs the packages deltalake and pyarrow: pip install "
        "'airflow-provider-chatbase[delta]'. Nothing was exported."
    ) from error

__all__ = ["COVERED_FROM", "ERASED", "GONE", "READ", "WATERMARK", "CommitFailedError", "pa", "pc"]

UPLOADS = 8
"""How many files are put into a table at the same time."""

GONE = "_gone"
"""The column of a change that says: this row is to go."""

READ = "_read"
"""The column that says by which reading of its object a row came."""

MARKER, LAYOUT, SELECTION = "chatbase.layout", "1", "chatbase.selection"
COVERED_FROM, WATERMARK, ERASED = "chatbase/covered-from", "chatbase/watermark", "chatbase/erased"
SLOTS = 16
"""Days share so many names of application transactions; of two commits with one in common, one fails."""

PROPERTIES = {
    # Statistics hold the least and the greatest text of each file, in a log that outlives what is erased.
    "delta.dataSkippingStatsColumns": "created_at",
    "delta.checkpointInterval": "20",  # what a run must read of the log stays short
}
MANY_FILES = 8
"""A day with more files than these is worth making few of them."""
_KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
"""Else every twentieth commit would delete, which may not be allowed; :meth:`CurrentTable.vacuum` does."""
FEATURES = frozenset({"appendOnly", "invariants", "changeDataFeed", "checkConstraints"})
_TERMINAL, _FRAME = re.compile(r"\x1b\[[0-9;]*m"), re.compile(r"\d+: |at \S*/")
_STORE = re.compile(
    r"Generic \w+ error|Object at location|error sending request|Permission ?denied", re.IGNORECASE
)
_MISSING = re.compile("not found|No such file")
_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True)
class TableKind:
    """What is known of a table before it is there."""

    table: Table
    day: str  # the column of the partitions: the day, in UTC, on which the object was created
    selection: Mapping[str, Any] | None  # which objects, and what of them, it holds; None for any
    compression: Literal["SNAPPY", "GZIP", "ZSTD"] = "SNAPPY"

    @property
    def keys(self) -> tuple[str, ...]:
        """By what rows are told apart."""
        return KEYS[self.table.name]

    @property
    def has_state(self) -> bool:
        """Whether rows say when their object last changed."""
        return any(column.name == "updated_at" for column in self.table.columns)

    def on(self, days: Collection[date], alias: str = "") -> str:
        """Return a condition on the partitions."""
        if not days:
            return "FALSE"
        named = ", ".join(f"DATE '{day.isoformat()}'" for day in sorted(days))
        return f'{alias}"{self.day}" IN ({named})'

    def within(self, window: Window) -> str:
        """Return a condition on the partitions: those that a window touches."""
        first, last = (each.date().isoformat() for each in (window.start, window.end))
        return f"\"{self.day}\" BETWEEN DATE '{first}' AND DATE '{last}'"

    @property
    def schema(self) -> Any:
        """Its columns in pyarrow's terms."""
        columns = [pa.field(column.name, _TYPES[column.type]) for column in self.table.columns]
        return pa.schema([*columns, pa.field(self.day, pa.date32())])


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of rows of one day, which no table knows yet."""

    path: Path  # on the local disk
    rows: int
    stats: str  # what the table's log is to say of it


class CurrentTable:
    """A table at one version; a change is committed only if no other one touched the same days since."""

    def __init__(self, kind: TableKind, delta: DeltaTable, storage: DeltaStorage) -> None:
        self.kind = kind
        self._delta = delta
        self._storage = storage

    @property
    def version(self) -> int:
        """Its version."""
        return int(self._delta.version())

    @property
    def covered(self) -> Window | None:
        """What was exported without a gap; its end is the watermark."""
        bounds = [self._delta.transaction_version(name) for name in (COVERED_FROM, WATERMARK)]
        start, end = (None if each is None else datetime.fromtimestamp(each, tz=UTC) for each in bounds)
        return Window(start, end) if start is not None and end is not None else None

    @property
    def files(self) -> set[str]:
        """The files that its rows lie in."""
        return set(self._delta.file_uris())

    @property
    def days(self) -> Counter[date]:
        """The days of which it has rows, and in how many files."""
        days = (uri.rsplit("/", 2)[-2].partition("=")[2] for uri in self._delta.file_uris())
        return Counter(date.fromisoformat(day) for day in days if day[:1].isdigit())  # else it is null

    @property
    def checks_rows(self) -> bool:
        """Whether somebody has given it constraints, which only a merge keeps to."""
        constraints = any(
            name.startswith("delta.constraints.") for name in self._delta.metadata().configuration
        )
        return constraints or "delta.invariants" in self._delta.schema().to_json()

    @property
    def selection(self) -> Mapping[str, Any]:
        """Which objects, and what of them, it holds."""
        return dict(json.loads(self._delta.metadata().configuration[SELECTION]))

    @property
    def erased(self) -> int:
        """When something was last erased from it: milliseconds times two, and one while it goes on."""
        return self._delta.transaction_version(ERASED) or 0

    def rows(self, columns: Sequence[str], where: str | None = None) -> Any:
        """Read some columns, of some rows or of all."""
        with delta_errors(self._storage):
            found = self._delta.scan(columns=list(columns), predicate=where)
            rows = pa.RecordBatchReader.from_stream(found).read_all().combine_chunks()
        schema = self.kind.schema
        return rows.cast(pa.schema([schema.field(name) for name in rows.column_names]))

    def change(self, rows: Any, transactions: Mapping[str, int]) -> bool:
        """Put rows into the table, or take them out where they say so; tell whether anything changed."""
        days = sorted(pc.unique(rows[self.kind.day]).to_pylist())
        if not days:
            return False
        other = [name for name in self.kind.schema.names if name not in (*self.kind.keys, self.kind.day)]
        differs = " OR ".join(f'(new."{name}" IS DISTINCT FROM old."{name}")' for name in other)
        same = " AND ".join(f'new."{name}" = old."{name}"' for name in (self.kind.day, *self.kind.keys))
        before = self.version
        with delta_errors(self._storage):
            (
                self._delta.merge(
                    rows,
                    f"{self.kind.on(days, 'old.')} AND {same}",
                    source_alias="new",
                    target_alias="old",
                    writer_properties=WriterProperties(compression=self.kind.compression),
                    commit_properties=self._commit(days, transactions),
                    post_commithook_properties=_KEEP_LOG,
                )
                .when_matched_delete(f'new."{GONE}"')
                .when_matched_update_all(f'NOT new."{GONE}" AND ({differs})', except_cols=[GONE])
                .when_not_matched_insert_all(f'NOT new."{GONE}"', except_cols=[GONE])
                .execute()
            )
        return self.version != before

    def append(self, files: Mapping[date, DataFile], transactions: Mapping[str, int]) -> None:
        """Put in files of days of which it has no rows; it excludes other commits to these days."""
        if not files:
            return

        def put(day: date, file: DataFile) -> AddAction:
            name = f"{self.kind.day}={day}/part-00000-{uuid4()}-c000.{self.kind.compression.lower()}.parquet"
            upload(file.path, name)
            at, size, where = int(time.time() * 1000), file.path.stat().st_size, {self.kind.day: str(day)}
            return AddAction(name, size, where, at, data_change=True, stats=file.stats)

        with delta_errors(self._storage), ThreadPoolExecutor(UPLOADS) as pool:
            upload = self._storage.uploader()
            self._add([*pool.map(put, files, files.values())], files, transactions)

    def touch(self, days: Collection[date] | None, transactions: Mapping[str, int]) -> None:
        """Commit nothing but application transactions; it excludes other commits to these days, or to any."""
        with delta_errors(self._storage):
            self._add([], days, transactions)

    def _add(
        self, files: Sequence[AddAction], days: Collection[date] | None, transactions: Mapping[str, int]
    ) -> None:
        self._delta.create_write_transaction(
            [*files],
            "append",
            self._delta.schema(),
            [self.kind.day],
            commit_properties=self._commit(days, transactions),
            post_commithook_properties=_KEEP_LOG,
        )

    def _commit(self, days: Collection[date] | None, transactions: Mapping[str, int]) -> CommitProperties:
        slots = range(SLOTS) if days is None else sorted({day.toordinal() % SLOTS for day in days})
        named = {**{f"chatbase/days-{slot}": self.version + 1 for slot in slots}, **transactions}
        return CommitProperties(app_transactions=[Transaction(*each) for each in named.items()])

    def compact(self, days: Collection[date]) -> None:
        """Make few files of many, where some of these days have many."""
        with delta_errors(self._storage):
            files = self.days
            for day in sorted(days):
                if files[day] > MANY_FILES:
                    self._delta.optimize.compact(
                        [(self.kind.day, "=", day.isoformat())],
                        writer_properties=WriterProperties(compression=self.kind.compression),
                        post_commithook_properties=_KEEP_LOG,
                    )

    def vacuum(self, hours: int) -> int:
        """Remove the files that no version of the last hours needs, and what is old of the log."""
        with delta_errors(self._storage):
            removed = self._delta.vacuum(
                hours,
                dry_run=False,
                enforce_retention_duration=False,
                full=True,  # with those that killed runs left
                post_commithook_properties=_KEEP_LOG,
            )
            self._delta.update_incremental()
            self._delta.cleanup_metadata()
        return len(removed)


def open_or_create(storage: DeltaStorage, kind: TableKind) -> CurrentTable:
    """Open a table that is there, or is made now."""
    if (there := open_table(storage, kind)) is not None:
        return there
    place = storage.below(kind.table.name)
    with delta_errors(place):
        _create(place, kind, place.options())
    if (made := open_table(storage, kind)) is not None:
        return made
    raise ChatbaseStorageError(f"The table {place.url} was made, and cannot be seen. Run the task again.")


def open_table(storage: DeltaStorage, kind: TableKind) -> CurrentTable | None:
    """Open a table, ``None`` where nothing is; what is not ours, or is not whole, is left alone."""
    place = storage.below(kind.table.name)
    with delta_errors(place):
        options = place.options()
        delta = _load(place, options)
        if delta is None:
            there = _names(place, options)
            if not there or (there == [DELTA_LOG] and not _names(place.below(DELTA_LOG), options)):
                return None
            delta = _load(place, options)  # another run may just have made it
            if delta is None:
                raise _refused(place, f"it holds {there[0]!r} and no Delta table")
        _check(delta, kind, place)
        return CurrentTable(kind, delta, place)


def check_log(storage: DeltaStorage, kind: TableKind) -> None:
    """Refuse a table in whose log a commit is empty: deltalake would take it for one that changed nothing."""
    place = storage.below(kind.table.name)
    with delta_errors(place):
        for name, size in _files(place.below(DELTA_LOG), place.options()):
            if size == 0 and name.endswith((".json", ".parquet")):
                raise _refused(place, f"its log is damaged: {DELTA_LOG}/{name} is empty")


def has_log(storage: DeltaStorage, table: str) -> bool:
    """Say whether a table lies there, whatever state it is in."""
    place = storage.below(table).below(DELTA_LOG)
    with delta_errors(place):
        return bool(_names(place, place.options()))


def _load(place: DeltaStorage, options: dict[str, str]) -> DeltaTable | None:
    try:
        return DeltaTable(place.uri, storage_options=options)
    except TableNotFoundError:
        return None
    except DeltaError as error:
        if _STORE.search(str(error)):  # it may be as whole as ever
            raise
        raise _refused(place, f"deltalake cannot read it: {_reason(place, error)}") from None


def _create(place: DeltaStorage, kind: TableKind, options: dict[str, str]) -> None:
    configuration = {**PROPERTIES, MARKER: LAYOUT, SELECTION: json.dumps(kind.selection, sort_keys=True)}
    place.make()
    try:
        DeltaTable.create(
            place.uri,
            kind.schema,
            partition_by=[kind.day],
            name=f"chatbase_{kind.table.name}",
            configuration=configuration,
            storage_options=options,
            raise_if_key_not_exists=False,
        )
    except DeltaError:
        # Another run may have been faster; what it made is opened and checked like any other.
        if not DeltaTable.is_deltatable(place.uri, options):
            raise


def _check(delta: DeltaTable, kind: TableKind, place: DeltaStorage) -> None:
    protocol, metadata = delta.protocol(), delta.metadata()
    features = {*(protocol.writer_features or ()), *(protocol.reader_features or ())}
    if unknown := sorted(features - FEATURES):
        raise _refused(
            place, f"it needs {', '.join(unknown)} of Delta Lake, which this version does not write"
        )
    layout = metadata.configuration.get(MARKER)
    if layout is None:
        raise _refused(place, "it was not made by this provider")
    if layout != LAYOUT:
        raise _refused(place, f"a newer version of this provider made it (layout {layout})")
    if metadata.partition_columns != [kind.day]:
        raise _refused(place, f"it is partitioned by {metadata.partition_columns}, not by {kind.day}")
    columns = {field.name: str(field.type) for field in pa.schema(delta.schema().to_arrow())}
    expected = {field.name: str(field.type) for field in kind.schema}
    if columns != expected:
        other = sorted(name for name in {*columns, *expected} if columns.get(name) != expected.get(name))
        raise _refused(place, f"its columns are not those of this version: {', '.join(other)}")
    if kind.selection is not None:
        _check_selection(place, metadata.configuration.get(SELECTION, ""), kind.selection)


def _check_selection(place: DeltaStorage, written: str, wanted: Mapping[str, Any]) -> None:
    try:
        there = json.loads(written)
    except ValueError:
        raise _refused(place, "what it holds is not written in it as it was") from None
    wanted = json.loads(json.dumps(wanted))
    if there == wanted:
        return
    names = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
    told = "; ".join(f"{name} is {there.get(name)!r} there and {wanted.get(name)!r} here" for name in names)
    raise ChatbaseOutputError(
        f"The table {place.url} holds another selection: {told}. One table cannot hold both: give this "
        "task an output_path of its own. Nothing was exported."
    )


def _names(place: DeltaStorage, options: dict[str, str]) -> list[str]:
    return [name for name, _ in _files(place, options)]


def _files(place: DeltaStorage, options: dict[str, str]) -> list[tuple[str, int | None]]:
    try:
        files = pafs.PyFileSystem(DeltaStorageHandler(place.uri, options))
        found = files.get_file_info(pafs.FileSelector("", allow_not_found=True))
    except TableNotFoundError:  # a local directory that is not there
        return []
    return [(each.base_name, each.size if each.is_file else None) for each in found]


@contextmanager
def delta_errors(place: DeltaStorage) -> Iterator[None]:
    """Turn what deltalake raises into our errors; a lost race for a commit stays what it is."""
    try:
        yield
    except (CommitFailedError, ChatbaseError):
        raise
    except (DeltaError, OSError, ValueError, RuntimeError) as error:
        reason = _reason(place, error)
        if _MISSING.search(str(error)):
            reason = f"a file that its log names is not there, or has just been removed ({reason})"
        if isinstance(error, OSError) and is_lasting(error):
            raise ChatbaseOutputError(f"The table {place.url} cannot be used: {reason}.") from None
        raise ChatbaseStorageError(
            f"The table {place.url} cannot be read or written: {reason}. What it has stays. "
            "Run the task again."
        ) from None


def _refused(place: DeltaStorage, reason: str) -> ChatbaseOutputError:
    return ChatbaseOutputError(
        f"{place.url} is left alone: {reason}. Give another output_path, or move away what is there. "
        "Nothing was exported."
    )


def _reason(place: DeltaStorage, error: Exception) -> str:
    """Return an error of deltalake in one line, without its backtrace and without secrets."""
    lines = [line.strip(" .↳") for line in _TERMINAL.sub("", str(error)).splitlines()]
    told = ": ".join(line for line in lines if line and not _FRAME.match(line))
    return place.without_secrets(told or type(error).__name__)[:400].rstrip(". ")
