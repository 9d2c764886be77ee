"""
The data files of days of which a table has no rows yet, which need no merge.

They are written to the local disk while other days are still being read: a day's as soon as all parts that
hold it have come. The table takes them in one commit when everything has.
"""

from __future__ import annotations

import itertools
import json
import threading
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from airflow_provider_chatbase.exports.delta_rows import last_of_each, read_rows
from airflow_provider_chatbase.exports.delta_table import DataFile, TableKind, pa, pc
from airflow_provider_chatbase.exports.staging import FinishedPart
from airflow_provider_chatbase.exports.window import Window, in_utc

AT_ONCE = 2
"""So many files are written at the same time, each with a row group in memory."""

ROW_GROUP_BYTES = 16 << 20

FilesOfDay = Mapping[str, DataFile]
"""By the names of the tables; a table that has no rows of the day is not there."""


@dataclass(frozen=True, slots=True)
class _Making:
    """A day whose files are being written."""

    parts: tuple[FinishedPart, ...]  # all that hold it
    files: Future[FilesOfDay]


class DayFiles:
    """Writes the files of days of which all parts have come."""

    def __init__(self, kinds: Sequence[TableKind], folder: Path) -> None:
        self._kinds = kinds
        self._folder = folder
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._numbers = itertools.count()
        self._unread: list[Window] | None = None
        self._merged: AbstractSet[date] = set()
        self._holding: defaultdict[date, list[FinishedPart]] = defaultdict(list)
        self._keys: dict[str, array[int]] = {}
        self._making: dict[date, _Making] = {}

    def expect(self, window: Window, merged: AbstractSet[date]) -> None:
        """Say what is going to be read, and of which days the tables have rows: those are merged."""
        self._unread, self._merged = [window], merged

    def take(self, part: FinishedPart, keys: Sequence[Any]) -> None:
        """Take a part with the keys of its objects; begin to write the days that are whole with it."""
        with self._lock:
            self._keys[part.path] = array("q", map(hash, keys))
            for name in part.days:
                self._holding[date.fromisoformat(name)].append(part)
            window = part.window
            if self._unread is None or window is None:
                return
            self._unread = [rest for each in self._unread for rest in each.without(window)]
            for day in self._holding.keys() - self._making.keys() - self._merged:
                whole = _window_of(day)
                if whole.meets(window) and not any(each.meets(whole) for each in self._unread):
                    self._begin(day, self._holding[day])

    def made(self, parts: Sequence[FinishedPart]) -> dict[date, FilesOfDay]:
        """Return the files of all days that need no merge; none where an object came twice."""
        keys = array("q")
        for part in parts:
            keys += self._keys[part.path]
        if pc.count_distinct(pa.array(keys, pa.int64())).as_py() != len(keys):
            return {}
        holding: defaultdict[date, list[FinishedPart]] = defaultdict(list)
        for part in parts:
            for name in part.days:
                holding[date.fromisoformat(name)].append(part)
        days = holding.keys() - self._merged
        for day in days:
            if (making := self._making.get(day)) is None or set(making.parts) != set(holding[day]):
                self._begin(day, holding[day])
        return {day: self._making[day].files.result() for day in sorted(days)}

    def close(self) -> None:
        """Let what is being written end."""
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, day: date, parts: Sequence[FinishedPart]) -> None:
        of_day = tuple(parts)
        self._making[day] = _Making(of_day, self._pool.submit(self._write, day, of_day))

    def _write(self, day: date, parts: Sequence[FinishedPart]) -> FilesOfDay:
        written = ((kind.table.name, self._write_table(kind, day, parts)) for kind in self._kinds)
        return {name: file for name, file in written if file is not None}

    def _write_table(self, kind: TableKind, day: date, parts: Sequence[FinishedPart]) -> DataFile | None:
        pieces = (
            read_rows(kind, content)
            for part in parts
            for _, content in part.pieces(kind.table.name, day.isoformat())
        )
        groups = _row_groups(kind, pieces)
        if (first := next(groups, None)) is None:
            return None
        path, count = self._folder / f"day-{next(self._numbers)}", _Counts()
        schema = kind.schema.remove(kind.schema.get_field_index(kind.day))
        with pq.ParquetWriter(path, schema, compression=kind.compression, store_schema=False) as writer:
            for rows in itertools.chain([first], groups):
                writer.write_table(rows.select(schema.names))
                count.add(rows["created_at"])
        return DataFile(path, count.rows, count.as_json())


class _Counts:
    """What a table's log says of a file, as deltalake writes it."""

    def __init__(self) -> None:
        self.rows = self._nulls = 0
        self._bounds: list[datetime] = []

    def add(self, created: Any) -> None:
        """Count some rows by when they were created."""
        self.rows += len(created)
        self._nulls += created.null_count
        found = pc.min_max(created).as_py()
        self._bounds += [each for each in found.values() if each is not None]

    def as_json(self) -> str:
        """Return it as it stands in the log."""
        bounds = {"minValues": min, "maxValues": max} if self._bounds else {}
        told = {name: {"created_at": in_utc(choose(self._bounds))} for name, choose in bounds.items()}
        return json.dumps({"numRecords": self.rows, **told, "nullCount": {"created_at": self._nulls}})


def _row_groups(kind: TableKind, pieces: Iterator[Any]) -> Iterator[Any]:
    some: list[Any] = []
    size = 0
    for piece in pieces:
        some.append(piece)
        size += piece.nbytes
        if size >= ROW_GROUP_BYTES:
            yield last_of_each(pa.concat_tables(some), kind.keys)
            some, size = [], 0
    if some:
        yield last_of_each(pa.concat_tables(some), kind.keys)


def _window_of(day: date) -> Window:
    start = datetime.combine(day, time.min, tzinfo=UTC)
    return Window(start, start + timedelta(days=1))
