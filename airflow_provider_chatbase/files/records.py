"""
Records as users give them: a list, DataFrame or Arrow table; a file of JSON lines, CSV, JSON, YAML, Parquet.

Nothing is guessed: a file that is damaged or in another encoding is refused as a whole, and a record that
cannot be read is an :class:`UnreadableRecord` among the others.
"""

from __future__ import annotations

import bz2
import codecs
import csv
import io
import json
import lzma
import posixpath
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import isfinite
from typing import IO, Any, cast

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.request import is_unicode
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.formats import decompressing

LONGEST_CELL = 10_000_000
"""The most characters of a cell: more than Chatbase takes for any text, which is told apart."""

_LONGEST_LINE = 1 << 26
_MOST_VALUES, _DEEPEST = 1_000_000, 100
_ENDINGS = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "csv": "csv",
    "tsv": "csv",
    "json": "json",
    "yaml": "yaml",
    "yml": "yaml",
    "parquet": "parquet",
    "pq": "parquet",
}


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """Stands for a record that cannot be read."""

    why: str  # where it stands and what is wrong with it, such as "line 3 is no JSON"


# -- objects of a program


def rows_of(given: Any, argument: str) -> Iterable[Any]:
    """Return the rows of a list, a DataFrame or an Arrow table, told by what they can do."""
    if hasattr(given, "to_batches") and hasattr(given, "schema"):
        return (
            _plain_row(row) for batch in given.to_batches(max_chunksize=1000) for row in batch.to_pylist()
        )
    if hasattr(given, "to_pylist"):
        return (_plain_row(row) for row in given.to_pylist())
    if hasattr(given, "iter_rows"):  # Polars
        return (_plain_row(row) for row in given.iter_rows(named=True))
    if hasattr(given, "to_dict") and hasattr(given, "columns"):  # pandas
        names = list(given.columns)
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise ChatbaseInputError(
                f"The columns of {argument} are {str(names)[:100]}. Each needs a name of its own, as text. "
                "Nothing was sent."
            )
        return (_plain_row(row) for row in given.to_dict("records"))
    if isinstance(given, str | bytes | Mapping | AbstractSet) or not isinstance(given, Iterable):
        raise ChatbaseInputError(
            f"{argument} must be a list of records, a DataFrame or an Arrow table, not "
            f"{type(given).__name__}. Nothing was sent."
        )
    return given


def _plain_row(row: Any) -> Any:
    return {name: _plain(value) for name, value in row.items()} if isinstance(row, dict) else _plain(row)


def _plain(value: Any) -> Any:
    """Return a cell as plain Python: in a table of numbers or times, no value is NaN, NaT or NA."""
    if type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value):
        return None
    return value.tolist() if hasattr(value, "tolist") else value


# -- files


def read_record_file(
    directory: Directory,
    name: str,
    *,
    argument: str,
    encoding: str | None = None,
    delimiter: str | None = None,
    needed: str | None = None,
) -> Iterator[Any]:
    """Read a file of records as a stream; a table must have the ``needed`` column."""
    url = posixpath.join(directory.url, name)
    endings = name.lower().split(".")[1:]
    unpack = _UNPACKERS[endings.pop()] if endings and endings[-1] in _UNPACKERS else None
    kind = _ENDINGS.get(endings[-1]) if endings else None
    if kind is None:
        raise ChatbaseInputError(
            f"{argument} {url} does not say its format. It must end in .jsonl, .csv, .tsv, .json, .yaml or "
            ".parquet. Nothing was sent."
        )
    try:
        with directory.open(name) as packed:
            stream = unpack(packed) if unpack else packed
            if kind == "parquet":
                from airflow_provider_chatbase.files.parquet import read_rows

                yield from (_plain_row(row) for row in read_rows(stream, needed))
            elif kind == "csv":
                separator = delimiter or ("\t" if endings[-1] == "tsv" else ",")
                yield from _csv(_lines(stream, encoding, ""), separator, needed)
            else:
                yield from _READERS[kind](_lines(stream, encoding, "\n"))
    except ChatbaseError as error:  # of the storage
        if isinstance(error.__cause__, FileNotFoundError):
            raise ChatbaseInputError(
                f"{argument} {url} cannot be read: there is no such file. Nothing was sent."
            ) from error
        raise
    except _DAMAGED as error:
        raise ChatbaseInputError(
            f"{argument} {url} cannot be read: {str(error).rstrip('.')}. Nothing was sent."
        ) from error


def decode(content: bytes, encoding: str | None = None) -> str:
    """Decode the text of a file; ``ValueError`` says what is wrong with it."""
    return "".join(_lines(io.BytesIO(content), encoding, "\n"))


def _lines(stream: IO[bytes], encoding: str | None, newline: str) -> Iterator[str]:
    """Decode a text line by line: UTF-8, or UTF-16 if it says so by its mark, or as told."""
    buffered = io.BufferedReader(stream)  # type: ignore[type-var] # what is decompressed reads like a raw stream
    marked = buffered.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        text = io.TextIOWrapper(
            buffered, encoding or ("utf-16" if marked else "utf-8"), errors="strict", newline=newline
        )
    except LookupError as error:
        raise ValueError(f"the encoding {encoding!r} is unknown") from error
    number = 0
    try:
        while line := text.readline(_LONGEST_LINE):
            number += 1
            if "\0" in line or len(line) >= _LONGEST_LINE:
                raise ValueError(f"line {number} is no text; its encoding may be another one")
            yield line.removeprefix("\ufeff") if number == 1 else line
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is no {error.encoding} after line {number} ({error.reason}). Save it as UTF-8, or name its "
            "encoding, such as cp1252 for what Excel writes"
        ) from error


