"""Rows of Delta tables in Arrow, and how what was read compares with what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from airflow_provider_chatbase.exports.delta_table import GONE, READ, CurrentTable, TableKind, pa, pc

NEVER = datetime(1, 1, 1, tzinfo=UTC)

Chunk = Mapping[str, Any]
"""For each table its rows, with the columns of a change."""


def with_marks(kind: TableKind) -> Any:
    """Return a table's columns and those that a change has besides."""
    return pa.schema([*kind.schema, pa.field(GONE, pa.bool_()), pa.field(READ, pa.int64())])


def read_rows(kind: TableKind, content: bytes) -> Any:
    """Read rows, as :func:`rows_written` wrote them."""
    batch = pa.ipc.read_record_batch(pa.py_buffer(content), with_marks(kind))
    return pa.Table.from_batches([batch])


def rows_written(rows: Any) -> Any:
    """Return rows as bytes, without their columns' names."""
    (batch,) = rows.combine_chunks().to_batches()
    return batch.serialize()


def names_of(table: Any, keys: Sequence[str]) -> Any:
    """Return one text for each row, by which it is told apart."""
    if len(keys) == 1:
        return table[keys[0]]
    return pc.binary_join_element_wise(*(table[key].cast(pa.string()) for key in keys), "\0")


def only(rows: Any, mask: Any) -> Any:
    """Return the rows that a mask chooses, without a copy where those are all."""
    return rows if pc.all(mask, min_count=0).as_py() else rows.filter(mask)


def last_of_each(rows: Any, keys: Sequence[str]) -> Any:
    """Of rows with the same key return the last."""
    if rows.num_rows == pc.count_distinct(names_of(rows, keys)).as_py():
        return rows
    rows = rows.take(pa.array(range(rows.num_rows - 1, -1, -1)))
    return first_of_each(rows, names_of(rows, keys))


def first_of_each(rows: Any, names: Any) -> Any:
    """Of rows with the same name return the first."""
    first = pc.index_in(names, value_set=flat(names))
    return rows.filter(pc.equal(first, pa.array(range(rows.num_rows), pa.int32())))


def flat(column: Any) -> Any:
    """Return a column in one piece."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def together(kind: TableKind, rows: Any, gone: Any) -> Any:
    """Return one change: rows to put, and the keys of rows to take out."""
    columns = {name: gone[name] for name in (*kind.keys, kind.day)}
    schema = rows.schema
    other = {
        each.name: pa.nulls(gone.num_rows, each.type) for each in schema if each.name not in (*columns, GONE)
    }
    marks = {GONE: pa.repeat(True, gone.num_rows)}
    removed = pa.table({**columns, **other, **marks}).select(schema.names).cast(schema)
    return pa.concat_tables([rows, removed])


@dataclass(frozen=True, slots=True)
class ReadState:
    """How a chunk's objects compare to those that the table has."""

    ids: Any
    wins: Any  # for each object, whether what was read is at least as new
    newest: Any  # when the newer of the two changed
    missing: Any  # rows to remove that nobody has changed since they were found
    days: list[date]

    @classmethod
    def of(cls, kind: TableKind, objects: CurrentTable, chunk: Chunk, missing: Any) -> ReadState:
        """Compare a chunk, and rows that may have to go, with a table."""
        rows, key = chunk[kind.table.name], kind.keys[0]
        if missing is None:
            missing = rows.select(state_columns(kind)).slice(0, 0)
        days = sorted({*rows[kind.day].to_pylist(), *missing[kind.day].to_pylist()})
        there = objects.rows(state_columns(kind), kind.on(days))
        ids, ids_there = flat(rows[key]), flat(there[key])
        here, ages = _changed_at(kind, rows), _changed_at(kind, there)
        before = ages.take(pc.index_in(ids, value_set=ids_there))
        wins = pc.fill_null(pc.greater_equal(here, before), True)
        found = ages.take(pc.index_in(flat(missing[key]), value_set=ids_there))
        unchanged = pc.fill_null(pc.equal(found, _changed_at(kind, missing)), False)
        return cls(ids, wins, pc.if_else(wins, here, before), missing.filter(unchanged), days)


def replaced(kind: TableKind, rows: Any, there: Any, state: ReadState) -> tuple[Any, Any]:
    """Choose what to put into a table of belongings, and what of that which is there has to go."""
    owner_there, owner = flat(there[kind.keys[0]]), flat(rows[kind.keys[0]])
    at = pc.index_in(owner_there, value_set=state.ids)  # null for an object that was not read
    age, newest, wins = _changed_at(kind, there), state.newest.take(at), state.wins.take(at)
    newer = owner_there.filter(pc.fill_null(pc.greater(age, newest), False))
    winners = state.ids.filter(state.wins)
    put = only(rows, pc.and_not(pc.is_in(owner, value_set=winners), pc.is_in(owner, value_set=newer)))
    stays = pc.is_in(names_of(there, kind.keys), value_set=flat(names_of(put, kind.keys)))
    outdated = pc.or_(pc.and_(wins, pc.less_equal(age, newest)), pc.less(age, newest))
    orphaned = pc.is_in(owner_there, value_set=flat(state.missing[kind.keys[0]]))
    goes = pc.or_(pc.and_not(pc.fill_null(outdated, False), flat(stays)), orphaned)
    return put, there.filter(goes)


def state_columns(kind: TableKind) -> list[str]:
    """Return the columns by which states of objects are compared."""
    return [kind.keys[0], kind.day, *(["updated_at"] if kind.has_state else [])]


def _changed_at(kind: TableKind, rows: Any) -> Any:
    if not kind.has_state:
        return pa.repeat(arrow_time(NEVER), rows.num_rows)
    return flat(pc.fill_null(rows["updated_at"], arrow_time(NEVER)))


def arrow_time(at: datetime) -> Any:
    """Return a moment as the tables hold it."""
    return pa.scalar(at, pa.timestamp("us", tz="UTC"))
