"""Which prompts are to be taken care of, and in what order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_provider_chatbase.batch.checkpoint import Checkpoint, Sent
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.item import Item
from airflow_provider_chatbase.batch.lanes import Lane, Lanes
from airflow_provider_chatbase.batch.outcomes import Outcome
from airflow_provider_chatbase.batch.progress import Progress
from airflow_provider_chatbase.batch.prompts import Prompt

SKIPPED_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Job:
    """
    A prompt to be taken care of.

    :param prompt: the prompt.
    :param lane: the lane that it shares with others.
    :param sent_before: when an earlier process sent it, whose end left its fate unknown.
    :param counted: whether it was sent before, whatever became of it.
    :param attempts_before: how often earlier processes sent it.
    :param answered: its answer, when only the confidence is missing.
    """

    prompt: Prompt
    lane: Lane | None
    sent_before: Sent | None
    counted: bool
    attempts_before: int
    answered: Item | None = None


class Jobs:
    """The prompts that are not settled."""

    def __init__(self, intake: Intake, checkpoint: Checkpoint, progress: Progress, *, dedupe: bool) -> None:
        self._intake = intake
        self._checkpoint = checkpoint
        self._progress = progress
        self._dedupe = dedupe
        self._lanes = Lanes()

    def unsettled(self) -> Iterator[Job | int]:
        """Iterate over what is not settled."""
        self._learn_lanes()
        return self._thinned(map(self._job, self._intake))

    def to_try_again(self, *, may_resolve: bool) -> Iterator[Job | int]:
        """Iterate over what failed in this run, and may not fail again."""
        return self._thinned(self._job_again(prompt, may_resolve=may_resolve) for prompt in self._intake)

    def _thinned(self, jobs: Iterator[Job | None]) -> Iterator[Job | int]:
        passed = 0
        for job in jobs:
            if job is not None:
                yield job
                continue
            passed += 1
            if passed % SKIPPED_AT_A_TIME == 0:
                yield passed

    def _learn_lanes(self) -> None:
        """Learn what is answered in each lane, also behind a prompt that has to be looked for."""
        if not self._intake.has_lanes:
            return
        for prompt in self._intake:
            if self._checkpoint.is_final(prompt.index) and self._intake.shares_lane(prompt):
                self._lanes.of(prompt).learn(self._checkpoint.item(prompt.index))

    def _job(self, prompt: Prompt) -> Job | None:
        index, known = prompt.index, self._checkpoint
        answered = None
        if known.is_final(index):
            if prompt.expect.min_score is None:
                return None
            answered = known.item(index)
            if answered.scored or answered.outcome != Outcome.ANSWERED:
                return None
            self._progress.done -= 1
        elif self._dedupe and self._intake.first_like(prompt)[0] != index:
            return None
        return self._new_job(prompt, answered)

    def _job_again(self, prompt: Prompt, *, may_resolve: bool) -> Job | None:
        index, known = prompt.index, self._checkpoint
        if not known.may_be_tried_again(index) or (known.in_flight(index) and not may_resolve):
            return None
        self._progress.done -= 1
        self._progress.failed -= 1
        return self._new_job(prompt)

    def _new_job(self, prompt: Prompt, answered: Item | None = None) -> Job:
        index, known = prompt.index, self._checkpoint
        lane = self._lanes.of(prompt) if self._intake.shares_lane(prompt) else None
        return Job(
            prompt, lane, known.in_flight(index), known.was_sent(index), known.attempts(index), answered
        )
