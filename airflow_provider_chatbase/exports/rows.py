"""The tables of an export, and how an object of the API, of either version, becomes rows of them."""

from __future__ import annotations

import hashlib
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

TICKETS = _table(
    "tickets",
    "ticket_number:integer created_at:time updated_at:time last_message_at:time subject description status "
    "status_id priority channel assignee_id team_id customer_id customer_name customer_email customer_phone "
    "conversation_id message_count:integer metadata:json agent_id raw:json",
)
TICKET_MESSAGES = _table(
    "ticket_messages",
    "ticket_number:integer message_id position:integer type sender_type sender_id sender_name sender_email "
    "text html event_type status_from status_to attachments:json created_at:time updated_at:time agent_id "
    "raw:json",
)
ANALYTICS = _table(
    "analytics", "day created_at:time updated_at:time credits:number counts:json agent_id raw:json"
)
ANALYTICS_COUNTS = _table(
    "analytics_counts", "day path count:number created_at:time updated_at:time agent_id"
)

TABLES_OF: dict[str, tuple[Table, ...]] = {
    "conversations": (CONVERSATIONS, MESSAGES, TOOL_CALLS),
    "leads": (LEADS,),
    "contacts": (CONTACTS,),
    "tickets": (TICKETS, TICKET_MESSAGES),
    "analytics": (ANALYTICS, ANALYTICS_COUNTS),
}
"""The tables of each kind of export; the first one has a row for each object of the API."""


KEYS = {
    "conversations": ("conversation_id",),
    "messages": ("conversation_id", "message_id"),
    "tool_calls": ("conversation_id", "tool_call_id"),
    "leads": ("lead_id",),
    "contacts": ("contact_id",),
    "tickets": ("ticket_number",),
    "ticket_messages": ("ticket_number", "message_id"),
    "analytics": ("day",),
    "analytics_counts": ("day", "path"),
}
"""By what the rows of each table are told apart; the first name is that of the object they belong to."""


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
_TICKET = _fields(
    "ticketNumber createdAt updatedAt lastMessageAt subject description statusCategory statusId priority "
    "channel assigneeId teamId customer conversationId metadata messages"
)
_TICKET_MESSAGE = _fields("id type sender content contentText attachments createdAt metadata")
_EVENT = _fields("eventType statusFrom statusTo")
_DAY = _fields("id createdAt updatedAt credits counts")
PERSON = _fields("id type name email phoneNumber")

KNOWN_FIELDS = {
    "conversations": (_CONVERSATION, _MESSAGE, _METADATA, _CALL | {"text"}),
    "leads": (_LEAD, _fields(""), _fields(""), _fields("")),
    "contacts": (_CONTACT, _fields(""), _fields(""), _fields("")),
    "tickets": (_TICKET, _TICKET_MESSAGE, _EVENT, _fields("")),
    "analytics": (_DAY, _fields(""), _fields(""), _fields("")),
}
"""The fields that have columns: of an object of the API, of its messages, of their metadata and parts."""


def rows_of(kind: str, item: JsonObject, agent_id: str) -> Rows:
    """Make an object's rows."""
    return _ROWS[kind](item, agent_id)


def first_of(item: JsonObject, *names: str) -> Any:
    """Return a field that has different names in different versions of the API."""
    for name in names:
        if (value := item.get(name)) is not None:
            return value
    return None


def identity_of(item: JsonObject) -> str:
    """Return what tells an object from others: its id, which the API promises, or else its content."""
    identity = _text(first_of(item, "id", "ticketNumber"))
    return identity or f"without-id-{hashlib.sha256(json_text(item).encode()).hexdigest()[:32]}"


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
    identity, channel, updated = identity_of(item), _text(item.get("source")), read_moment(updated_at(item))
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
        identity_of(item),
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
        identity_of(item),
        _text(item.get("external_id")),
        read_moment(created_at(item)),
        read_moment(updated_at(item)),
        _text(item.get("name")),
        _text(item.get("email")),
        _text(item.get("phonenumber")),
        _json_or_null(item.get("custom_attributes")),
        _json_or_null(item.get("stripe_accounts")),
        agent_id,
        _unknown(item, _CONTACT),
    )
    return {"contacts": [row]}


def _ticket_rows(item: JsonObject, agent_id: str) -> Rows:
    updated, messages, customer = (
        read_moment(updated_at(item)),
        messages_in(item),
        _object(item.get("customer")),
    )
    number = fitting("integer", item.get("ticketNumber"))
    ticket = (
        number,
        read_moment(created_at(item)),
        updated,
        read_moment(item.get("lastMessageAt")),
        *(_text(item.get(name)) for name in ("subject", "description", "statusCategory", "statusId")),
        *(_text(item.get(name)) for name in ("priority", "channel", "assigneeId", "teamId")),
        *(_text(customer.get(name)) for name in ("id", "name", "email", "phoneNumber")),
        _text(item.get("conversationId")),
        len(messages) if "messages" in item else None,
        _json_or_null(item.get("metadata")),
        agent_id,
        _unknown(item, _TICKET, customer=PERSON),
    )
    rows = [
        (number, *_ticket_message_cells(at, each), updated, agent_id, _message_rest(each))
        for at, each in enumerate(messages, 1)
    ]
    return {"tickets": [ticket], "ticket_messages": rows}


def _ticket_message_cells(position: int, message: JsonObject) -> Row:
    sender, event = _object(message.get("sender")), _object(message.get("metadata"))
    return (
        _text(message.get("id")) or str(position),
        position,
        _text(message.get("type")),
        *(_text(sender.get(name)) for name in ("type", "id", "name", "email")),
        *(_text(message.get(name)) for name in ("contentText", "content")),
        *(_text(event.get(name)) for name in ("eventType", "statusFrom", "statusTo")),
        _json_or_null(message.get("attachments")),
        read_moment(created_at(message)),
    )


def _message_rest(message: JsonObject) -> str | None:
    return _unknown(message, _TICKET_MESSAGE, sender=PERSON, metadata=_EVENT)


def _analytics_rows(item: JsonObject, agent_id: str) -> Rows:
    day, at, counts = _text(item.get("id")), read_moment(created_at(item)), _object(item.get("counts"))
    read, spent = read_moment(updated_at(item)), _number(item.get("credits"))
    row = (day, at, read, spent, json_text(counts), agent_id, _unknown(item, _DAY))
    each = [(day, path, _number(count), at, read, agent_id) for path, count in counts.items()]
    return {"analytics": [row], "analytics_counts": each}


_ROWS: dict[str, Callable[[JsonObject, str], Rows]] = {
    "conversations": _conversation_rows,
    "leads": _lead_rows,
    "contacts": _contact_rows,
    "tickets": _ticket_rows,
    "analytics": _analytics_rows,
}


def _unknown(item: JsonObject, known: frozenset[str], **within: frozenset[str]) -> str | None:
    """Return what has no column, also of objects ``within`` whose fields have."""
    unknown = {name: value for name, value in item.items() if name not in known}
    for name, fields in within.items():
        if rest := {each: value for each, value in _object(item.get(name)).items() if each not in fields}:
            unknown[name] = rest
    return json_text(unknown) if unknown else None


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _json_or_null(value: Any) -> str | None:
    return None if value is None else json_text(value)


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else sound_text(value)
    return json_text(value) if isinstance(value, dict | list | bool) else str(value)


def _number(value: Any) -> float | None:
    found = fitting("number", value)
    return None if found is None else float(found)
