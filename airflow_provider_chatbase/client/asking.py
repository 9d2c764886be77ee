"""
Asking an agent and being charged once.

After a failure that leaves open whether the message was answered, it is looked for before it is sent again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from airflow_provider_chatbase.client.answers import require_answer
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseTimeoutError,
    ChatbaseUnansweredError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.lookup import Fate, Finding, Sought, look_until_sure
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Request
from airflow_provider_chatbase.client.steps import Steps
from airflow_provider_chatbase.client.tools import ToolUse, handed_in, run_tool
from airflow_provider_chatbase.client.v1 import chat as chat_v1
from airflow_provider_chatbase.client.v2 import chat as chat_v2

log = logging.getLogger(__name__)

OnAmbiguous = Literal["reconcile", "retry", "fail"]
ON_AMBIGUOUS = ("reconcile", "retry", "fail")

MOST_SENDS = 3
PATIENCE = 15.0
PATIENCE_AFTER_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Question:
    """
    A message for an agent.

    :param agent_id: the agent.
    :param message: the text.
    :param conversation_id: the conversation to continue; ``None`` begins a new one.
    :param user_id: the caller's user id for a new conversation.
    :param tag: our own user id, used where the caller gave none.
    :param history: the earlier messages, for API v1.
    :param model: the model for this answer, for API v1.
    :param temperature: the temperature for this answer, for API v1.
    :param stream: have the answer sent as it is written.
    :param on_text: told each text of a stream.
    :param after_message_id: the last message known to be in the conversation before this one.
    :param other_conversations: conversations of the same user that other messages are known to have begun.
    """

    agent_id: str
    message: str
    conversation_id: str | None = None
    user_id: str | None = None
    tag: str | None = None
    history: list[JsonObject] = field(default_factory=list, repr=False)
    model: str | None = None
    temperature: float | None = None
    stream: bool = False
    on_text: Callable[[str], None] | None = None
    after_message_id: str | None = None
    other_conversations: frozenset[str] = frozenset()

    def request(self, version: ApiVersion) -> Request[JsonObject]:
        """
        Return the request that sends it.

        :param version: the API version to speak.
        :raises ChatbaseInputError: when an argument is wrong.
        :raises ChatbaseUnsupportedError: when the version cannot do what is asked.
        """
        return self._request_v1() if version == "v1" else self._request_v2()

    def sought(self, not_before: float) -> Sought:
        """
        Return what to look for when its fate is unknown.

        :param not_before: when it was sent at the earliest, in seconds since the epoch.
        """
        return Sought(
            agent_id=self.agent_id,
            message=self.message,
            user_id=self.user_id or self.tag,
            conversation_id=self.conversation_id,
            not_before=not_before,
            own_tag=self.user_id is None and self.conversation_id is None,
            other_conversations=self.other_conversations,
            newer_than=self.after_message_id,
        )

    def _request_v1(self) -> Request[JsonObject]:
        if self.user_id:
            log.warning("API v1 has no user ids: user_id is not sent.")
        return chat_v1.send_message(
            self.agent_id,
            self.message,
            history=self.history,
            conversation_id=self.conversation_id,
            model=self.model,
            temperature=self.temperature,
            stream=self.stream,
            on_text=self.on_text,
        )

    def _request_v2(self) -> Request[JsonObject]:
        if self.model is not None or self.temperature is not None:
            raise ChatbaseUnsupportedError(
                "API v2 takes no model or temperature with a message: set them on the agent "
                "(ChatbaseUpdateAgentOperator), or use a connection with api_version v1. Nothing was sent."
            )
        if self.history and self.conversation_id is None:
            raise ChatbaseInputError(
                "API v2 keeps the history itself: give conversation_id, or an earlier result as history. "
                "Nothing was sent."
            )
        return chat_v2.send_message(
            self.agent_id,
            self.message,
            conversation_id=self.conversation_id,
            user_id=None if self.conversation_id else self.user_id or self.tag,
            stream=self.stream,
            on_text=self.on_text,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """
    How to ask.

    :param version: the API version to speak.
    :param on_ambiguous: what to do when it is unknown whether a message was answered: ``reconcile`` looks
        for it and sends again only when it never arrived, ``retry`` sends again, ``fail`` fails.
    :param look_first: look for the message before it is sent: an earlier try may have sent it.
    :param not_before: when it was sent at the earliest, in seconds since the epoch.
    :param tools: what to do when the agent asks for tools.
    :param patience: seconds after which a message that is not found counts as never arrived.
    :param patience_after_timeout: the same, where the agent may still be writing its answer.
    :param patience_at_first: the same, for the look before sending, where the earlier try was long ago.
    """

    version: ApiVersion = "v2"
    on_ambiguous: OnAmbiguous = "reconcile"
    look_first: bool = False
    not_before: float = field(default_factory=time.time)
    tools: ToolUse = field(default_factory=ToolUse)
    patience: float = PATIENCE
    patience_after_timeout: float = PATIENCE_AFTER_TIMEOUT
    patience_at_first: float | None = None


def ask(question: Question, rules: Rules) -> Steps[JsonObject]:
    """
    Ask, as steps of a client.

    :param question: the message.
    :param rules: how to ask.
    :return: the answer, with ``recovered`` (it was found, not received), ``tool_rounds`` and ``history``.
    :raises ChatbaseAnswerError: when the agent failed, said nothing, or asks for tools that nobody runs.
    :raises ChatbaseUnansweredError: when the message arrived and stays without an answer.
    :raises ChatbaseAmbiguousError: when it is unknown whether it was answered, and it may not be sent again.
    """
    if rules.on_ambiguous not in ON_AMBIGUOUS:
        raise ChatbaseInputError(
            f"on_ambiguous must be one of {', '.join(ON_AMBIGUOUS)}, not {rules.on_ambiguous!r}. "
            "Nothing was sent."
        )
    request = question.request(rules.version)
    sought = question.sought(rules.not_before)
    answer = None
    if rules.look_first and rules.version == "v2":
        patience = rules.patience if rules.patience_at_first is None else rules.patience_at_first
        answer = _recovered((yield from look_until_sure(sought, patience, time.time)))
    if answer is None:
        answer = yield from _send(request, sought, rules)
    return (yield from _use_tools(question, answer, rules))


def _send(request: Request[JsonObject], sought: Sought, rules: Rules) -> Steps[JsonObject]:
    """Send a request that costs credits, again only where that is allowed."""
    sends = 1
    while True:
        try:
            answer = yield request
        except ChatbaseError as error:
            if not error.ambiguous:
                raise
            found = yield from _after_ambiguous(error, sought, rules)
            if found is not None:
                return found
            if sends >= MOST_SENDS:
                raise
            sends += 1
        else:
            return {"history": None, **require_answer(answer), "recovered": False}


def _after_ambiguous(error: ChatbaseError, sought: Sought, rules: Rules) -> Steps[JsonObject | None]:
    """Return the answer that is there all the same, or ``None`` when the message may be sent again."""
    if rules.on_ambiguous == "retry":
        log.warning("It is unknown whether the message was answered; it is sent again: %s", error)
        return None
    if rules.on_ambiguous == "fail" or rules.version == "v1":
        raise ChatbaseAmbiguousError(_unknown(error, rules), operation=error.operation) from error
    log.warning("It is unknown whether the message was answered; looking for it: %s", error)
    timed_out = isinstance(error, ChatbaseTimeoutError)
    patience = rules.patience_after_timeout if timed_out else rules.patience
    answer = _recovered((yield from look_until_sure(sought, patience, time.time)))
    if answer is None:
        log.warning("The message never arrived; it is sent again.")
    return answer


def _recovered(finding: Finding) -> JsonObject | None:
    if finding.fate is Fate.UNANSWERED:
        raise ChatbaseUnansweredError(
            f"The message arrived in conversation {finding.conversation_id} and has no answer. The "
            "conversation may be paused, or a human may have taken it over. It is not sent again, since "
            "that could be charged twice; on_ambiguous='retry' would.",
            operation="chatWithAgent",
            conversation_id=finding.conversation_id,
        )
    if finding.answer is None:
        return None
    log.info("The message had arrived: its answer in conversation %s is used.", finding.conversation_id)
    return {"history": None, **require_answer(finding.answer), "recovered": True}


def _unknown(error: ChatbaseError, rules: Rules) -> str:
    why = (
        "on_ambiguous says so"
        if rules.on_ambiguous == "fail"
        else "API v1 has no way to look, and on_ambiguous='reconcile' does not send twice"
    )
    return f"{error} It is unknown whether the message was answered and charged; it is not sent again: {why}."


def _use_tools(question: Question, answer: JsonObject, rules: Rules) -> Steps[JsonObject]:
    rounds = 0
    while rules.tools.runs(answer):
        if rounds >= rules.tools.max_rounds:
            raise rules.tools.exhausted(answer)
        rounds += 1
        conversation_id = str(answer["conversation_id"])
        for call in answer["tool_calls"]:
            output = run_tool(rules.tools.handlers, call)
            yield handed_in(question.agent_id, conversation_id, call, output)
        request = chat_v2.continue_conversation(
            question.agent_id, conversation_id, stream=question.stream, on_text=question.on_text
        )
        sought = replace(
            question.sought(rules.not_before),
            message=None,
            conversation_id=conversation_id,
            after_message_id=answer["message_id"],
            own_tag=False,
            newer_than=None,
        )
        following = yield from _send(request, sought, rules)
        answer = {**following, "credits": _sum(answer["credits"], following["credits"])}
    return {**answer, "tool_rounds": rounds}


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second
