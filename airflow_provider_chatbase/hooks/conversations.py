"""The hook's calls on conversations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airflow_provider_chatbase.client.v2 import conversations
from airflow_provider_chatbase.hooks.base import ConnectedHook, JsonObject


class ConversationCalls(ConnectedHook):
    """Export and search conversations."""

    def export_conversations(
        self,
        agent_id: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        conversation_id: str | None = None,
        channels: list[str] | None = None,
        summary: bool = False,
    ) -> Iterator[JsonObject]:
        """
        Walk over conversations of every channel, newest first: ``exportConversations``.

        :param agent_id: the agent; by default the connection's.
        :param start: only those created at or after this time.
        :param end: only those created at or before this time.
        :param conversation_id: only this one.
        :param channels: only these, by the API's exact names, such as ``Widget or Iframe``.
        :param summary: leave the messages out.
        :return: an iterator that fetches page after page.
        """
        return self.client.items(
            conversations.export_conversations(
                self.agent_or_default(agent_id),
                start=start,
                end=end,
                conversation_id=conversation_id,
                sources=channels or (),
                summary=summary,
            )
        )

    def search_conversations(
        self,
        agent_id: str | None = None,
        query: str | None = None,
        updated_after: datetime | None = None,
        updated_before: datetime | None = None,
        channels: list[str] | None = None,
        user_ids: list[str] | None = None,
        filters: dict[str, str] | None = None,
    ) -> Iterator[JsonObject]:
        """
        Walk over the conversations that match, without their messages: ``searchConversations``.

        The API looks only at conversations created since the 1st of the month twelve months back.

        :param agent_id: the agent; by default the connection's.
        :param query: words that must all occur.
        :param updated_after: only those active at or after this time.
        :param updated_before: only those last active at or before this time.
        :param channels: only these channels, by the API's exact names.
        :param user_ids: only these users.
        :param filters: more parameters of the API, by its names, such as ``{"sentiment": "negative"}``.
        :return: an iterator that fetches page after page.
        :raises ChatbasePlanError: when the plan or the agent has no search.
        """
        return self.client.items(
            conversations.search_conversations(
                self.agent_or_default(agent_id),
                query=query,
                updated_after=updated_after,
                updated_before=updated_before,
                sources=channels or (),
                user_ids=user_ids or (),
                filters=filters,
            )
        )
