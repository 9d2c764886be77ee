"""
How rows become the bytes of a file: JSON lines, CSV, Parquet.

A row is a JSON object, or a tuple of cells in the order of the table's columns. Rows can be written one by
one, or be made to pieces first that are put together later; a piece knows nothing of its neighbours, so a
file does not depend on how its rows were cut.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from typing import IO, Any, Literal, Protocol, cast

import msgspec

from airflow_provider_chatbase.client.decoding import sound, sound_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError

FileFormat = Literal["jsonl", "csv", "parquet"]
Compression = Literal["gzip", "zstd"]
FORMATS: tuple[FileFormat, ...] = ("jsonl", "csv", "parquet")
SUFFIX: dict[str | None, str] = {None: "", "gzip": ".gz", "zstd": ".zst"}

Row = Mapping[str, Any] | tuple[Any, ...]
EncodedRow = Any
"""A row as its format keeps it: bytes, or for Parquet cells."""

ColumnType = Literal["text", "integer", "number", "time", "flag", "texts", "json"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``time`` is in UTC, ``json`` is JSON as text, ``texts`` is a list of texts."""

    name: str
    type: ColumnType = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its columns, in an order that stays."""

    name: str
    columns: tuple[Column, ...]

    def cells(self, row: Row) -> tuple[Any, ...]:
        """Return a row's cells; those of a JSON object are converted, a tuple already holds them."""
        if isinstance(row, tuple):
            return row
        return tuple(_cell(column.type, row.get(column.name)) for column in self.columns)

    def record(self, row: Row) -> Mapping[str, Any]:
        """Return a row as a JSON object."""
        if isinstance(row, tuple):
            return {column.name: value for column, value in zip(self.columns, row, strict=True)}
        return row


class Writer(Protocol):
    """Takes what a file consists of."""

    def write(self, piece: bytes) -> Any:
        """Add a piece."""

    def write_row(self, row: Row) -> None:
        """Add a single row."""


class Format(Protocol):
    """A file format."""

    suffix: str

    def encode(self, table: Table, row: Row) -> EncodedRow:
        """Make of a row what :meth:`join` takes."""

    def join(self, table: Table, rows: Sequence[EncodedRow]) -> bytes:
        """Make a piece of encoded rows."""

    def writer(self, table: Table, stream: IO[bytes]) -> AbstractContextManager[Writer]:
        """Begin a file, which is complete at the end of the block; the stream stays open."""


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """What readers of CSV differ in."""

    escape_formulas: bool = True  # keep a spreadsheet from taking a text for a formula
    null: str = ""  # what stands for null; a text like it is quoted
    bom: bool = False  # begin with the mark by which Excel knows UTF-8


def open_format(
    file_format: str, compression: str | None = None, *, csv_style: CsvStyle | None = None
) -> Format:
    """Choose a format, and make sure that what it needs is installed."""
    if file_format not in FORMATS:
        raise ChatbaseInputError(
            f"file_format {file_format!r} is unknown: it must be one of {', '.join(FORMATS)}; exports also "
            "know delta."
        )
    if compression not in SUFFIX:
        raise ChatbaseInputError(f"compression {compression!r} is unknown. Give 'gzip', 'zstd' or None.")
    if file_format == "parquet":
        from airflow_provider_chatbase.files.parquet import Parquet

        return Parquet(compression)
    with compressing(io.BytesIO(), compression):  # says now whether its library is there
        return JsonLines(compression) if file_format == "jsonl" else Csv(compression, csv_style or CsvStyle())


class _Lines:
    """What a format of lines is but for the lines themselves."""

    suffix: str

    def __init__(self, ending: str, compression: str | None) -> None:
        self.suffix = f".{ending}{SUFFIX[compression]}"
        self._compression = compression

    def encode(self, table: Table, row: Row) -> bytes:
        """See :meth:`Format.encode`."""
        raise NotImplementedError

    def join(self, _table: Table, rows: Sequence[bytes]) -> bytes:
        """See :meth:`Format.join`."""
        return b"".join(rows)

    @contextmanager
    def writer(self, table: Table, stream: IO[bytes]) -> Iterator[Writer]:
        """See :meth:`Format.writer`."""
        with compressing(stream, self._compression) as target:
            target.write(self._header(table))
            yield _LineWriter(target, lambda row: self.encode(table, row))

    def _header(self, _table: Table) -> bytes:
        return b""


class _LineWriter:
    def __init__(self, stream: IO[bytes], encode: Callable[[Row], bytes]) -> None:
        self._encode = encode
        self.write = stream.write

    def write_row(self, row: Row) -> None:
        self.write(self._encode(row))


class JsonLines(_Lines):
    """JSON objects as they are, one a line."""

    def __init__(self, compression: str | None) -> None:
        super().__init__("jsonl", compression)

    def encode(self, table: Table, row: Row) -> bytes:
        """See :meth:`Format.encode`."""
        return json_line(table.record(row))


_FORMULA = re.compile(r"'*(?:\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|[\t\r\n])")
"""What a spreadsheet takes for a formula, and what is escaped already: else two texts would look the same."""


