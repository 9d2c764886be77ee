"""
What has been sent and answered, kept beside the output so that it survives the process.

Each line of its log is about one prompt: it is about to be sent (``sent``), it was not sent after all
(``unsent``), or what became of it (``item``). Three classes: the log itself, what it says about each prompt,
and the writing from an event loop. Beside it, the answers that are kept for other runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from hashlib import sha256
from typing import IO, Any, NamedTuple

import msgspec

from airflow_provider_chatbase.batch.intake import Intake, Outgoing
from airflow_provider_chatbase.batch.outcome import IN_FLIGHT, NOT_SENT, Outcome, PromptRecord
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.files import ChatbaseDamagedFileError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory

log = logging.getLogger(__name__)

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
NEWEST = "newest.json"
SEGMENT_BYTES = 1 << 20
MOST_PARTS = 200
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0


class Line(msgspec.Struct, omit_defaults=True):
    """A line of the log."""

    key: str  # the prompt's
    sent: float | None = None  # when it is about to be sent, in seconds since the epoch
    since: float = 0.0  # when it may have been sent for the first time
    after: str | None = None  # the message that the conversation ended with
    unsent: bool = False  # it was not sent after all
    item: PromptRecord | None = None  # what became of it


def encode(line: Line) -> bytes:
    """Write a line of the log."""
    return msgspec.json.encode(line) + b"\n"


class SegmentLog:
    """
    An append-only log on any storage, as a row of segments.

    On a local disk a segment is a file that is appended to. Elsewhere it is a row of small parts, which
    become one object when it is full. Each process claims a segment of its own, never after a torn end.
    The number of the newest one is written beside them, so that one that is lost is missed.
    """

    def __init__(self, directory: Directory, folder: str) -> None:
        self._directory = directory
        self._folder = folder
        names = directory.names(folder)
        self._found = self._found_in(names)
        self._number = max(self._found, default=0) + 1
        self._told = 0  # the newest segment that is written beside them
        self.lacks_some = self._lacks_some(names)
        self._file: IO[bytes] | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def claim(self) -> None:
        """Write a first line that says nothing: only it may be overwritten by who listed segments before."""
        self.append(encode(Line("")))

    def append(self, data: bytes) -> None:
        """Append lines; when this returns they are durable."""
        self._tell_newest()
        if self._directory.local:
            self._append_to_file(data)
        else:
            self._directory.write(self._name(self._number, len(self._parts)), data)
            self._parts.append(data)
        self._size += len(data)
        if self._size >= SEGMENT_BYTES or len(self._parts) >= MOST_PARTS:
            self.finish_segment()

    def finish_segment(self) -> None:
        """Begin a new segment with the next line, and make one object of the parts of this one."""
        self._tell_newest()
        if self._parts:
            self._directory.write(self._name(self._number), b"".join(self._parts))
            for part in range(len(self._parts)):
                self._directory.remove(self._name(self._number, part))
        self._begin_segment()

    def _begin_segment(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # of what could not be written: it is written again
                self._file.close()
        self._file, self._parts, self._size = None, [], 0
        self._number += 1

    def _tell_newest(self) -> None:
        """Write which segment is the newest one: after its first line, so that it is there."""
        if self._size and self._told != self._number:
            self._directory.write_json(f"{self._folder}/{NEWEST}", {"segment": self._number})
            self._told = self._number

    def _lacks_some(self, names: list[str]) -> bool:
        """Say whether a segment, or a part of one, is lost."""
        try:
            told = self._directory.read_json(f"{self._folder}/{NEWEST}") if NEWEST in names else None
            newest = 0 if told is None else int(told["segment"])
        except (ChatbaseDamagedFileError, LookupError, TypeError, ValueError):
            return True
        wanted = [
            self._name(number, part if len(files) > 1 or files[0] != self._name(number) else None)
            for number, files in self._found.items()
            for part in range(len(files))
        ]
        have = [name for files in self._found.values() for name in files]
        return wanted != have or list(self._found) != list(range(1, max(newest, *self._found, 0) + 1))

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        """Iterate over what earlier processes wrote: each line, and whether it is the last of a segment."""
        for number in sorted(self._found):
            content = b"".join(self._directory.read(name) or b"" for name in self._found[number])
            lines = content.splitlines(keepends=True)
            yield from ((line, at == len(lines)) for at, line in enumerate(lines, 1))

    def _name(self, number: int, part: int | None = None) -> str:
        return f"{self._folder}/{number:06d}{'' if part is None else f'-{part:04d}'}.jsonl"

    def _append_to_file(self, data: bytes) -> None:
        name = self._name(self._number)
        if self._file is None:
            self._directory.make_folder(name)
        with self._directory.errors("written", name):
            try:
                if self._file is None:
                    self._file = open(self._directory.path(name), "xb")  # noqa: PTH123, SIM115 - kept open
                    _make_entry_durable(self._directory.path(self._folder))
                self._file.write(data)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                if self._file is not None or isinstance(error, FileExistsError):
                    self._begin_segment()
                raise

    def _found_in(self, names: list[str]) -> dict[int, list[str]]:
        """Return the files of each segment; parts that were already made one object are passed over."""
        found: dict[int, list[str]] = {}
        for name in sorted(names):
            number, _, part = name.removesuffix(".jsonl").partition("-")
            if not name.endswith(".jsonl") or not number.isdigit():
                continue
            whole = self._name(int(number))
            if not part:
                found[int(number)] = [whole]
            elif [whole] != found.get(int(number)):
                found.setdefault(int(number), []).append(f"{self._folder}/{name}")
        return found


def _make_entry_durable(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Sent(NamedTuple):
    """When a prompt was sent whose fate is unknown, in seconds since the epoch."""

    since: float
    last: float
    after: str | None = None  # the message that the conversation ended with
    is_told: bool = False  # by a line about it; else it is only possible


_ON_WAY, _KNOWN, _FINAL, _WAS_SENT = 1, 2, 4, 8


class Checkpoint:
    """The state of each prompt."""

    def __init__(
        self,
        segments: SegmentLog,
        intake: Intake[Any],
        unseen: Sent | None = None,
        *,
        keeps_refused: bool = True,
    ) -> None:
        self._intake = intake
        self._unseen = unseen  # when earlier tries may have sent what no line is about
        self._states = bytearray(intake.count)
        self._sent: dict[int, Sent] = {}
        self._attempts: dict[int, int] = {}
        self._sent_earlier: set[str] = set()  # keys of prompts that are not asked any more
        self.spent = Decimal(0)
        self.priced = self._answers_unpriced = 0
        self.failed = 0
        for line in self._read(segments):
            if not keeps_refused and line.item is not None and line.item.outcome is Outcome.FAILED:
                line = Line(line.key, unsent=True)
            index = intake.place_of(line.key)
            if index is not None:
                self.note(index, line)
            elif line.item is not None or line.sent is not None:
                self._sent_earlier.add(line.key)
                self._note_cost(line.item)
        self.resumed = sum(1 for state in self._states if state & _FINAL)
        intake.let_stand(lambda index: bool(self._states[index]))

    def is_known(self, index: int) -> bool:
        """Say whether it is written down what became of a prompt."""
        return bool(self._states[index] & _KNOWN)

    def may_be_tried_again(self, index: int) -> bool:
        """Say whether a prompt was tried, and another try may end differently."""
        return self._states[index] & (_KNOWN | _FINAL) == _KNOWN

    def is_final(self, index: int) -> bool:
        """Say whether a prompt is settled, so that it is not sent again."""
        return bool(self._states[index] & _FINAL)

    def was_sent(self, index: int) -> bool:
        """Say whether a prompt was ever sent."""
        return bool(self._states[index] & _WAS_SENT)

    def in_flight(self, index: int) -> Sent | None:
        """Return when a prompt was sent whose fate is unknown."""
        if self._states[index] & _ON_WAY:
            return self._sent.get(index, Sent(0.0, 0.0))
        return None if self._states[index] & _KNOWN else self._unseen

    def attempts(self, index: int) -> int:
        """Return how often earlier processes began to send a prompt that is not settled."""
        return self._attempts.get(index, 0)

    def in_doubt(self) -> int:
        """Return how many prompts are not settled, and may have been sent by earlier processes."""
        return sum(
            1 for index in range(len(self._states)) if not self.is_final(index) and self.in_flight(index)
        )

    @property
    def unpriced(self) -> int:
        """How many may have cost something of which nobody knows how much."""
        return self._answers_unpriced + len(self._sent)

    def record(self, index: int) -> PromptRecord:
        """Return what is known of a prompt."""
        if self._states[index] & _KNOWN:
            return self._intake.kept(index)
        if not self._states[index] & _ON_WAY:
            return NOT_SENT
        return PromptRecord(
            Outcome.AMBIGUOUS,
            error_code=IN_FLIGHT,
            error_message="The batch ended while this prompt was on its way. It is looked for when the batch "
            "is run again.",
            attempts=self.attempts(index),
            sent_at=self._sent[index].last,
        )

    def sent_count(self) -> int:
        """Return how many prompts were sent by earlier processes."""
        return sum(1 for state in self._states if state & _WAS_SENT) + len(self._sent_earlier)

    def note(self, index: int, line: Line) -> None:
        """Take note of a line of the log."""
        if line.item is not None:
            self._note_record(index, line.item)
        elif line.unsent:
            self._states[index] &= ~_ON_WAY if self._states[index] & _KNOWN else ~(_ON_WAY | _WAS_SENT)
            self._forget(index)
        elif line.sent is not None:
            self._states[index] |= _ON_WAY | _WAS_SENT
            self._sent[index] = Sent(line.since, line.sent, line.after, is_told=True)
            self._attempts[index] = self._attempts.get(index, 0) + 1

    def _note_record(self, index: int, record: PromptRecord) -> None:
        if not self.is_final(index):
            self._note_cost(record)
        self._states[index] |= _KNOWN
        if record.outcome in (Outcome.UNANSWERED, Outcome.AMBIGUOUS):
            self._states[index] |= _ON_WAY
            at = record.sent_at or 0.0
            before = self._sent.get(index, Sent(at, at))
            self._sent[index] = Sent(min(at, before.since), at, before.after, is_told=True)
        else:
            self._states[index] &= ~_ON_WAY
            self._forget(index)
        if record.final:
            self._states[index] |= _FINAL
            self.failed += record.outcome is Outcome.FAILED
        else:
            self._attempts[index] = record.attempts
        self._intake.keep(index, record)

    def _note_cost(self, record: PromptRecord | None) -> None:
        if record is not None and record.credits:
            self.spent += Decimal(str(record.credits))
            self.priced += 1
        elif record is not None and record.final and record.may_be_charged:
            self._answers_unpriced += 1

    def _forget(self, index: int) -> None:
        self._sent.pop(index, None)
        self._attempts.pop(index, None)

    def _read(self, segments: SegmentLog) -> Iterator[Line]:
        decoder, damaged = msgspec.json.Decoder(Line), segments.lacks_some
        for data, is_last in segments.lines():
            if not data.endswith(b"\n"):  # torn: what was being written when the process died
                continue
            try:
                yield decoder.decode(data)
            except UNREADABLE:
                damaged |= not is_last
        if damaged:
            log.warning(
                "The checkpoint is damaged, or lacks a file. Prompts without a known answer are looked for "
                "before they go."
            )
            self._unseen = self._unseen or Sent(0.0, 0.0)


class Journal:
    """Writes lines from an event loop: many wait for one write, which makes them all durable."""

    def __init__(self, segments: SegmentLog, checkpoint: Checkpoint, patience: float) -> None:
        self._segments = segments
        self._checkpoint = checkpoint
        self.patience = patience  # seconds for which a write that failed is tried again
        self._pending: list[tuple[int, Line]] = []
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._broken: ChatbaseError | None = None

    def add(self, index: int, line: Line) -> asyncio.Future[None]:
        """Have a line written soon."""
        if self._broken is not None:
            raise self._broken
        self._pending.append((index, line))
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            self._written.add_done_callback(_retrieved)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return self._written

    async def flush(self) -> None:
        """Wait until all lines are durable."""
        if self._writer is not None:
            await self._writer
        if self._broken is not None:
            raise self._broken

    async def _write(self) -> None:
        written: asyncio.Future[None] | None = None
        try:
            while self._pending:
                lines, written = self._pending, self._written
                self._pending, self._written = [], None
                await self._append(b"".join(encode(line) for _, line in lines))
                for index, line in lines:
                    self._checkpoint.note(index, line)
                if written is not None and not written.done():
                    written.set_result(None)
        except BaseException as error:
            self._broken = error if isinstance(error, ChatbaseError) else _broken_by(error)
            for waiting in (written, self._written):
                if waiting is not None and not waiting.done():
                    waiting.set_exception(self._broken)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _append(self, data: bytes) -> None:
        began, pause = time.monotonic(), FIRST_PAUSE
        while True:
            try:
                return await asyncio.to_thread(self._segments.append, data)
            except ChatbaseStorageError as error:
                if error.permanent or time.monotonic() - began + pause > self.patience:
                    raise
                log.warning("The checkpoint cannot be written; trying again in %g s: %s", pause, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _broken_by(error: BaseException) -> ChatbaseStorageError:
    return ChatbaseStorageError(
        f"The checkpoint could not be written: {type(error).__name__}: {error}. What is on its way is looked "
        "for when the task is run again."
    )


def _retrieved(future: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting an error that nobody waited for: the writer's task has it, too."""
    if not future.cancelled():
        future.exception()


