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

from airflow_provider_chatbase.batch.agent import answering_settings, read_agent
from airflow_provider_chatbase.batch.cache import AnswerCache
from airflow_provider_chatbase.batch.checkpoint import Checkpoint
from airflow_provider_chatbase.batch.dispatch import Dispatcher
from airflow_provider_chatbase.batch.errors import ChatbaseBatchError
from airflow_provider_chatbase.batch.intake import Intake
from airflow_provider_chatbase.batch.journal import Journal
from airflow_provider_chatbase.batch.lock import OutputLock
from airflow_provider_chatbase.batch.outcomes import Outcome, StopReason
from airflow_provider_chatbase.batch.output import (
    report_other_run,
    results_file,
    write_manifest,
    write_results,
)
from airflow_provider_chatbase.batch.plan import count_prompts, estimate
from airflow_provider_chatbase.batch.progress import Progress
from airflow_provider_chatbase.batch.rows import Columns, results
from airflow_provider_chatbase.batch.segments import SegmentLog
from airflow_provider_chatbase.batch.sender import Asker, Sender
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.batch.storage import Storage
from airflow_provider_chatbase.batch.structured import AnswerSchema
from airflow_provider_chatbase.batch.tally import Tally
from airflow_provider_chatbase.batch.writers import require_format
from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import quiet_logs

log = logging.getLogger(__name__)

CHECKPOINTS = "_checkpoint"
RUN = "run.json"
VERSION = 1

_WORDY = ("httpx", "airflow_provider_chatbase.client.retry", "airflow_provider_chatbase.client.asking")


@dataclass(frozen=True, slots=True)
class Ended:
    """
    How a batch ended.

    :param manifest: as it was written.
    :param tally: what the results come to.
    :param stopped: why it sent no more, though prompts were left.
    :param error: the refusal that ended it.
    """

    manifest: dict[str, Any]
    tally: Tally
    stopped: StopReason | None
    error: ChatbaseError | None


