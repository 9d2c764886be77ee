"""From an error to what stands in the result. Pure."""

from __future__ import annotations

from airflow_provider_chatbase.batch.outcomes import Outcome, StopReason
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseAnswerError,
    ChatbaseAuthenticationError,
    ChatbaseConfigurationError,
    ChatbaseConnectionLostError,
    ChatbaseCreditsError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseInterruptedAnswerError,
    ChatbasePlanError,
    ChatbaseReplyError,
    ChatbaseTimeoutError,
    ChatbaseToolCallError,
    ChatbaseUnansweredError,
    ChatbaseUnreachableError,
)

INVALID_PROMPT = "INVALID_PROMPT"
INVALID_OUTPUT = "INVALID_OUTPUT"

_CODES: tuple[tuple[type[ChatbaseError], str], ...] = (
    (ChatbaseUnansweredError, "UNANSWERED"),
    (ChatbaseToolCallError, "TOOL_CALLS"),
    (ChatbaseInterruptedAnswerError, "ANSWER_INTERRUPTED"),
    (ChatbaseAnswerError, "ANSWER_FAILED"),
    (ChatbaseTimeoutError, "TIMEOUT"),
    (ChatbaseUnreachableError, "UNREACHABLE"),
    (ChatbaseConnectionLostError, "CONNECTION_LOST"),
    (ChatbaseReplyError, "NOT_THE_PROMISED_REPLY"),
    (ChatbaseInputError, INVALID_PROMPT),
)

_FOR_EVERY_PROMPT = (
    ChatbaseAuthenticationError,
    ChatbasePlanError,
    ChatbaseConfigurationError,
)
_CODES_FOR_EVERY_PROMPT = ("AGENT_NOT_FOUND", "AUTH_INSUFFICIENT_PERMISSIONS", "PERMISSION_DENIED")


def stop_reason(error: ChatbaseError) -> StopReason | None:
    """Return why to send no more, when an error holds for every prompt."""
    if isinstance(error, ChatbaseCreditsError):
        return StopReason.CREDITS_EXHAUSTED
    if isinstance(error, _FOR_EVERY_PROMPT) or error.code in _CODES_FOR_EVERY_PROMPT:
        return StopReason.REFUSED
    return None


def outcome(error: ChatbaseError, *, fate_unknown: bool) -> Outcome:
    """Return what became of a prompt that failed."""
    if isinstance(error, ChatbaseUnansweredError):
        return Outcome.UNANSWERED
    if fate_unknown or isinstance(error, ChatbaseAmbiguousError) or error.ambiguous:
        return Outcome.AMBIGUOUS
    return Outcome.FAILED


def code(error: ChatbaseError) -> str:
    """Return an error's code: the API's, else one of ours."""
    if error.code is not None:
        return error.code
    if isinstance(error, ChatbaseAmbiguousError) and isinstance(error.__cause__, ChatbaseError):
        return code(error.__cause__)
    for cls, name in _CODES:
        if isinstance(error, cls):
            return name
    return f"HTTP_{error.status}" if error.status is not None else "FAILED"
