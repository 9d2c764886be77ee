"""
Asking an agent and being charged once.

After a failure that leaves open whether the message was answered, it is looked for before it is sent again.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.checks import require_user_id
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseApiError,
    ChatbaseDamagedReplyError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseInterruptedAnswerError,
    ChatbaseTimeoutError,
    ChatbaseUnansweredError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.lookup import (
    Fate,
    Finding,
    Sought,
    look_until_sure,
    newest_message_id,
)
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Request, Steps
from airflow_provider_chatbase.client.tools import ToolUse, handed_in, run_tool
from airflow_provider_chatbase.client.v2 import chat as chat_v2

TAG_PREFIX = "airflow-"
"""What this provider sends without a user id of the caller's begins with this, and can be told apart."""


def tag_of(*parts: object) -> str:
    """Make a tag that is the same for the same parts."""
    text = json.dumps([str(part) for part in parts])
    return TAG_PREFIX + sha256(text.encode(errors="surrogatepass")).hexdigest()[:40]


def new_tag() -> str:
    """Make a tag that no other message has."""
    return TAG_PREFIX + uuid.uuid4().hex


log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """
    A message for an agent.

    :param agent_id: the agent.
    :param message: the text.
    :param conversation_id: the conversation to continue; ``None`` begins a new one.
    :param after_message_id: the last message of that conversation, where an earlier result told it.
    :param user_id: the caller's user id for a new conversation.
    :param tag: our own user id, used where the caller gave none.
    :param history: the earlier messages, for API v1.
    :param model: the model for this answer, for API v1.
    :param temperature: the temperature for this answer, for API v1.
    :param stream: have the answer sent as it is written.
    :param on_text: told each text of a stream.
    :param other_conversations: conversations of the same user that other messages are known to have begun.
    :param other_messages: messages of the conversation that are known to be others.
    """

    agent_id: str
    message: str
    conversation_id: str | None = None
    after_message_id: str | None = None
    user_id: str | None = None
    tag: str | None = None
    history: list[JsonObject] = field(default_factory=list, repr=False)
    model: str | None = None
    temperature: float | None = None
    stream: bool = False
    on_text: Callable[[str], None] | None = None
    other_conversations: frozenset[str] = frozenset()
    other_messages: frozenset[str] = frozenset()

    def request(self, version: ApiVersion) -> Request[Answer]:
        """Return the request that sends it."""
        if self.user_id is not None:
            require_user_id(self.user_id)
        return self._request_v1() if version == "v1" else self._request_v2()

    def sought(self, not_before: float, *, earlier_try: bool) -> Sought:
        """Return what to look for when its fate is unknown."""
        own_tag = self.user_id is None and self.conversation_id is None
        return Sought(
            agent_id=self.agent_id,
            message=self.message,
            user_id=self.user_id or self.tag,
            conversation_id=self.conversation_id,
            not_before=0.0 if own_tag and earlier_try else not_before,
            after_message_id=self.after_message_id,
            own_tag=own_tag,
            other_conversations=self.other_conversations,
            other_messages=self.other_messages,
        )

    def _request_v1(self) -> Request[Answer]:
        if self.user_id:
            log.warning("API v1 has no user ids: user_id is not sent.")
        return v1.send_message(
            self.agent_id,
            self.message,
            history=self.history,
            conversation_id=self.conversation_id,
            model=self.model,
            temperature=self.temperature,
            stream=self.stream,
            on_text=self.on_text,
        )

    def _request_v2(self) -> Request[Answer]:
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


OnAmbiguous = Literal["reconcile", "retry", "fail"]
ON_AMBIGUOUS = ("reconcile", "retry", "fail")

MOST_SENDS = 3
PATIENCE = 15.0
PATIENCE_AFTER_TIMEOUT = 60.0

REPLY_BEGAN = (ChatbaseInterruptedAnswerError, ChatbaseDamagedReplyError)
"""Failures after which it is certain that the message arrived."""


