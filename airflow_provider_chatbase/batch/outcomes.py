"""What can become of a prompt, and what can end a batch early."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of one prompt."""

    ANSWERED = "answered"
    INVALID_OUTPUT = "invalid_output"
    """Answered, but not with the JSON that was asked for."""
    FAILED = "failed"
    """Refused, or the agent failed; what went wrong stands in the row."""
    UNANSWERED = "unanswered"
    """The prompt arrived at Chatbase, and there is no answer to it."""
    AMBIGUOUS = "ambiguous"
    """It is unknown whether it was answered and charged."""
    NOT_SENT = "not_sent"


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
    KILLED = "killed"
    LOCK_LOST = "lock_lost"


LIMITS = frozenset({StopReason.MAX_ITEMS, StopReason.MAX_CREDITS})
"""The limits that the user set: reaching one is no failure."""
