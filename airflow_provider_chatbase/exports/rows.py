"""An object of the API, of either version, becomes rows of our tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from airflow_provider_chatbase.client.answer import message_parts, parts_text
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.window import read_moment

Row = tuple[Any, ...]
Rows = dict[str, list[Row]]

_CONVERSATION = frozenset(
    [
        "id",
        "title",
        "createdAt",
        "created_at",
        "updatedAt",
        "updated_at",
        "last_message_at",
        "userId",
        "user_id",
        "customer",
        "status",
        "source",
        "messages",
        "chatbot_id",
        "chatbotId",
    ]
)
_MESSAGE = frozenset(
    ("id", "role", "parts", "content", "type", "createdAt", "created_at", "feedback", "metadata", "score")
)
_METADATA = frozenset(("score",))
_CALL = frozenset(("type", "toolCallId", "toolName", "input", "output"))
_LEAD = frozenset(("id", "name", "email", "phone", "created_at", "createdAt", "chatbot_id"))
_CONTACT = frozenset(
    [
        "id",
        "external_id",
        "name",
        "email",
        "phonenumber",
        "created_at",
        "updated_at",
        "custom_attributes",
        "stripe_accounts",
    ]
)


def rows_of(kind: str, item: JsonObject, agent_id: str) -> Rows:
    """Make an object's rows."""
    return _ROWS[kind](item, agent_id)


def first_of(item: JsonObject, *names: str) -> Any:
    """Return a field that has different names in different versions of the API."""
    return next((item[name] for name in names if item.get(name) is not None), None)


def created_at(item: JsonObject) -> Any:
    """Return when an object was created, as the API says it."""
    return first_of(item, "createdAt", "created_at")


def updated_at(item: JsonObject) -> Any:
    """Return when an object last changed, as the API says it."""
    return first_of(item, "updatedAt", "updated_at", "last_message_at")


def user_of(item: JsonObject) -> str | None:
    """Return a conversation's user."""
    return _text(first_of(item, "userId", "user_id", "customer"))


def messages_of(conversation: JsonObject) -> list[JsonObject]:
    """Return a conversation's messages; none where it was read as a summary."""
    messages = conversation.get("messages")
    return [each for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []


def _conversation_rows(item: JsonObject, agent_id: str) -> Rows:
    identity, channel, updated = str(item.get("id")), _text(item.get("source")), read_moment(updated_at(item))
    messages = messages_of(item)
    conversation = (
        identity,
        read_moment(created_at(item)),
        updated,
        channel,
        _text(item.get("status")),
        user_of(item),
        _text(item.get("title")),
        len(messages) if "messages" in item else None,
        agent_id,
        _unknown(item, _CONVERSATION),
    )
    shared = (channel, updated, agent_id)
    return {
        "conversations": [conversation],
        "messages": [_message_row(identity, n, each, shared) for n, each in enumerate(messages, 1)],
        "tool_calls": list(_tool_rows(identity, messages, shared)),
    }


def _message_row(conversation_id: str, position: int, message: JsonObject, shared: Row) -> Row:
    parts = message_parts(message)
    metadata = message.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    score = first_of(known, "score")
    unknown = {name: value for name, value in message.items() if name not in _MESSAGE}
    if more := {name: value for name, value in known.items() if name not in _METADATA}:
        unknown["metadata"] = more
    if other := [part for part in parts if part.get("type") not in ("text", "tool-call", "tool-result")]:
        unknown["parts"] = other
    return (
        conversation_id,
        _message_id(conversation_id, position, message),
        position,
        _text(message.get("role")),
        _sound(parts_text(parts)) if "parts" in message else _text(message.get("content")),
        read_moment(created_at(message)),
        _text(message.get("feedback")),
        _number(score if score is not None else message.get("score")),
        *shared,
        _json(unknown) if unknown else None,
    )


def _tool_rows(conversation_id: str, messages: list[JsonObject], shared: Row) -> Iterator[Row]:
    """Make one row a call; its result stands in the same message or in a later one."""
    found: dict[str, tuple[int, JsonObject, JsonObject]] = {}
    for position, message in enumerate(messages, 1):
        for number, part in enumerate(message_parts(message)):
            if part.get("type") not in ("tool-call", "tool-result"):
                continue
            call_id = _text(part.get("toolCallId")) or f"{conversation_id}:{position}:{number}"
            first = found.get(call_id)
            if first is None:
                found[call_id] = (position, message, dict(part))
            else:
                first[2].update({name: value for name, value in part.items() if value is not None})
    for call_id, (position, message, call) in found.items():
        yield (
            conversation_id,
            _message_id(conversation_id, position, message),
            position,
            call_id,
            _text(call.get("toolName")),
            _json(call["input"]) if "input" in call else None,
            _json(call["output"]) if "output" in call else None,
            read_moment(created_at(message)),
            *shared,
            _unknown(call, _CALL),
        )


def _message_id(conversation_id: str, position: int, message: JsonObject) -> str:
    # API v1 gives messages no id of their own.
    return _text(message.get("id")) or f"{conversation_id}:{position}"


def _lead_rows(item: JsonObject, agent_id: str) -> Rows:
    row = (
        _text(item.get("id")),
        read_moment(created_at(item)),
        _text(item.get("name")),
        _text(item.get("email")),
        _text(item.get("phone")),
        agent_id,
        _unknown(item, _LEAD),
    )
    return {"leads": [row]}


def _contact_rows(item: JsonObject, agent_id: str) -> Rows:
    row = (
        _text(item.get("id")),
        _text(item.get("external_id")),
        read_moment(created_at(item)),
        read_moment(updated_at(item)),
        _text(item.get("name")),
        _text(item.get("email")),
        _text(item.get("phonenumber")),
        _json(item["custom_attributes"]) if item.get("custom_attributes") is not None else None,
        _json(item["stripe_accounts"]) if item.get("stripe_accounts") is not None else None,
        agent_id,
        _unknown(item, _CONTACT),
    )
    return {"contacts": [row]}


_ROWS: dict[str, Callable[[JsonObject, str], Rows]] = {
    "conversations": _conversation_rows,
    "leads": _lead_rows,
    "contacts": _contact_rows,
}


def _unknown(item: JsonObject, known: frozenset[str]) -> str | None:
    unknown = {name: value for name, value in item.items() if name not in known}
    return _json(unknown) if unknown else None


def _json(value: Any) -> str:
    return _sound(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else _sound(value)
    return _json(value) if isinstance(value, dict | list | bool) else str(value)


def _sound(text: str) -> str:
    """Replace half a surrogate pair, which JSON allows and no table can hold."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
