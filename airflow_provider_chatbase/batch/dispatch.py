"""What goes when: many at a time, each written down before it goes and when its outcome is known."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from airflow_provider_chatbase.batch.checkpoint import (
    AnswerCache,
    Checkpoint,
    Journal,
    Line,
    SegmentLog,
    Sent,
)
from airflow_provider_chatbase.batch.expectations import AnswerSchema
from airflow_provider_chatbase.batch.intake import Intake, Outgoing
from airflow_provider_chatbase.batch.outcome import (
    FAILURES,
    INVALID_PROMPT,
    LIMITS,
    Outcome,
    PromptRecord,
    StopReason,
)
from airflow_provider_chatbase.batch.sending import (
    InDoubtError,
    NotSentError,
    PromptQueue,
    Sender,
    StopSendingError,
)
from airflow_provider_chatbase.batch.settings import Admission, BatchSettings, Budget, Progress
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.files.lock import Lock

log = logging.getLogger(__name__)

ROUNDS = 3
"""How often what failed for reasons that may pass is tried, each time when the others are through."""

HURRIED = (StopReason.KILLED, StopReason.LOCK_LOST, StopReason.TIMEOUT)
"""Reasons for which what is on its way is not waited for to its end."""

PASSED_OVER_AT_A_TIME = 500
SECONDS_BETWEEN_LOOKS_AT_THE_LOCK = 0.2


class Dispatcher:
    """Sends what is not settled."""

    def __init__(
        self,
        intake: Intake[Any],
        segments: SegmentLog,
        settings: BatchSettings,
        lock: Lock,
        *,
        cache: AnswerCache | None,
        schema: AnswerSchema | None,
        unseen: Sent | None = None,
        keeps_refused: bool = True,
    ) -> None:
        self._intake = intake
        self._settings = settings
        self._lock = lock
        self._cache = cache
        self._schema = schema
        self.checkpoint = known = Checkpoint(segments, intake, unseen, keeps_refused=keeps_refused)
        self._journal = Journal(segments, known, settings.storage_patience)
        self._sender: Sender[Any]
        self._queues: dict[str, PromptQueue] = {}
        self._round = 0
        self._lasting_failures = 0
        self._failures_in_a_row = 0
        self._hurried = asyncio.Event()
        self._changed = asyncio.Event()
        limits = settings.max_items, settings.max_credits
        self.budget = Budget(*limits, known.sent_count(), known.spent, known.priced, known.unpriced)
        total = intake.count - (intake.duplicates if settings.dedupe else 0)
        self.progress = Progress(total, known.resumed, known.failed)
        self.stopped: StopReason | None = None
        self.error: ChatbaseError | None = None

    def let_go(self) -> None:
        """Refuse what is about to go out when it may not; a limit counts in what was admitted."""
        if self.stopped is not None and self.stopped not in LIMITS:
            raise NotSentError
        if not self._lock.held:
            raise InDoubtError

    def stop(self, reason: StopReason, error: ChatbaseError | None = None) -> None:
        """Send no more; what is on its way may still be answered."""
        if self.stopped is None:
            self.stopped, self.error = reason, error
            log.warning("No more is sent (%s)%s", reason, f": {error}" if error else ".")
            self._changed.set()
        if reason in HURRIED:
            self._journal.patience = 0.0
            self._hurried.set()

    async def run(self, sender: Sender[Any]) -> None:
        """Send all that is not settled, until all is, or the batch is stopped."""
        self._sender = sender
        self._learn_queues()
        reporter = asyncio.create_task(self._report())
        if self._settings.batch_timeout is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self._settings.batch_timeout, self.stop, StopReason.TIMEOUT)
        try:
            for self._round in range(ROUNDS):
                if self.stopped is not None or (self._round > 0 and not self.progress.failed):
                    break
                await self._run_round(self._prompts_of_round())
        finally:
            reporter.cancel()
            await asyncio.gather(reporter, return_exceptions=True)

    # -- which prompts

    def _learn_queues(self) -> None:
        """Learn what is answered in each queue, also behind a prompt that has to be looked for."""
        if not self._intake.has_queues:
            return
        for prompt in self._intake:
            queue = self._queue_of(prompt)
            if queue is not None and self.checkpoint.is_final(prompt.index):
                queue.learn(self.checkpoint.record(prompt.index))

    def _queue_of(self, prompt: Outgoing) -> PromptQueue | None:
        """Return a prompt's queue; one that shares it with no other needs none."""
        shares = self._intake.shares_queue(prompt)
        return self._queues.setdefault(json.dumps(prompt.queue), PromptQueue()) if shares else None

    def _prompts_of_round(self) -> Iterator[Outgoing | None]:
        """Iterate over the prompts to be taken care of; ``None`` now and then, when many are passed over."""
        passed = 0
        for prompt in self._intake:
            wanted = self._is_unsettled(prompt) if self._round == 0 else self._may_go_again(prompt)
            if wanted:
                yield prompt
                continue
            passed += 1
            if passed % PASSED_OVER_AT_A_TIME == 0:
                yield None

    def _is_unsettled(self, prompt: Outgoing) -> bool:
        if self.checkpoint.is_final(prompt.index):
            if self._answer_without_score(prompt) is None:
                return False
            self.progress.done -= 1
            return True
        return not self._settings.dedupe or self._intake.first_like(prompt)[0] == prompt.index

    def _may_go_again(self, prompt: Outgoing) -> bool:
        index, known = prompt.index, self.checkpoint
        if not known.may_be_tried_again(index) or (known.in_flight(index) and not self._sender.may_go_again):
            return False
        self.progress.done -= 1
        self.progress.failed -= 1
        return True

    def _answer_without_score(self, prompt: Outgoing) -> PromptRecord | None:
        """Return an answer of which only the confidence is missing."""
        if prompt.expect.min_score is None or not self.checkpoint.is_final(prompt.index):
            return None
        record = self.checkpoint.record(prompt.index)
        return None if record.scored or record.outcome != Outcome.ANSWERED else record

    # -- sending

    async def _run_round(self, prompts: Iterator[Outgoing | None]) -> None:
        workers = [asyncio.create_task(self._work(prompts)) for _ in range(self._settings.concurrency)]
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

    async def _work(self, prompts: Iterator[Outgoing | None]) -> None:
        while self.stopped is None:
            try:
                prompt = next(prompts)
            except StopIteration:
                return
            if prompt is None:
                await asyncio.sleep(0)  # let others do something
                continue
            queue = self._queue_of(prompt)
            async with queue.turn if queue else nullcontext():
                with suppress(NotSentError):
                    record = await self._settle(prompt, queue)
                    if queue is not None:
                        queue.learn(record)

    async def _settle(self, prompt: Outgoing, queue: PromptQueue | None) -> PromptRecord:
        record = self._without_sending(prompt)
        if record is None and self._cache is not None:
            record = await asyncio.to_thread(self._cache.get, prompt)
        if record is None:
            attempts_before = self.checkpoint.attempts(prompt.index)
            record = await self._send(prompt, queue)
            self.progress.repeats += max(0, record.attempts - 1)
            self._note_outage(record)
            record.attempts += attempts_before
        await self._add_score(prompt, record)
        self._journal.add(prompt.index, Line(prompt.key, item=record))
        self._count(record)
        await self._keep(prompt, record)
        return record

    def _without_sending(self, prompt: Outgoing) -> PromptRecord | None:
        if prompt.problem is None:
            return self._answer_without_score(prompt)
        return PromptRecord(
            Outcome.FAILED, error_code=INVALID_PROMPT, error_message=prompt.problem, final=True, credits=0.0
        )

    async def _send(self, prompt: Outgoing, queue: PromptQueue | None) -> PromptRecord:
        """Send it, but not while another run may have taken the output over."""
        sent_before = self.checkpoint.in_flight(prompt.index)
        if sent_before is not None and not self._sender.may_resolve:
            return self._given_up(prompt, sent_before)
        again = self.checkpoint.was_sent(prompt.index)
        while True:
            while self.stopped is None and not self._lock.held:
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS_AT_THE_LOCK)
            with suppress(InDoubtError):
                return await self._send_once(prompt, queue, sent_before, again=again)

    def _given_up(self, prompt: Outgoing, sent_before: Sent) -> PromptRecord:
        known = self.checkpoint.is_known(prompt.index)
        record = self.checkpoint.record(prompt.index) if known else self._sender.given_up(sent_before)
        return replace(record, attempts=0)  # those before are added to it

    async def _send_once(
        self, prompt: Outgoing, queue: PromptQueue | None, sent_before: Sent | None, *, again: bool
    ) -> PromptRecord:
        doubted = sent_before is not None and sent_before.is_told
        await self._admitted(again=again, doubted=doubted)
        now = self._sender.client.server_now()
        first = sent_before or Sent(now, now, None if queue is None else queue.last_message)
        try:
            line = Line(prompt.key, sent=now, since=first.since, after=first.after)
            await self._journal.add(prompt.index, line)
            record = await self._sender.send(prompt, sent_before, queue, self.let_go)
        except NotSentError as end:
            if sent_before is None:
                self._journal.add(prompt.index, Line(prompt.key, unsent=True))
            self.budget.withdraw(again=again, doubted=doubted)
            self._changed.set()
            if isinstance(end, StopSendingError):
                self.stop(end.reason, end.error)
            raise
        self.budget.end(record.credits, charged=record.may_be_charged)
        self._changed.set()
        return record

    async def _admitted(self, *, again: bool, doubted: bool) -> None:
        while self.stopped is None:
            admission = self.budget.admit(again=again, doubted=doubted)
            if admission is Admission.GO:
                self.budget.begin(again=again, doubted=doubted)
                return
            if admission is Admission.STOP:
                self.stop(self.budget.stop_reason())
                break
            self._changed.clear()
            await self._changed.wait()
        raise NotSentError

    # -- around the sending

    async def _keep(self, prompt: Outgoing, record: PromptRecord) -> None:
        if self._cache is not None and self._outcome(record) is Outcome.ANSWERED:
            try:
                await asyncio.to_thread(self._cache.put, prompt, record)
            except ChatbaseError as error:
                log.warning("An answer could not be kept for later runs: %s", error)

    async def _add_score(self, prompt: Outgoing, record: PromptRecord) -> None:
        if prompt.expect.min_score is None or record.outcome is not Outcome.ANSWERED or record.scored:
            return
        try:
            await self._sender.score(record)
        except ChatbaseError as error:
            record.scored = False
            log.warning("The confidence of an answer could not be read: %s", error)

    def _outcome(self, record: PromptRecord) -> Outcome:
        if record.outcome is not Outcome.ANSWERED or self._schema is None:
            return record.outcome
        _, problem = self._schema.read(record.text or "")
        return Outcome.ANSWERED if problem is None else Outcome.INVALID_OUTPUT

    def _count(self, record: PromptRecord) -> None:
        progress = self.progress
        progress.done += 1
        progress.credits = self.budget.estimate
        if self._outcome(record) not in FAILURES:
            return
        progress.failed += 1
        if self._settings.fail_fast:
            self.stop(StopReason.FAIL_FAST)
        self._lasting_failures += record.final or self._round == ROUNDS - 1
        if Fraction(self._lasting_failures, self._intake.count) > self._settings.max_failure_rate:
            self.stop(StopReason.FAILURE_RATE)

    def _note_outage(self, record: PromptRecord) -> None:
        """Take note of failures in a row; of those sent now, not of what an earlier process left in doubt."""
        passes = record.outcome in (Outcome.FAILED, Outcome.AMBIGUOUS) and not record.final
        if passes and not record.attempts and record.outcome is Outcome.AMBIGUOUS:
            return
        self._failures_in_a_row = self._failures_in_a_row + 1 if passes else 0
        if self._failures_in_a_row >= self._sender.outage:
            self.stop(StopReason.OUTAGE)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._settings.seconds_between_reports)
            log.info("%s", self.progress.line)
