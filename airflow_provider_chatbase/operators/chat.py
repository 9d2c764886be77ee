"""Asking an agent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_chatbase.hooks.task_instance import earlier_try_began, task_identity
from airflow_provider_chatbase.links import ChatbaseConversationLink
from airflow_provider_chatbase.operators._task import ChatbaseOperator
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.client.asking import Rules
    from airflow_provider_chatbase.client.question import Question
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

__all__ = ["ChatbaseBatchPromptOperator", "ChatbaseSendMessageOperator"]

SECONDS_BETWEEN_REPORTS = 5.0


class ChatbaseSendMessageOperator(ChatbaseOperator):
    """
    Sends a message to an agent and returns its answer: ``chatWithAgent``, or ``chat`` of API v1.

    An answer costs credits, so a message is not sent again after a failure that leaves open whether it was
    answered. On API v2 it is looked for first: without a ``user_id`` it carries a tag of our own, the same
    for the same task instance and message, so that a retry after a worker's crash finds the answer that is
    already paid for. Clearing the task finds it, too; a new DAG run asks anew.

    Returns plain JSON: ``text``, ``conversation_id``, ``message_id``, ``user_message_id``, ``user_id``,
    ``credits``, ``finish_reason``, ``tool_calls``, ``tool_rounds``, ``recovered``, ``history``. On API v1 the
    ids, the credits and the finish reason are ``None``, and ``history`` holds what to go on from; on v2
    ``history`` is ``None``. A recovered answer has no ``credits``, since Chatbase does not say them again.

    :param message: the message.
    :param agent_id: the agent; by default the connection's.
    :param conversation_id: the conversation to continue; by default a new one.
    :param user_id: tags a new conversation; letters, digits, dots, underscores and hyphens.
    :param history: an earlier result to go on from; for API v1 also a list of ``{"role", "content"}``.
    :param model: the model for this answer; API v1 only.
    :param temperature: from 0 to 1, for this answer; API v1 only.
    :param stream: have the answer sent as it is written, so that no proxy on the way gets impatient.
    :param on_ambiguous: what to do when it is unknown whether the message was answered. ``reconcile`` looks
        for it, and sends again only when it never arrived; API v1 cannot look, so there it fails. ``retry``
        sends again, and a second try of the task asks anew; ``fail`` fails.
    :param tool_handlers: what runs the agent's client-side actions, by their names. A handler gets the input
        as keyword arguments, or as one argument where its parameters have other names.
    :param on_tool_calls: ``fail``, or ``return`` the answer with its ``tool_calls``, without a handler.
    :param max_tool_rounds: how often the agent may ask for tools before it has to answer.
    :param max_history_messages: the newest earlier messages to send along; by default 50 (API v1).
    :param max_history_chars: the characters they may have together; by default 50,000 (API v1).
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    operator_extra_links = (*ChatbaseOperator.operator_extra_links, ChatbaseConversationLink())
    linked_conversation_id: str | None = None
    texts = (*ChatbaseOperator.texts, "message", "conversation_id", "user_id", "model")
    lists_of_texts = ("history",)
    flags = ("stream",)
    numbers = ("temperature", "max_tool_rounds", "max_history_messages", "max_history_chars")
    template_fields: Sequence[str] = (
        *texts,
        *lists_of_texts,
        *flags,
        *numbers,
    )

    def __init__(
        self,
        *,
        message: str,
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
        max_history_messages: int = 50,
        max_history_chars: int = 50_000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.message = message
        self.conversation_id = conversation_id
        self.user_id = user_id
        self.history = history
        self.model = model
        self.temperature = temperature
        self.stream = stream
        self.on_ambiguous = on_ambiguous
        self.tool_handlers = tool_handlers
        self.on_tool_calls = on_tool_calls
        self.max_tool_rounds = max_tool_rounds
        self.max_history_messages = max_history_messages
        self.max_history_chars = max_history_chars

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Send the message.

        :param context: the task's context.
        :return: the answer.
        :raises ChatbaseAnswerError: when the agent failed or said nothing.
        :raises ChatbaseUnansweredError: when the message arrived and stays without an answer.
        """
        with self.hook() as hook:
            from airflow_provider_chatbase.client.asking import ask
            from airflow_provider_chatbase.client.errors import ChatbaseAnswerError, counted

            question = self._question(hook, context)
            try:
                answer = hook.client.run(ask(hook.client.api, question, self._rules()))
            except ChatbaseAnswerError as error:
                self.linked_conversation_id = error.conversation_id
                raise
        self.linked_conversation_id = answer.conversation_id
        self.log.info(
            "Answered with %s for %s, finish reason %s%s.\nConversation %s, message %s.",
            counted(len(answer.text), "character"),
            "unknown credits" if answer.credits is None else counted(answer.credits, "credit"),
            answer.finish_reason or "unknown",
            ", found as an earlier attempt had left it" if answer.recovered else "",
            answer.conversation_id or "unknown",
            answer.message_id or "unknown",
        )
        return answer.as_json()

    def _question(self, hook: ChatbaseHook, context: Context) -> Question:
        return hook.question(
            self.message,
            agent_id=self.agent_id,
            conversation_id=self.conversation_id,
            user_id=self.user_id,
            history=self.history,
            max_history_messages=self.max_history_messages,
            max_history_chars=self.max_history_chars,
            model=self.model or None,
            temperature=self.temperature,
            stream=self.stream,
            on_text=_reporter(self.log.info) if self.stream else None,
            tag=self._tag(hook, context),
            earlier_try_began=earlier_try_began(context),
        )

    def _rules(self) -> Rules:
        from airflow_provider_chatbase.client.asking import Rules, ToolUse

        return Rules(
            on_ambiguous=self.on_ambiguous,
            tools=ToolUse(self.tool_handlers or {}, self.on_tool_calls, self.max_tool_rounds),
        )

    def _tag(self, hook: ChatbaseHook, context: Context) -> str:
        from airflow_provider_chatbase.client.question import new_tag, tag_of

        identity = task_identity(context)
        if identity is None:
            return new_tag()
        return tag_of(*identity, hook.agent_or_default(self.agent_id), self.message)


def _reporter(report: Callable[..., None]) -> Callable[[str], None]:
    """Report now and then how much of an answer has come; never what it says."""
    chars, reported = 0, time.monotonic()

    def take(text: str) -> None:
        nonlocal chars, reported
        chars += len(text)
        if time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            report("%d characters of the answer so far.", chars)

    return take
