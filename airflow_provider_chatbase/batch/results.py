"""The data set that a batch leaves: a row per prompt, what they come to, and whether that is a success."""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from airflow_provider_chatbase.batch.checkpoint import Checkpoint
from airflow_provider_chatbase.batch.expectations import AnswerSchema
from airflow_provider_chatbase.batch.intake import Intake, Outgoing, OutgoingT
from airflow_provider_chatbase.batch.outcome import (
    FAILURES,
    INVALID_OUTPUT,
    INVALID_PROMPT,
    LIMITS,
    PROMPTS,
    SUCCESSES,
    ChatbaseBadPromptsError,
    ChatbaseBatchError,
    ChatbaseBatchLimitError,
    ChatbaseExpectationsError,
    Outcome,
    PromptRecord,
    StopReason,
    Words,
)
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client.errors import counted, quoted
from airflow_provider_chatbase.files import ChatbaseOutputError
from airflow_provider_chatbase.files.directory import MANIFEST, Directory
from airflow_provider_chatbase.files.formats import FORMATS, SUFFIX, Column, ColumnType, Format, Table

log = logging.getLogger(__name__)

RESULTS = "results"
NAMED = 5
LONGEST_NAME = 60

OPTIONAL = ("parsed", "passed", "failed_expectations", "score", "cached", "duplicate_of")
_TYPES: dict[str, ColumnType] = {
    **dict.fromkeys(("credits", "seconds", "score"), "number"),
    **dict.fromkeys(("recovered", "passed", "cached"), "flag"),
    **dict.fromkeys(("metadata", "parsed"), "json"),
    "attempts": "integer",
    "failed_expectations": "texts",
}
_NAMES = (
    *("id", "message", "text", "outcome", "error_code", "error_message", "conversation_id", "message_id"),
    *("credits", "seconds", "attempts", "metadata", "recovered"),
    *OPTIONAL,
)
ANSWERS = Table(RESULTS, tuple(Column(name, _TYPES.get(name, "text")) for name in _NAMES))
"""All columns; CSV and Parquet always have them, JSON lines have those that the batch's arguments ask for."""


def judged_records(
    intake: Intake[OutgoingT], checkpoint: Checkpoint, schema: AnswerSchema | None, *, dedupe: bool
) -> Iterator[tuple[OutgoingT, PromptRecord]]:
    """Judge all that is known, in the order of the input."""
    for prompt in intake:
        record = checkpoint.record(prompt.index)
        if dedupe and not checkpoint.is_known(prompt.index):
            first, first_id = intake.first_like(prompt)
            if first != prompt.index:
                like = checkpoint.record(first)
                record = replace(like, credits=0.0, seconds=0.0, attempts=0, duplicate_of=first_id)
        yield prompt, judge(prompt, record, schema)


def judge(prompt: Outgoing, record: PromptRecord, schema: AnswerSchema | None) -> PromptRecord:
    """Judge an answer by the schema and by what is expected of it."""
    if record.outcome is Outcome.ANSWERED and schema is not None:
        parsed, problem = schema.read(record.text or "")
        record = replace(record, parsed=parsed)
        if problem is not None:
            wrong = {"outcome": Outcome.INVALID_OUTPUT, "error_code": INVALID_OUTPUT}
            record = replace(record, **wrong, error_message=problem)
    if not prompt.expect:
        return record
    if record.outcome in (Outcome.ANSWERED, Outcome.INVALID_OUTPUT):
        return replace(record, unmet=tuple(prompt.expect.unmet(record.text or "", record.score)))
    return replace(record, unmet=(f"outcome: {record.outcome}",))


def has_passed(prompt: Outgoing, record: PromptRecord) -> bool | None:
    """Say whether the answer is as expected; ``None`` where nothing is."""
    if not prompt.expect:
        return None
    return record.outcome is Outcome.ANSWERED and not record.unmet


def columns_of(settings: BatchSettings, *, expecting: bool, cached: bool) -> list[str]:
    """Return the names of the columns that a batch's arguments ask for."""
    wanted = {
        "parsed": settings.json_schema is not None,
        **dict.fromkeys(("passed", "failed_expectations", "score"), expecting),
        "cached": cached,
        "duplicate_of": settings.dedupe,
    }
    return [name for name in _NAMES if wanted.get(name, True)]


