"""Server-sent events of an answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

from airflow_provider_chatbase.simulator.conversations import Message, Part
from airflow_provider_chatbase.simulator.faults import Fault
from airflow_provider_chatbase.simulator.settings import Settings

CONTENT_TYPE = "text/event-stream; charset=utf-8"
DONE = b"data: [DONE]\n\n"

Event = dict[str, Any]

_PIECES = re.compile(r"(?s)\S*\s*\S+\s*|\s+")
_COMMENT = b": keep-alive\n\n"


def pieces_of(text: str) -> list[str]:
    """Cut a text into the pieces that a model would send, about two words each."""
    return _PIECES.findall(text)


def events_of(
    message: Message, finish_reason: str, metadata: Event, settings: Settings, start: str
) -> list[Event]:
    """
    Return the events of an answer, from its start to its finish.

    :param message: the answer.
    :param finish_reason: why it ended.
    :param metadata: ids and price.
    :param settings: which variant of the protocol is spoken.
    :param start: name of the first event.
    """
    closing = {"messageId": message.id, **metadata}
    events: list[Event] = [{"type": start, "messageId": message.id}, {"type": "start-step"}]
    if settings.stream_unknown_events:
        events.append({"type": "data-agent-state", "state": {"phase": "thinking"}})
    for number, part in enumerate(message.parts):
        events.extend(_part_events(part, f"txt-{number}"))
    events.append({"type": "finish-step"})
    if settings.stream_metadata in {"message-metadata", "both"}:
        events.append({"type": "message-metadata", "messageMetadata": closing})
    finish: Event = {"type": "finish", "finishReason": finish_reason}
    if settings.stream_metadata in {"finish", "both"}:
        finish["messageMetadata"] = closing
    events.append(finish)
    return events


async def play(events: list[Event], settings: Settings, fault: Fault | None) -> AsyncIterator[bytes]:
    """Yield the records of a stream, with the end that the fault gives it."""
    for record in _records(events, settings, fault):
        yield record
        if settings.stream_delay:
            await asyncio.sleep(settings.stream_delay)


async def play_text(text: str, settings: Settings, fault: Fault | None) -> AsyncIterator[bytes]:
    """Yield a text as v1 streams it: pieces without any frame."""
    pieces = pieces_of(text)
    if fault is not None and fault.kind in {"stream_cut", "stream_error"}:
        pieces = pieces[: _cut_at(pieces, fault)]
    for piece in pieces:
        yield piece.encode()
        if settings.stream_delay:
            await asyncio.sleep(settings.stream_delay)


def _records(events: list[Event], settings: Settings, fault: Fault | None) -> Iterator[bytes]:
    kind = fault.kind if fault is not None else None
    if fault is not None and kind in {"stream_cut", "stream_error"}:
        events = events[: _cut_at(events, fault)]
    for number, event in enumerate(events):
        if settings.stream_comments and number % 3 == 1:
            yield _COMMENT
        yield _encode(event, settings)
    if kind == "stream_error":
        yield _encode({"type": "error", "errorText": "An error occurred while generating"}, settings)
    elif kind != "stream_cut":
        yield DONE


def _cut_at(items: list[Any], fault: Fault) -> int:
    return len(items) // 2 if fault.after_events is None else fault.after_events


def _encode(event: Event, settings: Settings) -> bytes:
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    line = f"event: {event['type']}\n" if settings.stream_event_lines else ""
    return f"{line}data: {data}\n\n".encode()


def _part_events(part: Part, text_id: str) -> Iterable[Event]:
    if part["type"] == "text":
        yield {"type": "text-start", "id": text_id}
        for piece in pieces_of(part["text"]):
            yield {"type": "text-delta", "id": text_id, "delta": piece}
        yield {"type": "text-end", "id": text_id}
    elif part["type"] == "tool-call":
        identity = {"toolCallId": part["toolCallId"], "toolName": part["toolName"]}
        text = json.dumps(part["input"])
        yield {"type": "tool-input-start", **identity}
        for start in range(0, len(text), 8):
            delta = text[start : start + 8]
            yield {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": delta}
        yield {"type": "tool-input-available", **identity, "input": part["input"]}
    elif part["type"] == "tool-result":
        yield {"type": "tool-output-available", "toolCallId": part["toolCallId"], "output": part["output"]}
