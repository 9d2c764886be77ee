"""Which conversations changed in a window, by the API's search."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import (
    ChatbaseNotFoundError,
    ChatbasePermissionError,
    ChatbasePlanError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2.conversations import search_conversations
from airflow_provider_chatbase.exports.readers import follow
from airflow_provider_chatbase.exports.rows import created_at, updated_at
from airflow_provider_chatbase.exports.window import Window, read_moment

SEARCH_LAG = timedelta(minutes=5)
"""How much later than it happened a change may appear in the search; the window is begun earlier by it."""


async def changed_since(
    client: AsyncChatbaseClient, agent_id: str, window: Window, channels: Sequence[str]
) -> list[str]:
    """Find the conversations whose last activity lies in a window."""
    begin = window.start - SEARCH_LAG
    request = search_conversations(agent_id, updated_after=begin, sources=channels)
    found: dict[str, JsonObject] = {}
    try:
        async for page in follow(client, PageWalk(request)):
            found |= {str(item.get("id")): item for item in page.items}
    except (ChatbasePlanError, ChatbasePermissionError, ChatbaseUnsupportedError) as error:
        raise _no_search(error) from error
    except ChatbaseNotFoundError as error:
        if error.code == "AGENT_NOT_FOUND":
            raise
        raise _no_search(error) from error
    changed = [item for item in found.values() if Window(begin, window.end).holds(updated_at(item))]
    return [str(item.get("id")) for item in sorted(changed, key=_newest_first)]


def _newest_first(item: JsonObject) -> tuple[float, str]:
    at = read_moment(created_at(item))
    return -at.timestamp() if at else 0.0, str(item.get("id"))


def _no_search(error: Exception) -> ChatbaseUnsupportedError:
    return ChatbaseUnsupportedError(
        f"strategy='changed_since' needs the search of API v2, and it cannot be used here: {error} "
        "Use strategy='lookback', which reads the last days again and needs no search. Nothing was exported.",
        operation="searchConversations",
    )
