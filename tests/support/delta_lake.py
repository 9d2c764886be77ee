"""Delta tables without Airflow: conversations to merge, and what is in the tables then."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import deltalake
import pyarrow as pa

from airflow_provider_chatbase.exports.delta import DeltaTables
from airflow_provider_chatbase.exports.delta_target import Chunks, as_tables
from airflow_provider_chatbase.exports.rows import rows_of
from airflow_provider_chatbase.exports.window import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
JANUARY = Window(START, START + 31 * DAY)
SELECTION = {"agent_id": "agent", "channels": [], "redact": {}}


def conversation(
    number: int, state: int = 0, messages: int = 2, tools: int = 1, day: int | None = None, **more: Any
):
    """Return a conversation as API v2 exports it; a later state was updated later."""
    created = START + DAY * (number % 10 if day is None else day) + timedelta(minutes=number)
    said = [
        {
            "id": f"m{number}-{n}",
            "role": "user",
            "createdAt": created.timestamp() + n,
            "parts": [{"type": "text", "text": f"text {state}"}],
        }
        for n in range(messages)
    ]
    if said:
        said[-1]["parts"] += [
            {"type": "tool-call", "toolCallId": f"t{number}-{n}", "toolName": "look", "input": {"n": n}}
            for n in range(tools)
        ]
    return {
        "id": f"c{number:04}",
        "title": f"Title {state}",
        "createdAt": created.timestamp(),
        "updatedAt": created.timestamp() + state,
        "userId": f"user-{number}",
        "source": "API",
        "status": "ongoing",
        "messages": said,
        **more,
    }


def tables(place, selection=SELECTION, kind="conversations", **more) -> DeltaTables:
    return DeltaTables(place, kind, selection, **more)


def merge(place, items, covered=None, remove_in=None, **more):
    target = tables(place, **more)
    target.check()
    if remove_in:
        target.note_window(remove_in)
    chunks, last = chunks_of(target, items, more.get("kind", "conversations"))
    for chunk in chunks:
        target.merge(chunk)
    return target.finish(last, covered)


def chunks_of(target, items, kind="conversations"):
    objects = [rows_of(kind, item, "agent") for item in items]
    collected = Chunks(target.kinds)
    pieces = [as_tables(target.kinds, objects[start : start + 7]) for start in range(0, len(objects), 7)]
    return [chunk for piece in pieces if (chunk := collected.add(piece))], collected.rest()


def rows(place, table="conversations") -> list[dict[str, Any]]:
    there = deltalake.DeltaTable(place.below(table).uri, storage_options=place.options())
    found = pa.RecordBatchReader.from_stream(there.scan()).read_all().to_pylist()
    return sorted(found, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def everything(place) -> dict[str, list[dict[str, Any]]]:
    return {name: rows(place, name) for name in ("conversations", "messages", "tool_calls")}


def truth(items) -> dict[str, set[tuple[Any, ...]]]:
    made = [rows_of("conversations", item, "agent") for item in items]
    return {
        name: {row for each in made for row in each[name]}
        for name in ("conversations", "messages", "tool_calls")
    }


def seen(place) -> dict[str, set[tuple[Any, ...]]]:
    """Return the rows as :func:`truth` does; fail when one is there twice or lies in a wrong partition."""
    found = {}
    for name, there in everything(place).items():
        found[name] = {tuple(row.values())[:-1] for row in there}
        assert len(found[name]) == len(there)
    days = {row["conversation_id"]: row["conversation_date"] for row in rows(place)}
    for name in ("messages", "tool_calls"):
        for row in rows(place, name):
            assert row["conversation_date"] == days[row["conversation_id"]]
    return found


def watermark(place, **more):
    return tables(place, **more).check()


def versions(place) -> list[int]:
    return [
        deltalake.DeltaTable(place.below(name).uri).version()
        for name in ("conversations", "messages", "tool_calls")
    ]


def at_once(*work) -> None:
    failed: list[BaseException] = []

    def guarded(each) -> None:
        try:
            each()
        except BaseException as error:  # noqa: BLE001 - told below, in the thread that asserts
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
