"""What a batch came to, in numbers, and whether that is a success. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any

from airflow_provider_chatbase.batch.errors import (
    ChatbaseBatchError,
    ChatbaseBatchLimitError,
    ChatbaseExpectationsError,
)
from airflow_provider_chatbase.batch.outcomes import FAILURES, LIMITS, Outcome, StopReason
from airflow_provider_chatbase.batch.rows import Result
from airflow_provider_chatbase.batch.settings import BatchSettings

NAMED = 5
LONGEST_NAME = 60


class Tally:
    """Counts results."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.error_codes: Counter[str] = Counter()
        self.credits = Decimal(0)
        self.priced = 0
        self.credits_unknown = 0
        self.recovered = 0
        self.cached = 0
        self.duplicates = 0
        self.checked = 0
        self.passed = 0
        self._worst: list[tuple[int, int, str, tuple[str, ...]]] = []

    @property
    def items(self) -> int:
        """How many prompts there are."""
        return self.outcomes.total()

    @property
    def failed(self) -> int:
        """How many failed."""
        return sum(self.outcomes[outcome] for outcome in FAILURES)

    @property
    def worst(self) -> list[tuple[str, tuple[str, ...]]]:
        """The prompts whose answers miss most of what is expected, the worst first, and what they miss."""
        return [(name, unmet) for _, _, name, unmet in sorted(self._worst, reverse=True)]

    @property
    def average(self) -> Decimal | None:
        """What an answer cost on average, where that is known."""
        return self.credits / self.priced if self.priced else None

    def add(self, result: Result) -> None:
        """Count a result."""
        item = result.item
        self.outcomes[item.outcome] += 1
        if item.error_code is not None and item.outcome in FAILURES:
            self.error_codes[item.error_code] += 1
        self.recovered += item.recovered and result.duplicate_of is None
        self.cached += item.cached
        self.duplicates += result.duplicate_of is not None
        if item.credits is not None:
            self.credits += Decimal(str(item.credits))
            self.priced += item.credits > 0
        elif item.may_be_charged:
            self.credits_unknown += 1
        self._check(result)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON of bounded size."""
        estimated = self.credits + self.credits_unknown * (self.average or Decimal(1))
        counts = {
            "items": self.items,
            "outcomes": {str(outcome): self.outcomes[outcome] for outcome in Outcome},
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

    def _check(self, result: Result) -> None:
        if result.passed is None:
            return
        self.checked += 1
        self.passed += result.passed
        if not result.passed:
            misses = max(len(result.unmet), 1)
            entry = (misses, -result.prompt.index, result.prompt.id, result.unmet)
            (heapq.heappush if len(self._worst) < NAMED else heapq.heappushpop)(self._worst, entry)


def verdict(
    tally: Tally, stopped: StopReason | None, settings: BatchSettings, *, fail_at_limit: bool
) -> None:
    """Say whether a batch is a success; a refusal that ended it is raised before."""
    so_far = f"{tally.outcomes[Outcome.ANSWERED]:,} of {tally.items:,} prompts are answered"
    causes = ", ".join(f"{code} {n}x" for code, n in tally.error_codes.most_common(NAMED))
    again = "Every outcome stands in the results. Clear the task to ask those that are left."
    if stopped is StopReason.FAIL_FAST:
        raise ChatbaseBatchError(f"A prompt failed ({causes}), and fail_fast is set; {so_far}. {again}")
    if stopped is StopReason.OUTAGE:
        raise ChatbaseBatchError(f"Too many prompts failed in a row ({causes}); {so_far}. {again}")
    most = settings.max_failure_rate
    if most is not None and tally.items and Fraction(tally.failed, tally.items) > most:
        raise ChatbaseBatchError(
            f"{tally.failed:,} of {tally.items:,} prompts failed ({causes}), more than max_failure_rate "
            f"{float(most):g} allows; {so_far}. {again}"
        )
    answers = tally.outcomes[Outcome.ANSWERED] + tally.outcomes[Outcome.INVALID_OUTPUT]
    if tally.failed and not answers:
        raise ChatbaseBatchError(f"Not one prompt was answered ({causes}). {again}")
    _require_passed(tally, settings)
    if stopped in LIMITS and fail_at_limit:
        raise ChatbaseBatchLimitError(
            f"{stopped} was reached; {so_far}. Raise it and clear the task to go on."
        )


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
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
