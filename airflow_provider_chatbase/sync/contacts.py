"""A table of customers, and the contacts of an agent: what differs, and making it so. Rerun, it goes on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

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
from airflow_provider_chatbase.sync.report import (
    BY_ANOTHER_RUN,
    LOST_AND_FOUND,
    ActionResult,
    ChangeReport,
    Entries,
    SyncResult,
    most_deletes,
    named,
)

KIND, ACTIONS = "contact", ("create", "update", "delete")
GONE, DOUBLE = "no longer in the table", "another one has its external_id and all that it says"
KEY, ATTRIBUTES = "external_id", "custom_attributes"
FIELDS = ("name", "email", "phonenumber", "stripe_accounts")
ALIASES = {"phone": "phonenumber"}
ATTEMPTS = 3
PAUSES_BEFORE_LOOKING = (2.0, 4.0, 8.0)
"""A request whose sender has heard of a reset may still be on its way, and nothing else keeps them apart."""

TRUE_OR_FALSE = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class ContactPlan:
    """What has to be done."""

    creates: tuple[JsonObject, ...] = ()
    updates: tuple[tuple[str, str, JsonObject], ...] = ()  # id, external id, changes
    deletes: tuple[tuple[str, str], ...] = ()  # id, external id
    doubles: tuple[tuple[str, str], ...] = ()  # id, external id, as two runs at once leave them
    unchanged: tuple[str, ...] = ()  # external ids
    foreign: int = 0  # contacts without an external id, which are nobody's here


@dataclass(frozen=True, slots=True)
class ContactReport(ChangeReport):
    """What a sync of contacts did, or would do."""

    noun: ClassVar[str] = "contacts"

    plan: ContactPlan
    outcome: SyncResult | None = None

    @property
    def foreign(self) -> int:
        """How many contacts have no external id."""
        return self.plan.foreign

    @property
    def withheld(self) -> str:
        """Why deletes were not done."""
        return "" if self.outcome is None else self.outcome.withheld

    def sections(self) -> dict[str, Entries]:
        """Return external ids by what became of them."""
        plan, result = self.plan, self.outcome
        if result is None:
            written = {
                "create": [(str(each[KEY]), "") for each in plan.creates],
                "update": [(key, _changed(changes)) for _, key, changes in plan.updates],
                "delete": [
                    *((key, DOUBLE) for _, key in plan.doubles),
                    *((key, GONE) for _, key in plan.deletes),
                ],
                "failed": [],
            }
        else:
            written = {
                f"{action}d": [(each.key, each.note) for each in result.of(action)] for action in ACTIONS
            }
            written["failed"] = [(each.key, each.error or "") for each in result.failed]
        return {**written, "unchanged": [(key, "") for key in plan.unchanged]}

    def summary(self) -> JsonObject:
        """Return counts, for XCom."""
        found = self.sections()
        counts = {f"{name}d": len(found.get(name, found.get(f"{name}d", ()))) for name in ACTIONS}
        unchanged = len(self.plan.unchanged)
        return {**counts, "unchanged": unchanged, "foreign": self.foreign, "dry_run": self.outcome is None}

    def as_json(self) -> JsonObject:
        """Return everything, for a file."""
        sections = {
            name: [{"key": key, "note": note} for key, note in entries]
            for name, entries in self.sections().items()
        }
        return {"agent_id": self.agent_id, **self.summary(), **sections, "withheld": self.withheld}


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


def missing_attributes(wanted: Mapping[str, str], kinds: Mapping[str, str]) -> dict[str, str]:
    """Return those that are to be created; one that is there with another type can never have this one."""
    for name, kind in wanted.items():
        if kinds.get(name, kind) != kind:
            raise ChatbaseInputError(
                f"create_attributes wants {name!r} as {kind}, and it is there as {kinds[name]}, which cannot "
                "be changed. Give what is there, or another name. Nothing was sent."
            )
    return {name: kind for name, kind in wanted.items() if name not in kinds}


def create_attributes(agent_id: str, wanted: Mapping[str, str]) -> Steps[None]:
    """Create attributes, as steps of a client; one that is there after a failure is as good as created."""
    for name, kind in wanted.items():
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                yield v1.create_custom_attribute(agent_id, name, kind, {"label": name})
                break
            except ChatbaseError as error:  # the reply was lost, or another run was first
                there = yield from attributes_of(agent_id)
                if there.get(name) == kind:
                    break
                if not (error.ambiguous and attempts_left):
                    raise


def make_plan(
    declared: Sequence[JsonObject],
    there: Iterable[JsonObject],
    *,
    prune: bool,
    max_deletes: float,
    allow_empty: bool,
) -> ContactPlan:
    """Compare what is declared with what is there. Pure; what looks like a mistake is refused."""
    listed = list(there)
    by_key, others = _told_apart(listed)
    wanted = {contact[KEY]: contact for contact in declared}
    doubles = [(key, each) for key, each in others if key in wanted]
    for key, each in doubles:
        if differing := _differing(each, by_key[key], wanted[key]):
            raise ChatbaseInputError(
                f"Chatbase has two contacts with the {KEY} {key!r}, {by_key[key]['id']} and {each['id']}, "
                f"which differ in {', '.join(differing)}: they may be two customers. Delete one, or give it "
                "another id. Nothing was sent."
            )
    changes = {key: _changes(wanted[key], by_key[key]) for key in wanted if key in by_key}
    gone = [(key, each) for key, each in [*by_key.items(), *others] if key not in wanted] if prune else []
    _require_meant(len(gone), len(by_key), len(wanted), max_deletes, allow_empty)
    return ContactPlan(
        tuple(contact for key, contact in wanted.items() if key not in by_key),
        tuple((str(by_key[key]["id"]), key, change) for key, change in changes.items() if change),
        _ids(gone),
        _ids(doubles),
        tuple(key for key, change in changes.items() if not change),
        sum(not each.get(KEY) for each in listed),
    )


def _told_apart(there: Iterable[JsonObject]) -> tuple[dict[str, JsonObject], list[tuple[str, JsonObject]]]:
    """Return the oldest contact of each external id, and by external id those that are not."""
    found: dict[str, JsonObject] = {}
    others: list[tuple[str, JsonObject]] = []
    for contact in sorted(there, key=lambda each: (each.get("created_at") or 0, str(each.get("id")))):
        key = str(contact.get(KEY) or "")
        if key in found:
            others.append((key, contact))
        elif key:
            found[key] = contact
    return found, others


def _ids(contacts: Iterable[tuple[str, JsonObject]]) -> tuple[tuple[str, str], ...]:
    return tuple((str(each["id"]), key) for key, each in contacts)


def _differing(one: JsonObject, other: JsonObject, wanted: JsonObject) -> list[str]:
    """Name what one of two contacts says, and neither the other nor the table: it may be somebody else."""
    return list(dict.fromkeys([*_says_more(one, other, wanted), *_says_more(other, one, wanted)]))


def _says_more(one: JsonObject, other: JsonObject, wanted: JsonObject) -> list[str]:
    known, declared = other.get(ATTRIBUTES) or {}, wanted.get(ATTRIBUTES, {})
    attributes = {n: v for n, v in (one.get(ATTRIBUTES) or {}).items() if v not in (None, "")}
    return [
        *(n for n in FIELDS if one.get(n) and not _same(n, one, other) and not _same(n, one, wanted)),
        *(n for n, v in attributes.items() if not _equal(v, known.get(n)) and not _equal(v, declared.get(n))),
    ]


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


def apply_plan(agent_id: str, plan: ContactPlan) -> Steps[SyncResult]:
    """Do what a plan says, as steps of a client. Nothing is deleted where something could not be written."""
    result = SyncResult()
    yield from _delete(agent_id, plan.doubles, DOUBLE, result)
    for start in range(0, len(plan.creates), v1.CONTACTS_PAGE):
        yield from _create(agent_id, plan.creates[start : start + v1.CONTACTS_PAGE], result)
    yield from _leave_one_of_each(agent_id, {each[KEY]: each for each in plan.creates}, result)
    for identity, key, changes in plan.updates:
        try:
            yield v1.update_contact(agent_id, identity, changes)
            result.done.append(ActionResult("update", KIND, key, identity, _changed(changes)))
        except (ChatbaseConflictError, ChatbaseValidationError, ChatbaseNotFoundError) as error:
            result.done.append(_failure("update", key, error))
    if result.failed and plan.deletes:
        result.withheld = f"{named(each.key for each in result.failed)} could not be written"
        return result
    yield from _delete(agent_id, plan.deletes, GONE, result)
    return result


def _delete(agent_id: str, contacts: Iterable[tuple[str, str]], why: str, result: SyncResult) -> Steps[None]:
    for identity, key in contacts:
        try:
            yield v1.delete_contact(agent_id, identity)
        except ChatbaseNotFoundError:
            continue
        result.done.append(ActionResult("delete", KIND, key, identity, why))


def _leave_one_of_each(agent_id: str, wanted: Mapping[str, JsonObject], result: SyncResult) -> Steps[None]:
    """Look again after creating, as Chatbase lets two runs at once create the same; the older one stays."""
    made = {each.key: each.source_id for each in result.of("create")}
    if not made:
        return
    kept, others = _told_apart((yield from contacts_of(agent_id)))
    doubles = [
        (key, each)
        for key, each in others
        if key in made and (each.get("id") == made[key] or not _differing(each, kept[key], wanted[key]))
    ]
    yield from _delete(agent_id, _ids(doubles), DOUBLE, result)
    overtaken = {
        key
        for key, identity in made.items()
        if key in kept and str(kept[key]["id"]) != identity and _changes(wanted[key], kept[key])
    }
    result.done = [
        _overtaken(each.key) if each.action == "create" and each.key in overtaken else each
        for each in result.done
    ]


def _create(
    agent_id: str,
    contacts: Sequence[JsonObject],
    result: SyncResult,
    attempt: int = 1,
    *,
    looked: bool = False,
) -> Steps[None]:
    """Create contacts; a batch that is refused as a whole is halved until what is wrong stands alone."""
    if not contacts:
        return
    try:
        made = yield v1.create_contacts(agent_id, contacts)
    except (ChatbaseConflictError, ChatbaseValidationError) as error:
        if not looked:  # another run may have made some of them meanwhile
            there = yield from _there(agent_id)
            for key, each in _by_key(contacts):
                if key in there:
                    same = _created(each, there[key], BY_ANOTHER_RUN)
                    result.done.append(_overtaken(key) if _changes(each, there[key]) else same)
            rest = [each for key, each in _by_key(contacts) if key not in there]
            yield from _create(agent_id, rest, result, looked=True)
        elif len(contacts) == 1:
            result.done.append(_failure("create", contacts[0][KEY], error))
        else:
            middle = len(contacts) // 2
            yield from _create(agent_id, contacts[:middle], result, looked=True)
            yield from _create(agent_id, contacts[middle:], result, looked=True)
    except ChatbaseError as error:
        if not error.ambiguous or attempt >= ATTEMPTS:
            raise
        there = {}
        for seconds in PAUSES_BEFORE_LOOKING:
            yield Pause(seconds)
            there = yield from _there(agent_id)
            if any(each[KEY] in there for each in contacts):
                break
        result.done += [
            _created(each, there[each[KEY]], LOST_AND_FOUND) for each in contacts if each[KEY] in there
        ]
        rest = [contact for contact in contacts if contact[KEY] not in there]
        yield from _create(agent_id, rest, result, attempt + 1, looked=looked)
    else:
        shown = dict(_by_key(made))
        result.done += [_created(each, shown.get(each[KEY], {})) for each in contacts]


def _by_key(contacts: Iterable[JsonObject]) -> list[tuple[str, JsonObject]]:
    return [(str(each.get(KEY)), each) for each in contacts]


def contacts_of(agent_id: str) -> Steps[list[JsonObject]]:
    """Return all contacts, as steps of a client: one that a listing lacked would be made again."""
    return (yield from all_items(v1.list_contacts(agent_id)))


def _there(agent_id: str) -> Steps[dict[str, JsonObject]]:
    return _told_apart((yield from contacts_of(agent_id)))[0]


def _created(contact: JsonObject, shown: JsonObject, note: str = "") -> ActionResult:
    return ActionResult("create", KIND, contact[KEY], str(shown.get("id")), note)


def _failure(action: str, key: str, error: ChatbaseError) -> ActionResult:
    return ActionResult(action, KIND, key, error=str(error), mendable=not error.permanent, code=error.code)


def _overtaken(key: str) -> ActionResult:
    return ActionResult(
        "create", KIND, key, error="another run of this sync wrote another version of it meanwhile"
    )


def _changed(changes: JsonObject) -> str:
    return ", ".join(name for name in changes)
