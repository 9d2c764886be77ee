"""Asking an agent."""

from __future__ import annotations

from airflow_provider_chatbase.client.answers import read_answer
from airflow_provider_chatbase.client.checks import require_text, require_user_id
from airflow_provider_chatbase.client.request import CHAT_PATIENCE, JsonObject, Request, segment


def send_message(
    agent_id: str, message: str, *, conversation_id: str | None = None, user_id: str | None = None
) -> Request[JsonObject]:
    """
    Ask an agent and wait for the whole answer: ``chatWithAgent``.

    An answer costs credits and there is no idempotency key, so it is never repeated blindly.

    :param agent_id: the agent.
    :param message: the question.
    :param conversation_id: the conversation to continue; ``None`` begins a new one.
    :param user_id: tags a new conversation; the API ignores it for one that exists.
    :return: a request for the answer, see :func:`~airflow_provider_chatbase.client.answers.read_answer`.
    :raises ChatbaseInputError: when the message is empty or the user id has other characters than
        letters, digits, dots, underscores and hyphens.
    """
    body: JsonObject = {"message": require_text("message", message), "stream": False}
    if conversation_id is not None:
        body["conversationId"] = require_text("conversation_id", conversation_id)
    if user_id is not None:
        body["userId"] = require_user_id(user_id)
    return Request(
        operation="chatWithAgent",
        method="POST",
        path=f"/agents/{segment('agent_id', agent_id)}/chat",
        body=body,
        read=read_answer,
        repeatable=False,
        patience=CHAT_PATIENCE,
    )
