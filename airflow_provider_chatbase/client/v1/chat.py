"""Asking an agent on API v1, to which the caller sends the history."""

from __future__ import annotations

from airflow_provider_chatbase.client.answer_stream import TextStreamReader
from airflow_provider_chatbase.client.checks import require_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import UnexpectedShapeError
from airflow_provider_chatbase.client.request import CHAT_PATIENCE, Json, JsonObject, Request
from airflow_provider_chatbase.client.shapes import bare_object
from airflow_provider_chatbase.client.v2.chat import OnText


def send_message(
    agent_id: str,
    message: str,
    *,
    history: list[JsonObject],
    conversation_id: str | None = None,
    model: str | None = None,
    temperature: float | None = None,
    stream: bool = False,
    on_text: OnText | None = None,
) -> Request[JsonObject]:
    """
    Ask an agent: ``chat``. It costs credits, so it is never repeated blindly.

    :param agent_id: the agent (v1 calls it a chatbot).
    :param message: the question.
    :param history: the earlier messages, oldest first.
    :param conversation_id: where Chatbase saves the conversation; without it, it is not saved.
    :param model: the model for this answer; by default the agent's.
    :param temperature: from 0 to 1, for this answer; by default the agent's.
    :param stream: have the answer sent as it is written.
    :param on_text: told each text of the stream.
    :return: a request for the answer, with the fields of v2's; what v1 does not say is ``None``.
    :raises ChatbaseInputError: when a text is empty or the temperature out of range.
    """
    messages = [*history, {"role": "user", "content": require_text("message", message)}]
    body: JsonObject = {
        "chatbotId": require_text("agent_id", agent_id),
        "messages": messages,
        "stream": stream,
        "conversationId": conversation_id,
        "model": model,
        "temperature": _temperature(temperature),
    }

    def make_answer(text: str) -> JsonObject:
        return _answer(text, conversation_id, messages)

    def read(reply: Json) -> JsonObject:
        text = bare_object(reply).get("text")
        if not isinstance(text, str):
            raise UnexpectedShapeError("text was promised, and did not come")
        return make_answer(text)

    return Request(
        operation="chat",
        method="POST",
        path="/chat",
        version="v1",
        body={name: value for name, value in body.items() if value is not None},
        read=read,
        repeatable=False,
        patience=CHAT_PATIENCE,
        stream=(lambda: TextStreamReader(make_answer)) if stream else None,
        on_text=on_text,
    )


def _answer(text: str, conversation_id: str | None, messages: list[JsonObject]) -> JsonObject:
    return {
        "text": text,
        "conversation_id": conversation_id,
        "message_id": None,
        "user_message_id": None,
        "user_id": None,
        "credits": None,
        "finish_reason": None,
        "tool_calls": [],
        "history": [*messages, {"role": "assistant", "content": text}],
    }


def _temperature(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ChatbaseInputError(
            f"temperature must be a number from 0 to 1, not {value!r}. Nothing was sent."
        )
    return value
