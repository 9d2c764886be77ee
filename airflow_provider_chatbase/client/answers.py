"""What an agent answered, in our names, and whether it is an answer at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_provider_chatbase.client.errors import ChatbaseAnswerError
from airflow_provider_chatbase.client.request import Json, JsonObject
from airflow_provider_chatbase.client.shapes import data_object

NAMED = ("conversation", "message")
"""What an error names, where it is known."""


def read_answer(reply: Json) -> JsonObject:
    """
    Read an answer of API v2 into our names.

    :param reply: ``{"data": {"id", "parts", "metadata"}}``.
    :return: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``, ``credits``,
        ``finish_reason`` and ``tool_calls`` (those without a result); what it does not say is ``None``.
    :raises UnexpectedShapeError: when there is no ``data`` object.
    """
    data = data_object(reply)
    metadata = as_mapping(data.get("metadata"))
    parts = message_parts(data)
    return {
        "text": parts_text(parts),
        "conversation_id": metadata.get("conversationId"),
        "message_id": data.get("id"),
        "user_message_id": metadata.get("userMessageId"),
        "user_id": metadata.get("userId"),
        "credits": as_mapping(metadata.get("usage")).get("credits"),
        "finish_reason": metadata.get("finishReason"),
        "tool_calls": pending_tool_calls(parts),
    }


def require_answer(answer: JsonObject) -> JsonObject:
    """
    Refuse a reply that came with HTTP 200 and is no answer.

    :param answer: from :func:`read_answer` or a stream.
    :return: the same answer.
    :raises ChatbaseAnswerError: when the agent failed, or said nothing and asked for no tool.
    """
    where = ", ".join(f"{name} {answer[f'{name}_id']}" for name in NAMED if answer[f"{name}_id"])
    if answer["finish_reason"] == "error":
        raise ChatbaseAnswerError(
            f"The agent failed while it answered (finishReason: error{where and '; '}{where}). "
            "Look at the conversation in Chatbase; sending again is charged again.",
            operation="chatWithAgent",
            text=answer["text"],
            conversation_id=answer["conversation_id"],
        )
    if not answer["text"].strip() and not answer["tool_calls"] and answer["finish_reason"] != "tool-calls":
        raise ChatbaseAnswerError(
            f"The agent gave no answer{where and f' ({where})'}. The message is recorded; the conversation "
            "may be paused, or a human may have taken it over.",
            operation="chatWithAgent",
            conversation_id=answer["conversation_id"],
        )
    return answer


def complete(answer: JsonObject, *, recovered: bool = False) -> JsonObject:
    """
    Return an answer with all the fields that a caller gets.

    :param answer: from :func:`read_answer` or a stream.
    :param recovered: whether it was found, not received.
    :return: the answer with ``history``, ``recovered`` and ``tool_rounds``.
    :raises ChatbaseAnswerError: when it is none.
    """
    return {"history": None, **require_answer(answer), "recovered": recovered, "tool_rounds": 0}


def message_parts(message: Mapping[str, Json]) -> list[JsonObject]:
    """
    Return a message's parts, those of unknown types too.

    :param message: a message or an answer of API v2.
    """
    parts = message.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def parts_text(parts: Sequence[JsonObject]) -> str:
    """
    Return the text of a message.

    :param parts: its parts; those that are no text are passed over.
    """
    texts = (part.get("text") for part in parts if part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def pending_tool_calls(parts: Sequence[JsonObject]) -> list[JsonObject]:
    """
    Return the tool calls that have no result yet.

    :param parts: a message's parts.
    :return: ``id``, ``name`` and ``input`` of each.
    """
    results = {part.get("toolCallId") for part in parts if part.get("type") == "tool-result"}
    return [
        {"id": part.get("toolCallId"), "name": part.get("toolName"), "input": part.get("input")}
        for part in parts
        if part.get("type") == "tool-call" and part.get("toolCallId") not in results
    ]


def as_mapping(value: Json) -> Mapping[str, Json]:
    """
    Return a JSON object, or an empty one in place of anything else.

    :param value: decoded JSON.
    """
    return value if isinstance(value, dict) else {}
