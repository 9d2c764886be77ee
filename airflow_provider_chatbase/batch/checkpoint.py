"""
What has been sent and answered, kept beside the output so that it survives the process.

Each line of its log is about one prompt: it is about to be sent (``sent``), it was not sent after all
(``unsent``), or what became of it (``item``). In memory a prompt takes 17 bytes. Three classes: the log
itself, what it says about each prompt, and the writing from an event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, NamedTuple

from airflow_provider_chatbase.batch.outcome import IN_FLIGHT, NOT_SENT, Outcome, PromptRecord
from airflow_provider_chatbase.files.directory import Directory

log = logging.getLogger(__name__)

SEGMENT_BYTES = 1 << 20
MOST_PARTS = 200
KEPT_SEGMENTS = 8


class SegmentLog:
    """
    An append-only log on any storage, as a row of segments.

    On a local disk a segment is a file that is appended to. Elsewhere it is a row of small parts, which
    become one object when it is full. Each process begins a segment of its own, never after a torn end.
    """

    def __init__(self, directory: Directory, folder: str) -> None:
        self._directory = directory
        self._folder = folder
        self._found = self._found_in(directory.names(folder))
        self._number = max(self._found, default=0) + 1
        self._file: IO[bytes] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def append(self, data: bytes) -> tuple[int, int]:
        """Append lines, and return their place; when this returns they are durable."""
        place = (self._number, self._size)
        if self._directory.local:
            self._append_to_file(data)
        else:
            self._directory.write(self._name(self._number, len(self._parts)), data)
            self._parts.append(data)
        self._size += len(data)
        if self._size >= SEGMENT_BYTES or len(self._parts) >= MOST_PARTS:
            self.finish_segment()
        return place

    def finish_segment(self) -> None:
        """Begin a new segment with the next line, and make one object of the parts of this one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._parts:
            self._directory.write(self._name(self._number), b"".join(self._parts))
            for part in range(len(self._parts)):
                self._directory.remove(self._name(self._number, part))
            self._parts = []
        if self._size:
            self._found[self._number] = [self._name(self._number)]
            self._number += 1
            self._size = 0

    def lines(self) -> Iterator[tuple[int, int, bytes, bool]]:
        """Iterate over what earlier processes wrote: segment, place in it, line, whether it is the last."""
        for number in sorted(self._found):
            content = self._content(number)
            begin = 0
            while begin < len(content):
                end = content.find(b"\n", begin) + 1 or len(content)
                yield number, begin, content[begin:end], end == len(content)
                begin = end

    def line(self, segment: int, begin: int) -> bytes:
        """Return one line."""
        if self._directory.local:
            with (
                self._directory.errors("read", self._name(segment)),
                Path(self._directory.path(self._name(segment))).open("rb") as file,
            ):
                file.seek(begin)
                return file.readline()
        if segment not in self._kept:
            self._kept[segment] = self._content(segment)
            while len(self._kept) > KEPT_SEGMENTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(segment)
        content = self._kept[segment]
        return content[begin : content.find(b"\n", begin)]

    def forget_kept(self) -> None:
        """Free the memory of the segments that were read."""
        self._kept.clear()

    def _name(self, number: int, part: int | None = None) -> str:
        return f"{self._folder}/{number:06d}{'' if part is None else f'-{part:04d}'}.jsonl"

    def _append_to_file(self, data: bytes) -> None:
        name = self._name(self._number)
        if self._file is None:
            self._directory.make_folder(name)
        with self._directory.errors("written", name):
            if self._file is None:
                self._file = open(self._directory.path(name), "xb")  # noqa: PTH123, SIM115 - kept open
                _make_entry_durable(self._directory.path(self._folder))
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())

    def _content(self, number: int) -> bytes:
        return b"".join(self._directory.read(name) or b"" for name in self._found[number])

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


_ON_WAY, _KNOWN, _FINAL, _WAS_SENT = 1, 2, 4, 8
_SEGMENT_SHIFT = 40
_BEGIN_MASK = (1 << _SEGMENT_SHIFT) - 1


