"""Asking an agent."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_chatbase.client.checks import require_text, require_user_id
from airflow_provider_chatbase.client.request import CHAT_PATIENCE, Json, JsonObject, Request, segment
from airflow_provider_chatbase.client.shapes import data_object


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
    :return: a request for the answer, see :func:`read_answer`.
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


def read_answer(reply: Json) -> JsonObject:
    """
    Read an answer into our names.

    :param reply: ``{"data": {"id", "parts", "metadata"}}``.
    :return: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``, ``credits``,
        ``finish_reason`` and ``tool_calls``; what the reply does not say is ``None``.
    :raises UnexpectedShapeError: when there is no ``data`` object.
    """
    data = data_object(reply)
    metadata = _mapping(data.get("metadata"))
    parts = [part for part in data.get("parts") or [] if isinstance(part, dict)]
    return {
        "text": "".join(_text(part) for part in parts),
        "conversation_id": metadata.get("conversationId"),
        "message_id": data.get("id"),
        "user_message_id": metadata.get("userMessageId"),
        "user_id": metadata.get("userId"),
        "credits": _mapping(metadata.get("usage")).get("credits"),
        "finish_reason": metadata.get("finishReason"),
        "tool_calls": [_tool_call(part) for part in parts if part.get("type") == "tool-call"],
    }


def _text(part: JsonObject) -> str:
    text = part.get("text") if part.get("type") == "text" else None
    return text if isinstance(text, str) else ""


def _tool_call(part: JsonObject) -> JsonObject:
    return {"id": part.get("toolCallId"), "name": part.get("toolName"), "input": part.get("input")}


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
