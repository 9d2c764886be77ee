"""An export into Delta tables: what was read waits on the local disk, and is merged when it is whole."""

from __future__ import annotations

import itertools
import tempfile
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.delta import DeltaTables
from airflow_provider_chatbase.exports.delta_days import DayFiles
from airflow_provider_chatbase.exports.delta_rows import (
    Chunk,
    first_of_each,
    flat,
    last_of_each,
    only,
    read_rows,
    rows_written,
    with_marks,
)
from airflow_provider_chatbase.exports.delta_table import READ, TableKind, pa, pc
from airflow_provider_chatbase.exports.export import Exported, ExportSettings
from airflow_provider_chatbase.exports.manifest import CREATED
from airflow_provider_chatbase.exports.rows import Rows, rows_of
from airflow_provider_chatbase.exports.staging import (
    Encoded,
    FinishedPart,
    PartRows,
    RowSpool,
    Segment,
    by_size,
)
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.files.delta_storage import DeltaStorage
from airflow_provider_chatbase.files.directory import os_errors, temporary_told

NO_DAY = date(1970, 1, 1)
"""The day of what does not say when it was created: a key that is null equals nothing."""
CHUNK_BYTES = 16 << 20
LEAST_VACUUM_DAYS = 7


def as_tables(kinds: Sequence[TableKind], objects: Sequence[Rows]) -> dict[str, Any]:
    """Make Arrow tables of the rows of some objects, with the day of each and which reading they are of."""
    first = kinds[0].table
    created = [column.name for column in first.columns].index("created_at")
    days = [
        NO_DAY if (at := each[first.name][0][created]) is None else at.astimezone(UTC).date()
        for each in objects
    ]
    tables = {}
    for kind in kinds:
        numbered = zip(objects, days, range(len(objects)), strict=True)
        rows = [(*row, day, False, read) for each, day, read in numbered for row in each[kind.table.name]]
        schema = with_marks(kind)
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        cells = zip(columns, schema, strict=True)
        tables[kind.table.name] = pa.Table.from_arrays(
            [pa.array(each, named.type) for each, named in cells], schema=schema
        )
    return tables


