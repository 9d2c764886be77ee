"""What is known of one prompt: its answer, or why there is none."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from airflow_provider_chatbase.batch.outcomes import Outcome


@dataclass(slots=True)
class Item:
    """
    What became of a prompt, as the checkpoint keeps it.

    :param outcome: what became of it.
    :param text: the answer.
    :param error_code: why there is none, for machines.
    :param error_message: why there is none, for people.
    :param conversation_id: the conversation.
    :param message_id: the answer's id.
    :param user_message_id: the prompt's id in the conversation.
    :param credits: what it cost; ``None`` where that is unknown.
    :param seconds: from the first sending to the answer.
    :param attempts: how often it was sent.
    :param recovered: whether the answer was found, not received.
    :param cached: whether the answer is an earlier one.
    :param score: the answer's confidence, where it was asked for.
    :param scored: whether the confidence was asked for.
    :param final: whether it stays so when the batch is run again.
    :param sent_at: when it was sent last, in seconds since the epoch.
    """

    outcome: Outcome
    text: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    conversation_id: str | None = None
    message_id: str | None = None
    user_message_id: str | None = None
    credits: float | None = None
    seconds: float = 0.0
    attempts: int = 0
    recovered: bool = False
    cached: bool = False
    score: float | None = None
    scored: bool = False
    final: bool = False
    sent_at: float | None = None

    @property
    def may_be_charged(self) -> bool:
        """Whether it may have cost credits that are not known."""
        return self.credits is None and self.sent_at is not None and self.outcome != Outcome.NOT_SENT

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what :meth:`as_json` returned."""
        known = {each.name for each in fields(cls)}
        return cls(
            **{**{k: v for k, v in values.items() if k in known}, "outcome": Outcome(values["outcome"])}
        )


NOT_SENT = Item(Outcome.NOT_SENT)
