"""The hook's calls that talk to an agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from airflow_provider_chatbase.client import ChatbaseClient, Request
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.asking import Rules, ToolUse, ask
from airflow_provider_chatbase.client.question import (
    MAX_CHARS,
    MAX_MESSAGES,
    Question,
    new_tag,
    read_history,
    trim_history,
)
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2 import conversations
from airflow_provider_chatbase.hooks.connection import ConnectedHook


class StreamedMessage:
    """
    An answer that is being streamed: iterate over its texts, once, then read ``answer``.

    :param client: sends the request, when the iteration begins.
    :param request: asks for a stream.
    """

    def __init__(self, client: ChatbaseClient, request: Request[Answer]) -> None:
        self._client = client
        self._request = request
        self._answer: Answer | None = None
        self._sent = False

    def __iter__(self) -> Iterator[str]:
        """
        Iterate over the texts as they arrive.

        :raises ChatbaseInterruptedAnswerError: when the stream breaks or ends without its end marker; it has
            the text received so far.
        :raises ChatbaseAnswerError: when the agent fails while it answers.
        :raises RuntimeError: when it was iterated over before; that would send the message again.
        """
        if self._request.stream is None:
            raise RuntimeError("The request does not ask for a stream.")
        if self._sent:
            raise RuntimeError("The texts can be read once: to read them again is to send the message again.")
        self._sent = True
        reader = self._request.stream()
        yield from self._client.stream(self._request, reader)
        self._answer = reader.result().checked()

    @property
    def answer(self) -> JsonObject:
        """
        Return the whole answer, with the fields of :meth:`MessageCalls.send_message`.

        :raises RuntimeError: when the texts have not been read to their end.
        """
        if self._answer is None:
            raise RuntimeError("The answer is not complete: read its texts to the end first.")
        return self._answer.as_json()


class MessageCalls(ConnectedHook):
    """Send messages, hand in what tools returned, retry answers, open voice sessions."""

    def send_message(
        self,
        message: str,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        history: list[dict[str, Any]] | dict[str, Any] | None = None,
        model: str | None = None,
        temperature: float | None = None,
        stream: bool = False,
        on_ambiguous: Literal["reconcile", "retry", "fail"] = "reconcile",
        tool_handlers: dict[str, Callable[..., Any]] | None = None,
        on_tool_calls: Literal["fail", "return"] = "fail",
        max_tool_rounds: int = 10,
        max_history_messages: int = MAX_MESSAGES,
        max_history_chars: int = MAX_CHARS,
    ) -> JsonObject:
        """
        Ask an agent and wait for the whole answer: ``chatWithAgent``, or ``chat`` of API v1.

        :param message: the question.
        :param conversation_id: the conversation to continue; by default a new one.
        :param user_id: tags a new conversation; letters, digits, dots, underscores and hyphens. Without it,
            a tag of our own is sent, under which the message is found again.
        :param history: the earlier messages for API v1, or an earlier result to go on from, on both versions.
        :param model: the model for this answer; API v1 only.
        :param temperature: from 0 to 1, for this answer; API v1 only.
        :param stream: have the answer sent as it is written, so that no proxy on the way gets impatient.
        :param on_ambiguous: what to do when it is unknown whether the message was answered. ``reconcile``
            looks for it, and sends again only when it never arrived; API v1 cannot look, so there it fails.
            ``retry`` sends again, ``fail`` fails.
        :param tool_handlers: what runs the agent's client-side actions, by their names.
        :param on_tool_calls: ``fail``, or ``return`` the answer with its ``tool_calls``, without a handler.
        :param max_tool_rounds: how often the agent may ask for tools before it has to answer.
        :param max_history_messages: the newest earlier messages to send along (API v1).
        :param max_history_chars: the characters they may have together (API v1).
        :return: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``,
            ``credits``, ``finish_reason``, ``tool_calls``, ``tool_rounds``, ``recovered``, ``history``. On
            API v1 the ids, the credits and the finish reason are ``None``, and ``history`` holds what to send
            along next time; on v2 ``history`` is ``None``. A recovered answer has no ``credits``.
        :raises ChatbaseAnswerError: when the agent failed or said nothing.
        """
        question = self.question(
            message,
            agent_id=agent_id,
            conversation_id=conversation_id,
            user_id=user_id,
            history=history,
            model=model,
            temperature=temperature,
            stream=stream,
            max_history_messages=max_history_messages,
            max_history_chars=max_history_chars,
        )
        tools = ToolUse(tool_handlers or {}, on_tool_calls, max_tool_rounds)
        answer = self.client.run(ask(self.client.api, question, Rules(on_ambiguous, tools=tools)))
        return answer.as_json()

    def stream_message(
        self,
        message: str,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        history: list[dict[str, Any]] | dict[str, Any] | None = None,
        model: str | None = None,
        temperature: float | None = None,
    ) -> StreamedMessage:
        """
        Ask an agent and get its answer as it is written: ``chatWithAgent``, or ``chat`` of API v1.

        A stream that breaks is an error with the text so far; it is neither repeated nor looked for here.

        Its parameters are those of :meth:`send_message`.

        :return: iterate over it for the texts; then its ``answer`` is what :meth:`send_message` returns.
        """
        question = self.question(
            message,
            agent_id=agent_id,
            conversation_id=conversation_id,
            user_id=user_id,
            history=history,
            model=model,
            temperature=temperature,
            stream=True,
        )
        return StreamedMessage(self.client, self.client.api.send_message(question))

    def question(
        self,
        message: str,
        *,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        history: Any = None,
        max_history_messages: int = MAX_MESSAGES,
        max_history_chars: int = MAX_CHARS,
        **how: Any,
    ) -> Question:
        """Put a message together, with the history kept to its length; ``how`` are more of its fields."""
        earlier = history if isinstance(history, dict) else {}
        conversation_id = conversation_id or earlier.get("conversation_id") or None
        is_same = conversation_id == earlier.get("conversation_id")
        return Question(
            agent_id=self.agent_or_default(agent_id),
            message=message,
            conversation_id=conversation_id,
            after_message_id=earlier.get("message_id") if is_same else None,
            user_id=user_id or None,
            history=trim_history(read_history(history), max_history_messages, max_history_chars),
            **{"tag": new_tag(), **how},
        )

    def retry_message(self, conversation_id: str, message_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Drop an answer and all after it, and ask for it again: ``retryMessage``. It costs credits again.

        :param conversation_id: the conversation.
        :param message_id: the assistant's message.
        :return: the new answer.
        """
        return (
            self._send(conversations.retry_message, agent_id, conversation_id, message_id).checked().as_json()
        )

    def submit_tool_result(
        self, conversation_id: str, tool_call_id: str, output: Any, agent_id: str | None = None
    ) -> JsonObject:
        """
        Hand in what a client-side action returned, by hand: ``submitToolResult``.

        :meth:`send_message` does so itself for its ``tool_handlers``.

        :param conversation_id: the conversation.
        :param tool_call_id: the ``id`` of a call in ``tool_calls``.
        :param output: the result, as JSON of at most 20 kB.
        :return: ``{"success": true}``.
        """
        return self._send(conversations.submit_tool_result, agent_id, conversation_id, tool_call_id, output)

    def create_voice_session(
        self,
        agent_id: str | None = None,
        conversation_id: str | None = None,
        user_id: str | None = None,
        time_zone: str | None = None,
    ) -> JsonObject:
        """
        Open a voice session for an end user: ``createVoiceSession``. It costs credits by the minute.

        :param conversation_id: the conversation to go on with, a UUID; by default a new one.
        :param user_id: who speaks, so that limits per user apply.
        :param time_zone: where the user is, such as ``Europe/Berlin``.
        :return: ``participantToken`` and more, for the vendor's voice SDK; the token is short-lived.
        """
        given = {"conversationId": conversation_id, "userId": user_id, "timezone": time_zone}
        session = {name: value for name, value in given.items() if value is not None}
        return self._send(conversations.create_voice_session, agent_id, session)
