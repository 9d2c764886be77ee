"""The tables of an export, and how an object of the API, of either version, becomes rows of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from airflow_provider_chatbase.client.answer import message_parts, parts_text
from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2.conversations import messages_in
from airflow_provider_chatbase.exports.window import read_moment
from airflow_provider_chatbase.files.formats import Column, ColumnType, Table, fitting, json_text


def _table(name: str, columns: str) -> Table:
    named = [each.partition(":") for each in columns.split()]
    return Table(name, tuple(Column(column, cast("ColumnType", kind or "text")) for column, _, kind in named))


CONVERSATIONS = _table(
    "conversations",
    "conversation_id created_at:time updated_at:time channel status user_id title message_count:integer "
    "agent_id raw:json",
)
MESSAGES = _table(
    "messages",
    "conversation_id message_id position:integer role text created_at:time feedback score:number channel "
    "updated_at:time agent_id raw:json",
)
TOOL_CALLS = _table(
    "tool_calls",
    "conversation_id message_id position:integer tool_call_id tool_name input:json output:json "
    "created_at:time channel updated_at:time agent_id raw:json",
)
LEADS = _table("leads", "lead_id created_at:time name email phone agent_id raw:json")
CONTACTS = _table(
    "contacts",
    "contact_id external_id created_at:time updated_at:time name email phone custom_attributes:json "
    "stripe_accounts:json agent_id raw:json",
)

TABLES_OF: dict[str, tuple[Table, ...]] = {
    "conversations": (CONVERSATIONS, MESSAGES, TOOL_CALLS),
    "leads": (LEADS,),
    "contacts": (CONTACTS,),
}
"""The tables of each kind of export; the first one has a row for each object of the API."""


def choose_tables(file_format: str, kind: str, tables: Sequence[str] | None) -> tuple[Table, ...]:
    """Choose the tables of an export."""
    known = TABLES_OF[kind]
    if file_format == "jsonl":
        if tables is not None and list(tables) != [kind]:
            raise ChatbaseInputError(
                "tables is for csv and parquet, and for delta: jsonl holds the API's objects whole, in one "
                f"table {kind!r}."
            )
        return known[:1]
    if tables is None:
        return known
    names = [table.name for table in known]
    if isinstance(tables, str) or not tables or not set(tables) <= set(names):
        raise ChatbaseInputError(f"tables must be a list of {', '.join(names)}, not {tables!r}.")
    return tuple(table for table in known if table.name in tables)


Row = tuple[Any, ...]
Rows = dict[str, list[Row]]


def _fields(names: str) -> frozenset[str]:
    return frozenset(names.split())


_CONVERSATION = _fields(
    "id title createdAt created_at updatedAt updated_at last_message_at userId user_id customer status "
    "source messages chatbot_id chatbotId"
)
_MESSAGE = _fields("id role parts content type createdAt created_at feedback metadata score")
_METADATA = _fields("score")
_CALL = _fields("type toolCallId toolName input output")
_LEAD = _fields("id name email phone created_at createdAt chatbot_id")
_CONTACT = _fields(
    "id external_id name email phonenumber created_at updated_at custom_attributes stripe_accounts"
)

KNOWN_FIELDS = {
    "conversations": (_CONVERSATION, _MESSAGE, _METADATA, _CALL | {"text"}),
    "leads": (_LEAD, _fields(""), _fields(""), _fields("")),
    "contacts": (_CONTACT, _fields(""), _fields(""), _fields("")),
}
"""The fields that have columns: of an object of the API, of its messages, of their metadata and parts."""


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


def _conversation_rows(item: JsonObject, agent_id: str) -> Rows:
    identity, channel, updated = str(item.get("id")), _text(item.get("source")), read_moment(updated_at(item))
    messages = messages_in(item)
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
        sound_text(parts_text(parts)) if "parts" in message else _text(message.get("content")),
        read_moment(created_at(message)),
        _text(message.get("feedback")),
        _number(score if score is not None else message.get("score")),
        *shared,
        json_text(unknown) if unknown else None,
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
            json_text(call["input"]) if "input" in call else None,
            json_text(call["output"]) if "output" in call else None,
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
        json_text(item["custom_attributes"]) if item.get("custom_attributes") is not None else None,
        json_text(item["stripe_accounts"]) if item.get("stripe_accounts") is not None else None,
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
    return json_text(unknown) if unknown else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else sound_text(value)
    return json_text(value) if isinstance(value, dict | list | bool) else str(value)


def _number(value: Any) -> float | None:
    found = fitting("number", value)
    return None if found is None else float(found)
