"""Which conversations an operation of API v2 may see."""

from __future__ import annotations

from airflow_provider_chatbase.simulator.conversations import Conversation
from airflow_provider_chatbase.simulator.errors import not_found
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.world import Call


def api_conversation(call: Call, agent: Agent) -> Conversation:
    """Return the conversation of the path if API v2 created it; raise ``ApiError`` 404 otherwise."""
    conversation = any_conversation(call, agent)
    if not conversation.created_by_v2:
        raise not_found("RESOURCE_NOT_FOUND", "Conversation")
    return conversation


def any_conversation(call: Call, agent: Agent) -> Conversation:
    """Return the conversation of the path, from whichever channel; raise ``ApiError`` 404 otherwise."""
    conversation = call.world.store.conversation(agent.id, call.params["conversationId"])
    if conversation is None:
        raise not_found("RESOURCE_NOT_FOUND", "Conversation")
    return conversation
