"""The tables of an export: their columns, in an order that stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["text", "integer", "number", "time", "json"]

SCHEMA_VERSION = 1
"""Goes up when a column is added, removed or moved."""


@dataclass(frozen=True, slots=True)
class Column:
    """
    A column.

    :param name: its name.
    :param type: ``text``, ``integer``, ``number``, ``time`` (UTC) or ``json`` (JSON as text).
    """

    name: str
    type: ColumnType = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """
    A table.

    :param name: its name.
    :param columns: its columns, in order.
    """

    name: str
    columns: tuple[Column, ...]


CONVERSATIONS = Table(
    "conversations",
    (
        Column("conversation_id"),
        Column("created_at", "time"),
        Column("updated_at", "time"),
        Column("channel"),
        Column("status"),
        Column("user_id"),
        Column("title"),
        Column("message_count", "integer"),
        Column("agent_id"),
        Column("raw", "json"),
    ),
)

MESSAGES = Table(
    "messages",
    (
        Column("conversation_id"),
        Column("message_id"),
        Column("position", "integer"),
        Column("role"),
        Column("text"),
        Column("created_at", "time"),
        Column("feedback"),
        Column("score", "number"),
        Column("channel"),
        Column("updated_at", "time"),
        Column("agent_id"),
        Column("raw", "json"),
    ),
)

TOOL_CALLS = Table(
    "tool_calls",
    (
        Column("conversation_id"),
        Column("message_id"),
        Column("position", "integer"),
        Column("tool_call_id"),
        Column("tool_name"),
        Column("input", "json"),
        Column("output", "json"),
        Column("created_at", "time"),
        Column("channel"),
        Column("updated_at", "time"),
        Column("agent_id"),
        Column("raw", "json"),
    ),
)

LEADS = Table(
    "leads",
    (
        Column("lead_id"),
        Column("created_at", "time"),
        Column("name"),
        Column("email"),
        Column("phone"),
        Column("agent_id"),
        Column("raw", "json"),
    ),
)

CONTACTS = Table(
    "contacts",
    (
        Column("contact_id"),
        Column("external_id"),
        Column("created_at", "time"),
        Column("updated_at", "time"),
        Column("name"),
        Column("email"),
        Column("phone"),
        Column("custom_attributes", "json"),
        Column("stripe_accounts", "json"),
        Column("agent_id"),
        Column("raw", "json"),
    ),
)

TABLES_OF: dict[str, tuple[Table, ...]] = {
    "conversations": (CONVERSATIONS, MESSAGES, TOOL_CALLS),
    "leads": (LEADS,),
    "contacts": (CONTACTS,),
}
"""The tables of each kind of export; the first one has a row for each object of the API."""
