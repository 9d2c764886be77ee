"""Writing rows as JSONL or Parquet, a few at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

from airflow_provider_chatbase.batch.settings import FileFormat
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.jsonl import encode_line

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_A_TIME = 1000
_AS_JSON = ("metadata", "parsed")


class RowWriter(Protocol):
    """Takes one row after the other."""

    def write(self, row: dict[str, Any]) -> None:
        """Write a row."""


class _JsonlWriter:
    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def write(self, row: dict[str, Any]) -> None:
        self._stream.write(encode_line(row))


class _ParquetWriter:
    def __init__(self, stream: IO[bytes]) -> None:
        import pyarrow
        from pyarrow.parquet import ParquetWriter

        self._pyarrow = pyarrow
        self._schema = _schema(pyarrow)
        self._writer = ParquetWriter(stream, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        texts = {name: _json(row[name]) for name in _AS_JSON if name in row}
        self._rows.append({**row, **texts})
        if len(self._rows) >= ROWS_AT_A_TIME:
            self._write_rows()

    def close(self) -> None:
        self._write_rows()
        self._writer.close()

    def _write_rows(self) -> None:
        self._writer.write_table(self._pyarrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


@contextmanager
def open_writer(stream: IO[bytes], file_format: FileFormat) -> Iterator[RowWriter]:
    """Write rows to a stream; they are complete at the end of the block."""
    if file_format == "jsonl":
        yield _JsonlWriter(stream)
        return
    writer = _ParquetWriter(stream)
    yield writer
    writer.close()


def require_format(file_format: FileFormat) -> None:
    """Check that a format can be written, before anything is sent."""
    if file_format == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ChatbaseInputError(
                "Parquet needs pyarrow: pip install 'airflow-provider-chatbase[parquet]'. Nothing was sent."
            ) from error


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _schema(arrow: Any) -> pyarrow.Schema:
    texts = (
        "id",
        "message",
        "text",
        "outcome",
        "error_code",
        "error_message",
        "conversation_id",
        "message_id",
    )
    return arrow.schema(
        [
            *((name, arrow.string()) for name in texts),
            ("credits", arrow.float64()),
            ("seconds", arrow.float64()),
            ("attempts", arrow.int64()),
            ("metadata", arrow.string()),
            ("recovered", arrow.bool_()),
            ("parsed", arrow.string()),
            ("passed", arrow.bool_()),
            ("failed_expectations", arrow.list_(arrow.string())),
            ("score", arrow.float64()),
            ("cached", arrow.bool_()),
            ("duplicate_of", arrow.string()),
        ]
    )