def escape_formula(text: str) -> str:
    """Keep a spreadsheet from taking a text for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


class Csv(_Lines):
    """Comma-separated values with a header, in UTF-8; null and an empty text differ."""

    def __init__(self, compression: str | None, style: CsvStyle) -> None:
        super().__init__("csv", compression)
        self._style = style

    def encode(self, table: Table, row: Row) -> bytes:
        """See :meth:`Format.encode`."""
        return csv_line([self._csv_cell(cell) for cell in table.cells(row)], self._style.null)

    def _header(self, table: Table) -> bytes:
        header = csv_line([column.name for column in table.columns])
        return codecs.BOM_UTF8 + header if self._style.bom else header

    def _csv_cell(self, cell: Any) -> Any:
        if isinstance(cell, str):
            return escape_formula(cell) if self._style.escape_formulas else cell
        if isinstance(cell, datetime):
            return cell.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return json_text(cell) if isinstance(cell, bool | list) else cell


_QUOTED = re.compile(r'[",\r\n]')


def csv_line(cells: Sequence[Any], null: str = "") -> bytes:
    """Write a line of CSV. What stands for null is not quoted, a text that looks like it is."""
    shown = [null if cell is None else cell if isinstance(cell, str) else str(cell) for cell in cells]
    line = ",".join(
        '"' + text.replace('"', '""') + '"'
        if _QUOTED.search(text) or (text == null and cell is not None) or (not text and len(cells) == 1)
        else text
        for text, cell in zip(shown, cells, strict=True)
    )
    return line.encode() + b"\n"


# Line ends for some readers, though not for JSON: without escapes, a text would tear a row in two.
_ESCAPED = {"\u0085".encode(): b"\\u0085", "\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def json_line(value: Any) -> bytes:
    """Write a JSON value as one line of UTF-8, with its line end."""
    line = _json(value)
    if not line.isascii():
        for character, escape in _ESCAPED.items():
            line = line.replace(character, escape)
    return line + b"\n"


def json_text(value: Any) -> str:
    """Write a JSON value as the text of a cell."""
    return _json(value).decode()


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON allows and UTF-8 does not
        return msgspec.json.encode(sound(value))


def _cell(kind: ColumnType, value: Any) -> Any:
    if value is None:
        return None
    if kind == "json":
        return json_text(value)
    if kind == "texts":
        return [sound_text(str(each)) for each in value]
    if kind == "text":
        return sound_text(str(value))
    return fitting(kind, value) if kind in ("integer", "number") else value


def fitting(kind: ColumnType, value: Any) -> int | float | None:
    """Return a number that a column of numbers can hold: no other type, not infinite, not beyond 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind == "integer":
        whole = isinstance(value, int) or value.is_integer()
        return int(value) if whole and -(2**63) <= value < 2**63 else None
    try:
        return value if isfinite(value) else None
    except OverflowError:  # a whole number beyond all that a float can be
        return None


_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3
_ZSTD_READ = 4096
"""Bytes to unpack at once: few, since a byte may become 20,000."""


def compressing(stream: IO[bytes], compression: str | None) -> AbstractContextManager[IO[bytes]]:
    """Wrap a stream, which stays open; the same bytes always become the same bytes."""
    if compression == "gzip":  # with neither a name nor a time in the header
        packed = gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=_GZIP_LEVEL, mtime=0)
        return cast("AbstractContextManager[IO[bytes]]", packed)
    if compression == "zstd":
        writer = _zstandard().ZstdCompressor(level=_ZSTD_LEVEL).stream_writer(stream, closefd=False)
        return cast("AbstractContextManager[IO[bytes]]", writer)
    return nullcontext(stream)


def decompressing(stream: IO[bytes], compression: str | None) -> IO[bytes]:
    """Read what :func:`compressing` wrote."""
    if compression == "gzip":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb"))
    if compression == "zstd":
        return io.BufferedReader(_Frames(_zstandard().ZstdDecompressor, stream))
    return stream


class _Frames(io.RawIOBase):
    """Reads zstd to its very end: zstandard's own reader takes a file that is cut for a whole one."""

    def __init__(self, decompressor: Callable[[], Any], stream: IO[bytes]) -> None:
        self._decompressor = decompressor
        self._stream = stream
        self._frame: Any = None
        self._packed = b""
        self._content = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            self._packed = self._packed or self._stream.read(_ZSTD_READ)
            if not self._packed:
                if self._frame is not None and not self._frame.eof:
                    raise EOFError("it is cut: the end of its compressed data is missing")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._decompressor().decompressobj()
            try:
                self._content = memoryview(self._frame.decompress(self._packed))
            except _zstandard().ZstdError as error:
                raise ValueError(str(error)) from error
            self._packed = self._frame.unused_data
        part = self._content[: len(buffer)]
        self._content = self._content[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise ChatbaseInputError(
            "compression 'zstd' needs the package zstandard: pip install 'airflow-provider-chatbase[zstd]'."
        ) from error
    return zstandard