class Checkpoint:
    """The state of each prompt."""

    def __init__(self, segments: SegmentLog, count: int) -> None:
        self._segments = segments
        self._states = bytearray(count)
        self._places = array("q", bytes(8 * count))
        self._credits = array("d", bytes(8 * count))
        self._sent: dict[int, Sent] = {}
        self._attempts: dict[int, int] = {}
        self.damaged = False
        self.failed = 0
        for line, place in self._read():
            self.note(line, place)
        self.resumed = sum(1 for state in self._states if state & _FINAL)

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
        return Sent(0.0, 0.0) if self.damaged and not self._states[index] & _KNOWN else None

    def attempts(self, index: int) -> int:
        """Return how often earlier processes began to send a prompt that is not settled."""
        return self._attempts.get(index, 0)

    def record(self, index: int) -> PromptRecord:
        """Return what is known of a prompt."""
        if not self._states[index] & _KNOWN:
            return self._unknown(index)
        place = self._places[index]
        line = self._segments.line(place >> _SEGMENT_SHIFT, place & _BEGIN_MASK)
        return PromptRecord.from_json(json.loads(line)["item"])

    def spent(self) -> tuple[Decimal, int]:
        """Return the credits that earlier processes spent, and the number of answers they are for."""
        paid = [each for each in self._credits if each > 0]
        return sum((Decimal(str(each)) for each in paid), Decimal(0)), len(paid)

    def sent_count(self) -> int:
        """Return how many prompts were sent by earlier processes."""
        return sum(1 for state in self._states if state & _WAS_SENT)

    def note(self, line: dict[str, Any], place: tuple[int, int]) -> None:
        """Take note of a line of the log."""
        index = line["i"]
        if "sent" in line:
            self._states[index] |= _ON_WAY | _WAS_SENT
            self._sent[index] = Sent(line["since"], line["sent"], line.get("after"))
            self._attempts[index] = self._attempts.get(index, 0) + 1
        elif "unsent" in line:
            self._states[index] &= ~_ON_WAY if self._states[index] & _KNOWN else ~(_ON_WAY | _WAS_SENT)
            self._forget(index)
        elif "item" in line:
            self._note_record(index, line["item"])
            self._places[index] = place[0] << _SEGMENT_SHIFT | place[1]

    def finish(self) -> None:
        """Close the log for the reading of what is in it."""
        self._segments.finish_segment()
        self._segments.forget_kept()

    def _note_record(self, index: int, record: dict[str, Any]) -> None:
        outcome = record.get("outcome")
        self._states[index] |= _KNOWN
        if record.get("credits"):
            self._credits[index] = record["credits"]
        if outcome in (Outcome.UNANSWERED, Outcome.AMBIGUOUS):
            self._states[index] |= _ON_WAY
            at = record.get("sent_at") or 0.0
            before = self._sent.get(index, Sent(at, at))
            self._sent[index] = Sent(min(at, before.since), at, before.after)
        else:
            self._states[index] &= ~_ON_WAY
            self._forget(index)
        if record.get("final"):
            self._states[index] |= _FINAL
            self.failed += outcome == Outcome.FAILED
        else:
            self._attempts[index] = record.get("attempts") or 0

    def _forget(self, index: int) -> None:
        self._sent.pop(index, None)
        self._attempts.pop(index, None)

    def _unknown(self, index: int) -> PromptRecord:
        sent = self.in_flight(index)
        if sent is None or sent.last == 0.0:
            return NOT_SENT
        return PromptRecord(
            Outcome.AMBIGUOUS,
            error_code=IN_FLIGHT,
            error_message="The batch ended while this prompt was on its way. It is looked for when the batch "
            "is run again.",
            attempts=self.attempts(index),
            sent_at=sent.last,
        )

    def _read(self) -> Iterator[tuple[dict[str, Any], tuple[int, int]]]:
        for segment, begin, data, is_last in self._segments.lines():
            if not data.endswith(b"\n"):  # torn: what was being written when the process died
                continue
            line = _decoded(data)
            if line is not None and 0 <= line["i"] < len(self._states):
                yield line, (segment, begin)
            elif not is_last:
                self._report_damage()

    def _report_damage(self) -> None:
        if not self.damaged:
            log.warning(
                "The checkpoint is damaged. Prompts without a known answer are looked for before they go."
            )
        self.damaged = True


def encode(line: dict[str, Any]) -> bytes:
    """Write a line of the log."""
    return json.dumps(line, separators=(",", ":"), default=str).encode() + b"\n"


def _decoded(data: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(data)
        if "item" in line:
            PromptRecord.from_json(line["item"])
        return line if isinstance(line["i"], int) else None
    except (ValueError, TypeError, KeyError):
        return None


class Journal:
    """Writes lines from an event loop: many wait for one write, which makes them all durable."""

    def __init__(self, segments: SegmentLog, checkpoint: Checkpoint) -> None:
        self._segments = segments
        self._checkpoint = checkpoint
        self._pending: list[dict[str, Any]] = []
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    def add(self, line: dict[str, Any]) -> asyncio.Future[None]:
        """Have a line written soon."""
        if self._broken is not None:
            raise self._broken
        self._pending.append(line)
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
        while self._pending:
            lines, written = self._pending, self._written
            self._pending, self._written = [], None
            try:
                await asyncio.to_thread(self._append, lines)
            except Exception as error:  # noqa: BLE001 - raised by all who wait for it, and by flush()
                self._broken = error
                for waiting in (written, self._written):
                    if waiting is not None and not waiting.done():
                        waiting.set_exception(error)
                return
            if written is not None and not written.done():
                written.set_result(None)

    def _append(self, lines: list[dict[str, Any]]) -> None:
        encoded = [encode(line) for line in lines]
        segment, begin = self._segments.append(b"".join(encoded))
        for line, data in zip(lines, encoded, strict=True):
            self._checkpoint.note(line, (segment, begin))
            begin += len(data)


def _retrieved(future: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting an error that nobody waited for: the writer's task has it, too."""
    if not future.cancelled():
        future.exception()
