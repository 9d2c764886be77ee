"""Objects as API v2 shows them."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.clock import iso
from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT, Conversation, Message, Part
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.training import Source, agent_status
from airflow_provider_chatbase.simulator.world import World

_SECRET_KEYS = frozenset({"internalToken", "rawResponse"})


def agent_view(world: World, agent: Agent) -> dict[str, Any]:
    """Return an agent."""
    now = world.clock.time()
    world.store.purge(agent)
    sources = agent.sources.values()
    status = agent_status(sources, now, world.settings.status_lag)
    trained = [source.live_since for source in sources if source.live_since is not None]
    view = {
        "id": agent.id,
        **agent.fields,
        "creditsUsed": world.ledger.used(agent),
        "createdAt": iso(agent.created_at),
        "lastMessageAt": iso(agent.last_message_at) if agent.last_message_at else None,
        "lastTrainedAt": iso(max(trained)) if trained else None,
        "status": status,
        "size": sum(source.size for source in sources),
    }
    if world.settings.unknown_fields:
        view["folderId"] = None
    return view


def source_view(world: World, source: Source, status: str | None = None) -> dict[str, Any]:
    """Return a source; ``status`` overrides its own."""
    now = world.clock.time()
    view: dict[str, Any] = {
        "id": source.id,
        "type": source.type,
        "name": source.name,
        "size": source.size,
        "createdAt": iso(source.created_at),
        "status": status or source.status(now),
        "metadata": _link_metadata(source, now),
    }
    if world.settings.unknown_fields:
        view["origin"] = {"addedBy": "api"}
    return view


def conversation_view(world: World, conversation: Conversation) -> dict[str, Any]:
    """Return a conversation without its messages."""
    view: dict[str, Any] = {
        "id": conversation.id,
        "title": conversation.title,
        "createdAt": conversation.created_at,
        "updatedAt": conversation.updated_at,
        "userId": conversation.user_id,
        "status": conversation.status,
    }
    if world.settings.unknown_fields:
        view["country"] = None
    return view


def export_view(world: World, conversation: Conversation, *, with_messages: bool) -> dict[str, Any]:
    """Return a conversation as the export does."""
    view = conversation_view(world, conversation)
    view["source"] = conversation.source
    if with_messages:
        view["messages"] = [message_view(world, message, exported=True) for message in conversation.messages]
    return view


def message_view(world: World, message: Message, *, exported: bool = False) -> dict[str, Any]:
    """Return a message; the export hides the input of tools and cleans their output."""
    view: dict[str, Any] = {
        "id": message.id,
        "role": message.role,
        "parts": [_exported_part(part) for part in message.parts] if exported else message.parts,
    }
    if message.created_at is not None:
        view["createdAt"] = message.created_at
    if message.role == ROLE_ASSISTANT:
        view["feedback"] = message.feedback
        view["metadata"] = {"score": message.score}
    if world.settings.unknown_fields:
        view["language"] = "en"
    return view


def _exported_part(part: Part) -> Part:
    if part["type"] == "tool-call":
        return {name: value for name, value in part.items() if name != "input"}
    if part["type"] == "tool-result" and isinstance(part.get("output"), dict):
        clean = {name: value for name, value in part["output"].items() if name not in _SECRET_KEYS}
        return {**part, "output": clean}
    return part


def _link_metadata(source: Source, now: float) -> dict[str, Any] | None:
    if source.metadata is None or source.metadata["type"] == "individual":
        return source.metadata
    fetched = now >= source.ready_at
    status = ("failed" if source.fails else "fetched") if fetched else "fetching"
    children = {"included": 12, "excluded": 1, "failed": 0} if status == "fetched" else _NO_CHILDREN
    return {**source.metadata, "crawlStatus": status, "children": children}


_NO_CHILDREN = {"included": 0, "excluded": 0, "failed": 0}
