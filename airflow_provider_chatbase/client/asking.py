"""
Asking an agent and being charged once, with the tools that it asks for.

After a failure that leaves open whether the message was answered, it is looked for before it is sent again.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.client import RetryPolicy
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseApiError,
    ChatbaseDamagedReplyError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseInterruptedAnswerError,
    ChatbaseRateLimitError,
    ChatbaseServerError,
    ChatbaseTimeoutError,
    ChatbaseToolCallError,
    ChatbaseUnansweredError,
)
from airflow_provider_chatbase.client.question import (
    Found,
    Question,
    Unanswered,
    look_until_sure,
    newest_message_id,
)
from airflow_provider_chatbase.client.request import JsonObject, Pause, Request, Steps, require_count
from airflow_provider_chatbase.client.v2.conversations import submit_tool_result

log = logging.getLogger(__name__)


OnAmbiguous = Literal["reconcile", "retry", "fail"]
ON_AMBIGUOUS = ("reconcile", "retry", "fail")

MOST_SENDS = 3
TOO_MANY = RetryPolicy()
"""For a refusal of what stands in front of Chatbase, as the client has it for one of Chatbase's own."""

PATIENCE = 15.0
PATIENCE_AFTER_TIMEOUT = 60.0
PATIENCE_AFTER_TOO_MANY = 2.0

REPLY_BEGAN = (ChatbaseInterruptedAnswerError, ChatbaseDamagedReplyError)
"""Failures after which it is certain that the message arrived."""

MAX_ROUNDS = 10

