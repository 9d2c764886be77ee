"""A batch from the input to the results."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from airflow_provider_chatbase.batch.checkpoint import AnswerCache, Checkpoint, SegmentLog, Sent
from airflow_provider_chatbase.batch.dispatch import Dispatcher
from airflow_provider_chatbase.batch.expectations import NAMES, AnswerSchema
from airflow_provider_chatbase.batch.outcome import ChatbaseBatchError, Outcome, StopReason
from airflow_provider_chatbase.batch.prompts import Intake
from airflow_provider_chatbase.batch.results import (
    RESULTS,
    Tally,
    columns_of,
    judged_records,
    report_other_run,
    write_results,
)
from airflow_provider_chatbase.batch.sender import Sender, before_send
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError, ChatbasePermissionError
from airflow_provider_chatbase.client.loop_thread import run_in_thread
from airflow_provider_chatbase.client.rate_limiter import shared_limiter
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import HTTP_LOGGER, quiet_logs
from airflow_provider_chatbase.files import ChatbaseDamagedFileError
from airflow_provider_chatbase.files.directory import MANIFEST, Directory
from airflow_provider_chatbase.files.formats import Format, open_format
from airflow_provider_chatbase.files.lock import Lock

log = logging.getLogger(__name__)

CHECKPOINTS = "_checkpoint"
LOCK = f"{CHECKPOINTS}/_lock"
RUN = "run.json"
VERSION = 2
KEPT = "What was answered is kept; running the task again goes on from there."

ANSWERING_SETTINGS = ("instructions", "model", "temp")
"""The settings that decide the answers; others change by themselves, such as ``creditsUsed``."""

_WORDY = (HTTP_LOGGER, "airflow_provider_chatbase.client.client", "airflow_provider_chatbase.client.asking")


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How a batch ended."""

    manifest: dict[str, Any]  # as it was written
    tally: Tally
    stopped: StopReason | None  # why it sent no more, though prompts were left
    error: ChatbaseError | None  # the refusal that ended it