class AnswerCache:
    """Answers for later runs to the same question, under the same settings of the agent: a file for each."""

    def __init__(self, directory: Directory, agent: list[Any], ttl: timedelta | None) -> None:
        self._directory = directory
        self._agent = agent
        self._ttl = ttl

    def get(self, prompt: Outgoing) -> PromptRecord | None:
        """Return an earlier answer to the same question; it costs nothing."""
        if prompt.question is None or (content := self._directory.read(self._name(prompt.question))) is None:
            return None
        try:
            found = msgspec.json.decode(content, type=_Earlier)
        except UNREADABLE as error:
            log.warning("An earlier answer cannot be used, and is asked for anew: %s", error)
            return None
        if self._ttl is not None and time.time() - found.answered_at >= self._ttl.total_seconds():
            return None
        free: dict[str, Any] = {"credits": 0.0, "seconds": 0.0, "attempts": 0, "sent_at": None}
        return msgspec.structs.replace(found.item, **free, cached=True, recovered=False, final=True)

    def put(self, prompt: Outgoing, record: PromptRecord) -> None:
        """Keep an answer."""
        if prompt.question is None or record.outcome is not Outcome.ANSWERED or record.cached:
            return
        content = msgspec.json.encode(_Earlier(time.time(), record))
        self._directory.write(self._name(prompt.question), content)

    def _name(self, question: list[Any]) -> str:
        digest = sha256(msgspec.json.encode([self._agent, question])).hexdigest()
        return f"{digest[:2]}/{digest}.json"


class _Earlier(msgspec.Struct):
    answered_at: float
    item: PromptRecord
