"""Sends the prompts of a batch, many at a time, and writes down what becomes of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction

from airflow_provider_chatbase.batch.budget import Admission, Budget
from airflow_provider_chatbase.batch.cache import AnswerCache
from airflow_provider_chatbase.batch.checkpoint import Checkpoint, Sent
from airflow_provider_chatbase.batch.failures import INVALID_PROMPT
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.item import Item
from airflow_provider_chatbase.batch.jobs import Job, Jobs
from airflow_provider_chatbase.batch.journal import Journal
from airflow_provider_chatbase.batch.lanes import turn
from airflow_provider_chatbase.batch.outcomes import FAILURES, LIMITS, Outcome, StopReason
from airflow_provider_chatbase.batch.progress import Progress
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.batch.sender import NotSentError, Sender, StopSendingError
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.batch.structured import AnswerSchema
from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseError

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often what failed for reasons that may pass is tried, each time when the others are through."""

LEAST_OUTAGE = 20
"""Failures in a row that pass for an outage: going on would only use up the prompts' attempts."""


class Dispatcher:
    """Sends what is not settled."""

    def __init__(
        self,
        intake: Intake,
        checkpoint: Checkpoint,
        journal: Journal,
        settings: BatchSettings,
        *,
        cache: AnswerCache | None,
        schema: AnswerSchema | None,
        progress: Progress,
    ) -> None:
        self._intake = intake
        self._checkpoint = checkpoint
        self._journal = journal
        self._settings = settings
        self._cache = cache
        self._schema = schema
        self.progress = progress
        self._jobs = Jobs(intake, checkpoint, progress, dedupe=settings.dedupe)
        self._round = 0
        self._lasting_failures = 0
        self._hurried = asyncio.Event()
        self._changed = asyncio.Event()
        self._failures_in_a_row = 0
        spent, priced = checkpoint.spent()
        self.budget = Budget(settings.max_items, settings.max_credits, checkpoint.sent_count(), spent, priced)
        self.stopped: StopReason | None = None
        self.error: ChatbaseError | None = None

    @property
    def admits(self) -> bool:
        """Whether further prompts may be sent."""
        return self.stopped is None

    @property
    def sends(self) -> bool:
        """Whether those that were admitted may still go out: a limit counts them in."""
        return self.stopped is None or self.stopped in LIMITS

    def stop(self, reason: StopReason, error: ChatbaseError | None = None) -> None:
        """Send no more; what is on its way may still be answered."""
        if self.stopped is None:
            self.stopped, self.error = reason, error
            log.warning("No more prompts are sent (%s)%s", reason, f": {error}" if error else ".")
            self._changed.set()
        if reason in (StopReason.KILLED, StopReason.LOCK_LOST):
            self._hurried.set()

    async def run(self, client: AsyncChatbaseClient, sender: Sender) -> None:
        """Send all that is not settled, until all is, or the batch is stopped."""
        reporter = asyncio.create_task(self._report())
        try:
            for self._round in range(ROUNDS):
                if not self.admits or (self._round > 0 and not self.progress.failed):
                    break
                await self._run_round(self._jobs_of_round(sender), client, sender)
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)

    def _jobs_of_round(self, sender: Sender) -> Iterator[Job | int]:
        if self._round == 0:
            return self._jobs.unsettled()
        return self._jobs.to_try_again(may_resolve=sender.may_resolve)

    async def _run_round(
        self, jobs: Iterator[Job | int], client: AsyncChatbaseClient, sender: Sender
    ) -> None:
        workers = [
            asyncio.create_task(self._work(jobs, client, sender)) for _ in range(self._settings.concurrency)
        ]
        hurried = asyncio.create_task(self._hurried.wait())
        try:
            finished = asyncio.ensure_future(asyncio.gather(*workers))
            await asyncio.wait((finished, hurried), return_when=asyncio.FIRST_COMPLETED)
            if not finished.done():
                await asyncio.wait((finished,), timeout=self._settings.grace)
            if finished.done():
                finished.result()
        finally:
            for task in (*workers, hurried):
                task.cancel()
            await asyncio.gather(*workers, hurried, return_exceptions=True)
            await self._journal.flush()

    async def _work(self, jobs: Iterator[Job | int], client: AsyncChatbaseClient, sender: Sender) -> None:
        while self.admits:
            job = next(jobs, None)
            if job is None:
                return
            if isinstance(job, int):
                await asyncio.sleep(0)  # many settled prompts were passed over
                continue
            async with turn(job.lane):
                with suppress(NotSentError):
                    item = await self._settle(job, client, sender)
                    if job.lane is not None:
                        job.lane.learn(item)

    async def _settle(self, job: Job, client: AsyncChatbaseClient, sender: Sender) -> Item:
        item = self._without_sending(job) or await self._from_cache(job.prompt)
        if item is None:
            item = await self._send(job, client, sender)
            item.attempts += job.attempts_before
        await self._add_score(job.prompt, item, client, sender)
        self._journal.add({"i": job.prompt.index, "item": item.as_json()})
        self._count(item)
        await self._keep(job.prompt, item)
        return item

    def _without_sending(self, job: Job) -> Item | None:
        if job.prompt.problem is None:
            return job.answered
        return Item(
            Outcome.FAILED,
            error_code=INVALID_PROMPT,
            error_message=job.prompt.problem,
            final=True,
            credits=0.0,
        )

    async def _send(self, job: Job, client: AsyncChatbaseClient, sender: Sender) -> Item:
        await self._admitted(again=job.counted)
        index, now = job.prompt.index, time.time()
        try:
            first = job.sent_before or Sent(now, now, job.lane.last_message if job.lane else None)
            await self._journal.add({"i": index, "sent": now, "since": first.since, "after": first.after})
            item = await sender.send(client, job.prompt, job.lane, job.sent_before)
        except (NotSentError, StopSendingError) as end:
            if job.sent_before is None:
                self._journal.add({"i": index, "unsent": True})
            self.budget.withdraw(again=job.counted)
            if isinstance(end, StopSendingError):
                self.stop(end.reason, end.error)
            raise NotSentError from end
        self.budget.end(item.credits, charged=item.may_be_charged)
        self._changed.set()
        return item

    async def _admitted(self, *, again: bool) -> None:
        while self.admits:
            admission = self.budget.admit(again=again)
            if admission is Admission.GO:
                self.budget.begin(again=again)
                return
            if admission is Admission.STOP:
                self.stop(self.budget.stop_reason())
                break
            self._changed.clear()
            await self._changed.wait()
        raise NotSentError

    async def _from_cache(self, prompt: Prompt) -> Item | None:
        return None if self._cache is None else await asyncio.to_thread(self._cache.get, prompt)

    async def _keep(self, prompt: Prompt, item: Item) -> None:
        if self._cache is not None and self._outcome(item) is Outcome.ANSWERED:
            try:
                await asyncio.to_thread(self._cache.put, prompt, item)
            except ChatbaseError as error:
                log.warning("An answer could not be kept for later runs: %s", error)

    async def _add_score(
        self, prompt: Prompt, item: Item, client: AsyncChatbaseClient, sender: Sender
    ) -> None:
        if prompt.expect.min_score is None or item.outcome is not Outcome.ANSWERED or item.scored:
            return
        try:
            await sender.score(client, item)
        except ChatbaseError as error:
            item.scored = False
            log.warning("The confidence of an answer could not be read: %s", error)

    def _outcome(self, item: Item) -> Outcome:
        if item.outcome is not Outcome.ANSWERED or self._schema is None:
            return item.outcome
        _, problem = self._schema.read(item.text or "")
        return Outcome.ANSWERED if problem is None else Outcome.INVALID_OUTPUT

    def _count(self, item: Item) -> None:
        progress = self.progress
        progress.done += 1
        progress.credits = self.budget.estimate
        self._note_outage(item)
        if self._outcome(item) not in FAILURES:
            return
        progress.failed += 1
        if self._settings.fail_fast:
            self.stop(StopReason.FAIL_FAST)
        most = self._settings.max_failure_rate
        self._lasting_failures += item.final or self._round == ROUNDS - 1
        if most is not None and Fraction(self._lasting_failures, self._intake.count) > most:
            self.stop(StopReason.FAILURE_RATE)

    def _note_outage(self, item: Item) -> None:
        passes = item.outcome in (Outcome.FAILED, Outcome.AMBIGUOUS) and not item.final
        self._failures_in_a_row = self._failures_in_a_row + 1 if passes else 0
        if self._failures_in_a_row >= max(LEAST_OUTAGE, 2 * self._settings.concurrency):
            self.stop(StopReason.OUTAGE)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._settings.seconds_between_reports)
            log.info("%s", self.progress.line)