def row_of(
    prompt: Outgoing, record: PromptRecord, columns: Iterable[str], own: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return what was to be sent and what became of it as a row; ``own`` are values of its kind."""
    known = {"id": prompt.id, "metadata": prompt.metadata, "outcome": str(record.outcome), **own}
    return {name: known[name] if name in known else getattr(record, name) for name in columns}


@dataclass(slots=True)
class Tally:
    """Counts what became of the prompts."""

    words: Words = PROMPTS
    possible: tuple[Outcome, ...] = tuple(Outcome)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    error_codes: Counter[str] = field(default_factory=Counter)
    credits: Decimal = Decimal(0)
    priced: int = 0
    credits_unknown: int = 0
    recovered: int = 0
    cached: int = 0
    duplicates: int = 0
    checked: int = 0
    passed: int = 0
    problems: list[str] = field(default_factory=list)  # the first prompts that cannot be sent, and why
    _worst: list[tuple[int, int, str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def items(self) -> int:
        """How many prompts there are."""
        return self.outcomes.total()

    @property
    def done(self) -> int:
        """How many are as they ought to be."""
        return sum(self.outcomes[outcome] for outcome in SUCCESSES)

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(self.outcomes[outcome] for outcome in FAILURES)

    @property
    def worst(self) -> list[tuple[str, tuple[str, ...]]]:
        """The prompts whose answers miss most of what is expected, the worst first, and what they miss."""
        return [(name, unmet) for _, _, name, unmet in sorted(self._worst, reverse=True)]

    @property
    def causes(self) -> str:
        """The most frequent error codes."""
        return ", ".join(f"{_short(code)} {n}x" for code, n in self.error_codes.most_common(NAMED))

    @property
    def average(self) -> Decimal | None:
        """What an answer cost on average, where that is known."""
        return self.credits / self.priced if self.priced else None

    def add(self, prompt: Outgoing, record: PromptRecord) -> None:
        """Count a prompt."""
        self.outcomes[record.outcome] += 1
        if record.error_code is not None and record.outcome in FAILURES:
            self.error_codes[record.error_code] += 1
        if prompt.problem is not None and len(self.problems) < NAMED:
            self.problems.append(f"{_short(prompt.id)} ({quoted(prompt.problem, 200)})")
        self.recovered += record.recovered and record.duplicate_of is None
        self.cached += record.cached
        self.duplicates += record.duplicate_of is not None
        if record.credits is not None:
            self.credits += Decimal(str(record.credits))
            self.priced += record.credits > 0
        elif record.may_be_charged:
            self.credits_unknown += 1
        self._check(prompt, record)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON of bounded size."""
        estimated = self.credits + self.credits_unknown * (self.average or Decimal(1))
        counts = {
            "items": self.items,
            "outcomes": {str(outcome): self.outcomes[outcome] for outcome in self.possible},
            "error_codes": {_short(code): n for code, n in self.error_codes.most_common(NAMED)},
            "credits": float(self.credits),
            "credits_per_answer": None if self.average is None else float(round(self.average, 6)),
            "credits_unknown": self.credits_unknown,
            "credits_estimated": float(round(estimated, 6)),
            "recovered": self.recovered,
            "cached": self.cached,
            "duplicates": self.duplicates,
        }
        if self.checked:
            counts["expectations"] = {
                "checked": self.checked,
                "passed": self.passed,
                "pass_rate": round(self.passed / self.checked, 6),
                "worst": [_short(name) for name, _ in self.worst],
            }
        return counts

    def _check(self, prompt: Outgoing, record: PromptRecord) -> None:
        passed = has_passed(prompt, record)
        if passed is None:
            return
        self.checked += 1
        self.passed += passed
        if not passed:
            entry = (max(len(record.unmet), 1), -prompt.index, prompt.id, record.unmet)
            (heapq.heappush if len(self._worst) < NAMED else heapq.heappushpop)(self._worst, entry)


def write_results(
    directory: Directory,
    judged: Iterable[tuple[OutgoingT, PromptRecord]],
    files: Format,
    table: Table,
    columns: Iterable[str],
    own_values: Callable[[OutgoingT, PromptRecord], Mapping[str, Any]],
    tally: Tally,
) -> None:
    """Write and count the results in place of those that are there; without a manifest they do not count."""
    name = f"{RESULTS}{files.suffix}"
    with directory.replacing(name) as stream:
        with files.writer(table, stream) as writer:
            for prompt, record in judged:
                writer.write_row(row_of(prompt, record, columns, own_values(prompt, record)))
                tally.add(prompt, record)
        directory.remove(MANIFEST)
    others = {f"{RESULTS}.{kind}{packed}" for kind in FORMATS for packed in SUFFIX.values()} - {name}
    for other in others.intersection(directory.names()):
        directory.remove(other)


def report_other_run(directory: Directory, run: str) -> None:
    """Say in the log when another run's results are replaced; those of this run's tasks are not."""
    found = directory.read_json(MANIFEST)
    other = str(found.get("run")) if found is not None else run
    if other == run:
        return
    dag_run = run.rsplit(" ", 2)[0]
    if run and other.rsplit(" ", 2)[0] == dag_run:
        raise ChatbaseOutputError(
            f"{directory.url} holds the results of another task of this run, or of another mapped instance "
            f"({other}). Give each a path of its own, for example with {{{{ ti.task_id }}}} or "
            "{{ ti.map_index }} in it. Nothing was sent."
        )
    log.warning(
        "%s holds the results of another run (%s); they are replaced. Give each run a path of its own, "
        "for example with {{ run_id }} or {{ ds }} in it, to keep both.",
        directory.url,
        other,
    )


_WHY: dict[StopReason, tuple[str, str]] = {
    StopReason.MAX_ITEMS: ("{cap} was reached", "Raise it and clear the task to go on."),
    StopReason.MAX_CREDITS: ("max_credits was reached", "Raise it and clear the task to go on."),
    StopReason.CREDITS_EXHAUSTED: ("no credits are left", "Clear the task when there are some."),
    StopReason.FAILURE_RATE: ("more failed than max_failure_rate allows", ""),
    StopReason.FAIL_FAST: ("a {one} failed, and fail_fast is set", ""),
    StopReason.REFUSED: ("Chatbase refused what holds for every {one}", "Mend that and clear the task."),
    StopReason.OUTAGE: ("too many failed in a row", ""),
    StopReason.TIMEOUT: ("batch_timeout has passed", ""),
}
"""Why a batch ended, and what to do where clearing the task is not all."""


def in_words(tally: Tally, stopped: StopReason | None) -> str:
    """Say what is done, what is not, why, and what to do."""
    words, left = tally.words, tally.outcomes[Outcome.NOT_SENT]
    told = [f"{_so_far(tally)}{_cost(tally)}."]
    if tally.failed:
        told.append(
            f"{tally.failed:,} failed ({tally.causes}): each row of the results says why. Mend those "
            f"{words.noun}, or clear the task to try again what may pass."
        )
    if tally.outcomes[Outcome.AMBIGUOUS] and words.in_doubt:
        told.append(f"{tally.outcomes[Outcome.AMBIGUOUS]:,} are in doubt: {words.in_doubt}")
    if left:
        why, advice = _WHY.get(stopped, ("the batch ended early", "")) if stopped else ("", "")
        since = f", since {why.format(one=words.one, cap=words.cap)}" if why else ""
        told.append(f"{left:,} were not sent{since}. {advice or words.go_on}")
    return " ".join(told)


def _so_far(tally: Tally) -> str:
    return f"{tally.done:,} of {tally.items:,} {tally.words.noun} are {tally.words.done}"


def _cost(tally: Tally) -> str:
    if Outcome.ANSWERED not in tally.possible:
        return ""
    unknown = f", and {tally.credits_unknown:,} whose cost is unknown" if tally.credits_unknown else ""
    return f", for {counted(tally.credits, 'credit')}{unknown}"


def verdict(tally: Tally, stopped: StopReason | None, settings: BatchSettings) -> None:
    """Say whether a batch is a success; a refusal that ended it is raised before."""
    words, so_far = tally.words, _so_far(tally)
    again = "Every outcome stands in the results. Clear the task for those that are left."
    if tally.outcomes[Outcome.AMBIGUOUS] and words.in_doubt:
        again = f"{again} {tally.outcomes[Outcome.AMBIGUOUS]:,} are in doubt: {words.in_doubt}"
    if stopped is StopReason.FAIL_FAST:
        raise ChatbaseBatchError(
            f"A {words.one} failed ({tally.causes}), and fail_fast is set; {so_far}. {again}"
        )
    if stopped is StopReason.OUTAGE:
        raise ChatbaseBatchError(f"Too many {words.noun} failed in a row ({tally.causes}); {so_far}. {again}")
    if tally.items and Fraction(tally.failed, tally.items) > settings.max_failure_rate:
        raise ChatbaseBatchError(
            f"{tally.failed:,} of {tally.items:,} {words.noun} failed ({tally.causes}), more than "
            f"max_failure_rate {float(settings.max_failure_rate):g} allows; {so_far}. {again}"
        )
    if tally.failed and not tally.done + tally.outcomes[Outcome.INVALID_OUTPUT]:
        raise ChatbaseBatchError(f"Not one {words.one} was {words.done} ({tally.causes}). {again}")
    if tally.problems and settings.on_problem == "fail":
        raise ChatbaseBadPromptsError(
            f"{tally.error_codes[INVALID_PROMPT]:,} {words.noun} cannot be sent: "
            f"{'; '.join(tally.problems)}. Mend them and clear the task; the others are not {words.verb} "
            f"again. {so_far}."
        )
    _require_passed(tally, settings)
    if stopped in LIMITS and settings.on_limit == "fail":
        limit = words.cap if stopped is StopReason.MAX_ITEMS else stopped
        raise ChatbaseBatchLimitError(
            f"{limit} was reached; {so_far}. Raise it and clear the task to go on, or say "
            "on_limit='succeed' where that is as it should be."
        )
    if stopped not in LIMITS and tally.outcomes[Outcome.NOT_SENT]:
        raise ChatbaseBatchError(in_words(tally, stopped))


def _require_passed(tally: Tally, settings: BatchSettings) -> None:
    least = settings.min_pass_rate
    if least is None or not tally.checked or Fraction(tally.passed, tally.checked) >= least:
        return
    worst = "; ".join(f"{_short(name)} ({_short(', '.join(unmet))})" for name, unmet in tally.worst)
    raise ChatbaseExpectationsError(
        f"{tally.passed:,} of {tally.checked:,} answers are as expected, fewer than min_pass_rate "
        f"{float(least):g} asks for. The worst: {worst}. The results show each answer."
    )


def _short(text: str) -> str:
    return quoted(text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…")
