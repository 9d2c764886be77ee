"""A table of customers, and the contacts of an agent: what differs, and making it so. Rerun, it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.errors import (
    ChatbaseConflictError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseNotFoundError,
    ChatbaseValidationError,
)
from airflow_provider_chatbase.client.replies import all_items
from airflow_provider_chatbase.client.request import JsonObject, Pause, Steps
from airflow_provider_chatbase.files.records import UnreadableRecord
from airflow_provider_chatbase.sync.plan import most_deletes

KEY, ATTRIBUTES = "external_id", "custom_attributes"
FIELDS = ("name", "email", "phonenumber", "stripe_accounts")
ALIASES = {"phone": "phonenumber"}
ATTEMPTS = 3
PAUSE_BEFORE_LOOKING = 2.0
TRUE_OR_FALSE = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class ContactPlan:
    """What has to be done."""

    creates: tuple[JsonObject, ...] = ()
    updates: tuple[tuple[str, str, JsonObject], ...] = ()  # id, external id, changes
    deletes: tuple[tuple[str, str], ...] = ()  # id, external id
    unchanged: int = 0
    foreign: int = 0  # contacts without an external id, which are nobody's here

    @property
    def counts(self) -> dict[str, int]:
        """Return how many of each."""
        done = {"created": len(self.creates), "updated": len(self.updates), "deleted": len(self.deletes)}
        return {**done, "unchanged": self.unchanged, "foreign": self.foreign}


@dataclass(slots=True)
class ContactResult:
    """What became of a plan."""

    created: int = 0
    updated: int = 0
    deleted: int = 0
    failed: list[str] = field(default_factory=list)  # each with its reason


def read_contacts(records: Iterable[Any], kinds: Mapping[str, str]) -> list[JsonObject]:
    """Read a table of contacts; a column that is no field of contacts has to be one of the attributes."""
    found: dict[str, JsonObject] = {}
    for number, record in enumerate(records, 1):
        if isinstance(record, UnreadableRecord) or not isinstance(record, dict):
            why = record.why if isinstance(record, UnreadableRecord) else f"record {number} is no object"
            raise ChatbaseInputError(f"The contacts cannot be read: {why}. Nothing was sent.")
        contact = _read_contact(record, kinds, f"record {number}")
        if contact[KEY] in found:
            raise ChatbaseInputError(f"Two contacts have the {KEY} {contact[KEY]!r}. Nothing was sent.")
        found[contact[KEY]] = contact
    return list(found.values())


def _read_contact(record: JsonObject, kinds: Mapping[str, str], place: str) -> JsonObject:
    contact: JsonObject = {}
    attributes: JsonObject = {}
    for column, value in _cells(record):
        if column == KEY:
            contact[KEY] = str(value).strip()
        elif column in FIELDS:
            contact[column] = value
        elif column in kinds:
            attributes[column] = _converted(kinds[column], value, f"{column} of {place}")
        else:
            raise ChatbaseInputError(
                f"{place} has {column!r}, which is no field of a contact and no attribute of this agent, and "
                f"Chatbase would drop it without a word. Fields are {KEY}, {', '.join(FIELDS)}; attributes "
                f"are {', '.join(sorted(kinds)) or 'none'}. Leave it out, or create the attribute. Nothing "
                "was sent."
            )
    if not contact.get(KEY):
        raise ChatbaseInputError(f"{place} has no {KEY}, by which contacts are told apart. Nothing was sent.")
    return {**contact, **({ATTRIBUTES: attributes} if attributes else {})}


def _cells(record: JsonObject) -> Iterator[tuple[str, Any]]:
    """Return what a record says; what is empty is not said, and stays as it is."""
    given = record.get(ATTRIBUTES) or {}
    if not isinstance(given, dict):
        raise ChatbaseInputError(f"{ATTRIBUTES} must be an object, not {given!r}. Nothing was sent.")
    for column, value in [*record.items(), *given.items()]:
        if column != ATTRIBUTES and value is not None and value != "":
            yield ALIASES.get(column, str(column)), value


def _converted(kind: str, value: Any, place: str) -> Any:
    try:
        if kind == "number":
            return value if isinstance(value, int | float) and not isinstance(value, bool) else float(value)
        if kind == "boolean":
            return TRUE_OR_FALSE[str(value).strip().lower()]
        if kind == "date":
            return value.isoformat() if hasattr(value, "isoformat") else str(value)
        return str(value)
    except (ValueError, TypeError, KeyError):
        raise ChatbaseInputError(f"{place} must be a {kind}, not {value!r}. Nothing was sent.") from None


def attributes_of(agent_id: str) -> Steps[dict[str, str]]:
    """Return the types of the attributes that can be set, as steps of a client."""
    listed = yield from all_items(v1.list_custom_attributes(agent_id))
    return {str(each["name"]): str(each.get("type")) for each in listed if not each.get("archived")}


def make_plan(
    declared: Sequence[JsonObject],
    there: Iterable[JsonObject],
    *,
    prune: bool,
    max_deletes: float,
    allow_empty: bool,
) -> ContactPlan:
    """Compare what is declared with what is there. Pure; what looks like a mistake is refused."""
    by_key: dict[str, JsonObject] = {}
    foreign = 0
    for contact in there:
        key = str(contact.get(KEY) or "")
        if key in by_key:
            raise ChatbaseInputError(f"Chatbase has two contacts with the {KEY} {key!r}. Nothing was sent.")
        if key:
            by_key[key] = contact
        foreign += not key
    wanted = {contact[KEY]: contact for contact in declared}
    changes = {key: _changes(wanted[key], by_key[key]) for key in wanted if key in by_key}
    gone = [key for key in by_key if key not in wanted] if prune else []
    _require_meant(len(gone), len(by_key), len(wanted), max_deletes, allow_empty)
    return ContactPlan(
        tuple(contact for key, contact in wanted.items() if key not in by_key),
        tuple((str(by_key[key]["id"]), key, change) for key, change in changes.items() if change),
        tuple((str(by_key[key]["id"]), key) for key in gone),
        sum(not change for change in changes.values()),
        foreign,
    )


def _require_meant(gone: int, of: int, declared: int, max_deletes: float, allow_empty: bool) -> None:
    if gone and not declared and not allow_empty:
        raise ChatbaseInputError(
            f"The table is empty, and {gone} contacts would be deleted. If that is meant, say so with "
            "allow_empty=True. Nothing was sent."
        )
    most = most_deletes(max_deletes, of)
    if gone > most and not (allow_empty and not declared):
        raise ChatbaseInputError(
            f"{gone} of {of} contacts would be deleted, and max_deletes allows {most}. If that is meant, "
            "raise it. Nothing was sent."
        )


def _changes(wanted: JsonObject, actual: JsonObject) -> JsonObject:
    found = {name: wanted[name] for name in FIELDS if name in wanted and not _same(name, wanted, actual)}
    known = actual.get(ATTRIBUTES) or {}
    attributes = {
        name: value
        for name, value in wanted.get(ATTRIBUTES, {}).items()
        if not _equal(value, known.get(name))
    }
    # Whether the API merges attributes is not documented, so all of them are sent.
    return {**found, **({ATTRIBUTES: {**known, **attributes}} if attributes else {})}


def _same(name: str, wanted: JsonObject, actual: JsonObject) -> bool:
    one, other = wanted[name], actual.get(name)
    if name == "phonenumber":  # shown in another form than it was given
        return re.sub(r"\D", "", str(one)) == re.sub(r"\D", "", str(other or ""))
    if name == "email":
        return str(one).strip().lower() == str(other or "").strip().lower()
    return bool(one == other)


def _equal(one: Any, other: Any) -> bool:
    return bool(one == other) or (_moment(one) is not None and _moment(one) == _moment(other))


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def apply_plan(agent_id: str, plan: ContactPlan) -> Steps[ContactResult]:
    """Do what a plan says, as steps of a client. Nothing is deleted where something could not be written."""
    result = ContactResult()
    for start in range(0, len(plan.creates), v1.CONTACTS_PAGE):
        yield from _create(agent_id, plan.creates[start : start + v1.CONTACTS_PAGE], result)
    for identity, key, changes in plan.updates:
        try:
            yield v1.update_contact(agent_id, identity, changes)
            result.updated += 1
        except (ChatbaseConflictError, ChatbaseValidationError, ChatbaseNotFoundError) as error:
            result.failed.append(f"{key}: {error}")
    for identity, _ in () if result.failed else plan.deletes:
        try:
            yield v1.delete_contact(agent_id, identity)
        except ChatbaseNotFoundError:
            continue
        result.deleted += 1
    return result


def _create(
    agent_id: str, contacts: Sequence[JsonObject], result: ContactResult, attempt: int = 1
) -> Steps[None]:
    """Create contacts; a batch that is refused as a whole is halved until what is wrong stands alone."""
    if not contacts:
        return
    try:
        yield v1.create_contacts(agent_id, contacts)
    except (ChatbaseConflictError, ChatbaseValidationError) as error:
        if len(contacts) == 1:
            result.failed.append(f"{contacts[0][KEY]}: {error}")
            return
        middle = len(contacts) // 2
        yield from _create(agent_id, contacts[:middle], result)
        yield from _create(agent_id, contacts[middle:], result)
    except ChatbaseError as error:
        if not error.ambiguous or attempt >= ATTEMPTS:
            raise
        yield Pause(PAUSE_BEFORE_LOOKING)
        listed = yield from all_items(v1.list_contacts(agent_id))
        there = {str(each.get(KEY)) for each in listed}
        rest = [contact for contact in contacts if contact[KEY] not in there]
        result.created += len(contacts) - len(rest)
        yield from _create(agent_id, rest, result, attempt + 1)
    else:
        result.created += len(contacts)
