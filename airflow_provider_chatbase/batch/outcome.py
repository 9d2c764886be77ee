"""What became of a prompt, from the reply or the error to what is kept of it; and what ends a batch."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.errors import ChatbaseError


class ChatbaseBatchError(ChatbaseError):
    """A batch failed or was stopped; what was answered is kept, and running it again goes on from there."""


class ChatbaseBatchLimitError(ChatbaseBatchError):
    """A batch reached a limit that it was given; a retry would reach the same one."""

    permanent = True


class ChatbaseBadPromptsError(ChatbaseBatchError):
    """Some prompts cannot be sent as they are; somebody has to mend them first."""

    permanent = True


class ChatbaseExpectationsError(ChatbaseBatchError):
    """Too many answers are not what is expected; asking again brings nothing new."""

    permanent = True


class ChatbaseLostCheckpointError(ChatbaseBatchError):
    """An earlier try may have sent messages, and nothing tells which: somebody has to decide."""

    permanent = True


@dataclass(frozen=True, slots=True)
class Words:
    """How people are told of what a batch sends."""

    noun: str  # prompts, messages
    done: str  # what they are when all is well: answered, sent
    verb: str  # what is not done to those again: asked, sent
    cap: str = "max_items"  # the argument that limits how many
    in_doubt: str = ""  # what to do about those of which it is unknown whether they arrived

    @property
    def one(self) -> str:
        """One of them."""
        return self.noun.removesuffix("s")

    @property
    def go_on(self) -> str:
        """How to go on."""
        return f"Clear the task to go on; what is {self.done} is not {self.verb} again."


PROMPTS = Words("prompts", "answered", "asked")


class Outcome(StrEnum):
    """What became of one prompt, or of one message to a customer."""

    ANSWERED = "answered"
    SENT = "sent"
    """A message to a customer, which wants no answer."""
    INVALID_OUTPUT = "invalid_output"
    """Answered, but not with the JSON that was asked for."""
    FAILED = "failed"
    """Refused, or the agent failed; what went wrong stands in the row."""
    UNANSWERED = "unanswered"
    """The prompt arrived at Chatbase, and there is no answer to it."""
    AMBIGUOUS = "ambiguous"
    """It is unknown whether it was answered and charged."""
    NOT_SENT = "not_sent"


SUCCESSES = frozenset({Outcome.ANSWERED, Outcome.SENT})
FAILURES = frozenset({Outcome.INVALID_OUTPUT, Outcome.FAILED, Outcome.UNANSWERED, Outcome.AMBIGUOUS})
"""What counts for ``max_failure_rate`` and ``fail_fast``."""


class StopReason(StrEnum):
    """Why a batch sent no more, though prompts were left."""

    MAX_ITEMS = "max_items"
    MAX_CREDITS = "max_credits"
    CREDITS_EXHAUSTED = "credits_exhausted"
    FAILURE_RATE = "max_failure_rate"
    FAIL_FAST = "fail_fast"
    REFUSED = "refused"
    """Chatbase refused for a reason that holds for every prompt: the key, the plan, the agent."""
    OUTAGE = "outage"
    """Many prompts in a row failed for reasons that may pass."""
    TIMEOUT = "batch_timeout"
    KILLED = "killed"
    LOCK_LOST = "lock_lost"


LIMITS = frozenset({StopReason.MAX_ITEMS, StopReason.MAX_CREDITS})
"""The limits that the user set: reaching one is no failure."""


class PromptRecord(msgspec.Struct, omit_defaults=True):
    """What became of a prompt, its answer, or why there is none, and how it is judged; or of a message."""

    outcome: Outcome
    text: str | None = None
    error_code: str | None = None  # for machines
    error_message: str | None = None  # for people
    conversation_id: str | None = None
    message_id: str | None = None
    user_message_id: str | None = None  # the prompt's id in the conversation
    credits: float | None = None  # ``None`` where the cost is unknown
    seconds: float = 0.0  # from the first sending to the answer
    attempts: int = 0  # how often it was sent
    recovered: bool = False  # the answer was found, not received
    cached: bool = False  # the answer is an earlier one
    score: float | None = None  # the answer's confidence
    scored: bool = False  # whether that was asked for
    final: bool = False  # it stays so when the batch is run again
    sent_at: float | None = None  # when it was sent last, in seconds since the epoch
    # Judged each time anew, after it was kept:
    parsed: Any = None
    unmet: tuple[str, ...] = ()
    duplicate_of: str | None = None  # the id of the prompt whose answer it got

    @property
    def may_be_charged(self) -> bool:
        """Whether it may have cost credits that are not known."""
        return self.credits is None and self.sent_at is not None and self.outcome != Outcome.NOT_SENT


NOT_SENT = PromptRecord(Outcome.NOT_SENT)

INVALID_PROMPT = "INVALID_PROMPT"
INVALID_OUTPUT = "INVALID_OUTPUT"
IN_FLIGHT = "IN_FLIGHT"

_CODES: tuple[tuple[type[ChatbaseError], str], ...] = (
    (errors.ChatbaseUnansweredError, "UNANSWERED"),
    (errors.ChatbaseToolCallError, "TOOL_CALLS"),
    (errors.ChatbaseInterruptedAnswerError, "ANSWER_INTERRUPTED"),
    (errors.ChatbaseAnswerError, "ANSWER_FAILED"),
    (errors.ChatbaseTimeoutError, "TIMEOUT"),
    (errors.ChatbaseUnreachableError, "UNREACHABLE"),
    (errors.ChatbaseConnectionLostError, "CONNECTION_LOST"),
    (errors.ChatbaseReplyError, "NOT_THE_PROMISED_REPLY"),
    (errors.ChatbaseInputError, INVALID_PROMPT),
)

_FOR_EVERY_PROMPT = (
    errors.ChatbaseAuthenticationError,
    errors.ChatbasePlanError,
    errors.ChatbaseConfigurationError,
)
_CODES_FOR_EVERY_PROMPT = (
    *("AGENT_NOT_FOUND", "AUTH_INSUFFICIENT_PERMISSIONS", "PERMISSION_DENIED", "WHATSAPP_NOT_CONNECTED"),
    *("PHONE_NUMBER_REQUIRED", "PHONE_NUMBER_NOT_FOUND", "SEND_BLOCKED", "TEMPLATE_BUTTONS_UNSUPPORTED"),
)


def stop_reason(error: ChatbaseError) -> StopReason | None:
    """Return why to send no more, when an error holds for every prompt."""
    if isinstance(error, errors.ChatbaseCreditsError):
        return StopReason.CREDITS_EXHAUSTED
    if isinstance(error, _FOR_EVERY_PROMPT) or error.code in _CODES_FOR_EVERY_PROMPT:
        return StopReason.REFUSED
    return None


def was_refused(error: ChatbaseError) -> bool:
    """Say whether nothing was done, and so nothing charged: only the API's own codes say so."""
    if isinstance(error, errors.ChatbaseApiError):
        return error.code is not None and not error.ambiguous
    return isinstance(error, errors.ChatbaseInputError | errors.ChatbaseUnreachableError)


def outcome_of(error: ChatbaseError, *, fate_unknown: bool) -> Outcome:
    """Return what became of a prompt that failed."""
    if isinstance(error, errors.ChatbaseUnansweredError):
        return Outcome.UNANSWERED
    if fate_unknown or isinstance(error, errors.ChatbaseAmbiguousError) or error.ambiguous:
        return Outcome.AMBIGUOUS
    return Outcome.FAILED


def code_of(error: ChatbaseError) -> str:
    """Return an error's code: the API's, else one of ours."""
    if error.code is not None:
        return error.code
    if isinstance(error, errors.ChatbaseAmbiguousError) and isinstance(error.__cause__, ChatbaseError):
        return code_of(error.__cause__)
    for cls, name in _CODES:
        if isinstance(error, cls):
            return name
    return f"HTTP_{error.status}" if error.status is not None else "FAILED"
