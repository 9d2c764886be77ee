"""Conversations and leads of API v1, by page and size, without a total."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import Any

from airflow_provider_chatbase.simulator.clock import iso
from airflow_provider_chatbase.simulator.conversations import ROLE_USER, Conversation
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.seed import disturb
from airflow_provider_chatbase.simulator.v1.access import chatbot_of_query, days, number
from airflow_provider_chatbase.simulator.validation import comma_list
from airflow_provider_chatbase.simulator.world import Call

_DEFAULT_SIZE = 10
_MAX_SIZE = 100
_LOWER_CASE = {
    "API": "api",
    "WhatsApp": "whatsapp",
    "Slack": "slack",
    "Messenger": "messenger",
    "Instagram": "instagram",
    "Widget or Iframe": "website",
    "Chatbase site": "website",
}


def list_conversations(call: Call) -> Reply:
    """Answer getConversations, newest first."""
    agent = chatbot_of_query(call)
    window = days(call.query)
    page = number(call.query, "page", 1, 1, None)
    size = number(call.query, "size", _DEFAULT_SIZE, 1, _MAX_SIZE)
    sources = comma_list(call.query, "filteredSources")
    disturb(call.world, agent)
    index = agent.conversations
    low, high = index.by_creation.span(*window)
    if sources is None:
        high -= (page - 1) * size
        positions = index.by_creation.newest_first(low, high)
    else:
        newest = index.by_creation.newest_first(low, high)
        matching = (each for each in newest if index.by_id[each[1]].source in sources)
        positions = islice(matching, (page - 1) * size, None)
    shown = [_view(call, agent.id, index.by_id[identifier]) for _, identifier in islice(positions, size)]
    return Reply(payload={"data": shown})


def list_leads(call: Call) -> Reply:
    """Answer getLeads, newest first."""
    agent = chatbot_of_query(call)
    start, end = days(call.query)
    page = number(call.query, "page", 1, 1, None)
    size = number(call.query, "size", _DEFAULT_SIZE, 1, None)
    found = [
        lead
        for lead in agent.leads
        if (start is None or _epoch(lead) >= start) and (end is None or _epoch(lead) <= end)
    ]
    shown = found[(page - 1) * size : page * size]
    shape = call.world.settings.leads_shape
    if shape == "collectedCustomers.data":
        return Reply(payload={"collectedCustomers": {"data": shown}})
    return Reply(payload={shape: shown})


def _epoch(lead: dict[str, Any]) -> float:
    return datetime.fromisoformat(lead["created_at"]).timestamp()


def _view(call: Call, agent_id: str, conversation: Conversation) -> dict[str, Any]:
    source = conversation.source
    if call.world.settings.v1_source_style == "lower":
        source = _LOWER_CASE.get(source or "", (source or "unspecified").lower())
    view = {
        "id": conversation.id,
        "chatbot_id": agent_id,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "source": source,
        "messages": [
            {
                "id": message.id,
                "role": "user" if message.role == ROLE_USER else "assistant",
                "content": message.text,
                "type": "text",
            }
            for message in conversation.messages
        ],
    }
    if call.world.settings.unknown_fields:
        view["customer"] = conversation.user_id or ""
    return view
