"""Rows in Apache Parquet; the one module that knows pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.rows import rows_of
from airflow_provider_chatbase.exports.schema import Table

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise ChatbaseInputError(
        "file_format 'parquet' needs the package pyarrow: pip install 'airflow-provider-chatbase[parquet]'. "
        "Nothing was exported."
    ) from error

ROW_GROUP = 10_000

_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("ms", tz="UTC"),
}


def arrow_schema(table: Table) -> Any:
    """Return a table's columns in pyarrow's terms."""
    return pa.schema([pa.field(column.name, _TYPES[column.type]) for column in table.columns])


class Parquet:
    """Parquet files with row groups of a fixed size, however the pieces were cut."""

    suffix = ".parquet"

    def __init__(self, kind: str, agent_id: str, tables: Sequence[Table], compression: str | None) -> None:
        self._kind = kind
        self._agent_id = agent_id
        self._schemas = {table.name: arrow_schema(table) for table in tables}
        self._codec = compression or "snappy"

    def encode(self, item: JsonObject) -> dict[str, list[Any]]:
        """See :meth:`~airflow_provider_chatbase.exports.formats.Format.encode`."""
        rows = rows_of(self._kind, item, self._agent_id)
        return {name: rows[name] for name in self._schemas}

    def join(self, table: str, rows: Sequence[Any]) -> bytes:
        """See :meth:`~airflow_provider_chatbase.exports.formats.Format.join`; a piece is an Arrow stream."""
        if not rows:
            return b""
        schema = self._schemas[table]
        columns = [
            pa.array(values, kind.type) for values, kind in zip(zip(*rows, strict=True), schema, strict=True)
        ]
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, schema) as writer:
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
        return stream.getvalue()

    @contextmanager
    def writer(self, table: str, stream: IO[bytes]) -> Iterator[RowGroups]:
        """See :meth:`~airflow_provider_chatbase.exports.formats.Format.writer`."""
        schema = self._schemas[table]
        with pq.ParquetWriter(stream, schema, compression=self._codec) as file:
            groups = RowGroups(file, schema)
            yield groups
            groups.flush()


def read_rows(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Read a Parquet file row by row, a row group at a time."""
    file = pq.ParquetFile(stream)
    for number in range(file.num_row_groups):
        yield from file.read_row_group(number).to_pylist()


class RowGroups:
    """Collects rows until a row group is full."""

    def __init__(self, file: Any, schema: Any) -> None:
        self._file = file
        self._waiting: list[Any] = []
        self._rows: list[Mapping[str, Any]] = []
        self._schema = schema

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        if piece:
            with pa.ipc.open_stream(piece) as reader:
                self.write_table(reader.read_all())

    def write_table(self, table: Any) -> None:
        """Add rows."""
        self._waiting.append(table)
        if sum(each.num_rows for each in self._waiting) >= ROW_GROUP:
            rows = pa.concat_tables(self._waiting)
            full = rows.num_rows - rows.num_rows % ROW_GROUP
            for start in range(0, full, ROW_GROUP):
                self._write_group(rows.slice(start, ROW_GROUP))
            self._waiting = [rows.slice(full)]

    def write_row(self, row: Mapping[str, Any]) -> None:
        """Add a single row."""
        self._rows.append(row)
        if len(self._rows) >= ROW_GROUP:
            self._take_rows()

    def _take_rows(self) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            self.write_table(pa.Table.from_pylist(rows, schema=self._schema))

    def flush(self) -> None:
        """Write what is left."""
        self._take_rows()
        rows = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        if rows.num_rows:
            self._write_group(rows)

    def _write_group(self, rows: Any) -> None:
        # In one chunk: the file's pages are laid out by chunk, and chunks come from the pieces.
        self._file.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP)