ToolHandlers = Mapping[str, Callable[..., Any]]
OnToolCalls = Literal["fail", "return"]
ON_TOOL_CALLS = ("fail", "return")


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What to do when an agent asks for tools."""

    handlers: ToolHandlers = field(default_factory=dict)  # by the tools' names
    without_handler: OnToolCalls = "fail"
    max_rounds: int = MAX_ROUNDS  # before it has to answer

    def __post_init__(self) -> None:
        """Check what was given."""
        require_count("max_tool_rounds", self.max_rounds)
        if self.without_handler not in ON_TOOL_CALLS:
            raise ChatbaseInputError(
                f"on_tool_calls must be one of {', '.join(ON_TOOL_CALLS)}, not {self.without_handler!r}. "
                "Nothing was sent."
            )
        useless = sorted(str(name) for name, handler in self.handlers.items() if not callable(handler))
        if useless:
            raise ChatbaseInputError(
                f"tool_handlers must be functions; this is none for {', '.join(useless)}. Nothing was sent."
            )

    def runs(self, answer: Answer) -> bool:
        """Say whether to run tools and go on."""
        answered = answer.text and answer.finish_reason is not None
        if answer.finish_reason != "tool-calls" and (answered or not answer.tool_calls):
            return False
        missing = sorted({str(call["name"]) for call in answer.tool_calls} - set(self.handlers))
        if not missing and (self.handlers or answer.tool_calls):
            return True
        if self.without_handler == "return":
            return False
        raise self.failed(
            answer,
            f"The agent asks for tools without a handler: {', '.join(missing) or 'unnamed ones'}. "
            "Give tool_handlers for them, or on_tool_calls='return' to get the calls as the result.",
        )

    def failed(self, answer: Answer, why: str) -> ChatbaseToolCallError:
        """Return the error of an agent whose tools cannot be run."""
        return ChatbaseToolCallError(
            f"{why} Conversation {answer.conversation_id}.",
            operation="chatWithAgent",
            text=answer.text,
            conversation_id=answer.conversation_id,
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """How to ask."""

    on_ambiguous: OnAmbiguous = "reconcile"
    tools: ToolUse = field(default_factory=ToolUse)
    patience: float = PATIENCE  # seconds after which a message that is not found counts as never arrived
    patience_after_timeout: float = PATIENCE_AFTER_TIMEOUT  # … where the agent may still be writing
    patience_at_first: float | None = None  # … before sending, where the earlier try was long ago


def ask(api: Api, question: Question, rules: Rules) -> Steps[Answer]:
    """Ask, as steps of a client."""
    if rules.on_ambiguous not in ON_AMBIGUOUS:
        raise ChatbaseInputError(
            f"on_ambiguous must be one of {', '.join(ON_AMBIGUOUS)}, not {rules.on_ambiguous!r}. "
            "Nothing was sent."
        )
    request = _sent_by(api, question, rules)
    answer = None
    if question.earlier_try_began is not None and rules.on_ambiguous != "retry":
        answer = yield from _answer_of_an_earlier_try(api, question, rules)
    if answer is None:
        question = yield from _after_newest_message(api, question, rules)
        answer = yield from _send(api, request, question, rules)
    return (yield from _use_tools(api, question, answer, rules))


def _sent_by(api: Api, question: Question, rules: Rules) -> Request[Answer]:
    looked_for = api.keeps_messages and rules.on_ambiguous == "reconcile"
    return replace(api.send_message(question), looked_for=looked_for)


def _answer_of_an_earlier_try(api: Api, question: Question, rules: Rules) -> Steps[Answer | None]:
    if not api.keeps_messages:
        log.warning(
            "This is not the first try, and API v1 has no way to look whether an earlier one arrived."
        )
        return None
    patience = rules.patience if rules.patience_at_first is None else rules.patience_at_first
    try:
        found = yield from look_until_sure(question, patience)
    except ChatbaseApiError as failed:
        if not failed.permanent:
            raise
        raise ChatbaseAmbiguousError(
            f"An earlier try may have sent the message, and looking for it is refused: {failed} "
            "It was not sent now; on_ambiguous='retry' sends without looking.",
            operation=failed.operation,
        ) from failed
    return _recovered(found)


def _after_newest_message(api: Api, question: Question, rules: Rules) -> Steps[Question]:
    """Learn what a conversation ends with now, so that an equal message in it is not taken for this one."""
    if not api.keeps_messages or rules.on_ambiguous != "reconcile":
        return question
    if question.conversation_id is None or question.after_message_id is not None:
        return question
    try:
        newest = yield from newest_message_id(question.agent_id, question.conversation_id)
    except ChatbaseApiError as failed:
        log.info(
            "Conversation %s cannot be read before the message is sent: %s", question.conversation_id, failed
        )
        return question
    return replace(question, after_message_id=newest)


def _send(api: Api, request: Request[Answer], question: Question, rules: Rules) -> Steps[Answer]:
    """Send what costs credits, again only where that is allowed."""
    sends = 1
    while True:
        try:
            answer: Answer = yield request
        except ChatbaseError as error:
            if not error.ambiguous:
                raise
            found = yield from _after_ambiguous(api, error, question, rules)
            if found is not None:
                return found
            if error.permanent:  # it never arrived, so it was refused on the way; it would be again
                error.ambiguous = False
                raise
            too_many = isinstance(error, ChatbaseRateLimitError)
            if too_many:
                error.ambiguous = False
                if (error.retry_after or 0.0) > TOO_MANY.max_wait:
                    raise
            if sends >= (TOO_MANY.max_attempts if too_many else MOST_SENDS):
                raise
            if too_many:
                yield Pause(TOO_MANY.wait(error, sends, random.random()))  # noqa: S311
            sends += 1
            log.warning("The message is sent again.")
        else:
            return answer.checked()


def _after_ambiguous(
    api: Api, error: ChatbaseError, question: Question, rules: Rules
) -> Steps[Answer | None]:
    """Return the answer that is there all the same, or ``None`` when the message may be sent again."""
    if rules.on_ambiguous == "retry":
        log.warning("It is unknown whether the message was answered: %s", error)
        return None
    if rules.on_ambiguous == "fail":
        raise _given_up(error, "on_ambiguous says so") from error
    if not api.keeps_messages:
        why = "API v1 has no way to look, and on_ambiguous='reconcile' does not send twice"
        raise _given_up(error, why) from error
    log.warning("It is unknown whether the message was answered; looking for it: %s", error)
    writing = isinstance(error, (ChatbaseTimeoutError, ChatbaseInterruptedAnswerError))
    patience = rules.patience_after_timeout if writing else rules.patience
    if isinstance(error, ChatbaseRateLimitError):
        patience = min(patience, PATIENCE_AFTER_TOO_MANY)
    failed_there = isinstance(error, ChatbaseServerError) and error.code is not None
    answer_patience = rules.patience_after_timeout if failed_there else float("inf")
    try:
        found = yield from look_until_sure(question, patience, answer_patience)
    except ChatbaseError as failed:
        log.warning("Looking for the message failed: %s", failed)
        if failed.permanent:
            raise _given_up(error, f"looking for it is refused ({failed})") from failed
        raise error from failed
    answer = _recovered(found)
    if answer is None and isinstance(error, REPLY_BEGAN):
        why = "a reply had begun, so the message is there, though it is not shown yet"
        raise _given_up(error, why) from error
    if answer is None:
        log.warning("The message never arrived.")
    return answer


def _recovered(found: Found) -> Answer | None:
    if isinstance(found, Unanswered):
        raise ChatbaseUnansweredError(
            f"The message arrived in conversation {found.conversation_id} and has no answer. The "
            "conversation may be paused, or a human may have taken it over. It is not sent again, since "
            "that could be charged twice; on_ambiguous='retry' would.",
            operation="chatWithAgent",
            conversation_id=found.conversation_id,
        )
    if found is None:
        return None
    log.info("The message had arrived: its answer in conversation %s is used.", found.conversation_id)
    return found.checked()


def _given_up(error: ChatbaseError, why: str) -> ChatbaseAmbiguousError:
    return ChatbaseAmbiguousError(
        f"{error} It is unknown whether the message was answered and charged; it is not sent again: {why}.",
        operation=error.operation,
    )


def _use_tools(api: Api, question: Question, answer: Answer, rules: Rules) -> Steps[Answer]:
    tools, rounds = rules.tools, 0
    while tools.runs(answer):
        if rounds >= tools.max_rounds:
            raise tools.failed(
                answer, f"The agent asked for tools more than {tools.max_rounds} times in a row."
            )
        rounds += 1
        conversation_id = answer.conversation_id
        if not conversation_id:
            why = "The agent asked for tools, and did not say where to hand in their results."
            raise tools.failed(answer, why)
        for call in answer.tool_calls:
            output = run_tool(tools.handlers, call)
            yield handed_in(question.agent_id, conversation_id, call, output, again=answer.recovered)
        going_on = replace(
            question, message=None, conversation_id=conversation_id, after_message_id=answer.message_id
        )
        following = yield from _send(api, _sent_by(api, going_on, rules), going_on, rules)
        answer = replace(following, credits=_sum(answer.credits, following.credits))
    return replace(answer, tool_rounds=rounds)


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def handed_in(
    agent_id: str, conversation_id: str, call: JsonObject, output: Any, *, again: bool
) -> Request[JsonObject]:
    """Make the request that hands in a tool's result; one that cannot be sent is told as such."""
    try:
        request = submit_tool_result(agent_id, conversation_id, call["id"], output)
    except ChatbaseInputError as error:
        log.warning("The result of the tool %s cannot be sent: %s", call["name"], error)
        request = submit_tool_result(agent_id, conversation_id, call["id"], {"error": str(error)})
    return replace(request, means_done=request.means_done_on_repeat) if again else request


def run_tool(handlers: ToolHandlers, call: JsonObject) -> Any:
    """
    Run a tool; its failure is for the agent to know.

    The handler gets the call's input as keyword arguments when they fit its parameters, else as one argument.
    """
    handler, given = handlers[call["name"]], call["input"]
    try:
        return handler(**given) if _takes_names(handler, given) else handler(given)
    except Exception as error:  # whatever it is, the agent is told
        log.warning("The tool %s failed with %s; the agent is told.", call["name"], type(error).__name__)
        log.debug("The tool %s failed.", call["name"], exc_info=True)
        return {"error": f"{type(error).__name__}: {error}"}


def _takes_names(handler: Callable[..., Any], given: Any) -> bool:
    if not isinstance(given, dict):
        return False
    try:
        inspect.signature(handler).bind(**given)
    except (TypeError, ValueError):
        return False
    return True
