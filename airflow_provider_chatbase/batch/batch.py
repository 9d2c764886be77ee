"""A batch from the input to the results, whatever it sends: each once, written down before it goes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, ClassVar, Generic

from airflow_provider_chatbase.batch.checkpoint import AnswerCache, Checkpoint, SegmentLog, Sent
from airflow_provider_chatbase.batch.dispatch import Dispatcher
from airflow_provider_chatbase.batch.expectations import AnswerSchema
from airflow_provider_chatbase.batch.intake import Intake, OutgoingT
from airflow_provider_chatbase.batch.outcome import (
    ChatbaseBatchError,
    Outcome,
    PromptRecord,
    StopReason,
    Words,
)
from airflow_provider_chatbase.batch.results import (
    RESULTS,
    Tally,
    judged_records,
    report_other_run,
    write_results,
)
from airflow_provider_chatbase.batch.sending import Sender, before_send
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.loop_thread import run_in_thread
from airflow_provider_chatbase.client.rate_limiter import shared_limiter
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import HTTP_LOGGER, quiet_logs
from airflow_provider_chatbase.files import ChatbaseDamagedFileError
from airflow_provider_chatbase.files.directory import MANIFEST, Directory
from airflow_provider_chatbase.files.formats import Format, Table, open_format
from airflow_provider_chatbase.files.lock import Lock

log = logging.getLogger(__name__)

CHECKPOINTS = "_checkpoint"
LOCK = f"{CHECKPOINTS}/_lock"
RUN = "run.json"
VERSION = 2

_WORDY = (HTTP_LOGGER, "airflow_provider_chatbase.client.client", "airflow_provider_chatbase.client.asking")


@dataclass(frozen=True, slots=True)
class BatchReport:
    """How a batch ended."""

    manifest: dict[str, Any]  # as it was written
    tally: Tally
    stopped: StopReason | None  # why it sent no more, though some were left
    error: ChatbaseError | None  # the refusal that ended it


@dataclass(slots=True, kw_only=True)
class Batch(ABC, Generic[OutgoingT]):
    """Sends many, each once, and leaves what became of them as a data set."""

    kind: ClassVar[str]  # in the manifest
    words: ClassVar[Words]
    outcomes: ClassVar[tuple[Outcome, ...]]  # those that one can have
    table: ClassVar[Table]  # of the results
    keeps_refused: ClassVar[bool] = True  # whether what was refused stays so in the next try
    begins_first: ClassVar[bool] = False  # whether the checkpoint is there before the input is read

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

    # -- what it sends, and how

    @abstractmethod
    def _check(self) -> None:
        """Refuse arguments that cannot work."""

    @abstractmethod
    def _identity(self) -> Any:
        """Return what a checkpoint is valid for, beside the run and the agent; may read at Chatbase."""

    @abstractmethod
    def _take_in(self, given: Iterable[Any]) -> Intake[OutgoingT]:
        """Take in what is to be sent; what was learned at Chatbase may help to judge it."""

    @abstractmethod
    def _require_sense(self, intake: Intake[OutgoingT]) -> None:
        """Refuse what makes no sense as a whole."""

    @abstractmethod
    def _sender(self, client: AsyncChatbaseClient, key: str) -> Sender[OutgoingT]:
        """Make what sends one."""

    @abstractmethod
    def _on_lost_checkpoint(self) -> bool:
        """Say whether what an unknown earlier try sent is to be looked for; may refuse to go on."""

    @abstractmethod
    def _columns(self, intake: Intake[OutgoingT]) -> list[str]:
        """Name the columns of the results."""

    @abstractmethod
    def _row(self, outgoing: OutgoingT, record: PromptRecord) -> Mapping[str, Any]:
        """Return those values of a row that are not the record's own."""

    def _schema(self) -> AnswerSchema | None:
        return None

    def _answer_cache(self) -> AnswerCache | None:
        return None

    # -- the batch

    def send_all(self, given: Iterable[Any]) -> BatchReport:
        """Send what is not sent yet, and write the results."""
        began = time.monotonic()
        self._check()
        files, schema = open_format(self.settings.file_format, self.settings.compression), self._schema()
        lock = Lock(self.output, LOCK, self.run, self.settings.lock_times, try_number=self.try_number)
        with ExitStack() as held:
            intake = None if self.begins_first else self._intake(given, held)
            with lock:
                lock.on_lost = lambda: self.stop(StopReason.LOCK_LOST)
                key = self._key()
                folder = _folder(key)
                report_other_run(self.output, self.run)
                unseen = self._unseen(folder)
                segments = self._begin(folder, unseen=unseen is not None)
                lock.require_held()  # else another may have claimed the same number
                intake = intake or self._intake(given, held)
                dispatcher = Dispatcher(
                    intake,
                    segments,
                    self.settings,
                    lock,
                    cache=self._answer_cache(),
                    schema=schema,
                    unseen=unseen,
                    keeps_refused=self.keeps_refused,
                )
                self._report_begin(intake, dispatcher.checkpoint)
                self._run(dispatcher, key)
                segments.finish_segment()
                self._require_alive(dispatcher, lock)
                judged = judged_records(intake, dispatcher.checkpoint, schema, dedupe=self.settings.dedupe)
                tally = Tally(self.words, self.outcomes)
                write_results(self.output, judged, files, self.table, self._columns(intake), self._row, tally)
                lock.require_held()
                return self._conclude(tally, dispatcher, files, folder, began)

    def _intake(self, given: Iterable[Any], held: ExitStack) -> Intake[OutgoingT]:
        intake = held.enter_context(self._take_in(given))
        if not intake.count and not self.settings.allow_empty:
            raise ChatbaseInputError(
                f"There are no {self.words.noun} at all. If that may be, say so with allow_empty=True. "
                "Nothing was sent."
            )
        self._require_sense(intake)
        return intake

    def plan(self, given: Iterable[Any]) -> dict[str, Any]:
        """Say what sending would take, and send nothing."""
        self._check()
        with ExitStack() as held:
            intake = self._intake(given, held)
            segments = SegmentLog(self.output, _folder(self._key()))
            checkpoint = Checkpoint(segments, intake, keeps_refused=self.keeps_refused)
            counts = self._count(intake, checkpoint, self._answer_cache())
            return {
                "plan_only": True,
                **counts,
                **self._outlook(counts["to_send"]),
                "agent_id": self.agent_id,
            }

    def stop(self, reason: StopReason = StopReason.KILLED) -> None:
        """Send no more, and end soon. Safe from a signal handler and from any thread."""
        self._asked_to_stop = self._asked_to_stop or reason
        if self._loop is not None and self._dispatcher is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._dispatcher.stop, reason)

    # -- sending

    def _run(self, dispatcher: Dispatcher, key: str) -> None:
        try:
            with quiet_logs(_WORDY, logging.ERROR):
                run_in_thread(self._send(dispatcher, key))
        except BaseException as error:
            done = dispatcher.progress.line
            log.warning("The batch was interrupted by %s. %s %s", type(error).__name__, done, self._kept)
            raise

    async def _send(self, dispatcher: Dispatcher, key: str) -> None:
        self._loop, self._dispatcher = asyncio.get_running_loop(), dispatcher
        if self._asked_to_stop is not None:
            dispatcher.stop(self._asked_to_stop)
        async with AsyncChatbaseClient(self.connection, before_send=before_send) as client:
            await dispatcher.run(self._sender(client, key))

    @property
    def _kept(self) -> str:
        return f"What was {self.words.done} is kept; running the task again goes on from there."

    def _require_alive(self, dispatcher: Dispatcher, lock: Lock) -> None:
        reason = dispatcher.stopped if dispatcher.stopped is StopReason.LOCK_LOST else self._asked_to_stop
        if reason is StopReason.LOCK_LOST:
            raise ChatbaseBatchError(
                f"Another run took over {self.output.url}, or may have: the lock could not be renewed. This "
                f"one ends. {self._kept}"
            )
        if reason is not None:
            raise ChatbaseBatchError(f"The task was told to end. {self._kept}")
        lock.require_held()

    # -- around the sending

    @property
    def _api(self) -> Api:
        return Api(self.connection.api_version)

    def _key(self) -> str:
        """Return what a checkpoint is valid for."""
        where = [self.connection.host, self.connection.api_version, self.agent_id]
        return sha256(json.dumps([VERSION, self.run, *where, self._identity()]).encode()).hexdigest()

    def _unseen(self, folder: str) -> Sent | None:
        """Say when earlier tries may have sent something, where the checkpoint knows nothing of them."""
        described = self._described(folder) or {}
        known = described.get("tries")
        # In a bucket, a try that wrote nothing has sent nothing. A folder may be another machine's.
        told = isinstance(known, int) and (known >= self.try_number - 1 or not self.output.local)
        seen = told and not described.get("unseen")
        # A log without a line is lost too: only its description is left.
        if self.earlier_try_began is None or (seen and any(SegmentLog(self.output, folder).lines())):
            return None
        if not self._on_lost_checkpoint():
            return None
        now = shared_limiter(self.connection, "main").server_now()
        return Sent(self.earlier_try_began, now.timestamp())

    def _begin(self, folder: str, *, unseen: bool) -> SegmentLog:
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
        segments = SegmentLog(self.output, folder)
        segments.claim()  # also so that a log that is lost differs from one of a quick end
        return segments

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

    def _report_begin(self, intake: Intake[OutgoingT], checkpoint: Checkpoint) -> None:
        log.info(
            "%d %s for agent %s, %d at a time; %d are settled by earlier attempts, %d cannot be sent.",
            intake.count,
            self.words.noun,
            self.agent_id,
            self.settings.concurrency,
            checkpoint.resumed,
            intake.invalid,
        )
        if in_doubt := checkpoint.in_doubt():
            log.info("%d may have been sent by an earlier attempt: each is %s.", in_doubt, self._fate_of_lost)
        if intake.count == 0:
            log.warning("There are no %s; the results are empty.", self.words.noun)

    @property
    def _fate_of_lost(self) -> str:
        """What becomes of one of which nobody knows whether it arrived."""
        if self.settings.on_ambiguous == "reconcile" and self._api.keeps_messages:
            return "looked for before it is sent, which costs no credits"
        return "sent again" if self.settings.on_ambiguous == "retry" else "left as ambiguous"

    def _conclude(
        self, tally: Tally, dispatcher: Dispatcher, files: Format, folder: str, began: float
    ) -> BatchReport:
        left, stopped = tally.outcomes[Outcome.NOT_SENT], dispatcher.stopped
        manifest = {
            "version": VERSION,
            "kind": self.kind,
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

    @abstractmethod
    def _outlook(self, to_send: int) -> dict[str, Any]:
        """Say more of what a plan would take."""

    def _count(
        self, intake: Intake[OutgoingT], checkpoint: Checkpoint, cache: AnswerCache | None
    ) -> dict[str, int]:
        """Count what is to be sent by what would be done with it."""
        settled = cached = to_send = 0
        for outgoing in intake:
            is_first = not self.settings.dedupe or intake.first_like(outgoing)[0] == outgoing.index
            if checkpoint.is_final(outgoing.index):
                settled += 1
            elif outgoing.problem is not None or not is_first:
                continue
            elif cache is not None and cache.get(outgoing) is not None:
                cached += 1
            else:
                to_send += 1
        return {
            "items": intake.count,
            "invalid": intake.invalid,
            "duplicates": intake.duplicates,
            f"{self.words.done}_before": settled,
            "cached": cached,
            "to_send": to_send,
        }


def _folder(key: str) -> str:
    return f"{CHECKPOINTS}/{key[:16]}"