@dataclass(slots=True, kw_only=True)
class Batch:
    """Asks an agent many questions, each once, and leaves the answers as a data set."""

    connection: ClientSettings
    agent_id: str
    run: str  # stays the same when the same task instance tries again, and differs for every other
    output: Directory
    settings: BatchSettings
    cache: Directory | None = None  # earlier answers
    try_number: int = 1
    earlier_try_began: float | None = None  # in seconds since the epoch; ``None`` in the first try
    _asked_to_stop: StopReason | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _dispatcher: Dispatcher | None = field(default=None, init=False)

    def ask_all(self, given: Iterable[Any]) -> BatchReport:
        """Ask what is not answered yet, and write the results."""
        began = time.monotonic()
        files, schema = self._checked()
        lock = Lock(self.output, LOCK, self.run, self.settings.lock_times, try_number=self.try_number)
        with Intake(given) as intake, lock:
            self._require_prompts(intake)
            lock.on_lost = lambda: self.stop(StopReason.LOCK_LOST)
            agent = self._answering_settings(self._read_agent())
            folder = self._folder(agent)
            report_other_run(self.output, self.run)
            unseen = self._unseen(folder)
            self._begin(folder, unseen=unseen is not None)
            segments, cache = SegmentLog(self.output, folder), self._answer_cache(agent)
            dispatcher = Dispatcher(
                intake, segments, self.settings, lock, cache=cache, schema=schema, unseen=unseen
            )
            self._report_begin(intake, dispatcher.checkpoint)
            try:
                with quiet_logs(_WORDY, logging.ERROR):
                    run_in_thread(self._send(dispatcher, self._key(agent)))
            except BaseException as error:
                done = dispatcher.progress.line
                log.warning("The batch was interrupted by %s. %s %s", type(error).__name__, done, KEPT)
                raise
            segments.finish_segment()
            self._require_alive(dispatcher, lock)
            judged = judged_records(intake, dispatcher.checkpoint, schema, dedupe=self.settings.dedupe)
            columns = columns_of(self.settings, expecting=intake.expecting > 0, cached=self.cache is not None)
            tally = write_results(self.output, judged, files, columns)
            lock.require_held()
            return self._conclude(tally, dispatcher, files, folder, began)

    def plan(self, given: Iterable[Any]) -> dict[str, Any]:
        """Say what asking would take, and send nothing to the agent."""
        self._checked()
        with Intake(given) as intake:
            self._require_prompts(intake)
            agent = self._read_agent()
            answering = self._answering_settings(agent)
            checkpoint = Checkpoint(SegmentLog(self.output, self._folder(answering)), intake)
            counts = self._count_prompts(intake, checkpoint, self._answer_cache(answering))
            return {
                "plan_only": True,
                **counts,
                **self._estimate(counts["to_send"]),
                "agent_id": self.agent_id,
                "agent_credit_limit": agent.get("creditLimit") if agent else None,
                "agent_credits_used": agent.get("creditsUsed") if agent else None,
            }

    def stop(self, reason: StopReason = StopReason.KILLED) -> None:
        """Send no more, and end soon. Safe from a signal handler and from any thread."""
        self._asked_to_stop = self._asked_to_stop or reason
        if self._loop is not None and self._dispatcher is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dispatcher.stop, reason)

    # -- sending

    async def _send(self, dispatcher: Dispatcher, key: str) -> None:
        self._loop, self._dispatcher = asyncio.get_running_loop(), dispatcher
        if self._asked_to_stop is not None:
            dispatcher.stop(self._asked_to_stop)
        async with AsyncChatbaseClient(self.connection, before_send=before_send) as client:
            await dispatcher.run(Sender(client, self.agent_id, key, self.settings))

    def _require_alive(self, dispatcher: Dispatcher, lock: Lock) -> None:
        reason = dispatcher.stopped if dispatcher.stopped is StopReason.LOCK_LOST else self._asked_to_stop
        if reason is StopReason.LOCK_LOST:
            raise ChatbaseBatchError(
                f"Another run took over {self.output.url}, or may have: the lock could not be renewed. This "
                f"one ends. {KEPT}"
            )
        if reason is not None:
            raise ChatbaseBatchError(f"The task was told to end. {KEPT}")
        lock.require_held()

    # -- around the sending

    @property
    def _api(self) -> Api:
        return Api(self.connection.api_version)

    def _checked(self) -> tuple[Format, AnswerSchema | None]:
        files = open_format(self.settings.file_format, self.settings.compression)
        if self.settings.max_credits is not None and not self._api.keeps_messages:
            raise ChatbaseInputError(
                "max_credits needs API v2: v1 does not say what an answer costs. Use max_items instead. "
                "Nothing was sent."
            )
        schema = self.settings.json_schema
        return files, None if schema is None else AnswerSchema(dict(schema))

    def _require_prompts(self, intake: Intake) -> None:
        if not intake.count and not self.settings.allow_empty:
            raise ChatbaseInputError(
                "There are no prompts at all. If that may be, say so with allow_empty=True. Nothing was sent."
            )
        if self.settings.min_pass_rate is not None and intake.count > intake.invalid and not intake.expecting:
            raise ChatbaseInputError(
                f"min_pass_rate is given, and none of the prompts expects anything: {', '.join(NAMES)} are "
                "what can be expected. Nothing was sent."
            )

    def _answer_cache(self, agent: JsonObject | None) -> AnswerCache | None:
        if self.cache is None:
            return None
        identity = [self.connection.host, self.connection.api_version, self.agent_id, agent]
        return AnswerCache(self.cache, identity, self.settings.cache_ttl)

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

    def _answering_settings(self, agent: JsonObject | None) -> JsonObject | None:
        return None if agent is None else {name: agent.get(name) for name in ANSWERING_SETTINGS}

    def _key(self, agent: JsonObject | None) -> str:
        """Return what a checkpoint is valid for: this run and this agent."""
        where = [self.connection.host, self.connection.api_version, self.agent_id]
        return sha256(json.dumps([VERSION, self.run, *where, agent]).encode()).hexdigest()

    def _folder(self, agent: JsonObject | None) -> str:
        return f"{CHECKPOINTS}/{self._key(agent)[:16]}"

    def _unseen(self, folder: str) -> Sent | None:
        """Say when earlier tries may have sent prompts, where the checkpoint knows nothing of them."""
        described = self._described(folder) or {}
        known = described.get("tries")
        seen = isinstance(known, int) and known >= self.try_number - 1 and not described.get("unseen")
        # A log without a line is lost too: only its description is left.
        if self.earlier_try_began is None or (seen and any(SegmentLog(self.output, folder).lines())):
            return None
        if self.settings.on_ambiguous != "reconcile" or not self._api.keeps_messages:
            log.warning(
                "This is try %d, and no checkpoint of the one before is in %s. What it sent goes again: %s.",
                self.try_number,
                self.output.url,
                "API v1 has no way to look" if not self._api.keeps_messages else "on_ambiguous says so",
            )
            return None
        log.warning(
            "This is try %d, and no checkpoint of the one before is in %s: its folder may be another "
            "machine's, or lost. Each prompt is looked for before it is sent, which costs no credits.",
            self.try_number,
            self.output.url,
        )
        now = shared_limiter(self.connection, "main").server_now()
        return Sent(self.earlier_try_began, now.timestamp())

    def _begin(self, folder: str, *, unseen: bool) -> None:
        """Say whose checkpoint it is, and remove those of finished runs, whose results are replaced."""
        self.output.remove_leftovers()
        self.output.remove_leftovers(folder)
        self.output.remove_leftovers(CHECKPOINTS, older_than=3600)  # others may want the lock just now
        for name in self.output.names(CHECKPOINTS):
            other = f"{CHECKPOINTS}/{name}"
            if other == folder or name.startswith(("_", ".")):
                continue
            found = self._described(other)
            if found is not None and found.get("complete"):
                self.output.remove_folder(other)
            elif found is not None:
                log.info("The checkpoint of an unfinished run (%s) is kept in %s.", found.get("run"), other)
        self._describe(folder, complete=False, unseen=unseen)

    def _described(self, folder: str) -> dict[str, Any] | None:
        try:
            return self.output.read_json(f"{folder}/{RUN}")
        except ChatbaseDamagedFileError as error:  # of another run: it is left as it is
            log.warning("%s", error)
            return None

    def _describe(self, folder: str, *, complete: bool, unseen: bool = False) -> None:
        """Write whose checkpoint it is; ``unseen`` while earlier tries may have sent what is not in it."""
        tries = {"tries": self.try_number, "unseen": unseen}
        described = {"run": self.run, "agent_id": self.agent_id, **tries, "complete": complete}
        self.output.write_json(f"{folder}/{RUN}", described)

    def _report_begin(self, intake: Intake, checkpoint: Checkpoint) -> None:
        log.info(
            "%d prompts for agent %s, %d at a time; %d are settled by earlier attempts, %d cannot be sent.",
            intake.count,
            self.agent_id,
            self.settings.concurrency,
            checkpoint.resumed,
            intake.invalid,
        )
        if in_doubt := checkpoint.in_doubt():
            log.info("%d may have been sent by an earlier attempt: each is %s.", in_doubt, self._fate_of_lost)
        if intake.count == 0:
            log.warning("There are no prompts; the results are empty.")
        if not self._api.keeps_messages:
            log.warning(
                "API v1 has no user ids, and no way to look for a prompt: after a failure that leaves its "
                "fate open, it is %s.",
                self._fate_of_lost,
            )

    @property
    def _fate_of_lost(self) -> str:
        """What becomes of a prompt of which nobody knows whether it was answered."""
        if self.settings.on_ambiguous == "reconcile" and self._api.keeps_messages:
            return "looked for before it is sent, which costs no credits"
        return "sent again" if self.settings.on_ambiguous == "retry" else "left as ambiguous"

    def _conclude(
        self, tally: Tally, dispatcher: Dispatcher, files: Format, folder: str, began: float
    ) -> BatchReport:
        left, stopped = tally.outcomes[Outcome.NOT_SENT], dispatcher.stopped
        manifest = {
            "version": VERSION,
            "kind": "batch_prompts",
            "status": "stopped" if left else "complete",
            "stopped_by": str(stopped) if stopped and left else None,
            "agent_id": self.agent_id,
            "api_version": self.connection.api_version,
            "run": self.run,
            **tally.as_json(),
            "seconds": round(time.monotonic() - began, 3),
            "files": [f"{RESULTS}{files.suffix}"],
        }
        self.output.write_json(MANIFEST, manifest)  # from now on the results count
        if not left:
            self._describe(folder, complete=True)
        return BatchReport(manifest, tally, stopped, dispatcher.error)

    # -- planning

    def _count_prompts(
        self, intake: Intake, checkpoint: Checkpoint, cache: AnswerCache | None
    ) -> dict[str, int]:
        """Count the prompts by what would be done with them."""
        settled = cached = to_send = 0
        for prompt in intake:
            is_first = not self.settings.dedupe or intake.first_like(prompt)[0] == prompt.index
            if checkpoint.is_final(prompt.index):
                settled += 1
            elif prompt.problem is not None or not is_first:
                continue
            elif cache is not None and cache.get(prompt) is not None:
                cached += 1
            else:
                to_send += 1
        return {
            "items": intake.count,
            "invalid": intake.invalid,
            "duplicates": intake.duplicates,
            "answered_before": settled,
            "cached": cached,
            "to_send": to_send,
        }

    def _estimate(self, to_send: int) -> dict[str, Any]:
        """Estimate the credits, from the earlier results at the output where there are some."""
        each, basis = 1.0, "1 credit an answer; many models cost more"
        earlier = self.output.read_json(MANIFEST) or {}
        if earlier.get("agent_id") == self.agent_id and earlier.get("credits_per_answer"):
            each = float(earlier["credits_per_answer"])
            basis = "the average of the earlier results at this path"
        return {"estimated_credits": round(to_send * each, 6), "estimate_basis": basis}
