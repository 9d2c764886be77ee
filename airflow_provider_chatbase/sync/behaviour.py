"""
What an agent does, as declared: its actions and procedures, by their names.

Actions are made in the dashboard and are only changed here; procedures are made too. Both are live at once,
and publishing an older draft in the dashboard undoes it, so that a check is worth its run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseConflictError,
    ChatbaseInputError,
    ChatbaseReplyError,
    ChatbaseValidationError,
)
from airflow_provider_chatbase.client.replies import Page, all_items
from airflow_provider_chatbase.client.request import JsonObject, Request, Steps
from airflow_provider_chatbase.client.v2 import actions

ACTIONS, PROCEDURES = "actions", "procedures"
CHANNELS, STATUS = "channels", "status"
NEEDED = ("trigger", "steps")
"""What a new procedure cannot do without."""

IsMet = Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class _Kind:
    listing: Callable[[str], Request[Page]]
    get: Callable[[str, str], Request[JsonObject]]
    update: Callable[[str, str, JsonObject], Request[JsonObject]]
    delete: Callable[[str, str], Request[JsonObject]]


_KINDS = {
    ACTIONS: _Kind(actions.list_actions, actions.get_action, actions.update_action, actions.delete_action),
    PROCEDURES: _Kind(
        actions.list_procedures, actions.get_procedure, actions.update_procedure, actions.delete_procedure
    ),
}


@dataclass(frozen=True, slots=True)
class Thing:
    """An action or a procedure: what it is to be, and what it is."""

    kind: str
    name: str
    wanted: JsonObject | None  # ``None``: it is to go
    actual: JsonObject | None  # ``None``: it is not there

    def differs(self, is_met: IsMet) -> dict[str, tuple[Any, Any]]:
        """Return by path what differs: what is wanted, and what is there."""
        path = f"{self.kind}.{self.name}"
        if self.wanted is None or self.actual is None:
            same = self.wanted is None and self.actual is None
            return {} if same else {path: (self.wanted, self.actual and {STATUS: self.actual.get(STATUS)})}
        return {
            f"{path}.{name}": (value, self.actual.get(name))
            for name, value in self.wanted.items()
            if not is_met(_by_channel(name, value), _by_channel(name, self.actual.get(name)))
        }


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What is declared, by kind and name."""

    wanted: Mapping[str, Mapping[str, JsonObject | None]] = field(default_factory=dict)

    def read(self, agent_id: str) -> Steps[list[Thing]]:
        """Read what there is of it, as steps of a client; refuse what cannot be."""
        things = []
        for kind, named in self.wanted.items():
            listed = yield from all_items(_KINDS[kind].listing(agent_id))
            for name, wanted in named.items():
                found = [each for each in listed if each.get("name") == name]
                _require_possible(kind, name, wanted, found, listed)
                actual = (yield _KINDS[kind].get(agent_id, str(found[0]["id"]))) if found else None
                things.append(Thing(kind, name, wanted, actual))
        return things


def split(settings: JsonObject) -> tuple[JsonObject, Behaviour]:
    """Split what is declared into settings of the agent, and what it does."""
    declared = {kind: settings[kind] for kind in (ACTIONS, PROCEDURES) if settings.get(kind) is not None}
    for kind, named in declared.items():
        if not isinstance(named, dict) or not all(
            each is None or isinstance(each, dict) for each in named.values()
        ):
            raise ChatbaseInputError(
                f"{kind} must be objects by their names, or null for one that is to go. Nothing was sent."
            )
    return {name: value for name, value in settings.items() if name not in _KINDS}, Behaviour(declared)


def apply(
    agent_id: str, behaviour: Behaviour, is_met: IsMet
) -> Steps[tuple[JsonObject, list[str], list[str]]]:
    """Change what differs and read it back: what changed, what was so already, and what did not stay."""
    before = yield from behaviour.read(agent_id)
    for thing in sorted(before, key=_order):
        yield from _write(agent_id, thing, is_met)
    differing = {path: sides for thing in before for path, sides in thing.differs(is_met).items()}
    if not differing:
        return {}, [f"{each.kind}.{each.name}" for each in before], []
    after = yield from behaviour.read(agent_id)
    not_met = [path for thing in after for path in thing.differs(is_met)]
    changed = {
        path: {"from": actual, "to": wanted}
        for path, (wanted, actual) in differing.items()
        if path not in not_met
    }
    same = [f"{each.kind}.{each.name}" for each in before if not each.differs(is_met)]
    return changed, same, not_met