def by_day(kinds: Sequence[TableKind], tables: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Cut rows of some objects where the day of these changes; a table without rows of a day is not there."""
    days = tables[kinds[0].table.name][kinds[0].day].to_pylist()
    owners = {kind.table.name: tables[kind.table.name][READ].to_pylist() for kind in kinds}
    starts = dict.fromkeys(owners, 0)
    end = 0
    for day, of_day in itertools.groupby(days):
        end += len(list(of_day))
        found = {}
        for name, of_rows in owners.items():
            start, starts[name] = starts[name], bisect_left(of_rows, end)
            if rows := starts[name] - start:
                found[name] = tables[name].slice(start, rows)
        yield day.isoformat(), found


class Chunks:
    """Collects what was read; hands it out when it is much, by whole days where it can."""

    def __init__(self, kinds: Sequence[TableKind]) -> None:
        self._first = kinds[0]
        self._kinds = {kind.table.name: kind for kind in kinds}
        self._tables: dict[str, list[Any]] = {name: [] for name in self._kinds}
        self._read = 0
        self._size = 0

    def add(self, tables: Mapping[str, Any]) -> Chunk | None:
        """Take some objects; return a chunk when one is full."""
        objects = tables[self._first.table.name]
        for name, table in tables.items():
            at = table.schema.get_field_index(READ)
            self._tables[name].append(table.set_column(at, READ, pc.add(table[READ], self._read)))
            self._size += table.nbytes
        self._read += (pc.max(objects[READ]).as_py() or 0) + 1
        if self._size < CHUNK_BYTES or not objects.num_rows:
            return None
        return self._cut(objects[self._first.day][-1].as_py())

    def rest(self) -> Chunk:
        """Return what is left."""
        return self._cut(None)

    def _cut(self, current: date | None) -> Chunk:
        """Keep the day that is just being read for the next chunk, unless it is all there is."""
        cut, kept = {}, {}
        for name, tables in self._tables.items():
            kind = self._kinds[name]
            now = pa.scalar(current, pa.date32())
            later = [pc.fill_null(pc.equal(table[kind.day], now), False) for table in tables]
            empty = with_marks(kind).empty_table()
            ended = [only(table, pc.invert(mask)) for table, mask in zip(tables, later, strict=True)]
            cut[name] = pa.concat_tables([empty, *ended])
            kept[name] = pa.concat_tables([empty, *(only(*each) for each in zip(tables, later, strict=True))])
        if not cut[self._first.table.name].num_rows and current is not None:
            return self._cut(None)
        self._tables = {name: [table] for name, table in kept.items()}
        self._size = sum(table.nbytes for table in kept.values())
        return _each_once(cut, self._first, self._kinds)


def _each_once(rows: Mapping[str, Any], first: TableKind, kinds: Mapping[str, TableKind]) -> dict[str, Any]:
    """Of several readings of an object keep the newest state, of equal ones the last, and its belongings."""
    objects = rows[first.table.name]
    key = first.keys[0]
    if objects.num_rows != pc.count_distinct(objects[key]).as_py():
        state = [("updated_at", "descending")] if first.has_state else []
        objects = objects.sort_by([*state, (READ, "descending")])  # nulls come last
        objects = first_of_each(objects, objects[key])
    once = {first.table.name: objects.drop([READ])}
    for name, table in rows.items():
        if name != first.table.name:
            table = table.filter(pc.is_in(table[READ], value_set=flat(objects[READ])))
            table = last_of_each(table, kinds[name].keys)
            once[name] = table.drop([READ])
    return once


@dataclass(frozen=True, slots=True)
class DeltaSettings:
    """What is done to the tables besides."""

    tables: tuple[str, ...] | None = None  # all when ``None``
    compression: str | None = None
    remove_missing: bool = False  # remove rows of the window that Chatbase no longer lists
    optimize: bool = True  # make few files of many, in the days that were written
    vacuum_days: int | None = None  # remove files that no version of so many days needs


class DeltaTarget:
    """Merges an export into tables. Until all parts have come, nothing changes there."""

    def __init__(self, storage: DeltaStorage, settings: ExportSettings, look: DeltaSettings) -> None:
        if look.vacuum_days is not None and look.vacuum_days < LEAST_VACUUM_DAYS:
            raise ChatbaseInputError(
                f"vacuum_days must be at least {LEAST_VACUUM_DAYS}, not {look.vacuum_days}: a reader or "
                "another run may still use older files. Nothing was exported."
            )
        if look.remove_missing:
            _require_all(settings)
        selection = {name: value for name, value in settings.contents().items() if name != "scope"}
        self._tables = DeltaTables(storage, settings.kind, selection, look.tables, look.compression)
        self._look = look
        self._kind, self._agent_id = settings.kind, settings.agent_id
        with os_errors(temporary_told):
            self._local = tempfile.TemporaryDirectory(prefix="chatbase-export-")
            self._rows = RowSpool(Path(self._local.name))
        self._new_days = DayFiles(self._tables.kinds, Path(self._local.name))
        self._numbers = itertools.count()

    def earlier_plan(self) -> Mapping[str, Any] | None:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.earlier_plan`; a retry reads anew."""
        self._tables.check()
        return None

    def begin(self, settings: ExportSettings, _plan: Mapping[str, Any]) -> list[FinishedPart]:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.begin`."""
        if self._look.remove_missing and settings.window is not None:
            self._tables.note_window(settings.window)
        if settings.window is not None and settings.by == CREATED and not self._tables.may_remove:
            self._new_days.expect(settings.window, self._tables.days)
        return []

    def encode(self, item: JsonObject, at: datetime | None, identity: str) -> Encoded:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.encode`."""
        rows = rows_of(self._kind, item, self._agent_id)
        size = sum(
            len(cell)
            for of_table in rows.values()
            for row in of_table
            for cell in row
            if isinstance(cell, str)
        )
        return Encoded(at, identity, self._rows.keep(rows, size), size)

    @os_errors(temporary_told)
    def keep(self, key: str, rows: PartRows) -> FinishedPart:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.keep`."""
        kept = [each for each in rows.items if each.rows is not None]
        path = Path(self._local.name) / f"part-{next(self._numbers)}"  # it may be read once more
        segments, keys = [], []
        with path.open("wb") as stream:
            for some in by_size(kept):
                tables = as_tables(self._tables.kinds, [self._rows.take(each) for each in some])
                keys += tables[self._kind][self._tables.kinds[0].keys[0]].to_pylist()
                for day, of_day in by_day(self._tables.kinds, tables):
                    for name, table in of_day.items():
                        at = stream.tell()
                        stream.write(rows_written(table))
                        segments.append(Segment(name, day, table.num_rows, at, stream.tell() - at))
        excluded = len(rows.items) - len(kept)
        part = FinishedPart(key, len(kept), rows.api_total, excluded, str(path), tuple(segments), rows.count)
        self._new_days.take(part, keys)
        return part

    def publish(
        self, settings: ExportSettings, parts: list[FinishedPart], until: datetime | None
    ) -> Exported:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.publish`."""
        window = settings.window
        covered = None
        if window is not None and until is not None and until > window.start:
            covered = Window(window.start, until)
        days = {day for part in parts for day in part.days}
        new = {} if self._tables.may_remove else self._new_days.made(parts)
        only_new = bool(new) and len(new) == len(days)
        others = self._tables.append(new, covered if only_new else None) if new else set()
        if others or not only_new:
            appended = {day.isoformat() for day in new.keys() - others}
            self._merge(parts, days - appended, covered)
        self._tables.maintain(self._look.optimize, self._look.vacuum_days)
        totals = [part.api_total for part in parts]
        merged = self._tables.merged
        return Exported(
            window,
            sum(part.rows for part in parts),
            None if None in totals else sum(each for each in totals if each),
            sum(part.excluded for part in parts),
            (),
            merged.watermark,
            tables=merged.rows,
            removed=merged.removed,
        )

    def _merge(self, parts: list[FinishedPart], days: AbstractSet[str], covered: Window | None) -> None:
        chunks = Chunks(self._tables.kinds)
        for part in parts:
            for tables in _read(part, self._tables.kinds, days):
                if (chunk := chunks.add(tables)) is not None:
                    self._tables.merge(chunk)
        self._tables.finish(chunks.rest(), covered)

    def give_up(self, *, keep_parts: bool) -> None:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.give_up`."""

    def close(self) -> None:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.close`."""
        self._new_days.close()
        self._rows.close()
        self._local.cleanup()


def _require_all(settings: ExportSettings) -> None:
    """Refuse to remove what is missing where not everything of a window is listed."""
    narrowed = [
        name
        for name, narrow in {
            "conversation_id": settings.window is None,
            "strategy": settings.by != CREATED,
            "channels": bool(settings.channels),
            "exclude_user_prefix": settings.exclude_user_prefix is not None,
        }.items()
        if narrow
    ]
    if narrowed:
        what = (
            settings.kind
            if settings.kind in ("contacts", "tickets")
            else f"an export that is narrowed by {', '.join(narrowed)}"
        )
        raise ChatbaseInputError(
            f"remove_missing needs an export of all that was created in a window, not {what}. Nothing was "
            "exported."
        )


def _read(part: FinishedPart, kinds: Sequence[TableKind], days: AbstractSet[str]) -> Iterator[dict[str, Any]]:
    """Read what was kept of some days of a part, a piece at a time; each begins with its objects."""
    kind_of = {kind.table.name: kind for kind in kinds}
    piece: dict[str, Any] = {}
    with Path(part.path).open("rb") as stream:
        for each in part.segments:
            if each.day in days:
                if each.table == kinds[0].table.name and piece:
                    yield piece
                    piece = {}
                stream.seek(each.offset)
                piece[each.table] = read_rows(kind_of[each.table], stream.read(each.size))
    if piece:
        yield piece
