"""Sending one, and saying what became of it: what all senders of a batch share."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Generic

from airflow_provider_chatbase.batch.checkpoint import Sent
from airflow_provider_chatbase.batch.intake import OutgoingT
from airflow_provider_chatbase.batch.outcome import (
    Outcome,
    PromptRecord,
    StopReason,
    code_of,
    outcome_of,
    stop_reason,
    was_refused,
)
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client import AsyncChatbaseClient, Request
from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.question import Question

SENDS = ("chatWithAgent", "chat", "sendWhatsAppTemplateMessage")
"""The operations that a customer or a bill notices."""


class NotSentError(Exception):
    """One that did not go, because no more are to be sent."""


class InDoubtError(NotSentError):
    """One that did not go, because it is uncertain whether the output is still this run's."""


class StopSendingError(NotSentError):
    """A refusal that holds for all of them; this one was not done."""

    def __init__(self, reason: StopReason, error: ChatbaseError) -> None:
        super().__init__(str(error))
        self.reason = reason
        self.error = error


@dataclass(slots=True)
class Delivery:
    """What happens to one on its way."""

    gate: Callable[[], None]  # raises what keeps it from being sent
    now: Callable[[], float]  # by the server's clock: another machine's may differ
    fate_unknown: bool
    sent_at: float | None  # when it last went out, in seconds since the epoch
    blind: bool = False  # whether it goes though an earlier one may have arrived
    costs: float | None = None  # what one costs whose reply does not say it
    attempts: int = 0
    first_sent: float | None = None  # on a clock that only goes forward

    def goes_out(self) -> None:
        """Take note that it goes out: unless told to be blind, only when it did not arrive before."""
        self.gate()
        self.attempts += 1
        self.sent_at = self.now()
        self.fate_unknown = self.blind
        self.first_sent = self.first_sent or time.monotonic()

    def failed(self, error: ChatbaseError) -> PromptRecord:
        """Return what became of it, when it was not."""
        outcome = outcome_of(error, fate_unknown=self.fate_unknown)
        return self.record(
            outcome,
            text=getattr(error, "text", None) or None,
            error_code=sound_text(code_of(error)),
            error_message=sound_text(str(error)),
            conversation_id=getattr(error, "conversation_id", None),
            credits=0.0 if outcome is Outcome.FAILED and was_refused(error) else self.costs,
            final=outcome is Outcome.FAILED and error.permanent,
        )

    def record(self, outcome: Outcome, **known: Any) -> PromptRecord:
        """Return what became of it."""
        seconds = 0.0 if self.first_sent is None else round(time.monotonic() - self.first_sent, 3)
        known = {"credits": self.costs, **known}
        return PromptRecord(outcome, seconds=seconds, attempts=self.attempts, sent_at=self.sent_at, **known)


_delivery: ContextVar[Delivery] = ContextVar("delivery")


def before_send(request: Request[Any]) -> None:
    """Have the last word on whether one goes out; for the client."""
    if request.operation in SENDS:
        _delivery.get().goes_out()


@dataclass(slots=True)
class PromptQueue:
    """Those that can be told apart only when they go one after the other, and where the answers are."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by the one on its way
    conversations: set[str] = field(default_factory=set)  # those that the answered ones began
    messages: set[str] = field(default_factory=set)  # theirs, in the conversation that they continue
    last_message: str | None = None  # the last answer in it

    def learn(self, record: PromptRecord) -> None:
        """Take note of where a prompt's answer is."""
        if record.conversation_id is not None:
            self.conversations.add(record.conversation_id)
        if record.user_message_id is not None:
            self.messages.add(record.user_message_id)
        if record.message_id is not None:
            self.last_message = record.message_id

    def narrow(self, question: Question, sent_before: Sent | None) -> Question:
        """Keep a prompt from being taken for another one of its queue."""
        if question.conversation_id is None:
            return replace(question, other_conversations=frozenset(self.conversations))
        after = self.last_message if sent_before is None else sent_before.after
        return replace(question, after_message_id=after, other_messages=frozenset(self.messages))


@dataclass(frozen=True, slots=True)
class Sender(ABC, Generic[OutgoingT]):
    """Sends one after the other, with a client that asks :func:`before_send`."""

    client: AsyncChatbaseClient
    agent_id: str
    settings: BatchSettings

    @property
    @abstractmethod
    def may_resolve(self) -> bool:
        """Whether one of an earlier process whose fate is unknown may be looked for, or sent again."""

    @property
    @abstractmethod
    def may_go_again(self) -> bool:
        """Whether that is so for one of this process."""

    @property
    @abstractmethod
    def outage(self) -> int:
        """How many failures in a row that may pass are no chance any more."""

    @abstractmethod
    def given_up(self, sent_before: Sent) -> PromptRecord:
        """Return what became of one of an earlier process that may not be resolved."""

    @abstractmethod
    async def _send(
        self, outgoing: OutgoingT, sent_before: Sent | None, queue: PromptQueue | None, delivery: Delivery
    ) -> PromptRecord:
        """Send it, or look for it where an earlier process may have sent it."""

    async def send(
        self,
        outgoing: OutgoingT,
        sent_before: Sent | None,
        queue: PromptQueue | None,
        gate: Callable[[], None],
    ) -> PromptRecord:
        """Send one, and say what became of it; within the time that it has."""
        last = sent_before and sent_before.last
        delivery = Delivery(gate, self.client.server_now, sent_before is not None, last)
        _delivery.set(delivery)
        try:
            async with asyncio.timeout(self.settings.prompt_timeout):
                return await self._send(outgoing, sent_before, queue, delivery)
        except TimeoutError:
            return delivery.failed(self._too_late(delivery))
        except ChatbaseError as error:
            reason = stop_reason(error)
            if reason is not None and not delivery.fate_unknown:
                raise StopSendingError(reason, error) from error
            return delivery.failed(error)

    async def score(self, record: PromptRecord) -> None:
        """Look up the confidence of an answer, where there is one."""
        record.scored = True

    def _too_late(self, delivery: Delivery) -> ChatbaseError:
        seconds = f"prompt_timeout of {self.settings.prompt_timeout:g} s"
        if not delivery.attempts and not delivery.fate_unknown:
            return ChatbaseError(f"It could not be sent within the {seconds}. It is tried again.")
        delivery.fate_unknown = True
        told = "it is looked for when the batch goes on" if self.may_go_again else "its fate is unknown"
        return ChatbaseError(f"No answer came within the {seconds}; {told}.")
