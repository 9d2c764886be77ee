"""The rows of the result, in the order of the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_chatbase.batch.checkpoint import Checkpoint
from airflow_provider_chatbase.batch.failures import INVALID_OUTPUT
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.item import Item
from airflow_provider_chatbase.batch.outcomes import Outcome
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.batch.structured import AnswerSchema


@dataclass(frozen=True, slots=True)
class Result:
    """
    What became of one prompt, judged.

    :param prompt: the prompt.
    :param item: what is known of it.
    :param parsed: its answer as JSON, where that was asked for.
    :param unmet: what is not as expected.
    :param duplicate_of: the id of the prompt whose answer it got.
    """

    prompt: Prompt
    item: Item
    parsed: Any = None
    unmet: tuple[str, ...] = ()
    duplicate_of: str | None = None

    @property
    def passed(self) -> bool | None:
        """Whether the answer is as expected; ``None`` where nothing is."""
        if not self.prompt.expect:
            return None
        return self.item.outcome is Outcome.ANSWERED and not self.unmet


@dataclass(frozen=True, slots=True)
class Columns:
    """
    Which columns the result has besides those that it always has.

    :param parsed: the answer as JSON.
    :param expectations: ``passed``, ``failed_expectations`` and ``score``.
    :param cached: whether the answer is an earlier one.
    :param duplicates: the id of the prompt whose answer it got.
    """

    parsed: bool
    expectations: bool
    cached: bool
    duplicates: bool

    def row(self, result: Result) -> dict[str, Any]:
        """Return a result as a row."""
        prompt, item = result.prompt, result.item
        row: dict[str, Any] = {
            "id": prompt.id,
            "message": prompt.message,
            "text": item.text,
            "outcome": str(item.outcome),
            "error_code": item.error_code,
            "error_message": item.error_message,
            "conversation_id": item.conversation_id or prompt.conversation_id,
            "message_id": item.message_id,
            "credits": item.credits,
            "seconds": item.seconds,
            "attempts": item.attempts,
            "metadata": prompt.metadata,
            "recovered": item.recovered,
        }
        if self.parsed:
            row["parsed"] = result.parsed
        if self.expectations:
            row |= {"passed": result.passed, "failed_expectations": list(result.unmet), "score": item.score}
        if self.cached:
            row["cached"] = item.cached
        if self.duplicates:
            row["duplicate_of"] = result.duplicate_of
        return row


def results(
    intake: Intake, checkpoint: Checkpoint, schema: AnswerSchema | None, *, dedupe: bool
) -> Iterator[Result]:
    """Judge all that is known, in the order of the input."""
    for prompt in intake:
        item, duplicate_of = checkpoint.item(prompt.index), None
        if dedupe and not checkpoint.is_known(prompt.index):
            first, first_id = intake.first_like(prompt)
            if first != prompt.index:
                item = replace(checkpoint.item(first), credits=0.0, seconds=0.0, attempts=0)
                duplicate_of = first_id
        yield judge(prompt, item, schema, duplicate_of)


def judge(prompt: Prompt, item: Item, schema: AnswerSchema | None, duplicate_of: str | None = None) -> Result:
    """Judge an answer by the schema and by what is expected of it."""
    parsed = None
    if item.outcome is Outcome.ANSWERED and schema is not None:
        parsed, problem = schema.read(item.text or "")
        if problem is not None:
            item = replace(
                item, outcome=Outcome.INVALID_OUTPUT, error_code=INVALID_OUTPUT, error_message=problem
            )
    unmet: tuple[str, ...] = ()
    if prompt.expect:
        if item.outcome in (Outcome.ANSWERED, Outcome.INVALID_OUTPUT):
            unmet = tuple(prompt.expect.unmet(item.text or "", item.score))
        else:
            unmet = (f"outcome: {item.outcome}",)
    return Result(prompt, item, parsed, unmet, duplicate_of)
