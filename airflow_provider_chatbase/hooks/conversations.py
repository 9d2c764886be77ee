"""The hook's calls on conversations."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airflow_provider_chatbase.client.v2 import conversations
from airflow_provider_chatbase.hooks.base import ConnectedHook, JsonObject


class ConversationCalls(ConnectedHook):
    """Export conversations."""

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
