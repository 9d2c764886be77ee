"""Sends one prompt, and says what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from airflow_provider_chatbase.batch import failures
from airflow_provider_chatbase.batch.checkpoint import Sent
from airflow_provider_chatbase.batch.item import Item
from airflow_provider_chatbase.batch.lanes import Lane
from airflow_provider_chatbase.batch.outcomes import Outcome, StopReason
from airflow_provider_chatbase.batch.progress import Progress
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client import AsyncChatbaseClient, Request
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.asking import Question, Rules, ask, tag_of
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.request import ApiVersion, Steps
from airflow_provider_chatbase.client.v2.conversations import get_conversation, messages_of

_ASKS = ("chatWithAgent", "chat")


class NotSentError(Exception):
    """A prompt that did not go, because no more are to be sent."""


class StopSendingError(Exception):
    """A refusal that holds for every prompt; this one was not answered."""

    def __init__(self, reason: StopReason, error: ChatbaseError) -> None:
        super().__init__(str(error))
        self.reason = reason
        self.error = error


@dataclass(slots=True)
class Trial:
    """
    What happens to a prompt while it is sent.

    :param attempts: how often it went out.
    :param first_sent: when it first did, on a clock that only goes forward.
    :param sent_at: when it last did, in seconds since the epoch.
    :param fate_unknown: whether it is unknown what became of it.
    """

    attempts: int = 0
    first_sent: float | None = None
    sent_at: float | None = None
    fate_unknown: bool = False

    def goes_out(self) -> None:
        """Take note that it goes out."""
        self.attempts += 1
        self.sent_at = time.time()
        if self.first_sent is None:
            self.first_sent = time.monotonic()

    @property
    def seconds(self) -> float:
        """The seconds since it first went out."""
        return 0.0 if self.first_sent is None else time.monotonic() - self.first_sent


_trial: ContextVar[Trial] = ContextVar("trial")


@dataclass(frozen=True, slots=True)
class Asker:
    """
    Whose questions to which agent.

    :param agent_id: the agent.
    :param version: the API version.
    :param run: what makes the batch this one; part of each prompt's tag.
    """

    agent_id: str
    version: ApiVersion
    run: str

    def question(self, prompt: Prompt, lane: Lane | None, sent_before: Sent | None) -> Question:
        """Put a prompt into the client's terms."""
        question = Question(
            agent_id=self.agent_id,
            message=prompt.message,
            conversation_id=prompt.conversation_id,
            user_id=prompt.user_id if self.version == "v2" else None,
            tag=tag_of(self.run, prompt.index, prompt.id, prompt.message),
        )
        if lane is None:
            return question
        return lane.narrow(question, lane.last_message if sent_before is None else sent_before.after)


class Sender:
    """Sends prompts."""

    def __init__(
        self, asker: Asker, settings: BatchSettings, progress: Progress, may_send: Callable[[], bool]
    ) -> None:
        self._asker = asker
        self._settings = settings
        self._progress = progress
        self._may_send = may_send

    def before_send(self, request: Request[Any]) -> None:
        """Keep a prompt from going out when no more are to be sent; for the client."""
        if request.operation not in _ASKS:
            return
        if not self._may_send():
            raise NotSentError
        trial = _trial.get()
        trial.goes_out()
        self._progress.repeats += trial.attempts > 1

    async def send(
        self, client: AsyncChatbaseClient, prompt: Prompt, lane: Lane | None, sent_before: Sent | None
    ) -> Item:
        """Send a prompt."""
        if sent_before is not None and not self.may_resolve:
            return _given_up(sent_before)
        trial = Trial(fate_unknown=sent_before is not None, sent_at=sent_before and sent_before.last)
        _trial.set(trial)
        steps = ask(self._asker.question(prompt, lane, sent_before), self._rules(sent_before))
        try:
            answer = await client.run(_watched(steps, trial))
        except ChatbaseError as error:
            reason = failures.stop_reason(error)
            if reason is not None and not trial.fate_unknown:
                raise StopSendingError(reason, error) from error
            return _failed(error, trial)
        return _answered(answer, trial)

    async def score(self, client: AsyncChatbaseClient, item: Item) -> None:
        """Look up the confidence of an answer: ``getConversation``."""
        item.scored = True
        if self._asker.version == "v1" or item.conversation_id is None:
            return
        conversation = await client.send(get_conversation(self._asker.agent_id, item.conversation_id))
        for message in messages_of(conversation):
            metadata = message.get("metadata")
            if message.get("id") == item.message_id and isinstance(metadata, dict):
                score = metadata.get("score")
                item.score = score if isinstance(score, int | float) else None

    @property
    def may_resolve(self) -> bool:
        """Whether a prompt whose fate is unknown may be looked for, or sent again."""
        if self._settings.on_ambiguous == "retry":
            return True
        return self._settings.on_ambiguous == "reconcile" and self._asker.version == "v2"

    def _rules(self, sent_before: Sent | None) -> Rules:
        patience = self._settings.patience
        look_first = sent_before is not None and self._settings.on_ambiguous == "reconcile"
        return Rules(
            version=self._asker.version,
            on_ambiguous=self._settings.on_ambiguous,
            look_first=look_first,
            not_before=time.time() if sent_before is None else sent_before.since,
            patience=patience,
            patience_after_timeout=self._settings.patience_after_timeout,
            patience_at_first=max(0.0, sent_before.last + patience - time.time()) if sent_before else None,
        )


def _watched(steps: Steps[Answer], trial: Trial) -> Steps[Answer]:
    """Pass steps on, and tell the trial whether the fate of the prompt is known."""
    try:
        step = next(steps)
        while True:
            asks = isinstance(step, Request) and step.operation in _ASKS
            if asks:  # it is sent only when the one before is known not to have arrived
                trial.fate_unknown = False
            try:
                result = yield step
            except ChatbaseError as error:
                trial.fate_unknown = error.ambiguous if asks else trial.fate_unknown
                step = steps.throw(error)
            else:
                step = steps.send(result)
    except StopIteration as end:
        answer: Answer = end.value
        return answer


def _answered(answer: Answer, trial: Trial) -> Item:
    return Item(
        Outcome.ANSWERED,
        text=answer.text,
        conversation_id=answer.conversation_id,
        message_id=answer.message_id,
        user_message_id=answer.user_message_id,
        credits=answer.credits,
        seconds=round(trial.seconds, 3),
        attempts=trial.attempts,
        recovered=answer.recovered,
        final=True,
        sent_at=trial.sent_at,
    )


def _failed(error: ChatbaseError, trial: Trial) -> Item:
    outcome = failures.outcome(error, fate_unknown=trial.fate_unknown)
    return Item(
        outcome,
        text=getattr(error, "text", None) or None,
        error_code=failures.code(error),
        error_message=str(error),
        conversation_id=getattr(error, "conversation_id", None),
        seconds=round(trial.seconds, 3),
        attempts=trial.attempts,
        final=outcome == Outcome.FAILED and error.permanent,
        sent_at=trial.sent_at,
    )


def _given_up(sent_before: Sent) -> Item:
    return Item(
        Outcome.AMBIGUOUS,
        error_code="IN_FLIGHT",
        error_message="An earlier process ended while this prompt was on its way. It is unknown whether it "
        "was answered and charged, and it is not sent again: API v1 has no way to look, or on_ambiguous is "
        "'fail'. on_ambiguous='retry' sends it again.",
        sent_at=sent_before.last,
    )
