"""Making agents and their sources, for both API versions and the seed."""

from __future__ import annotations

import copy
import json
from typing import Any

from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.keys import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.training import Source
from airflow_provider_chatbase.simulator.v2.models import DEFAULT
from airflow_provider_chatbase.simulator.world import World

DEFAULT_INSTRUCTIONS = "You are a helpful support agent. Answer from the given sources, shortly and politely."
DEFAULT_IP_RATE_LIMITS = {
    "limit": 20,
    "timeframe": 240,
    "message": "Too many messages in a row",
}


def default_fields(name: str) -> dict[str, Any]:
    """Return the settings of an agent on which nothing was set."""
    return {
        "name": name,
        "instructions": DEFAULT_INSTRUCTIONS,
        "channelInstructions": None,
        "model": DEFAULT,
        "autoRetrain": False,
        "temp": 0,
        "visibility": "private",
        "allowedDomains": None,
        "suggestedMessages": None,
        "initialMessages": ["Hi! What can I help you with?"],
        "creditLimit": None,
        "notificationsSettings": None,
        "ipRateLimits": dict(DEFAULT_IP_RATE_LIMITS),
        "spamSettings": None,
        "blockedCountries": None,
        "voiceSettings": None,
        "styles": {"chat": {"theme": "light", "displayName": name}, "centerStage": None},
    }


def create_agent(world: World, name: str, workspace: str = MAIN_WORKSPACE) -> Agent:
    """
    Create an agent without sources.

    :raises ApiError: 403, the workspace has as many agents as it may.
    """
    check_agent_limit(world, workspace)
    now = world.clock.time()
    agent = Agent(
        id=world.store.new_id("ag").replace("_", ""),
        fields=default_fields(name),
        created_at=now,
        updated_at=now,
        workspace=workspace,
    )
    world.store.agents[agent.id] = agent
    return agent


def clone_agent(world: World, original: Agent) -> Agent:
    """
    Copy an agent deeply, with its sources except those of Notion; the copy trains them anew.

    :raises ApiError: 403, the workspace has as many agents as it may.
    """
    clone = create_agent(world, f"{original.name} (copy)"[:100], original.workspace)
    clone.fields = {**copy.deepcopy(original.fields), "name": clone.name}
    clone.tools = original.tools
    for source in original.sources.values():
        if source.type == "notionPage" or source.purge_at is not None:
            continue
        twin = add_source(world, clone, source.type, source.name, source.content, size=source.size)
        twin.metadata = copy.deepcopy(source.metadata)
        twin.details = copy.deepcopy(source.details)
    return clone


def check_agent_limit(world: World, workspace: str) -> None:
    """Refuse one agent more than the workspace may have."""
    limit = world.settings.agent_limit
    existing = sum(agent.workspace == workspace for agent in world.store.agents.values())
    if limit is not None and existing >= limit:
        raise ApiError(403, "AGENT_LIMIT_REACHED", "Agent limit reached for your plan")


def add_source(
    world: World,
    agent: Agent,
    kind: str,
    name: str,
    content: str,
    *,
    size: int | None = None,
) -> Source:
    """
    Add a source, which begins to train.

    :raises ApiError: 422, the storage is full.
    """
    needed = len(content.encode()) if size is None else size
    check_storage(world, agent, needed)
    now = world.clock.time()
    source = Source(
        id=world.store.new_id(),
        type=kind,
        name=name,
        content=content,
        size=needed,
        created_at=now,
        changed_at=now,
        ready_at=now,
    )
    source.begin_training(now, world.settings.training_seconds)
    agent.sources[source.id] = source
    return source


def add_qna(world: World, agent: Agent, name: str, questions: list[str], reply: str) -> Source:
    """Add questions and their answer as a source."""
    source = add_source(world, agent, "qna", name, qna_content(questions, reply))
    source.details = {"questions": questions, "answer": reply}
    return source


def qna_content(questions: list[str], reply: str) -> str:
    """Return questions and their answer as the content of a source."""
    return json.dumps({"questions": questions, "answer": reply}, ensure_ascii=False)


def change_content(
    world: World, agent: Agent, source: Source, content: str, *, size: int | None = None
) -> None:
    """
    Replace a source's content, which trains anew while the earlier one still answers.

    :raises ApiError: 422, the storage is full.
    """
    needed = len(content.encode()) if size is None else size
    check_storage(world, agent, needed - source.size)
    now = world.clock.time()
    source.settle(now)
    source.content, source.size = content, needed
    source.begin_training(now, world.settings.training_seconds)


def remove_source(world: World, agent: Agent, source: Source) -> str:
    """Delete a source and return the status that the API then shows."""
    if world.settings.purge_seconds > 0:
        source.purge_at = world.clock.time() + world.settings.purge_seconds
        return "toBeDeleted"
    del agent.sources[source.id]
    return "deleted"


def check_storage(world: World, agent: Agent, needed: int) -> None:
    """Refuse a write that does not fit."""
    used = sum(source.size for source in agent.sources.values() if source.purge_at is None)
    if needed > 0 and used + needed > world.settings.storage_limit:
        raise ApiError(422, "SOURCE_SIZE_LIMIT_EXCEEDED", "Chatbot storage limit exceeded")