@dataclass(frozen=True, slots=True)
class Rules:
    """
    How to ask.

    :param version: the API version to speak.
    :param on_ambiguous: what to do when it is unknown whether a message was answered: ``reconcile`` looks
        for it and sends again only when it never arrived, ``retry`` sends again, ``fail`` fails.
    :param look_first: look for the message before it is sent, unless ``on_ambiguous`` is ``retry``: an
        earlier try may have sent it.
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


def ask(question: Question, rules: Rules) -> Steps[Answer]:
    """Ask, as steps of a client."""
    if rules.on_ambiguous not in ON_AMBIGUOUS:
        raise ChatbaseInputError(
            f"on_ambiguous must be one of {', '.join(ON_AMBIGUOUS)}, not {rules.on_ambiguous!r}. "
            "Nothing was sent."
        )
    request = question.request(rules.version)
    sought = question.sought(rules.not_before, earlier_try=rules.look_first)
    answer = (yield from _answer_of_an_earlier_try(sought, rules)) if rules.look_first else None
    if answer is None:
        sought = yield from _told_apart(sought, rules)
        answer = yield from _send(request, sought, rules)
    return (yield from _use_tools(question, answer, rules))


def _answer_of_an_earlier_try(sought: Sought, rules: Rules) -> Steps[Answer | None]:
    if rules.on_ambiguous == "retry":
        return None
    if rules.version == "v1":
        log.warning(
            "This is not the first try, and API v1 has no way to look whether an earlier one arrived."
        )
        return None
    patience = rules.patience if rules.patience_at_first is None else rules.patience_at_first
    try:
        finding = yield from look_until_sure(sought, patience, time.time)
    except ChatbaseApiError as failed:
        if not failed.permanent:
            raise
        raise ChatbaseAmbiguousError(
            f"An earlier try may have sent the message, and looking for it is refused: {failed} "
            "It was not sent now; on_ambiguous='retry' sends without looking.",
            operation=failed.operation,
        ) from failed
    return _recovered(finding)


def _told_apart(sought: Sought, rules: Rules) -> Steps[Sought]:
    """Learn what a conversation ends with now, so that an equal message in it is not taken for this one."""
    if rules.version == "v1" or rules.on_ambiguous != "reconcile":
        return sought
    if sought.conversation_id is None or sought.after_message_id is not None:
        return sought
    try:
        newest = yield from newest_message_id(sought.agent_id, sought.conversation_id)
    except ChatbaseApiError as failed:
        log.info(
            "Conversation %s cannot be read before the message is sent: %s", sought.conversation_id, failed
        )
        return sought
    return replace(sought, after_message_id=newest)


def _send(request: Request[Answer], sought: Sought, rules: Rules) -> Steps[Answer]:
    """Send a request that costs credits, again only where that is allowed."""
    sends = 1
    while True:
        try:
            answer: Answer = yield request
        except ChatbaseError as error:
            if not error.ambiguous:
                raise
            found = yield from _after_ambiguous(error, sought, rules)
            if found is not None:
                return found
            if sends >= MOST_SENDS:
                raise
            sends += 1
            log.warning("The message is sent again.")
        else:
            return answer.checked()


def _after_ambiguous(error: ChatbaseError, sought: Sought, rules: Rules) -> Steps[Answer | None]:
    """Return the answer that is there all the same, or ``None`` when the message may be sent again."""
    if rules.on_ambiguous == "retry":
        log.warning("It is unknown whether the message was answered: %s", error)
        return None
    if rules.on_ambiguous == "fail":
        raise _given_up(error, "on_ambiguous says so") from error
    if rules.version == "v1":
        why = "API v1 has no way to look, and on_ambiguous='reconcile' does not send twice"
        raise _given_up(error, why) from error
    log.warning("It is unknown whether the message was answered; looking for it: %s", error)
    writing = isinstance(error, (ChatbaseTimeoutError, ChatbaseInterruptedAnswerError))
    patience = rules.patience_after_timeout if writing else rules.patience
    try:
        finding = yield from look_until_sure(sought, patience, time.time)
    except ChatbaseError as failed:
        log.warning("Looking for the message failed: %s", failed)
        if failed.permanent:
            raise _given_up(error, f"looking for it is refused ({failed})") from failed
        raise error from failed
    answer = _recovered(finding)
    if answer is None and isinstance(error, REPLY_BEGAN):
        why = "a reply had begun, so the message is there, though it is not shown yet"
        raise _given_up(error, why) from error
    if answer is None:
        log.warning("The message never arrived.")
    return answer


def _recovered(finding: Finding) -> Answer | None:
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
    return finding.answer.checked()


def _given_up(error: ChatbaseError, why: str) -> ChatbaseAmbiguousError:
    return ChatbaseAmbiguousError(
        f"{error} It is unknown whether the message was answered and charged; it is not sent again: {why}.",
        operation=error.operation,
    )


def _use_tools(question: Question, answer: Answer, rules: Rules) -> Steps[Answer]:
    rounds = 0
    while rules.tools.runs(answer):
        if rounds >= rules.tools.max_rounds:
            raise rules.tools.exhausted(answer)
        rounds += 1
        conversation_id = answer.conversation_id
        if not conversation_id:
            raise rules.tools.nowhere(answer)
        for call in answer.tool_calls:
            output = run_tool(rules.tools.handlers, call)
            yield handed_in(question.agent_id, conversation_id, call, output, again=answer.recovered)
        request = chat_v2.continue_conversation(
            question.agent_id, conversation_id, stream=question.stream, on_text=question.on_text
        )
        sought = replace(
            question.sought(rules.not_before, earlier_try=False),
            message=None,
            conversation_id=conversation_id,
            after_message_id=answer.message_id,
            own_tag=False,
        )
        following = yield from _send(request, sought, rules)
        answer = replace(following, credits=_sum(answer.credits, following.credits))
    return replace(answer, tool_rounds=rounds)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second
