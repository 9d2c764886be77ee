"""Rows as JSON lines, CSV and Parquet: the same rows, whole or in pieces, packed or not."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from matrix import matrix

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files.formats import (
    Column,
    CsvStyle,
    Format,
    Row,
    Table,
    decompressing,
    open_format,
)

TABLE = Table(
    "things",
    (
        Column("name"),
        Column("count", "integer"),
        Column("share", "number"),
        Column("at", "time"),
        Column("good", "flag"),
        Column("tags", "texts"),
        Column("more", "json"),
    ),
)
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"name": "a", "count": 1, "share": 0.5, "good": True, "tags": ["x", "y"], "more": {"k": [1]}},
    {"name": "=1+1", "good": False, "tags": [], "more": "text"},
    {"name": 'a "quoted"\nline, \u2028\r', "count": 2**40, "more": None},
    {"name": "half \ud83d pair"},
]
NAMES = ["a", "=1+1", 'a "quoted"\nline, \u2028\r', "half � pair"]


def _written(files: Format, rows: list[Row]) -> bytes:
    stream = io.BytesIO()
    with files.writer(TABLE, stream) as writer:
        for row in rows:
            writer.write_row(row)
    assert not stream.closed
    return stream.getvalue()


def _in_pieces(files: Format, rows: list[Row], size: int) -> bytes:
    stream = io.BytesIO()
    with files.writer(TABLE, stream) as writer:
        for begin in range(0, len(rows), size):
            writer.write(files.join(TABLE, [files.encode(TABLE, row) for row in rows[begin : begin + size]]))
    return stream.getvalue()


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_json_lines_hold_objects_as_they_are(compression: str | None):
    files = open_format("jsonl", compression)
    content = decompressing(io.BytesIO(_written(files, [*ROWS])), compression).read()
    rows = [json.loads(line) for line in content.split(b"\n")[:-1]]
    assert rows == [*ROWS[:-1], {"name": "half \ufffd pair"}]  # which UTF-8 cannot hold
    assert files.suffix == {None: ".jsonl", "gzip": ".jsonl.gz", "zstd": ".jsonl.zst"}[compression]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_csv_has_a_header_and_texts_for_everything(compression: str | None):
    content = decompressing(
        io.BytesIO(_written(open_format("csv", compression), [*ROWS])), compression
    ).read()
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert [row["name"] for row in rows] == ["a", "'=1+1", *NAMES[2:]]
    assert rows[0] == {
        "name": "a",
        "count": "1",
        "share": "0.5",
        "at": "",
        "good": "true",
        "tags": '["x","y"]',
        "more": '{"k":[1]}',
    }
    assert (rows[1]["good"], rows[1]["tags"], rows[1]["more"]) == ("false", "[]", '"text"')
    assert rows[2]["more"] == ""


def test_formulas_are_kept_when_asked_for():
    assert b"\n=1+1," in _written(open_format("csv", csv_style=CsvStyle(escape_formulas=False)), [*ROWS])


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_parquet_has_types(compression: str | None):
    pytest.importorskip("pyarrow")
    from airflow_provider_chatbase.files.parquet import read_rows

    rows = list(read_rows(io.BytesIO(_written(open_format("parquet", compression), [*ROWS]))))
    assert [row["name"] for row in rows] == NAMES
    assert rows[0] == {
        "name": "a",
        "count": 1,
        "share": 0.5,
        "at": None,
        "good": True,
        "tags": ["x", "y"],
        "more": '{"k":[1]}',
    }


CELLS: list[Row] = [(f"n{n}", n, n / 2, AT, n % 2 == 0, ["t"], "{}") for n in range(25_000)]


@pytest.mark.parametrize(
    ("file_format", "compression"), matrix(["jsonl", "csv", "parquet"], [None, "gzip", "zstd"])
)
def test_a_file_does_not_depend_on_how_its_rows_were_cut(file_format: str, compression: str | None):
    rows = CELLS if file_format != "jsonl" else [{"n": n} for n in range(25_000)]
    files = open_format(file_format, compression)
    whole = _written(files, rows)
    assert _in_pieces(files, rows, 7_000) == _in_pieces(files, rows, 333) == whole
    assert _in_pieces(open_format(file_format, compression), rows, 25_000) == whole


def test_cells_stay_as_they_are():
    content = _written(open_format("csv"), CELLS[:1])
    assert content == b'name,count,share,at,good,tags,more\nn0,0,0.0,2026-01-02T03:04:05Z,true,"[""t""]",{}\n'


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_no_rows_make_a_file(file_format: str):
    content = _written(open_format(file_format), [])
    assert (content == b"") is (file_format == "jsonl")


@pytest.mark.parametrize(("file_format", "compression"), [("xlsx", None), ("csv", "bz2")])
def test_an_unknown_format_is_named(file_format: str, compression: str | None):
    with pytest.raises(ChatbaseInputError, match=compression or file_format):
        open_format(file_format, compression)
