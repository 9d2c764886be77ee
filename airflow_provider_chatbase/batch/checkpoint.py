"""
What has been sent and answered, kept beside the output so that it survives the process.

Each line of its log is about one prompt: it is about to be sent (``sent``), it was not sent after all
(``unsent``), or what became of it (``item``). In memory a prompt takes 17 bytes.
"""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from airflow_provider_chatbase.batch.item import NOT_SENT, Item
from airflow_provider_chatbase.batch.outcomes import Outcome
from airflow_provider_chatbase.batch.segments import SegmentLog

log = logging.getLogger(__name__)

IN_FLIGHT, KNOWN, FINAL, SENT = 1, 2, 4, 8
_SEGMENT_SHIFT = 40
_BEGIN_MASK = (1 << _SEGMENT_SHIFT) - 1


class Sent(NamedTuple):
    """When a prompt was sent whose fate is unknown, in seconds since the epoch."""

    since: float
    last: float
    after: str | None = None


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
        self.resumed = 0
        self.failed = 0
        self._load()

    def is_known(self, index: int) -> bool:
        """Say whether it is written down what became of a prompt."""
        return bool(self._states[index] & KNOWN)

    def may_be_tried_again(self, index: int) -> bool:
        """Say whether a prompt was tried, and another try may end differently."""
        return self._states[index] & (KNOWN | FINAL) == KNOWN

    def is_final(self, index: int) -> bool:
        """Say whether a prompt is settled, so that it is not sent again."""
        return bool(self._states[index] & FINAL)

    def was_sent(self, index: int) -> bool:
        """Say whether a prompt was ever sent."""
        return bool(self._states[index] & SENT)

    def in_flight(self, index: int) -> Sent | None:
        """Return when a prompt was sent whose fate is unknown."""
        if self._states[index] & IN_FLIGHT:
            return self._sent.get(index, Sent(0.0, 0.0))
        return Sent(0.0, 0.0) if self.damaged and not self._states[index] & KNOWN else None

    def attempts(self, index: int) -> int:
        """Return how often earlier processes began to send a prompt that is not settled."""
        return self._attempts.get(index, 0)

    def item(self, index: int) -> Item:
        """Return what is known of a prompt."""
        if not self._states[index] & KNOWN:
            return self._unknown(index)
        place = self._places[index]
        line = self._segments.line(place >> _SEGMENT_SHIFT, place & _BEGIN_MASK)
        return Item.from_json(json.loads(line)["item"])

    def spent(self) -> tuple[Decimal, int]:
        """Return the credits that earlier processes spent, and the number of answers they are for."""
        paid = [each for each in self._credits if each > 0]
        return sum((Decimal(str(each)) for each in paid), Decimal(0)), len(paid)

    def sent_count(self) -> int:
        """Return how many prompts were sent by earlier processes."""
        return sum(1 for state in self._states if state & SENT)

    def note(self, line: dict[str, Any], place: tuple[int, int]) -> None:
        """Take note of a line of the log."""
        index = line["i"]
        if "sent" in line:
            self._states[index] |= IN_FLIGHT | SENT
            self._sent[index] = Sent(line["since"], line["sent"], line.get("after"))
            self._attempts[index] = self._attempts.get(index, 0) + 1
        elif "unsent" in line:
            self._states[index] &= ~IN_FLIGHT if self._states[index] & KNOWN else ~(IN_FLIGHT | SENT)
            self._forget(index)
        elif "item" in line:
            self._note_item(index, line["item"])
            self._places[index] = place[0] << _SEGMENT_SHIFT | place[1]

    def finish(self) -> None:
        """Close the log for the reading of what is in it."""
        self._segments.finish_segment()
        self._segments.forget_kept()

    def _note_item(self, index: int, item: dict[str, Any]) -> None:
        outcome = item.get("outcome")
        self._states[index] |= KNOWN
        if item.get("credits"):
            self._credits[index] = item["credits"]
        if outcome in (Outcome.UNANSWERED, Outcome.AMBIGUOUS):
            self._states[index] |= IN_FLIGHT
            at = item.get("sent_at") or 0.0
            before = self._sent.get(index, Sent(at, at))
            self._sent[index] = Sent(min(at, before.since), at, before.after)
        else:
            self._states[index] &= ~IN_FLIGHT
            self._forget(index)
        if item.get("final"):
            self._states[index] |= FINAL
            self.failed += outcome == Outcome.FAILED
        else:
            self._attempts[index] = item.get("attempts") or 0

    def _forget(self, index: int) -> None:
        self._sent.pop(index, None)
        self._attempts.pop(index, None)

    def _unknown(self, index: int) -> Item:
        sent = self.in_flight(index)
        if sent is None or sent.last == 0.0:
            return NOT_SENT
        return Item(
            Outcome.AMBIGUOUS,
            error_code="IN_FLIGHT",
            error_message="The batch ended while this prompt was on its way. It is looked for when the batch "
            "is run again.",
            attempts=self.attempts(index),
            sent_at=sent.last,
        )

    def _load(self) -> None:
        for line, place in self._read():
            self.note(line, place)
        self.resumed = sum(1 for state in self._states if state & FINAL)

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
            Item.from_json(line["item"])
        return line if isinstance(line["i"], int) else None
    except (ValueError, TypeError, KeyError):
        return None
