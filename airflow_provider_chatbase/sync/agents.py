"""Agents as declared: made once, also after a reply that was lost, and given the settings that differ."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from difflib import SequenceMatcher
from math import isclose
from typing import Any, Literal

from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseApiError, ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.replies import all_items
from airflow_provider_chatbase.client.request import JsonObject, Pause, Request, Steps, require_text
from airflow_provider_chatbase.client.v2 import agents, sources
from airflow_provider_chatbase.files.records import decode, parse_json, parse_yaml, require_json
from airflow_provider_chatbase.sync.behaviour import apply, split
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.payloads import link_key

IfExists = Literal["fail", "get", "update", "create"]
IF_EXISTS: tuple[IfExists, ...] = ("fail", "get", "update", "create")

CLOCK_SKEW = 60.0
"""Seconds by which Chatbase's clock and ours may differ."""

PAUSES_BEFORE_LOOKING = (1.0, 4.0)

SETTINGS = agents.NULLABLE_SETTINGS | agents.FIXED_SETTINGS | {agents.STYLES, agents.AUTO_RETRAIN}
READ_ONLY = {"id", "status", "size", "createdAt", "creditsUsed", "lastMessageAt", "lastTrainedAt"}
"""What an agent shows and nobody sets."""

RESET_TO_DEFAULT = {"ipRateLimits"}
"""Settings that ``None`` gives a value that only Chatbase knows, so none can be said to differ."""

UNORDERED = {"allowedDomains", "blockedCountries"}
"""Lists that mean the same in any order, and in capitals."""

LONGEST_SHOWN = 200


# -- making agents


@dataclass(frozen=True, slots=True)
class NewAgent:
    """An agent that is wanted."""

    name: str
    settings: JsonObject = field(default_factory=dict)  # checked; without the name
    url: str | None = None  # a website that it is to know from the beginning
    source_text: str | None = None  # on v1, a text that it is to know
    if_exists: IfExists = "fail"
    ours_since: float | None = None  # when an earlier try of the task may have begun to make it

    def is_ours(self, agent: JsonObject) -> bool:
        """Say whether an earlier try of the task may have made an agent."""
        return _is_since(agent, self.ours_since)


def find_or_create_agent(api: Api, wanted: NewAgent) -> Steps[JsonObject]:
    """Make an agent, or find it, as steps of a client."""
    if wanted.if_exists not in IF_EXISTS:
        raise ChatbaseInputError(
            f"if_exists must be one of {', '.join(IF_EXISTS)}, not {wanted.if_exists!r}."
        )
    if wanted.url is not None:
        require_text("url", wanted.url)
    creation = api.create_agent(wanted.name, wanted.settings, url=wanted.url, source_text=wanted.source_text)
    there = yield from all_items(api.list_agents())
    require_settings(api, split(wanted.settings)[0], {name for agent in there for name in agent})
    found = choose(wanted, [agent for agent in there if agent.get("name") == wanted.name])
    created: JsonObject = {}
    if found is None:
        created = yield from _make(api, creation, there, lambda agent: agent.get("name") == wanted.name)
    agent_id = str((found or created)["id"])
    pending = _pending_steps(created)
    finished: list[str] = []
    is_found_again = found is not None and wanted.is_ours(found)
    if wanted.url and (is_found_again or created.get("found") or "ADD_SOURCE" in pending):
        yield from _add_link(agent_id, wanted.url)
        finished = [step for step in pending if step == "ADD_SOURCE"]
    applied: JsonObject = {}
    if wanted.settings and (found is None or is_found_again or wanted.if_exists == "update"):
        applied = yield from change(api, agent_id, wanted.settings, is_new=True)
    return {
        "agent_id": agent_id,
        "name": wanted.name,
        "created": found is None or is_found_again,
        "pending_steps": pending,
        "finished_steps": finished,
        "changed": applied.get("changed", {}),
        "not_applied": applied.get("not_applied", []),
    }


def choose(wanted: NewAgent, namesakes: list[JsonObject]) -> JsonObject | None:
    """Choose among the agents of the wanted name."""
    ours = [agent for agent in namesakes if wanted.is_ours(agent)]
    if len(ours) == 1:
        return ours[0]
    if wanted.if_exists == "create" and not ours:
        return None
    ids = ", ".join(str(agent.get("id")) for agent in namesakes)
    if len(namesakes) > 1:
        raise ChatbaseInputError(
            f"There are {len(namesakes)} agents named {wanted.name!r}: {ids}. Give them different names, or "
            "use the id of the one that is meant. Nothing was created."
        )
    if namesakes and wanted.if_exists == "fail":
        raise ChatbaseInputError(
            f"There is an agent named {wanted.name!r} already: {ids}. Use if_exists='get' or 'update' to go "
            "on with it, or 'create' to make another. Nothing was created."
        )
    return namesakes[0] if namesakes else None


