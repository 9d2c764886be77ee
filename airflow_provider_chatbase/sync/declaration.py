"""What an agent is to know: the files of a folder, and lists of texts, questions and links."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsspec.utils import glob_translate

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.v2.sources import FILE_SIZE, FILE_SUFFIXES, check_file
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.errors import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.html_text import html_to_text
from airflow_provider_chatbase.sync.payloads import (
    LINK_OPTIONS,
    DeclaredText,
    FilePayload,
    Kind,
    LinkPayload,
    Payload,
    QnaPayload,
    TextPayload,
    link_key,
    normal_key,
)

TEXT_SUFFIXES = (".md", ".markdown", ".html", ".htm")
_CHUNK = 1 << 20
_SHORTENED = re.compile(r"~[0-9a-f]{10}\Z")
CELL_LENGTH = 5_000_000
"""The most characters of a cell of a table: more than Chatbase takes for a text, which is told apart."""
_YES, _NO = ("true", "1", "yes"), ("false", "0", "no")
_KINDS: dict[Any, Kind] = {"text": "text", "qna": "qna", "link": "link"}

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeclaredSource:
    """One source as it is to be."""

    kind: Kind
    key: str  # tells it from the others of its kind, and stays the same when its content changes
    digest: str  # the SHA-256 of its content
    load: Callable[[], Payload] = field(repr=False, compare=False)  # reads the content, when it is needed


@dataclass(frozen=True, slots=True)
class Problem:
    """Something declared that cannot be written: its key, or where it stands, and why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """What something is declared by: a folder and one of its patterns, or a list."""

    name: str
    count: int  # how much is declared by it, also what cannot be written
    pattern: str | None = None  # of the folder; None for a list

    def may_own(self, kind: str, key: str) -> bool:
        """Say whether a source may have been declared by it, by its kind and the key in its name."""
        whole = _SHORTENED.sub("", key)
        of_a_folder = kind == "file" or (kind == "text" and whole.lower().endswith(TEXT_SUFFIXES))
        if self.pattern is None or not of_a_folder:
            return self.pattern is None and not of_a_folder
        return whole != key or _matches([self.pattern], key)


@dataclass(frozen=True, slots=True)
class Declaration:
    """All that is declared."""

    sources: tuple[DeclaredSource, ...] = ()
    problems: tuple[Problem, ...] = ()
    complete: bool = True  # whether all could be read; if not, what is missing must not be taken for gone
    skipped: tuple[str, ...] = ()  # files of other formats
    inputs: tuple[DeclaredInput, ...] = ()


def combine(declarations: Iterable[Declaration]) -> Declaration:
    """Put declarations together, and set aside what stands in them twice."""
    parts = list(declarations)
    by_identity: defaultdict[tuple[Kind, str], list[DeclaredSource]] = defaultdict(list)
    for part in parts:
        for source in part.sources:
            by_identity[source.kind, normal_key(source.key)].append(source)
    return Declaration(
        sources=tuple(found[0] for found in by_identity.values() if len(found) == 1),
        problems=(
            *(problem for part in parts for problem in part.problems),
            *(
                Problem(key, f"{len(found)} {kind} sources are declared under this key. Give each its own.")
                for (kind, key), found in by_identity.items()
                if len(found) > 1
            ),
        ),
        complete=all(part.complete for part in parts),
        skipped=tuple(path for part in parts for path in part.skipped),
        inputs=tuple(each for part in parts for each in part.inputs),
    )


# -- the files of a folder


def read_folder(
    folder: Directory, globs: Sequence[str] = ("**/*",), exclude: Sequence[str] = ()
) -> Declaration:
    """
    Declare the files of a folder: .pdf, .doc, .docx and .txt as files, .md and .html as texts.

    Hidden files and folders are passed over, and links are followed below the folder only. The key is the
    path below the folder.
    """
    found = {key: why_not for key, why_not in _list(folder) if not _matches(exclude, key)}
    meant = [key for key, why_not in found.items() if not why_not and _matches(globs, key)]
    sources: list[DeclaredSource] = []
    problems = [Problem(key, why_not) for key, why_not in found.items() if why_not]
    unread = 0
    for key in meant:
        if not key.lower().endswith(FILE_SUFFIXES + TEXT_SUFFIXES):
            continue
        try:
            sources.append(_declare(folder, key))
        except ChatbaseStorageError as error:
            unread += 1
            problems.append(Problem(key, str(error)))
        except ChatbaseInputError as error:
            problems.append(Problem(key, str(error)))
    skipped = [key for key in meant if not key.lower().endswith(FILE_SUFFIXES + TEXT_SUFFIXES)]
    declared = [*(source.key for source in sources), *(problem.key for problem in problems)]
    inputs = [
        DeclaredInput(
            f"{pattern} in {folder.url}", sum(_matches([pattern], key) for key in declared), pattern
        )
        for pattern in globs
    ]
    return Declaration(tuple(sources), tuple(problems), not unread, tuple(skipped), tuple(inputs))