def _only_member(stream: IO[bytes]) -> IO[bytes]:
    archive = zipfile.ZipFile(stream)
    members = [each for each in archive.infolist() if not each.is_dir() and "__MACOSX/" not in each.filename]
    if len(members) != 1:
        raise ValueError(f"{len(members)} files are in it, and it must be one")
    try:
        return archive.open(members[0])
    except (RuntimeError, NotImplementedError) as error:  # a password, or another way of packing
        raise ValueError(str(error)) from error


_UNPACKERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "gz": lambda stream: decompressing(stream, "gzip"),
    "zst": lambda stream: decompressing(stream, "zstd"),
    "bz2": lambda stream: cast("IO[bytes]", bz2.BZ2File(stream)),
    "xz": lambda stream: cast("IO[bytes]", lzma.LZMAFile(stream)),  # noqa: SIM115 - the file below is closed
    "zip": _only_member,
}


def _csv(lines: Iterator[str], delimiter: str, needed: str | None) -> Iterator[Any]:
    """Read a table strictly: a quote that is not closed would swallow the rows after it."""
    if len(delimiter) != 1 or delimiter in '"\r\n ':
        raise ValueError(f"the delimiter {delimiter!r} is no single character between cells")
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        _check_header(header, delimiter, needed)
        for row in rows:
            yield from _csv_record(row, header, rows.line_num) if row else ()
    except csv.Error as error:
        raise ValueError(
            f"it is no CSV up to line {rows.line_num}: {error}. A quote may be missing"
        ) from error


def _check_header(header: list[str], delimiter: str, needed: str | None) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"two of its columns are named {twice[0]!r}")
    other = next(
        (each for each in ";\t,|" if each != delimiter and any(each in name for name in header)), None
    )
    if other and len(header) == 1:
        raise ValueError(f"its first line seems to have {other!r} between cells: say delimiter={other!r}")
    if needed is not None and needed not in header:
        raise ValueError(f"it has no column {needed!r} in its first line")


def _csv_record(row: list[str], header: list[str], line: int) -> Iterator[Any]:
    if len(row) > len(header) or any(cell and not name for cell, name in zip(row, header, strict=False)):
        yield UnreadableRecord(f"line {line} has more fields than the first line: {', '.join(row)[:80]}")
    else:
        yield {name: cell for name, cell in zip(header, row, strict=False) if name}


def _jsonl(lines: Iterator[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _sound(parse_json(line), f"line {number}")
            except ValueError as error:
                yield UnreadableRecord(f"line {number}: {error}")


def _json(lines: Iterator[str]) -> Iterator[Any]:
    yield from _listed(parse_json("".join(lines)))


def _yaml(lines: Iterator[str]) -> Iterator[Any]:
    yield from _listed(parse_yaml("".join(lines)))


def _listed(found: Any) -> Iterator[Any]:
    if not isinstance(found, list):
        raise ValueError("it holds no list of records")  # noqa: TRY004 - it is the file that is wrong
    return (_sound(record, f"number {number}") for number, record in enumerate(found, 1))


def _sound(record: Any, place: str) -> Any:
    try:
        require_json(record)
    except ValueError as error:
        return UnreadableRecord(f"{place}: {error}")
    return record


_READERS: dict[str, Callable[[Iterator[str]], Iterator[Any]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "yaml": _yaml,
}
_DAMAGED = (ValueError, EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a file that is cut, or in another encoding, raises."""


# -- JSON and YAML, of which nothing is guessed


def parse_json(text: str) -> Any:
    """Parse JSON. What it must not hold is found by :func:`require_json`."""
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {_in_words(error)}") from error


def parse_yaml(text: str) -> Any:
    """Parse plain YAML. What JSON does not have is found by :func:`require_json`."""
    import yaml

    class StrictLoader(yaml.SafeLoader):  # type: ignore[misc] # yaml has no types
        """Notes a key that stands in a mapping twice."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
            names = [str(self.construct_object(key, deep=True)) for key in keys]
            mark = _each_once([(name, None) for name in names])
            return super().construct_mapping(node, deep) if len(mark) == len(names) else mark

    try:
        return yaml.load(text, StrictLoader)  # noqa: S506 - it is a SafeLoader
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"it is no YAML: {_in_words(error)}") from error
    except (LookupError, AttributeError, TypeError, OverflowError) as error:
        # The loader raises these itself at a tag whose value does not go with it, such as !!bool maybe.
        raise ValueError(f"it is no YAML: a value does not go with its tag ({error})") from error


def _in_words(error: Exception) -> str:
    """Say in one line what a parser says in many."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs, or a mark of one that would lose some."""
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    return {twice: UnreadableRecord(f"{twice} stands in it twice")}


def require_json(value: Any) -> None:
    """Refuse a date, ``.nan`` and whatever else JSON has no word for; ``ValueError`` names it."""
    left = [("it", value, 0)]
    for _ in range(_MOST_VALUES):
        if not left:
            return
        place, part, depth = left.pop()
        if isinstance(part, UnreadableRecord):
            raise ValueError(part.why)  # noqa: TRY004 - it is the file that is wrong
        if isinstance(part, dict) and all(isinstance(name, str) for name in part):
            left += [(name, each, depth + 1) for name, each in part.items()]
        elif isinstance(part, list):
            left += [(place, each, depth + 1) for each in part]
        elif isinstance(part, str) and not is_unicode(part):
            raise ValueError(f"{place[:80]} has half a character")
        elif not isinstance(part, str | int | float | None) or (
            isinstance(part, float) and not isfinite(part)
        ):
            raise ValueError(f"{place} is {repr(part)[:80]}, which JSON does not have; a text needs quotes")
        if depth > _DEEPEST:
            raise ValueError(f"{place[:80]} is nested too deeply")
    raise ValueError("it is too large")
