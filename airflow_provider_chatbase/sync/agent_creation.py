"""Making agents once: a name is looked for before, and an answer that was lost is looked for after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.paging import all_items
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Pause, Request, Steps
from airflow_provider_chatbase.client.v2 import agents, sources
from airflow_provider_chatbase.sync.agent_settings import change, v1_settings
from airflow_provider_chatbase.sync.payloads import link_key

IfExists = Literal["fail", "get", "update", "create"]
IF_EXISTS: tuple[IfExists, ...] = ("fail", "get", "update", "create")

CLOCK_SKEW = 60.0
"""Seconds by which Chatbase's clock and ours may differ."""

PAUSES_BEFORE_LOOKING = (1.0, 4.0)

_SET_AT_CREATION = ("instructions", "model", "temp", "visibility")


@dataclass(frozen=True, slots=True)
class NewAgent:
    """
    An agent that is wanted.

    :param name: its name.
    :param settings: its settings, checked; without the name.
    :param url: a website that it is to know from the beginning.
    :param source_text: on v1, a text that it is to know.
    :param if_exists: what to do when there is an agent of that name.
    :param ours_since: when an earlier attempt of the same task may have begun to make it, in seconds since
        the epoch; ``None`` at the first attempt.
    """

    name: str
    settings: JsonObject = field(default_factory=dict)
    url: str | None = None
    source_text: str | None = None
    if_exists: IfExists = "fail"
    ours_since: float | None = None


def create_agent(wanted: NewAgent, api_version: ApiVersion) -> Steps[JsonObject]:
    """Make an agent, or find it, as steps of a client."""
    _check(wanted, api_version)
    there = yield from _list(api_version)
    found = choose(wanted, [agent for agent in there if agent.get("name") == wanted.name])
    created: JsonObject = {}
    if found is None:
        created = yield from _create(wanted, api_version, {str(agent.get("id")) for agent in there})
        agent_id = str(created["id"])
    else:
        agent_id = str(found["id"])
    pending = [str(step) for step in created.get("pendingSteps") or []]
    finished: list[str] = []
    is_found_again = found is not None and _is_ours(wanted, found)
    if wanted.url and (is_found_again or created.get("found") or "ADD_SOURCE" in pending):
        yield from _add_link(agent_id, wanted.url)
        finished = [step for step in pending if step == "ADD_SOURCE"]
    applied: JsonObject = {}
    if wanted.settings and (found is None or is_found_again or wanted.if_exists == "update"):
        applied = yield from change(agent_id, wanted.settings, api_version, is_new=True)
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
    ours = [agent for agent in namesakes if _is_ours(wanted, agent)]
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


def clone_agent(agent_id: str, name: str | None, ours_since: float | None) -> Steps[JsonObject]:
    """Copy an agent, or find the copy that an earlier attempt made, as steps of a client."""
    original: JsonObject = yield agents.get_agent(agent_id)
    there = yield from _list("v2")
    copies = (
        [agent for agent in there if _is_copy(agent, original, name) and _is_since(agent, ours_since)]
        if ours_since is not None
        else []
    )
    _refuse_several(copies)
    if not copies and name is not None and any(agent.get("name") == name for agent in there):
        raise ChatbaseInputError(
            f"There is an agent named {name!r} already. Delete it or choose another name. Nothing was cloned."
        )
    pending: list[str] = []
    if copies:
        copy = copies[0]
    else:
        known = {str(agent.get("id")) for agent in there}
        try:
            created: JsonObject = yield agents.clone_agent(agent_id)
        except ChatbaseError as error:
            created = yield from _look_for(error, known, "v2", lambda agent: _is_copy(agent, original, name))
        pending = [str(step) for step in created.get("pendingSteps") or []]
        copy = yield agents.get_agent(str(created["id"]))
    if name is not None and copy.get("name") != name:
        yield agents.update_agent(str(copy["id"]), {"name": name})
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


def _check(wanted: NewAgent, api_version: ApiVersion) -> None:
    if wanted.if_exists not in IF_EXISTS:
        raise ChatbaseInputError(
            f"if_exists must be one of {', '.join(IF_EXISTS)}, not {wanted.if_exists!r}."
        )
    if api_version == "v1":
        v1_settings(wanted.settings)
        if wanted.url:
            raise ChatbaseUnsupportedError(
                "API v1 cannot create an agent from a url. Give source_text, or set api_version to v2 in the "
                "connection. Nothing was sent."
            )
    elif wanted.source_text is not None:
        raise ChatbaseUnsupportedError(
            "source_text is a way of API v1. On v2 give the agent its texts with "
            "ChatbaseSyncSourcesOperator. Nothing was sent."
        )


def _list(api_version: ApiVersion) -> Steps[list[JsonObject]]:
    if api_version == "v1":
        found: list[JsonObject] = yield v1.list_chatbots()
        return found
    return (yield from all_items(agents.list_agents()))


def _create(wanted: NewAgent, api_version: ApiVersion, known: set[str]) -> Steps[JsonObject]:
    try:
        if api_version == "v1":
            created: JsonObject = yield v1.create_chatbot(wanted.name, wanted.source_text)
        else:
            created = yield _creation(wanted)
    except ChatbaseError as error:
        return (
            yield from _look_for(error, known, api_version, lambda agent: agent.get("name") == wanted.name)
        )
    return created


def _creation(wanted: NewAgent) -> Request[JsonObject]:
    body = {name: wanted.settings[name] for name in _SET_AT_CREATION if name in wanted.settings}
    if wanted.url:
        body["url"] = wanted.url
    return agents.create_agent({"name": wanted.name, **body})


def _look_for(
    error: ChatbaseError, known: set[str], api_version: ApiVersion, is_it: Callable[[JsonObject], bool]
) -> Steps[JsonObject]:
    """After a failure that leaves open whether an agent was made: find the one that was not there before."""
    if not error.ambiguous:
        raise error
    for pause in PAUSES_BEFORE_LOOKING:
        yield Pause(pause)
        there = yield from _list(api_version)
        new = [agent for agent in there if str(agent.get("id")) not in known and is_it(agent)]
        _refuse_several(new)
        if new:
            return {"id": new[0]["id"], "found": True}
    raise error


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


def _is_ours(wanted: NewAgent, agent: JsonObject) -> bool:
    return wanted.ours_since is not None and _is_since(agent, wanted.ours_since)


def _is_since(agent: JsonObject, moment: float) -> bool:
    return _created_at(agent) >= moment - CLOCK_SKEW


def _is_copy(agent: JsonObject, original: JsonObject, name: str | None) -> bool:
    """Say whether an agent looks like our copy: as the original, of our name or one that begins like its."""
    if agent.get("id") == original.get("id"):
        return False
    named = agent.get("name") == name or str(agent.get("name")).startswith(str(original.get("name"))[:40])
    return named and all(agent.get(each) == original.get(each) for each in _SET_AT_CREATION)


def _refuse_several(found: Iterable[JsonObject]) -> None:
    ids = [str(agent.get("id")) for agent in found]
    if len(ids) > 1:
        raise ChatbaseInputError(
            f"An earlier attempt may have made any of the agents {', '.join(ids)}. Delete those that are not "
            "wanted, and run the task again."
        )


def _created_at(agent: JsonObject) -> float:
    try:
        moment = datetime.fromisoformat(str(agent.get("createdAt") or agent.get("created_at")))
    except ValueError:
        return float("-inf")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