def _list(folder: Directory) -> list[tuple[str, str]]:
    """List the files of a folder, each with the reason why it cannot be read, if there is one."""
    try:
        if not folder.is_folder():
            raise ChatbaseDeclarationError(f"{folder.url} is no folder. Nothing was sent.")
        keys = folder.files(hidden=False)
        if not folder.local:
            return [(key, "") for key in sorted(keys)]
        root = Path(folder.root).resolve()
        return sorted(found for key in keys for found in _follow(folder, key, (root,)))
    except ChatbaseOutputError as error:
        raise ChatbaseDeclarationError(f"{error} Nothing was sent.") from error


def _follow(folder: Directory, key: str, trail: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """Follow what may be a link, but neither out of the folder nor round in a circle."""
    path = Path(folder.path(key))
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        yield key, "It is a link that leads nowhere."
        return
    if not target.is_relative_to(trail[0]):
        yield key, "It is a link that leads out of the folder. Only those that stay in it are followed."
    elif target.is_file():
        yield key, ""
    elif not target.is_dir():
        yield key, "It is neither a file nor a folder."
    elif path.parent.resolve().is_relative_to(target) or target in trail:
        yield key, "It is a link that leads back to a folder that it is in."
    else:
        for below in folder.files(key, hidden=False):
            yield from _follow(folder, below, (*trail, target))


def _matches(patterns: Sequence[str], key: str) -> bool:
    return any(re.match(glob_translate(normal_key(pattern)), normal_key(key)) for pattern in patterns)


def _declare(folder: Directory, key: str) -> DeclaredSource:
    if key.lower().endswith(FILE_SUFFIXES):
        return _declare_file(folder, key)
    text = _read_text(folder, key)
    text.check()
    return DeclaredSource("text", key, text.digest, lambda: _read_text(folder, key))


def _declare_file(folder: Directory, key: str) -> DeclaredSource:
    digest, size = hashlib.sha256(), 0
    with folder.open(key) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size > FILE_SIZE:
                break
    filename = posixpath.basename(key)
    check_file(filename, size)
    return DeclaredSource(
        "file", key, digest.hexdigest(), lambda: FilePayload(filename, _content(folder, key))
    )


def _read_text(folder: Directory, key: str) -> TextPayload:
    try:
        text = _content(folder, key).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ChatbaseInputError(f"{key} is no UTF-8 text ({error.reason} at byte {error.start}).") from error
    return TextPayload(html_to_text(text) if key.lower().endswith((".html", ".htm")) else text)


def _content(folder: Directory, key: str) -> bytes:
    content = folder.read(key)
    if content is None:
        raise ChatbaseStorageError(f"{key} is not in {folder.url} any more. Run the task again.")
    return content


# -- lists of records


def read_records(records: Iterable[Any]) -> Declaration:
    """
    Declare records.

    Each has the fields of one kind. A text: ``key``, ``content``. Q&A: ``questions`` (or one ``question``),
    ``answer``, and ``key`` (by default the first question). A link: ``url``, and optionally ``link_type``,
    ``exclude_paths``, ``include_only_paths``, ``slow_scraping``.

    ``type`` may say ``text``, ``qna`` or ``link``; without it the fields decide.
    """
    sources: list[DeclaredSource] = []
    problems: list[Problem] = []
    nameless = 0
    for number, record in enumerate(records, 1):
        key = f"record {number}"
        try:
            kind, key, payload = _payload(record, key)
            payload.check()
        except ChatbaseInputError as error:
            nameless += key == f"record {number}"
            problems.append(Problem(key, str(error)))
        else:
            sources.append(_declared(kind, key, payload))
    given = DeclaredInput("the list of sources", len(sources) + len(problems))
    return Declaration(tuple(sources), tuple(problems), complete=not nameless, inputs=(given,))


def parse_records(content: bytes, url: str) -> list[Any]:
    """Read a file of records."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ChatbaseDeclarationError(f"{url} is no UTF-8 text. Nothing was sent.") from error
    if url.lower().endswith(".csv"):
        return _csv_rows(text, url)
    if url.lower().endswith(".json"):
        return _json_list(text, url)
    if url.lower().endswith((".jsonl", ".ndjson")):
        return [_json_line(line) for line in text.split("\n") if line.strip()]
    raise ChatbaseDeclarationError(f"{url} is no .jsonl, .csv or .json file. Nothing was sent.")


def _csv_rows(text: str, url: str) -> list[Any]:
    """Read a table strictly: a quote that is not closed would swallow the rows after it."""
    csv.field_size_limit(max(csv.field_size_limit(), CELL_LENGTH))
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        return [_csv_record(row) for row in rows]
    except csv.Error as error:
        raise ChatbaseDeclarationError(
            f"{url} is no CSV up to line {rows.line_num}: {error}. A quote may be missing. Nothing was sent."
        ) from error


def _csv_record(row: Mapping[str | None, Any]) -> Any:
    if None in row:
        return f"a row of more fields than the header names: {', '.join(map(str, row.values()))[:80]}"
    return {name: value for name, value in row.items() if name and value not in (None, "")}


def _json_list(text: str, url: str) -> list[Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ChatbaseDeclarationError(f"{url} is no JSON: {error}. Nothing was sent.") from error
    if not isinstance(found, list):
        raise ChatbaseDeclarationError(f"{url} holds no JSON list. Nothing was sent.")
    return found


def _json_line(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def _declared(kind: Kind, key: str, payload: Payload) -> DeclaredSource:
    return DeclaredSource(kind, key, payload.digest, lambda: payload)


def _payload(record: Any, place: str) -> tuple[Kind, str, DeclaredText]:
    if not isinstance(record, Mapping):
        what = f": {record[:100]}" if isinstance(record, str) else ""
        raise ChatbaseInputError(f"{place} is no object with fields{what}.")
    kind = _kind(record)
    if kind == "link":
        link = _link(record)
        return kind, link_key(link.url, link.link_type), link
    if kind == "qna":
        questions = _questions(record)
        answer = _text("answer", record.get("answer"))
        return kind, _key(record, questions[0] if questions else None), QnaPayload(questions, answer)
    return kind, _key(record, None), TextPayload(_text("content", record.get("content")))


def _kind(record: Record) -> Kind:
    kind = record.get("type")
    if not isinstance(kind, str | None):
        raise ChatbaseInputError(f"type is {kind!r}; it must be text, qna or link.")
    if kind in _KINDS:
        return _KINDS[kind]
    if kind:
        raise ChatbaseInputError(f"type is {kind!r}; it must be text, qna or link.")
    if record.get("url"):
        return "link"
    if record.get("questions") or record.get("question"):
        return "qna"
    if "content" in record:
        return "text"
    raise ChatbaseInputError("It has neither content, nor questions, nor a url.")


def _key(record: Record, default: str | None) -> str:
    key = record.get("key") or record.get("name") or default
    if isinstance(key, int) and not isinstance(key, bool):
        key = str(key)
    if not isinstance(key, str) or not key.strip():
        raise ChatbaseInputError("It has no key, by which the next run could know it.")
    return key


def _questions(record: Record) -> tuple[str, ...]:
    found = record.get("questions") or record.get("question") or []
    if isinstance(found, str):
        found = _listed(found)
    return tuple(_text("a question", question) for question in found)


def _text(name: str, value: Any) -> str:
    """Take nothing else for text: NaN, a number or a dict would be published as Python writes it."""
    if value is not None and not isinstance(value, str):
        raise ChatbaseInputError(f"{name} must be text, not {type(value).__name__} {str(value)[:40]!r}.")
    return value or ""


def _link(record: Record) -> LinkPayload:
    options = {
        api_name: _option(api_name, record[given])
        for api_name, name in LINK_OPTIONS.items()
        for given in (name, api_name)
        if record.get(given) is not None
    }
    link_type = _text("link_type", record.get("link_type") or record.get("linkType")) or "individual"
    return LinkPayload(_text("url", record.get("url")).strip(), link_type, options)


def _option(api_name: str, value: Any) -> Any:
    if api_name == "slowScraping":
        text = str(value).strip().lower()
        if text not in _YES + _NO:
            raise ChatbaseInputError(f"slow_scraping must be true or false, not {value!r}.")
        return text in _YES
    if not isinstance(value, str | Sequence):
        raise ChatbaseInputError(f"{LINK_OPTIONS[api_name]} must be a list of paths, not {value!r}.")
    return _listed(value) if isinstance(value, str) else [_text("a path", path) for path in value]


def _listed(value: str) -> list[str]:
    """Read a list out of one field of a table: JSON, or a line each."""
    if value.lstrip().startswith("["):
        found = _json_line(value)
        if isinstance(found, list):
            return [str(each) for each in found]
    return [line.strip() for line in value.splitlines() if line.strip()]
