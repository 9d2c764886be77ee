"""Sends one prompt, and says what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_chatbase.batch.checkpoint import Sent
from airflow_provider_chatbase.batch.outcome import IN_FLIGHT, Outcome, PromptRecord
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.batch.sending import Delivery, PromptQueue, Sender
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.asking import Rules, ask
from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.question import Question, tag_of
from airflow_provider_chatbase.client.v2.conversations import get_conversation, messages_in

SOME_LOOKS = 2.0
"""Seconds of looking for a prompt that was sent long ago: one look may meet a page that lacks it."""

LEAST_OUTAGE = 20
"""Failures in a row that pass for an outage: going on would only use up the prompts' attempts."""


@dataclass(frozen=True, slots=True)
class PromptSender(Sender[Prompt]):
    """Sends prompts."""

    key: str  # what makes the batch this one; part of each prompt's tag

    @property
    def may_resolve(self) -> bool:
        """Whether a prompt whose fate is unknown may be looked for, or sent again."""
        if self.settings.on_ambiguous == "retry":
            return True
        return self.settings.on_ambiguous == "reconcile" and self.client.api.keeps_messages

    may_go_again = may_resolve

    @property
    def outage(self) -> int:
        """How many failures in a row pass for an outage."""
        return max(LEAST_OUTAGE, 2 * self.settings.concurrency)

    async def _send(
        self, outgoing: Prompt, sent_before: Sent | None, queue: PromptQueue | None, delivery: Delivery
    ) -> PromptRecord:
        question = self.question(outgoing, sent_before)
        if queue is not None:
            question = queue.narrow(question, sent_before)
        answer = await self.client.run(ask(self.client.api, question, self._rules(sent_before)))
        return _answered(delivery, answer)

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

    def given_up(self, sent_before: Sent) -> PromptRecord:
        """Return what became of a prompt of an earlier process that may not be looked for."""
        return PromptRecord(
            Outcome.AMBIGUOUS,
            error_code=IN_FLIGHT,
            error_message="An earlier process ended while this prompt was on its way. It is unknown whether "
            "it was answered and charged, and it is not sent again: API v1 has no way to look, or "
            "on_ambiguous is 'fail'. on_ambiguous='retry' sends it again.",
            sent_at=sent_before.last,
        )


def _answered(delivery: Delivery, answer: Answer) -> PromptRecord:
    return delivery.record(
        Outcome.ANSWERED,
        text=sound_text(answer.text),
        conversation_id=answer.conversation_id,
        message_id=answer.message_id,
        user_message_id=answer.user_message_id,
        credits=answer.credits,
        recovered=answer.recovered,
        final=True,
    )