def find_or_clone_agent(
    api: Api, agent_id: str, name: str | None, ours_since: float | None
) -> Steps[JsonObject]:
    """Copy an agent, or find the copy that an earlier try of the task made, as steps of a client."""
    if name is not None:
        require_text("name", name, longest=agents.NAME_LENGTH)
    copying = agents.clone_agent(agent_id)
    api.require(copying)
    original: JsonObject = yield api.get_agent(agent_id)
    there = yield from all_items(api.list_agents())
    copies = [agent for agent in there if _is_copy(agent, original, name) and _is_since(agent, ours_since)]
    _refuse_several(copies)
    if not copies and name is not None and any(agent.get("name") == name for agent in there):
        raise ChatbaseInputError(
            f"There is an agent named {name!r} already. Delete it or choose another name. Nothing was cloned."
        )
    pending: list[str] = []
    if copies:
        copy = copies[0]
    else:
        created = yield from _make(api, copying, there, lambda agent: _is_copy(agent, original, name))
        pending = _pending_steps(created)
        copy = yield api.get_agent(str(created["id"]))
    if name is not None and copy.get("name") != name:
        for request in api.update_agent(str(copy["id"]), {"name": name}):  # noqa: UP028 - a list takes no replies
            yield request
    return {
        "agent_id": copy["id"],
        "cloned_from": agent_id,
        "name": name or copy.get("name"),
        "pending_steps": pending,
    }


def source_ids_of(agent_id: str) -> Steps[list[str]]:
    """List the ids of an agent's sources, as steps of a client."""
    found = yield from all_items(sources.list_sources(agent_id))
    return [str(source["id"]) for source in found]


def _make(
    api: Api, request: Request[JsonObject], there: Iterable[JsonObject], is_it: Callable[[JsonObject], bool]
) -> Steps[JsonObject]:
    """Make an agent; where it stays open whether one was made, find the one that was not there before."""
    try:
        created: JsonObject = yield request
    except ChatbaseError as error:
        if not error.ambiguous:
            raise
        known = {str(agent.get("id")) for agent in there}
        for pause in PAUSES_BEFORE_LOOKING:
            yield Pause(pause)
            listed = yield from all_items(api.list_agents())
            new = [agent for agent in listed if str(agent.get("id")) not in known and is_it(agent)]
            _refuse_several(new)
            if new:
                return {"id": new[0]["id"], "found": True}
        raise
    return created


def _pending_steps(created: JsonObject) -> list[str]:
    steps = created.get("pendingSteps")
    return [str(step) for step in steps] if isinstance(steps, list) else []


def _add_link(agent_id: str, url: str) -> Steps[None]:
    """Finish what creating the agent left undone, unless the link is there already."""
    links = yield from all_items(sources.list_sources(agent_id, types=["link"]))
    if any(link_key(str(link.get("name")), "") == link_key(url, "") for link in links):
        return
    try:
        yield sources.create_link_source(agent_id, url)
    except ChatbaseApiError as error:
        if error.code != "SOURCE_DUPLICATE":
            raise


def _is_since(agent: JsonObject, moment: float | None) -> bool:
    if moment is None:
        return False
    try:
        created_at = datetime.fromisoformat(str(agent.get("createdAt") or agent.get("created_at")))
    except ValueError:
        return False
    in_utc = created_at if created_at.tzinfo else created_at.replace(tzinfo=UTC)
    return in_utc.timestamp() >= moment - CLOCK_SKEW


def _is_copy(agent: JsonObject, original: JsonObject, name: str | None) -> bool:
    """Say whether an agent looks like our copy: as the original, of our name or one that begins like its."""
    if agent.get("id") == original.get("id"):
        return False
    named = agent.get("name") == name or str(agent.get("name")).startswith(str(original.get("name"))[:40])
    return named and all(agent.get(each) == original.get(each) for each in agents.SET_AT_CREATION)


def _refuse_several(found: Iterable[JsonObject]) -> None:
    ids = [str(agent.get("id")) for agent in found]
    if len(ids) > 1:
        raise ChatbaseInputError(
            f"An earlier attempt may have made any of the agents {', '.join(ids)}. Delete those that are not "
            "wanted, and run the task again."
        )


# -- settings


def parse_settings(content: bytes, url: str) -> JsonObject:
    """Read an agent's settings from a YAML or JSON file, of which nothing is guessed."""
    try:
        text = decode(content)
        found = parse_json(text) if url.lower().endswith(".json") else parse_yaml(text)
        require_json(found)
    except ValueError as error:
        raise ChatbaseDeclarationError(f"{url} cannot be read: {error}. Nothing was sent.") from error
    if not isinstance(found, dict):
        raise ChatbaseDeclarationError(f"{url} holds no settings by name. Nothing was sent.")
    return found


