"""The export: conversations of every channel, with their messages."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.pagination import envelope, page_of_positions
from airflow_provider_chatbase.simulator.seed import disturb
from airflow_provider_chatbase.simulator.v2.views import export_view
from airflow_provider_chatbase.simulator.validation import comma_list, date_window, one_of
from airflow_provider_chatbase.simulator.world import Call


def export_conversations(call: Call) -> Reply:
    """Answer exportConversations."""
    agent = call.agent()
    window = date_window(call.query)
    include = one_of(call.query, "include", ("summary", "messages"))
    request = call.page("export", maximum=20)
    disturb(call.world, agent)
    index = agent.conversations
    with_messages = include != "summary"

    def show(identifier: str) -> dict[str, Any]:
        return export_view(call.world, index.by_id[identifier], with_messages=with_messages)

    if "conversationId" in call.query:
        found = [show(each) for each in [call.query["conversationId"]] if each in index.by_id]
        return Reply(payload=envelope(found, None, len(found)))
    sources = comma_list(call.query, "source")
    indexes = (
        [index.by_creation] if sources is None else [index.by_source[each] for each in dict.fromkeys(sources)]
    )
    return Reply(payload=page_of_positions(indexes, window, show, request))
