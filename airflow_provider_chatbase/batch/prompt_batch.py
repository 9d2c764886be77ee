"""A batch of prompts: an agent is asked many questions, each once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_provider_chatbase.batch.batch import Batch, BatchReport
from airflow_provider_chatbase.batch.checkpoint import AnswerCache
from airflow_provider_chatbase.batch.expectations import NAMES, AnswerSchema
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.outcome import Outcome, PromptRecord, Words
from airflow_provider_chatbase.batch.prompts import Prompt, take_in
from airflow_provider_chatbase.batch.results import ANSWERS, columns_of, has_passed
from airflow_provider_chatbase.batch.sender import PromptSender
from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbasePermissionError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.files.directory import MANIFEST
from airflow_provider_chatbase.files.formats import Table

log = logging.getLogger(__name__)

ANSWERING_SETTINGS = ("instructions", "model", "temp")
"""The settings that decide the answers; others change by themselves, such as ``creditsUsed``."""


@dataclass(slots=True, kw_only=True)
class PromptBatch(Batch[Prompt]):
    """Asks an agent many questions, each once, and leaves the answers as a data set."""

    kind: ClassVar[str] = "batch_prompts"
    words: ClassVar[Words] = Prompt.words
    outcomes: ClassVar[tuple[Outcome, ...]] = tuple(each for each in Outcome if each is not Outcome.SENT)
    table: ClassVar[Table] = ANSWERS

    _agent: JsonObject | None = field(default=None, init=False)

    def ask_all(self, given: Iterable[Any]) -> BatchReport:
        """Ask what is not answered yet, and write the results."""
        return self.send_all(given)

    def _check(self) -> None:
        if self.settings.max_credits is not None and not self._api.keeps_messages:
            raise ChatbaseInputError(
                "max_credits needs API v2: v1 does not say what an answer costs. Use max_items instead. "
                "Nothing was sent."
            )
        self._schema()
        if not self._api.keeps_messages:
            log.warning(
                "API v1 has no user ids, and no way to look for a prompt: after a failure that leaves its "
                "fate open, it is %s.",
                self._fate_of_lost,
            )

    def _schema(self) -> AnswerSchema | None:
        schema = self.settings.json_schema
        return None if schema is None else AnswerSchema(dict(schema))

    def _identity(self) -> Any:
        self._agent = self._read_agent()
        return self._answering_settings()

    def _read_agent(self) -> JsonObject | None:
        """Return the agent, or ``None`` where the key or the API version does not show it: ``getAgent``."""
        if not self._api.shows_all_settings:
            return None
        try:
            with ChatbaseClient(self.connection) as client:
                return client.send(client.api.get_agent(self.agent_id))
        except ChatbasePermissionError as error:
            log.warning("The agent's settings cannot be read: %s", error)
            return None

    def _answering_settings(self) -> JsonObject | None:
        agent = self._agent
        return None if agent is None else {name: agent.get(name) for name in ANSWERING_SETTINGS}

    def _answer_cache(self) -> AnswerCache | None:
        if self.cache is None:
            return None
        where = [self.connection.host, self.connection.api_version, self.agent_id]
        return AnswerCache(self.cache, [*where, self._answering_settings()], self.settings.cache_ttl)

    def _take_in(self, given: Iterable[Any]) -> Intake[Prompt]:
        return take_in(given)

    def _require_sense(self, intake: Intake[Prompt]) -> None:
        if self.settings.min_pass_rate is not None and intake.count > intake.invalid and not intake.expecting:
            raise ChatbaseInputError(
                f"min_pass_rate is given, and none of the prompts expects anything: {', '.join(NAMES)} are "
                "what can be expected. Nothing was sent."
            )

    def _on_lost_checkpoint(self) -> bool:
        if self.settings.on_ambiguous != "reconcile" or not self._api.keeps_messages:
            log.warning(
                "This is try %d, and no checkpoint of the one before is in %s. What it sent goes again: %s.",
                self.try_number,
                self.output.url,
                "API v1 has no way to look" if not self._api.keeps_messages else "on_ambiguous says so",
            )
            return False
        log.warning(
            "This is try %d, and no checkpoint of the one before is in %s: its folder may be another "
            "machine's, or lost. Each prompt is looked for before it is sent, which costs no credits.",
            self.try_number,
            self.output.url,
        )
        return True

    def _sender(self, client: AsyncChatbaseClient, key: str) -> PromptSender:
        return PromptSender(client, self.agent_id, self.settings, key)

    def _columns(self, intake: Intake[Prompt]) -> list[str]:
        return columns_of(self.settings, expecting=intake.expecting > 0, cached=self.cache is not None)

    def _row(self, outgoing: Prompt, record: PromptRecord) -> Mapping[str, Any]:
        return {
            "message": outgoing.message,
            "conversation_id": record.conversation_id or outgoing.conversation_id,
            "passed": has_passed(outgoing, record),
            "failed_expectations": list(record.unmet),
        }

    def _outlook(self, to_send: int) -> dict[str, Any]:
        """Estimate the credits, from the earlier results at the output where there are some."""
        each, basis = 1.0, "1 credit an answer; many models cost more"
        earlier = self.output.read_json(MANIFEST) or {}
        if earlier.get("agent_id") == self.agent_id and earlier.get("credits_per_answer"):
            each = float(earlier["credits_per_answer"])
            basis = "the average of the earlier results at this path"
        agent = self._agent or {}
        return {
            "estimated_credits": round(to_send * each, 6),
            "estimate_basis": basis,
            "agent_credit_limit": agent.get("creditLimit"),
            "agent_credits_used": agent.get("creditsUsed"),
        }