def compare(api: Api, agent_id: str, settings: JsonObject) -> Steps[JsonObject]:
    """Say in what an agent differs from its declared settings, as steps of a client. It changes nothing."""
    settings, behaviour = split(settings)
    agent: JsonObject = yield api.get_agent(agent_id)
    require_settings(api, settings, agent)
    things = yield from behaviour.read(agent_id)
    known = {
        name: value for name, value in settings.items() if value is not None or name not in RESET_TO_DEFAULT
    }
    differs = differing(_comparable(api, known, agent), agent)
    sides = {name: (value, agent.get(name)) for name, value in differs.items()}
    for thing in things:
        sides.update(thing.differs(is_met))
    return {
        "agent_id": agent_id,
        "drift": bool(sides),
        "differs": {
            name: {"wanted": shortened(wanted), "actual": shortened(actual)}
            for name, (wanted, actual) in sides.items()
        },
        "unchanged": sorted(name for name in set(settings) - set(differs) if name in agent),
        "not_shown": sorted(name for name in set(settings) - set(differs) if name not in agent),
    }


def change(api: Api, agent_id: str, settings: JsonObject, *, is_new: bool = False) -> Steps[JsonObject]:
    """Give an agent its declared settings, as steps of a client. What it has already is not sent."""
    settings, behaviour = split(settings)
    before: JsonObject = yield api.get_agent(agent_id)
    require_settings(api, settings, before)
    yield from behaviour.read(agent_id)  # refuses what cannot be, before anything is written
    after = before
    sent = differing(settings, before)
    refused: list[str] = []
    if sent:
        for request in api.update_agent(agent_id, sent):
            try:
                yield request
            except ChatbaseApiError as error:
                if not is_new or error.code != "AGENT_NOT_TRAINED":
                    raise
                refused.append(agents.AUTO_RETRAIN)
        after = yield api.get_agent(agent_id)
    changed = {
        name: {"from": before.get(name), "to": after.get(name)}
        for name in sent
        if before.get(name) != after.get(name)
    }
    unseen = {name: value for name, value in sent.items() if name not in _comparable(api, sent, after)}
    changed.update({name: {"from": None, "to": value} for name, value in unseen.items()})
    not_met = differing(_comparable(api, sent, after), after)
    done, same, not_done = yield from apply(agent_id, behaviour, is_met)
    return {
        "agent_id": agent_id,
        "changed": shortened({**changed, **done}),
        "unchanged": sorted({*settings} - {*sent} | {*same}),
        "not_applied": sorted(
            {name for name, value in not_met.items() if value is not None} | {*refused, *not_done}
        ),
    }


def require_settings(api: Api, settings: Iterable[str], shown: Iterable[str]) -> None:
    """Refuse what is no setting; one that this provider does not know yet is shown by agents."""
    if not api.shows_all_settings:
        return
    known = sorted((SETTINGS | set(shown)) - READ_ONLY)
    for name in settings:
        if name not in known:
            near = sorted(known, key=lambda each: -SequenceMatcher(None, name.lower(), each.lower()).ratio())
            raise ChatbaseInputError(
                f"An agent has no setting {name!r} that can be changed. The nearest is {near[0]!r}; there "
                f"are {', '.join(known)}. Nothing was sent."
            )


def differing(wanted: JsonObject, agent: JsonObject) -> JsonObject:
    """Return the settings that the agent does not have yet, or does not show."""
    return {
        name: value
        for name, value in wanted.items()
        if name not in agent or not is_met(_in_order(name, value), _in_order(name, agent[name]))
    }


def _in_order(name: str, value: Any) -> Any:
    if name in UNORDERED and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return sorted({each.strip().lower() for each in value})
    return value


def is_met(wanted: Any, actual: Any, *, whole: bool = False) -> bool:
    """Say whether a setting has the wanted value. In an object, what is not named may be anything."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        return (not whole or wanted.keys() == actual.keys()) and all(
            name in actual and is_met(value, actual[name], whole=whole) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(actual, list):
        return len(wanted) == len(actual) and all(
            is_met(each, other, whole=True) for each, other in zip(wanted, actual, strict=True)
        )
    if isinstance(wanted, bool) or isinstance(actual, bool):
        return wanted is actual
    if isinstance(wanted, str) and isinstance(actual, str):
        return _plain(wanted) == _plain(actual)
    if isinstance(wanted, int | float) and isinstance(actual, int | float):
        return isclose(wanted, actual, rel_tol=1e-6)
    return bool(wanted == actual)


def _plain(text: str) -> str:
    """Return a text without what Chatbase may store in another way to the same effect."""
    return unicodedata.normalize("NFC", "\n".join(line.rstrip() for line in text.splitlines())).strip()


def shortened(value: Any) -> Any:
    """Shorten the texts of a result that goes to XCom."""
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:LONGEST_SHOWN]}... ({len(value):,} characters)"
    if isinstance(value, dict):
        return {name: shortened(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shortened(part) for part in value]
    return value


def _comparable(api: Api, settings: JsonObject, agent: JsonObject) -> JsonObject:
    """Leave out what is not shown where that is no difference."""
    if api.shows_all_settings:
        return settings
    return {name: value for name, value in settings.items() if name in agent}
