"""A batch of messages to customers on WhatsApp: a template to many, to each at most once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from airflow_provider_chatbase.batch.batch import Batch
from airflow_provider_chatbase.batch.checkpoint import Sent
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.outcome import (
    IN_FLIGHT,
    ChatbaseLostCheckpointError,
    Outcome,
    PromptRecord,
    Words,
)
from airflow_provider_chatbase.batch.results import RESULTS
from airflow_provider_chatbase.batch.sending import Delivery, PromptQueue, Sender
from airflow_provider_chatbase.batch.templates import OnDuplicate, Recipient, Template, read_recipient
from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient
from airflow_provider_chatbase.client.answer import read_id
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.v2.whatsapp import list_templates, send_template
from airflow_provider_chatbase.files.formats import Column, ColumnType, Table

LEAST_OUTAGE = 3

_TYPES: dict[str, ColumnType] = {
    **dict.fromkeys(("metadata", "variables"), "json"),
    "seconds": "number",
    "attempts": "integer",
}
_NAMES = (
    *("id", "to", "template", "language", "variables", "outcome", "error_code", "error_message"),
    *("conversation_id", "message_id", "seconds", "attempts", "metadata", "duplicate_of"),
)


@dataclass(frozen=True, slots=True)
class TemplateSender(Sender[Recipient]):
    """
    Sends a template to one customer after the other.

    Nothing of the API leads from a number to its conversation, and a message that is not in one may have been
    sent all the same. So a message whose fate is unknown is in doubt for good, and goes again only when the
    user says so, once.
    """

    template: Template

    @property
    def may_resolve(self) -> bool:
        """Whether what an earlier process left in doubt is sent again."""
        return self.settings.on_ambiguous == "retry"

    @property
    def may_go_again(self) -> bool:
        """Whether what this process left in doubt is: never."""
        return False

    @property
    def outage(self) -> int:
        """How many failures in a row are no chance: each may be a customer in doubt."""
        return max(LEAST_OUTAGE, self.settings.concurrency)

    def given_up(self, sent_before: Sent) -> PromptRecord:
        """Return what became of a message of an earlier process."""
        return PromptRecord(
            Outcome.AMBIGUOUS,
            error_code=IN_FLIGHT,
            error_message="An earlier process ended while this message was on its way. It is unknown whether "
            "it was sent, and it is not sent again.",
            sent_at=sent_before.last,
            credits=0.0,
        )

    async def _send(
        self,
        outgoing: Recipient,
        sent_before: Sent | None,
        queue: PromptQueue | None,  # noqa: ARG002 - messages to customers need none
        delivery: Delivery,
    ) -> PromptRecord:
        delivery.blind = sent_before is not None
        delivery.costs = 0.0
        request = send_template(
            self.agent_id,
            outgoing.to,
            self.template.name,
            variables=outgoing.variables,
            language=outgoing.language,
            sender=self.template.sender,
        )
        reply = await self.client.send(request)
        return delivery.record(
            Outcome.SENT,
            conversation_id=read_id(reply.get("conversationId")),
            message_id=read_id(reply.get("messageId")),
            final=True,
        )


@dataclass(slots=True, kw_only=True)
class TemplateBatch(Batch[Recipient]):
    """Sends a template to many customers, and leaves what became of each message as a data set."""

    kind: ClassVar[str] = "whatsapp_templates"
    words: ClassVar[Words] = Recipient.words
    outcomes: ClassVar[tuple[Outcome, ...]] = (
        *(Outcome.SENT, Outcome.FAILED, Outcome.AMBIGUOUS, Outcome.NOT_SENT),
    )
    table: ClassVar[Table] = Table(RESULTS, tuple(Column(name, _TYPES.get(name, "text")) for name in _NAMES))
    keeps_refused: ClassVar[bool] = False  # it may be mended, and the customer has got nothing
    begins_first: ClassVar[bool] = True  # a later try goes on only from what an earlier one has begun

    template: Template
    on_duplicate: OnDuplicate = "fail"
    _known: Template | None = field(default=None, init=False)

    def _check(self) -> None:
        self._api.require(list_templates(self.agent_id))

    def _identity(self) -> Any:
        return self.kind  # whatever changes in the template: who has got a message in this run gets no other

    def _look_up(self) -> Template:
        with ChatbaseClient(self.connection) as client:
            return self.template.looked_up(client.send(list_templates(self.agent_id)))

    def _take_in(self, given: Iterable[Any]) -> Intake[Recipient]:
        template = self._known = self._look_up()
        read = partial(read_recipient, apart=self.on_duplicate == "send")
        return Intake(given, lambda index, each: template.judge(read(index, each)), Recipient)

    def _require_sense(self, intake: Intake[Recipient]) -> None:
        if self.on_duplicate != "fail" or not intake.duplicates:
            return
        for recipient in intake:
            first, first_id = intake.first_like(recipient)
            if first != recipient.index:
                raise ChatbaseInputError(
                    f"{intake.duplicates} of the {intake.count} messages would go to a number that gets one "
                    f"already, such as those of {first_id[:100]!r} and {recipient.id[:100]!r}. Leave them "
                    "out, or say on_duplicate='first' to send each number its first one, or 'send' to send "
                    "them all. Nothing was sent."
                )

    def _on_lost_checkpoint(self) -> bool:
        if self.settings.on_ambiguous == "retry":
            return False
        raise ChatbaseLostCheckpointError(
            f"This is try {self.try_number}, and no checkpoint of the one before is in {self.output.url}: "
            "its folder may be another machine's, or lost. Who got a message is unknown, so none is sent. "
            "Where the log of the earlier tries shows that they sent none, or where twice is better "
            "than not at all, clear the task with resend_in_doubt=True."
        )

    def _sender(self, client: AsyncChatbaseClient, key: str) -> TemplateSender:  # noqa: ARG002
        return TemplateSender(client, self.agent_id, self.settings, self._known or self.template)

    def _columns(self, intake: Intake[Recipient]) -> list[str]:  # noqa: ARG002
        return [name for name in _NAMES if name != "duplicate_of" or self.settings.dedupe]

    def _row(self, outgoing: Recipient, record: PromptRecord) -> Mapping[str, Any]:  # noqa: ARG002
        return {
            "to": outgoing.to,
            "template": self.template.name,
            "language": outgoing.language,
            "variables": outgoing.variables,
        }

    def _outlook(self, to_send: int) -> dict[str, Any]:  # noqa: ARG002
        return {"template": self.template.name}
