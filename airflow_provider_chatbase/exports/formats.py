"""
How rows become the bytes of a file.

A part of an export is written in pieces, as it arrives; the pieces are put together to files at the end. So
that a file does not depend on how the export was cut into parts, a piece knows nothing of its neighbours.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import IO, Any, Protocol

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.compression import SUFFIX, compressing
from airflow_provider_chatbase.exports.jsonl import encode_line
from airflow_provider_chatbase.exports.rows import Row, rows_of
from airflow_provider_chatbase.exports.schema import TABLES_OF, Table
from airflow_provider_chatbase.exports.window import in_utc

FORMATS = ("jsonl", "csv", "parquet")


class FileWriter(Protocol):
    """Puts pieces together to a file."""

    def write(self, piece: bytes) -> None:
        """Add a piece."""


class Format(Protocol):
    """A file format."""

    suffix: str

    def encode(self, item: JsonObject) -> dict[str, list[Any]]:
        """Encode an object of the API."""

    def join(self, table: str, rows: Sequence[Any]) -> bytes:
        """Make a piece of rows."""

    def writer(self, table: str, stream: IO[bytes]) -> AbstractContextManager[FileWriter]:
        """Begin a file."""


def open_format(
    file_format: str,
    kind: str,
    agent_id: str,
    tables: Sequence[str] | None = None,
    compression: str | None = None,
    escape_formulas: bool = True,
) -> Format:
    """Choose the format of an export."""
    if file_format not in FORMATS:
        raise ChatbaseInputError(f"file_format {file_format!r} is unknown. Give one of {', '.join(FORMATS)}.")
    if compression not in SUFFIX:
        raise ChatbaseInputError(f"compression {compression!r} is unknown. Give 'gzip', 'zstd' or None.")
    with compressing(io.BytesIO(), compression):  # says now whether its library is there
        chosen = choose_tables(file_format, kind, tables)
    if file_format == "jsonl":
        return JsonLines(kind, compression)
    if file_format == "csv":
        return Csv(kind, agent_id, chosen, compression, escape_formulas)
    from airflow_provider_chatbase.exports.parquet import Parquet

    return Parquet(kind, agent_id, chosen, compression)


def choose_tables(file_format: str, kind: str, tables: Sequence[str] | None) -> tuple[Table, ...]:
    """Choose the tables of an export."""
    known = TABLES_OF[kind]
    if file_format == "jsonl":
        if tables is not None and list(tables) != [kind]:
            raise ChatbaseInputError(
                f"tables is for csv and parquet: jsonl holds the API's objects whole, in one table {kind!r}."
            )
        return known[:1]
    if tables is None:
        return known
    names = [table.name for table in known]
    if isinstance(tables, str) or not tables or not set(tables) <= set(names):
        raise ChatbaseInputError(f"tables must be a list of {', '.join(names)}, not {tables!r}.")
    return tuple(table for table in known if table.name in tables)


class JsonLines:
    """The API's objects, one a line."""

    def __init__(self, kind: str, compression: str | None) -> None:
        self._kind = kind
        self._compression = compression
        self.suffix = f".jsonl{SUFFIX[compression]}"

    def encode(self, item: JsonObject) -> dict[str, list[Any]]:
        """See :meth:`Format.encode`."""
        return {self._kind: [encode_line(item)]}

    def join(self, _table: str, rows: Sequence[Any]) -> bytes:
        """See :meth:`Format.join`."""
        return b"".join(rows)

    def writer(self, _table: str, stream: IO[bytes]) -> AbstractContextManager[FileWriter]:
        """See :meth:`Format.writer`."""
        return compressing(stream, self._compression)  # type: ignore[return-value]


_FORMULA = re.compile(r"^\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]")


class Csv:
    """Comma-separated values with a header, in UTF-8; nothing stands for null."""

    def __init__(
        self,
        kind: str,
        agent_id: str,
        tables: Sequence[Table],
        compression: str | None,
        escape_formulas: bool,
    ) -> None:
        self._kind = kind
        self._agent_id = agent_id
        self._tables = {table.name: table for table in tables}
        self._compression = compression
        self._escape_formulas = escape_formulas
        self.suffix = f".csv{SUFFIX[compression]}"

    def encode(self, item: JsonObject) -> dict[str, list[Any]]:
        """See :meth:`Format.encode`."""
        rows = rows_of(self._kind, item, self._agent_id)
        return {name: [self._line(row) for row in rows[name]] for name in self._tables}

    def join(self, _table: str, rows: Sequence[Any]) -> bytes:
        """See :meth:`Format.join`."""
        return b"".join(rows)

    def writer(self, table: str, stream: IO[bytes]) -> AbstractContextManager[FileWriter]:
        """See :meth:`Format.writer`."""
        header = csv_line([column.name for column in self._tables[table].columns])
        return _Headed(compressing(stream, self._compression), header)

    def _line(self, row: Row) -> bytes:
        return csv_line([self._cell(value) for value in row])

    def _cell(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return in_utc(value)
        if isinstance(value, str) and self._escape_formulas and _FORMULA.match(value):
            return f"'{value}"
        return value


class _Headed(AbstractContextManager[FileWriter]):
    """Writes a header before anything else."""

    def __init__(self, opened: AbstractContextManager[IO[bytes]], header: bytes) -> None:
        self._opened = opened
        self._header = header

    def __enter__(self) -> FileWriter:
        stream = self._opened.__enter__()
        stream.write(self._header)
        return stream  # type: ignore[return-value]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)


def csv_line(cells: Sequence[Any]) -> bytes:
    """Write a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # quotes a cell with either of them
    return text.getvalue().removesuffix("\r\n").encode() + b"\n"