@dataclass(slots=True, kw_only=True)
class Batch:
    """
    Asks an agent many questions, each once, and leaves the answers as a data set.

    :param connection: where and how to reach Chatbase.
    :param agent_id: the agent.
    :param run: what stays the same when the same task instance tries again, and differs for every other.
    :param storage: the directory of the output.
    :param cache: the directory of earlier answers.
    :param settings: how to run.
    """

    connection: ClientSettings
    agent_id: str
    run: str
    storage: Storage
    settings: BatchSettings
    cache: Storage | None = None
    _asked_to_stop: StopReason | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False)
    _dispatcher: Dispatcher | None = field(default=None, init=False)

    def ask_all(self, given: Iterable[Any]) -> Ended:
        """Ask what is not answered yet, and write the results."""
        began = time.monotonic()
        schema = self._checked_schema()
        with Intake(given) as intake, OutputLock(self.storage, self.run, self.settings.lock_times) as lock:
            lock.on_lost = lambda: self.stop(StopReason.LOCK_LOST)
            agent = answering_settings(read_agent(self.connection, self.agent_id))
            folder = self._folder(intake, agent)
            report_other_run(self.storage, self.run)
            self._begin(folder)
            segments = SegmentLog(self.storage, folder)
            checkpoint = Checkpoint(segments, intake.count)
            self._report_begin(intake, checkpoint)
            with quiet_logs(_WORDY, logging.ERROR):
                dispatcher = asyncio.run(self._send(intake, checkpoint, segments, agent, schema, lock))
            self._require_alive(dispatcher)
            checkpoint.finish()
            return self._conclude(intake, checkpoint, dispatcher, schema, folder, began)

    def plan(self, given: Iterable[Any]) -> dict[str, Any]:
        """Say what asking would take, and send nothing to the agent."""
        self._checked_schema()
        with Intake(given) as intake:
            agent = read_agent(self.connection, self.agent_id)
            answering = answering_settings(agent)
            segments = SegmentLog(self.storage, self._folder(intake, answering))
            counts = count_prompts(
                intake,
                Checkpoint(segments, intake.count),
                self._answer_cache(answering),
                dedupe=self.settings.dedupe,
            )
            return {
                "plan_only": True,
                **counts,
                **estimate(counts["to_send"], self.storage, self.agent_id),
                "agent_id": self.agent_id,
                "agent_credit_limit": agent.get("creditLimit") if agent else None,
                "agent_credits_used": agent.get("creditsUsed") if agent else None,
            }

    def stop(self, reason: StopReason = StopReason.KILLED) -> None:
        """Send no more, and end soon. Safe from a signal handler and from any thread."""
        self._asked_to_stop = self._asked_to_stop or reason
        if self._loop is not None and self._dispatcher is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dispatcher.stop, reason)

    async def _send(
        self,
        intake: Intake,
        checkpoint: Checkpoint,
        segments: SegmentLog,
        agent: JsonObject | None,
        schema: AnswerSchema | None,
        lock: OutputLock,
    ) -> Dispatcher:
        total = intake.count - (intake.duplicates if self.settings.dedupe else 0)
        dispatcher = Dispatcher(
            intake,
            checkpoint,
            Journal(segments, checkpoint),
            self.settings,
            cache=self._answer_cache(agent),
            schema=schema,
            progress=Progress(total, checkpoint.resumed, checkpoint.failed),
        )
        self._loop, self._dispatcher = asyncio.get_running_loop(), dispatcher
        if self._asked_to_stop is not None:
            dispatcher.stop(self._asked_to_stop)
        asker = Asker(self.agent_id, self.connection.api_version, self._key(intake, agent))
        sender = Sender(asker, self.settings, dispatcher.progress, lambda: dispatcher.sends and lock.held)
        async with AsyncChatbaseClient(self.connection, before_send=sender.before_send) as client:
            await dispatcher.run(client, sender)
        return dispatcher

    def _conclude(
        self,
        intake: Intake,
        checkpoint: Checkpoint,
        dispatcher: Dispatcher,
        schema: AnswerSchema | None,
        folder: str,
        began: float,
    ) -> Ended:
        columns = Columns(
            parsed=schema is not None,
            expectations=intake.expecting > 0,
            cached=self.cache is not None,
            duplicates=self.settings.dedupe,
        )
        judged = results(intake, checkpoint, schema, dedupe=self.settings.dedupe)
        tally = write_results(self.storage, judged, columns, self.settings.file_format)
        manifest = self._manifest(tally, dispatcher.stopped, round(time.monotonic() - began, 3))
        write_manifest(self.storage, manifest)
        if manifest["status"] == "complete":
            self._describe(folder, complete=True)
        return Ended(manifest, tally, dispatcher.stopped, dispatcher.error)

    def _manifest(self, tally: Tally, stopped: StopReason | None, seconds: float) -> dict[str, Any]:
        left = tally.outcomes[Outcome.NOT_SENT]
        return {
            "version": VERSION,
            "kind": "batch_prompts",
            "status": "stopped" if left else "complete",
            "stopped_by": str(stopped) if stopped and left else None,
            "agent_id": self.agent_id,
            "api_version": self.connection.api_version,
            "run": self.run,
            **tally.as_json(),
            "seconds": seconds,
            "files": [results_file(self.settings.file_format)],
        }

    def _checked_schema(self) -> AnswerSchema | None:
        require_format(self.settings.file_format)
        if self.settings.max_credits is not None and self.connection.api_version == "v1":
            raise ChatbaseInputError(
                "max_credits needs API v2: v1 does not say what an answer costs. Use max_items instead. "
                "Nothing was sent."
            )
        schema = self.settings.json_schema
        return None if schema is None else AnswerSchema(dict(schema))

    def _answer_cache(self, agent: JsonObject | None) -> AnswerCache | None:
        if self.cache is None:
            return None
        identity = [self.connection.host, self.connection.api_version, self.agent_id, agent]
        return AnswerCache(self.cache, identity, self.settings.cache_ttl)

    def _key(self, intake: Intake, agent: JsonObject | None) -> str:
        """Return what a checkpoint is valid for: this run, this input, this agent."""
        parts = [
            VERSION,
            self.run,
            self.connection.host,
            self.connection.api_version,
            self.agent_id,
            agent,
            intake.digest,
        ]
        return sha256(json.dumps(parts).encode()).hexdigest()

    def _folder(self, intake: Intake, agent: JsonObject | None) -> str:
        return f"{CHECKPOINTS}/{self._key(intake, agent)[:16]}"

    def _begin(self, folder: str) -> None:
        """Say whose checkpoint it is, and remove those of finished runs, whose results are replaced."""
        for place in (".", CHECKPOINTS, folder):
            self.storage.remove_leftovers(place)
        for name in self.storage.names(CHECKPOINTS):
            other = f"{CHECKPOINTS}/{name}"
            found = (
                None
                if other == folder or name.startswith(("_", "."))
                else self.storage.read_json(f"{other}/{RUN}")
            )
            if found is not None and found.get("complete"):
                self.storage.remove(other)
            elif found is not None:
                log.info("The checkpoint of an unfinished run (%s) is kept in %s.", found.get("run"), other)
        self._describe(folder, complete=False)

    def _describe(self, folder: str, *, complete: bool) -> None:
        facts = {"run": self.run, "agent_id": self.agent_id, "complete": complete}
        self.storage.write(f"{folder}/{RUN}", json.dumps(facts).encode())

    def _report_begin(self, intake: Intake, checkpoint: Checkpoint) -> None:
        log.info(
            "%d prompts for agent %s, %d at a time; %d are settled by earlier attempts, %d cannot be sent.",
            intake.count,
            self.agent_id,
            self.settings.concurrency,
            checkpoint.resumed,
            intake.invalid,
        )
        if intake.count == 0:
            log.warning("There are no prompts; the results are empty.")
        if self.connection.api_version == "v1":
            log.warning(
                "API v1 has no user ids, and no way to look for a prompt: after a failure that leaves its "
                "fate open, it is %s.",
                "sent again" if self.settings.on_ambiguous == "retry" else "left as ambiguous",
            )

    def _require_alive(self, dispatcher: Dispatcher) -> None:
        reason = dispatcher.stopped if dispatcher.stopped is StopReason.LOCK_LOST else self._asked_to_stop
        if reason is StopReason.LOCK_LOST:
            raise ChatbaseBatchError(f"Another run took over {self.storage.url}; this one ends.")
        if reason is not None:
            raise ChatbaseBatchError(
                "The task was told to end. What was answered is kept; running the task again goes on from "
                "there."
            )