def _order(thing: Thing) -> int:
    """Actions first, since procedures mention them; what goes last, since nothing may mention it."""
    return (thing.wanted is None) * 2 + (thing.kind == (ACTIONS if thing.wanted is None else PROCEDURES))


def _write(agent_id: str, thing: Thing, is_met: IsMet) -> Steps[None]:
    kind = _KINDS[thing.kind]
    if not thing.differs(is_met):
        return
    if thing.wanted is None:
        yield from _delete(agent_id, thing)
        return
    changes = {path.rpartition(".")[2]: value for path, (value, _) in thing.differs(is_met).items()}
    actual = thing.actual
    if actual is None:
        first = {
            "name": thing.name,
            **{name: value for name, value in thing.wanted.items() if name != STATUS},
        }
        actual = yield actions.create_procedure(agent_id, first)
        if not actual.get("id"):  # no document shows the reply
            listed = yield from all_items(kind.listing(agent_id))
            named = [each for each in listed if each.get("name") == thing.name]
            if not named:
                raise ChatbaseReplyError(
                    f"The procedure {thing.name!r} was made, and is not listed yet: run it again.",
                    operation="createProcedure",
                )
            actual = named[0]
        changes = {STATUS: thing.wanted[STATUS]} if thing.wanted.get(STATUS, "disabled") != "disabled" else {}
    if CHANNELS in changes:  # whether the API merges them is not known, so all are sent
        merged = {**_by_channel(CHANNELS, actual.get(CHANNELS)), **_by_channel(CHANNELS, changes[CHANNELS])}
        changes[CHANNELS] = list(merged.values())
    if not changes:
        return
    try:
        yield kind.update(agent_id, str(actual["id"]), changes)
    except (ChatbaseValidationError, ChatbaseConflictError) as refused:
        now: JsonObject = yield kind.get(agent_id, str(actual["id"]))
        lost = ", ".join(str(each) for each in now.get("unavailableActions") or ())
        if not lost or STATUS not in changes:
            raise
        raise ChatbaseConflictError(
            f"{refused} The procedure {thing.name!r} mentions {lost}, which is not enabled or not there: "
            "enable it first, in actions or in the dashboard.",
            operation=refused.operation,
        ) from refused


def _delete(agent_id: str, thing: Thing) -> Steps[None]:
    identity = str((thing.actual or {})["id"])
    try:
        yield _KINDS[thing.kind].delete(agent_id, identity)
    except ChatbaseApiError as refused:
        if thing.kind != ACTIONS or refused.transient:
            raise
        mention, names = re.compile(rf"@{re.escape(thing.name)}(?![\w-])"), []
        for each in (yield from all_items(actions.list_procedures(agent_id))):
            procedure: JsonObject = yield actions.get_procedure(agent_id, str(each["id"]))
            if mention.search(str(procedure.get("steps"))):
                names.append(str(procedure.get("name")))
        if not names:
            raise
        raise ChatbaseConflictError(
            f"{refused} The action {thing.name!r} is mentioned by the procedures {', '.join(names)}: change "
            "their steps, or delete them (null), first.",
            operation=refused.operation,
        ) from refused


def _require_possible(
    kind: str, name: str, wanted: JsonObject | None, found: list[JsonObject], listed: list[JsonObject]
) -> None:
    if len(found) > 1:
        raise ChatbaseInputError(f"There are {len(found)} {kind} named {name!r}: give them different names.")
    if wanted is None:
        return
    if "name" in wanted:
        raise ChatbaseInputError(
            f"{kind}.{name} has a name of its own: it goes by {name!r}. Rename it in the dashboard first."
        )
    if not found and kind == ACTIONS:
        there = ", ".join(sorted(str(each.get("name")) for each in listed)) or "none"
        raise ChatbaseInputError(
            f"There is no action {name!r}, and actions are made in the dashboard alone. There are: {there}."
        )
    missing = [each for each in NEEDED if each not in wanted]
    if not found and missing:
        raise ChatbaseInputError(f"The new procedure {name!r} needs {' and '.join(missing)}.")


def _by_channel(name: str, value: Any) -> Any:
    """Make channels comparable: those that are named count, in any order."""
    if name != CHANNELS or not isinstance(value, list):
        return value
    return {str(each.get("channel")): each for each in value if isinstance(each, dict)}
