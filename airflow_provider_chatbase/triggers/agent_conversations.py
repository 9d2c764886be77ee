"""An agent's conversations, read once for all who watch them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseNotFoundError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v2.conversations import export_conversations, search_conversations
from airflow_provider_chatbase.triggers.shared_states import SharedFetches
from airflow_provider_chatbase.watching import message_marks

log = logging.getLogger(__name__)

READERS = 8
"""So many conversations of an agent are read at the same time."""


class AgentConversations:
    """An agent's conversations as the API shows them, without what was written in them."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._searches: SharedFetches[tuple[Any, ...], list[JsonObject]] = SharedFetches()
        self._messages: SharedFetches[str, list[JsonObject]] = SharedFetches()
        self._readers = asyncio.Semaphore(READERS)

    async def newest(self, client: AsyncChatbaseClient, not_before: float) -> list[JsonObject]:
        """Return the conversation that was active last, if there is one."""

        async def search(_key: object) -> list[JsonObject]:
            return (await client.send(search_conversations(self._agent_id, limit=1))).items

        return await self._searches.get((), search, not_before)

    async def active_since(
        self, client: AsyncChatbaseClient, filters: Mapping[str, str], since: float, not_before: float
    ) -> list[JsonObject]:
        """Return those of a search that were active since a time; who asks for the same shares the search."""
        self._searches.forget_before(not_before)
        self._messages.forget_before(not_before)
        after = datetime.fromtimestamp(int(since), UTC)
        request = search_conversations(self._agent_id, updated_after=after, filters=filters)
        key = (int(since), *sorted(filters.items()))
        return await self._searches.get(key, lambda _key: _all_rows(client, request), not_before, join=True)

    async def messages(
        self, client: AsyncChatbaseClient, ids: Iterable[str], not_before: float
    ) -> dict[str, list[JsonObject]]:
        """Return what is judged of conversations' messages; one that cannot be read is left out."""

        async def read(conversation_id: str) -> list[JsonObject]:
            request = export_conversations(self._agent_id, conversation_id=conversation_id)
            async with self._readers:
                with suppress(ChatbaseNotFoundError):  # deleted since
                    return [
                        mark for found in (await client.send(request)).items for mark in message_marks(found)
                    ]
            return []

        wanted = list(dict.fromkeys(ids))
        found = await asyncio.gather(
            *(self._messages.get(each, read, not_before, join=True) for each in wanted),
            return_exceptions=True,
        )
        failures = [each for each in found if isinstance(each, BaseException)]
        if unexpected := [each for each in failures if not isinstance(each, ChatbaseError)]:
            raise unexpected[0]
        if failures:
            log.warning(
                "%s of %s conversations could not be read, and wait: %s",
                len(failures),
                len(wanted),
                failures[0],
            )
        return {
            each: messages for each, messages in zip(wanted, found, strict=True) if isinstance(messages, list)
        }

    def close(self) -> None:
        """Stop what is under way."""
        self._searches.close()
        self._messages.close()


async def _all_rows(client: AsyncChatbaseClient, request: Request[Page]) -> list[JsonObject]:
    names = ("id", "createdAt", "updatedAt", "status", "source")
    return [{name: row.get(name) for name in names} async for row in client.items(request)]
