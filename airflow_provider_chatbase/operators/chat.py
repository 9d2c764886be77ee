"""Asking an agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.operators.base import ChatbaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChatbaseSendMessageOperator(ChatbaseOperator):
    """
    Sends a message to an agent and returns its answer: ``chatWithAgent``.

    An answer costs credits, so a message is never sent again after a failure that leaves open whether
    it was answered. An answer with ``finishReason: error`` fails the task.

    Returns plain JSON: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``,
    ``credits``, ``finish_reason``, ``tool_calls``.

    :param message: the message.
    :param agent_id: the agent; by default the connection's.
    :param conversation_id: the conversation to continue; by default a new one.
    :param user_id: tags a new conversation; letters, digits, dots, underscores and hyphens.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (
        *ChatbaseOperator.template_fields,
        "message",
        "conversation_id",
        "user_id",
    )

    def __init__(
        self,
        *,
        message: str,
        conversation_id: str | None = None,
        user_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.message = message
        self.conversation_id = conversation_id
        self.user_id = user_id

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the message.

        :param context: the task's context.
        :return: the answer.
        :raises ChatbaseAnswerError: when the agent failed or said nothing.
        """
        with self.hook() as hook:
            answer = hook.send_message(
                self.message,
                agent_id=self.agent_id,
                conversation_id=self.conversation_id or None,
                user_id=self.user_id or None,
            )
        self.log.info(
            "Answered with %d characters for %s credits: conversation %s, message %s, finish reason %s.",
            len(answer["text"]),
            answer["credits"],
            answer["conversation_id"],
            answer["message_id"],
            answer["finish_reason"],
        )
        return answer
