"""Rows in Apache Parquet; the one module that knows pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files.formats import Row, Table

try:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
except ImportError as error:
    raise ChatbaseInputError(
        "Parquet needs the package pyarrow: pip install 'airflow-provider-chatbase[parquet]'."
    ) from error

ROW_GROUP = 10_000
ROW_GROUP_BYTES = 8 * 1024 * 1024
"""A row group ends with the row that fills either, so it does not depend on the pieces."""

_WRITTEN_AT_A_TIME, _READ_AT_A_TIME = 1000, 500

_TYPES = {
    "text": pa.string(),
    "json": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("ms", tz="UTC"),
    "flag": pa.bool_(),
    "texts": pa.list_(pa.string()),
}


def arrow_schema(table: Table) -> Any:
    """Return a table's columns in pyarrow's terms."""
    return pa.schema([pa.field(column.name, _TYPES[column.type]) for column in table.columns])


def arrow_table(table: Table, rows: Sequence[tuple[Any, ...]]) -> Any:
    """Return rows of cells as an Arrow table."""
    schema = arrow_schema(table)
    if not rows:
        return schema.empty_table()
    columns = [
        pa.array(cells, kind.type) for cells, kind in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


class Parquet:
    """Parquet files with row groups of a fixed size, however the pieces were cut."""

    suffix = ".parquet"

    def __init__(self, compression: str | None = None) -> None:
        self._codec = compression or "snappy"

    def encode(self, table: Table, row: Row) -> tuple[Any, ...]:
        """See :meth:`~airflow_provider_chatbase.files.formats.Format.encode`."""
        return table.cells(row)

    def join(self, table: Table, rows: Sequence[tuple[Any, ...]]) -> bytes:
        """See :meth:`~airflow_provider_chatbase.files.formats.Format.join`; a piece is an Arrow stream."""
        if not rows:
            return b""
        stream = io.BytesIO()
        with pa.ipc.new_stream(stream, arrow_schema(table)) as writer:
            writer.write_table(arrow_table(table, rows))
        return stream.getvalue()

    @contextmanager
    def writer(self, table: Table, stream: IO[bytes]) -> Iterator[RowGroups]:
        """See :meth:`~airflow_provider_chatbase.files.formats.Format.writer`."""
        with pq.ParquetWriter(stream, arrow_schema(table), compression=self._codec) as file:
            groups = RowGroups(file, table)
            yield groups
            groups.flush()


class RowGroups:
    """Collects rows until a row group is full."""

    def __init__(self, file: Any, table: Table) -> None:
        self._file = file
        self._table = table
        self._waiting: list[Any] = []
        self._rows: list[tuple[Any, ...]] = []
        self._count = self._bytes = 0

    def write(self, piece: bytes) -> None:
        """Add a piece."""
        if piece:
            self._take_rows()
            with pa.ipc.open_stream(piece) as reader:
                self._add(reader.read_all())

    def write_row(self, row: Row) -> None:
        """Add a single row."""
        self._rows.append(self._table.cells(row))
        if len(self._rows) >= _WRITTEN_AT_A_TIME:
            self._take_rows()

    def flush(self) -> None:
        """Write what is left."""
        self._take_rows()
        if self._waiting:
            self._write_group(pa.concat_tables(self._waiting))

    def _take_rows(self) -> None:
        if self._rows:
            rows, self._rows = self._rows, []
            self._add(arrow_table(self._table, rows))

    def _add(self, rows: Any) -> None:
        begin = 0
        for number, size in enumerate(_sizes(rows), 1):
            self._count += 1
            self._bytes += size
            if self._count >= ROW_GROUP or self._bytes >= ROW_GROUP_BYTES:
                self._waiting.append(rows.slice(begin, number - begin))
                self._write_group(pa.concat_tables(self._waiting))
                self._waiting, self._count, self._bytes, begin = [], 0, 0, number
        self._waiting.append(rows.slice(begin))

    def _write_group(self, rows: Any) -> None:
        # In one chunk: the file's pages are laid out by chunk, and chunks come from the pieces.
        if rows.num_rows:
            self._file.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP)
            pa.default_memory_pool().release_unused()


def _sizes(rows: Any) -> list[int]:
    """Return about how many bytes each row has."""
    total = pa.array([8 * rows.num_columns] * rows.num_rows, pa.int64())
    for column in rows.columns:
        if pa.types.is_string(column.type):
            total = pc.add(total, pc.fill_null(pc.binary_length(column), 0))
    sizes: list[int] = total.to_pylist()
    return sizes


def read_rows(stream: IO[bytes], needed: str | None = None) -> Iterator[dict[str, Any]]:
    """Read a Parquet file row by row, some at a time; what is none raises ``OSError``."""
    try:
        file = pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise OSError(f"it is no Parquet file: {error}") from error
    if needed is not None and needed not in file.schema_arrow.names:
        raise OSError(f"it has no column {needed!r}.")
    for batch in file.iter_batches(batch_size=_READ_AT_A_TIME):
        yield from batch.to_pylist()
