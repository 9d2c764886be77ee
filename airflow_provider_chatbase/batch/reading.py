"""Prompts from a file, one after the other: JSONL, CSV, Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_chatbase.batch.prompts import Unreadable
from airflow_provider_chatbase.client.errors import ChatbaseInputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FORMATS = {"jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "parquet": "parquet", "pq": "parquet"}
COMPRESSIONS = ("gz", "bz2", "xz", "zst", "zip")

PARQUET_BATCH = 500
LONGEST_CSV_FIELD = 10_000_000


def read_file(fs: AbstractFileSystem, path: str, url: str) -> Iterator[Any]:
    """Read the prompts of a file as a stream."""
    file_format = _format(path, url)
    with _opened(fs, path, url, "infer" if file_format != "parquet" else None) as stream:
        if file_format == "parquet":
            yield from _parquet(stream, url)
        elif file_format == "csv":
            yield from _csv(stream, url)
        else:
            yield from _jsonl(stream)


def _format(path: str, url: str) -> str:
    endings = path.lower().rsplit("/", 1)[-1].split(".")[1:]
    if endings and endings[-1] in COMPRESSIONS:
        endings.pop()
    found = FORMATS.get(endings[-1]) if endings else None
    if found is None:
        raise ChatbaseInputError(
            f"prompts_path {url} does not say its format. It must end in .jsonl, .ndjson, .csv or .parquet. "
            "Nothing was sent."
        )
    return found


@contextmanager
def _opened(fs: AbstractFileSystem, path: str, url: str, compression: str | None) -> Iterator[IO[bytes]]:
    try:
        stream = fs.open(path, "rb", compression=compression)
    except OSError as error:
        raise ChatbaseInputError(
            f"prompts_path {url} cannot be read: {error.strerror or error}. Nothing was sent."
        ) from error
    with stream:
        yield stream


def _jsonl(stream: IO[bytes]) -> Iterator[Any]:
    for number, line in enumerate(stream, 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not text.strip():
            continue
        try:
            yield json.loads(text)
        except ValueError as error:
            yield Unreadable(f"line {number} is no JSON: {error}")


def _csv(stream: IO[bytes], url: str) -> Iterator[Any]:
    csv.field_size_limit(LONGEST_CSV_FIELD)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.DictReader(text)
    if "message" not in (reader.fieldnames or ()):
        raise ChatbaseInputError(
            f"prompts_path {url} has no column 'message' in its first line. Nothing was sent."
        )
    for row in reader:
        too_many = row.pop(None, None)
        if too_many:
            yield Unreadable(f"line {reader.line_num} has more fields than the first line")
        else:
            yield row


def _parquet(stream: IO[bytes], url: str) -> Iterator[Any]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ChatbaseInputError(
            "Parquet needs pyarrow: pip install 'airflow-provider-chatbase[parquet]'. Nothing was sent."
        ) from error
    try:
        file = ParquetFile(stream)
    except pyarrow.ArrowInvalid as error:
        raise ChatbaseInputError(
            f"prompts_path {url} is no Parquet file: {error}. Nothing was sent."
        ) from error
    if "message" not in file.schema_arrow.names:
        raise ChatbaseInputError(f"prompts_path {url} has no column 'message'. Nothing was sent.")
    for batch in file.iter_batches(batch_size=PARQUET_BATCH):
        yield from batch.to_pylist()
