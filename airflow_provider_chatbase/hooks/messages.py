"""The hook's calls that talk to an agent."""

from __future__ import annotations

from airflow_provider_chatbase.client.answers import require_answer
from airflow_provider_chatbase.client.v2 import chat
from airflow_provider_chatbase.hooks.base import ConnectedHook, JsonObject


class MessageCalls(ConnectedHook):
    """Send messages."""

    def send_message(
        self,
        message: str,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
    ) -> JsonObject:
        """
        Ask an agent and wait for the whole answer: ``chatWithAgent``.

        :param message: the question.
        :param agent_id: the agent; by default the connection's.
        :param conversation_id: the conversation to continue; by default a new one.
        :param user_id: tags a new conversation; letters, digits, dots, underscores and hyphens.
        :return: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``,
            ``credits``, ``finish_reason``, ``tool_calls``.
        :raises ChatbaseAnswerError: when the agent failed or said nothing.
        """
        request = chat.send_message(
            self.agent_or_default(agent_id), message, conversation_id=conversation_id, user_id=user_id
        )
        return require_answer(self.client.send(request))
