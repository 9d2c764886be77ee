"""Lists of texts, questions and links as sources."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.sync.declaration import Declaration, DeclaredSource, Problem
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.payloads import (
    LINK_OPTIONS,
    Kind,
    LinkPayload,
    Payload,
    QnaPayload,
    TextPayload,
    link_key,
)

Record = Mapping[str, Any]

_KINDS: dict[Any, Kind] = {"text": "text", "qna": "qna", "link": "link"}


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
    return Declaration(tuple(sources), tuple(problems), complete=not nameless)


def parse_records(content: bytes, url: str) -> list[Any]:
    """Read a file of records."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ChatbaseDeclarationError(f"{url} is no UTF-8 text. Nothing was sent.") from error
    if url.lower().endswith(".csv"):
        return [_without_blanks(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    if url.lower().endswith(".json"):
        return _json_list(text, url)
    if url.lower().endswith((".jsonl", ".ndjson")):
        return [_json_line(line) for line in text.split("\n") if line.strip()]
    raise ChatbaseDeclarationError(f"{url} is no .jsonl, .csv or .json file. Nothing was sent.")


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


def _without_blanks(row: Record) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name and value not in (None, "")}


def _declared(kind: Kind, key: str, payload: Payload) -> DeclaredSource:
    return DeclaredSource(kind, key, payload.digest, lambda: payload)


def _payload(record: Any, place: str) -> tuple[Kind, str, Payload]:
    if not isinstance(record, Mapping):
        raise ChatbaseInputError(f"{place} is no object with fields.")
    kind = _kind(record)
    if kind == "link":
        link = _link(record)
        return kind, link_key(link.url, link.link_type), link
    if kind == "qna":
        qna = QnaPayload(_questions(record), str(record.get("answer") or ""))
        return kind, _key(record, qna.questions[0] if qna.questions else None), qna
    content = record.get("content")
    return kind, _key(record, None), TextPayload(content if isinstance(content, str) else "")


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
    return tuple(str(question) for question in found)


def _link(record: Record) -> LinkPayload:
    options = {
        api_name: _option(api_name, record[given])
        for api_name, name in LINK_OPTIONS.items()
        for given in (name, api_name)
        if record.get(given) is not None
    }
    link_type = record.get("link_type") or record.get("linkType") or "individual"
    return LinkPayload(str(record.get("url") or "").strip(), str(link_type), options)


def _option(api_name: str, value: Any) -> Any:
    if api_name == "slowScraping":
        return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1", "yes")
    return _listed(value) if isinstance(value, str) else [str(path) for path in value]


def _listed(value: str) -> list[str]:
    """Read a list out of one field of a table: JSON, or a line each."""
    if value.lstrip().startswith("["):
        found = _json_line(value)
        if isinstance(found, list):
            return [str(each) for each in found]
    return [line.strip() for line in value.splitlines() if line.strip()]
