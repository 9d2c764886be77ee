"""The hook's calls on conversations that there are already."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2 import conversations
from airflow_provider_chatbase.hooks.connection import ConnectedHook


class ConversationCalls(ConnectedHook):
    """Export, search, list and read conversations; pause, end, delete and rate them."""

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

        On API v1 it is ``getConversations``, which goes by whole days (UTC) and always sends the messages.

        :param start: only those created at or after this time.
        :param end: only those created at or before this time.
        :param conversation_id: only this one.
        :param channels: only these, by the API's exact names, such as ``Widget or Iframe``.
        :param summary: leave the messages out.
        :return: an iterator that fetches page after page.
        """
        return self._items(
            self.client.api.list_conversations,
            agent_id,
            start,
            end,
            conversation_id=conversation_id,
            channels=channels or (),
            summary=summary,
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

        :param query: words that must all occur.
        :param updated_after: only those active at or after this time.
        :param updated_before: only those last active at or before this time.
        :param channels: only these channels, by the API's exact names.
        :param user_ids: only these users.
        :param filters: more parameters of the API, by its names, such as ``{"sentiment": "negative"}``.
        :return: an iterator that fetches page after page.
        :raises ChatbasePlanError: when the plan or the agent has no search.
        """
        return self._items(
            conversations.search_conversations,
            agent_id,
            query=query,
            updated_after=updated_after,
            updated_before=updated_before,
            sources=channels or (),
            user_ids=user_ids or (),
            filters=filters,
        )

    def set_feedback(
        self, conversation_id: str, message_id: str, feedback: str | None, agent_id: str | None = None
    ) -> JsonObject:
        """
        Rate an assistant's message: ``updateMessageFeedback``.

        :param conversation_id: the conversation.
        :param message_id: the assistant's message.
        :param feedback: ``positive``, ``negative``, or ``None`` to take it back.
        :return: the message.
        """
        return self._send(conversations.set_feedback, agent_id, conversation_id, message_id, feedback)

    def pause_conversation(self, conversation_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Pause a conversation: messages are recorded, and the agent does not answer: ``updateConversation``.

        :param conversation_id: the conversation, of any channel.
        :return: ``{"id", "status"}``.
        """
        return self._set_status(conversation_id, agent_id, "paused")

    def resume_conversation(self, conversation_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Let the agent answer again in a conversation that is paused, or has ended: ``updateConversation``.

        An account that is billed per conversation cannot resume one that has ended.

        :param conversation_id: the conversation, of any channel.
        :return: ``{"id", "status"}``.
        """
        return self._set_status(conversation_id, agent_id, "ongoing")

    def end_conversation(self, conversation_id: str, agent_id: str | None = None) -> JsonObject:
        """
        End a conversation: ``updateConversation``. The older of two documents has no way to.

        :param conversation_id: the conversation, of any channel.
        :return: ``{"id", "status"}``.
        :raises ChatbaseUnsupportedError: when it is refused, or accepted without effect.
        """
        return self._set_status(conversation_id, agent_id, "ended")

    def _set_status(
        self, conversation_id: str, agent_id: str | None, status: conversations.Status
    ) -> JsonObject:
        agent = self.agent_or_default(agent_id)
        return self.client.run(conversations.set_status(agent, conversation_id, status))

    def delete_conversation(self, conversation_id: str, agent_id: str | None = None) -> bool:
        """
        Delete a conversation, for good: ``deleteConversation``.

        No document says whether one of another channel, or one that is going on, can be deleted.

        :param conversation_id: the conversation.
        :return: ``False`` when there was none.
        """
        return self._send(conversations.delete_conversation, agent_id, conversation_id)

    def list_conversations(
        self, agent_id: str | None = None, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[JsonObject]:
        """
        Walk over the conversations created through the API, newest first: ``listConversations``.

        :param start: only those created at or after this time.
        :param end: only those created at or before this time.
        :return: an iterator that fetches page after page, without messages.
        """
        return self._items(conversations.list_conversations, agent_id, start=start, end=end)

    def list_user_conversations(self, user_id: str, agent_id: str | None = None) -> Iterator[JsonObject]:
        """
        Walk over a user's conversations through the API, last active first: ``listUserConversations``.

        :param user_id: the ``user_id`` that they were begun with.
        :return: an iterator that fetches page after page, without messages.
        """
        return self._items(conversations.list_user_conversations, agent_id, user_id)

    def get_conversation(self, conversation_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Return a conversation with its newest messages: ``getConversation``.

        :param conversation_id: a conversation that was created through the API; others are read with
            ``export_conversations``.
        """
        return self._send(conversations.get_conversation, agent_id, conversation_id)

    def list_messages(self, conversation_id: str, agent_id: str | None = None) -> list[JsonObject]:
        """
        Return all messages of a conversation, oldest first: ``listConversationMessages``.

        :param conversation_id: a conversation that was created through the API.
        """
        first = conversations.list_messages(self.agent_or_default(agent_id), conversation_id)
        pages = [page.items for page in self.client.pages(first)]
        return [message for page in reversed(pages) for message in page]
