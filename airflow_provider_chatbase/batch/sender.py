"""Sends one prompt, and says what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from airflow_provider_chatbase.batch.checkpoint import Sent
from airflow_provider_chatbase.batch.outcome import (
    IN_FLIGHT,
    Outcome,
    PromptRecord,
    StopReason,
    code_of,
    outcome_of,
    stop_reason,
    was_refused,
)
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client import AsyncChatbaseClient, Request
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.asking import Rules, ask
from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.question import Question, tag_of
from airflow_provider_chatbase.client.v2.conversations import get_conversation, messages_in

_ASKS = ("chatWithAgent", "chat")

SOME_LOOKS = 2.0
"""Seconds of looking for a prompt that was sent long ago: one look may meet a page that lacks it."""


class NotSentError(Exception):
    """A prompt that did not go, because no more are to be sent."""


class InDoubtError(NotSentError):
    """A prompt that did not go, because it is uncertain whether the output is still this run's."""


class StopSendingError(NotSentError):
    """A refusal that holds for every prompt; this one was not answered."""

    def __init__(self, reason: StopReason, error: ChatbaseError) -> None:
        super().__init__(str(error))
        self.reason = reason
        self.error = error


@dataclass(slots=True)
class Delivery:
    """What happens to a prompt on its way."""

    gate: Callable[[], None]  # raises what keeps it from being sent
    now: Callable[[], float]  # by the server's clock: another machine's may differ
    fate_unknown: bool
    sent_at: float | None  # when it last went out, in seconds since the epoch
    attempts: int = 0
    first_sent: float | None = None  # on a clock that only goes forward

    def goes_out(self) -> None:
        """Take note that it goes out: it does only when it is known not to have arrived before."""
        self.gate()
        self.attempts += 1
        self.sent_at = self.now()
        self.fate_unknown = False
        self.first_sent = self.first_sent or time.monotonic()

    def answered(self, answer: Answer) -> PromptRecord:
        """Return what became of it, when it was answered."""
        return self._record(
            Outcome.ANSWERED,
            text=sound_text(answer.text),
            conversation_id=answer.conversation_id,
            message_id=answer.message_id,
            user_message_id=answer.user_message_id,
            credits=answer.credits,
            recovered=answer.recovered,
            final=True,
        )

    def failed(self, error: ChatbaseError) -> PromptRecord:
        """Return what became of it, when it was not."""
        outcome = outcome_of(error, fate_unknown=self.fate_unknown)
        return self._record(
            outcome,
            text=getattr(error, "text", None) or None,
            error_code=sound_text(code_of(error)),
            error_message=sound_text(str(error)),
            conversation_id=getattr(error, "conversation_id", None),
            credits=0.0 if outcome is Outcome.FAILED and was_refused(error) else None,
            final=outcome is Outcome.FAILED and error.permanent,
        )

    def _record(self, outcome: Outcome, **known: Any) -> PromptRecord:
        seconds = 0.0 if self.first_sent is None else round(time.monotonic() - self.first_sent, 3)
        return PromptRecord(outcome, seconds=seconds, attempts=self.attempts, sent_at=self.sent_at, **known)


_delivery: ContextVar[Delivery] = ContextVar("delivery")


def before_send(request: Request[Any]) -> None:
    """Have the last word on whether a prompt goes out; for the client."""
    if request.operation in _ASKS:
        _delivery.get().goes_out()


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends prompts, with a client that asks :func:`before_send`."""

    client: AsyncChatbaseClient
    agent_id: str
    key: str  # what makes the batch this one; part of each prompt's tag
    settings: BatchSettings

    def question(self, prompt: Prompt, sent_before: Sent | None) -> Question:
        """Put a prompt into the client's terms."""
        return Question(
            agent_id=self.agent_id,
            message=prompt.message,
            conversation_id=prompt.conversation_id,
            user_id=prompt.user_id if self.client.api.keeps_messages else None,
            tag=tag_of(self.key, prompt.key),
            earlier_try_began=None if sent_before is None else sent_before.since,
        )

    async def send(
        self, question: Question, sent_before: Sent | None, gate: Callable[[], None]
    ) -> PromptRecord:
        """Send a prompt, or look for it where an earlier process may have sent it."""
        if sent_before is not None and not self.may_resolve:
            return _given_up(sent_before)
        delivery = Delivery(
            gate, self.client.server_now, sent_before is not None, sent_before and sent_before.last
        )
        _delivery.set(delivery)
        try:
            async with asyncio.timeout(self.settings.prompt_timeout):
                answer = await self.client.run(ask(self.client.api, question, self._rules(sent_before)))
        except TimeoutError:
            return delivery.failed(self._too_late(delivery))
        except ChatbaseError as error:
            reason = stop_reason(error)
            if reason is not None and not delivery.fate_unknown:
                raise StopSendingError(reason, error) from error
            return delivery.failed(error)
        return delivery.answered(answer)

    async def score(self, record: PromptRecord) -> None:
        """Look up the confidence of an answer: ``getConversation``."""
        record.scored = True
        if not self.client.api.keeps_messages or record.conversation_id is None:
            return
        conversation = await self.client.send(get_conversation(self.agent_id, record.conversation_id))
        for message in messages_in(conversation):
            metadata = message.get("metadata")
            if message.get("id") == record.message_id and isinstance(metadata, dict):
                score = metadata.get("score")
                record.score = score if isinstance(score, int | float) else None

    @property
    def may_resolve(self) -> bool:
        """Whether a prompt whose fate is unknown may be looked for, or sent again."""
        if self.settings.on_ambiguous == "retry":
            return True
        return self.settings.on_ambiguous == "reconcile" and self.client.api.keeps_messages

    def _too_late(self, delivery: Delivery) -> ChatbaseError:
        seconds = f"prompt_timeout of {self.settings.prompt_timeout:g} s"
        if not delivery.attempts and not delivery.fate_unknown:
            return ChatbaseError(f"The prompt could not be sent within the {seconds}. It is tried again.")
        delivery.fate_unknown = True
        return ChatbaseError(f"No answer came within the {seconds}; it is looked for when the batch goes on.")

    def _rules(self, sent_before: Sent | None) -> Rules:
        patience = at_first = self.settings.patience
        if sent_before is not None:  # whatever the clocks say, not for longer than one just sent
            at_first = max(0.0, sent_before.last + patience - self.client.server_now())
            at_first = min(max(at_first, SOME_LOOKS if sent_before.is_told else 0.0), patience)
        return Rules(
            on_ambiguous=self.settings.on_ambiguous,
            patience=patience,
            patience_after_timeout=self.settings.patience_after_timeout,
            patience_at_first=at_first,
        )


def _given_up(sent_before: Sent) -> PromptRecord:
    return PromptRecord(
        Outcome.AMBIGUOUS,
        error_code=IN_FLIGHT,
        error_message="An earlier process ended while this prompt was on its way. It is unknown whether it "
        "was answered and charged, and it is not sent again: API v1 has no way to look, or on_ambiguous is "
        "'fail'. on_ambiguous='retry' sends it again.",
        sent_at=sent_before.last,
    )
