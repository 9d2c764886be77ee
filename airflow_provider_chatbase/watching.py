"""
Which conversations a watcher tells of, and what it remembers so that none is told twice and none is lost.

Values in, values out: what is read, and where the memory is kept, is up to the trigger.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import ceil
from typing import Any

from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2.conversations import messages_in
from airflow_provider_chatbase.exports.window import read_moment

MOST_TOLD = 2_000
"""So many marks are remembered: with their times they stay below the 64 kB that Airflow likes in a state."""

MOST_IN_EVENT = 500
"""So many conversations go into one event; those after them, by time, go into the next poll's."""

SETTLED_AFTER = 120
"""Seconds after its last activity from which on a conversation's messages are taken to be all there."""

STATE_VERSION = 1


OCCASIONS: Mapping[str, Mapping[str, str]] = {
    "new": {},
    "changed": {},
    "ended": {},
    "handed_over": {"escalated": "true"},
    "negative_feedback": {"feedback": "negative"},
    "low_confidence": {},
    "lead": {"actionType": "collect-leads"},
}
"""When a conversation is told of, and what the search is asked for where its rows do not show it."""


@dataclass(frozen=True, slots=True)
class ActiveConversation:
    """A conversation as the search shows it, without anything that somebody wrote. Times are in seconds."""

    conversation_id: str
    created_at: float
    updated_at: float
    status: str | None
    channel: str | None


def read_rows(rows: Iterable[JsonObject], now: float) -> list[ActiveConversation]:
    """Read rows of the search, the longest inactive first; one whose times cannot be read is active now."""
    found = []
    for row in rows:
        active, created = read_moment(row.get("updatedAt")), read_moment(row.get("createdAt"))
        if name := _text(row, "id"):
            at = now if active is None else active.timestamp()
            begun = at if created is None else created.timestamp()
            found.append(ActiveConversation(name, begun, at, _text(row, "status"), _text(row, "source")))
    return sorted(found, key=lambda each: (each.updated_at, each.conversation_id))


def _text(row: JsonObject, name: str) -> str | None:
    value = row.get(name)
    return sound_text(value) if isinstance(value, str) else None


@dataclass(frozen=True, slots=True)
class Watch:
    """What somebody watches for."""

    when: str
    channels: tuple[str, ...] = ()
    confidence_below: float = 0.5

    @classmethod
    def read(cls, when: Any, channels: Any, confidence_below: Any) -> Watch:
        """Check what a DAG's author gave."""
        if when not in OCCASIONS:
            raise ChatbaseInputError(f"when must be one of {', '.join(OCCASIONS)}, not {when!r}.")
        if channels is not None and (
            isinstance(channels, str) or not all(isinstance(each, str) and each for each in channels)
        ):
            raise ChatbaseInputError(f"channels must be a list of names, not {channels!r}.")
        number = not isinstance(confidence_below, bool) and isinstance(confidence_below, int | float)
        if not number or not 0 < confidence_below <= 1:
            raise ChatbaseInputError(
                f"confidence_below must be above 0 and at most 1, not {confidence_below!r}."
            )
        return cls(when, tuple(channels or ()), float(confidence_below))

    @property
    def search(self) -> Mapping[str, str]:
        """The filters that the search is asked for."""
        return OCCASIONS[self.when]

    @property
    def reads_messages(self) -> bool:
        """Whether a row alone does not decide."""
        return self.when in ("low_confidence", "negative_feedback")

    def moment(self, conversation: ActiveConversation) -> float:
        """Return when that happened which is watched for."""
        return conversation.created_at if self.when == "new" else conversation.updated_at

    def concerns(self, conversation: ActiveConversation) -> bool:
        """Say whether a row may be told of."""
        of_channel = not self.channels or conversation.channel in self.channels
        return of_channel and (self.when != "ended" or conversation.status == "ended")

    def marks(self, conversation: ActiveConversation, messages: Iterable[JsonObject] = ()) -> dict[str, str]:
        """Return what to remember once it is told, and which message each mark stands for."""
        if self.reads_messages:
            ids = [str(each["id"]) for each in messages if each.get("id") and self._matters(each)]
            return {_mark(conversation.conversation_id, each): each for each in ids}
        again = self.when in ("changed", "ended")  # the others happen to a conversation once
        return {_mark(conversation.conversation_id, str(conversation.updated_at) if again else ""): ""}

    def _matters(self, message: JsonObject) -> bool:
        if self.when == "negative_feedback":
            return message.get("feedback") == "negative"
        metadata = message.get("metadata")
        score = metadata.get("score") if isinstance(metadata, dict) else None
        return isinstance(score, int | float) and score < self.confidence_below


def _mark(*parts: str) -> str:
    digest = hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogatepass"), digest_size=9)
    return base64.urlsafe_b64encode(digest.digest()).decode()


@dataclass(frozen=True, slots=True)
class Memory:
    """What a watcher knows: how far it has looked, and what it has told."""

    watermark: float  # the latest activity seen
    floor: float = 0.0  # nothing from up to here is told any more: its marks are forgotten
    told: Mapping[str, int] = field(default_factory=dict)  # marks, with the time of what they stand for
    read: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # not stored: see _is_read

    def since(self, overlap: float) -> float:
        """Return from when on to look: what is shown late lies before the watermark."""
        return max(self.watermark - overlap, self.floor, 0.0)

    def as_json(self) -> JsonObject:
        """Return it as it is stored."""
        told = dict(self.told)
        return {"version": STATE_VERSION, "watermark": self.watermark, "floor": self.floor, "told": told}

    @classmethod
    def from_json(cls, stored: Any) -> Memory:
        """Read what was stored; what cannot be read is refused, not replaced."""
        try:
            told = {str(mark): int(at) for mark, at in stored["told"].items()}
            found = cls(float(stored["watermark"]), float(stored["floor"]), told)
            known = stored["version"] == STATE_VERSION
        except (TypeError, KeyError, ValueError, AttributeError):
            known = False
        if not known:
            raise ChatbaseError(
                "The state of this watcher cannot be read: it is damaged, or a newer provider wrote it. "
                "Nothing is told until it is deleted; the watcher then begins anew."
            )
        return found


def begin(newest: Sequence[ActiveConversation], now: float) -> Memory:
    """Begin to watch: what was last active up to now is not told of. The service's clock counts, not ours."""
    at = min(newest[-1].updated_at, now) if newest else 0.0
    return Memory(at, floor=at)


def turn(
    watch: Watch, memory: Memory, overlap: float, rows: Sequence[ActiveConversation]
) -> list[ActiveConversation]:
    """
    Return the conversations to decide on, those first that nobody has looked at since they were active.

    Those after the first :data:`MOST_IN_EVENT` have to wait for the next look.
    """
    since = memory.since(overlap)
    found = [each for each in rows if watch.concerns(each) and watch.moment(each) > since]
    if watch.reads_messages:
        found = [each for each in found if not _is_settled(watch, memory, each)]
    else:
        found = [each for each in found if not watch.marks(each).keys() <= memory.told.keys()]
    return sorted(found, key=lambda each: (_is_read(memory, each), watch.moment(each), each.conversation_id))


def _is_read(memory: Memory, conversation: ActiveConversation) -> bool:
    """Say whether its messages were read since it was last active; they may be shown late, or be rated."""
    return memory.read.get(conversation.conversation_id, (None,))[0] == conversation.updated_at


def _is_settled(watch: Watch, memory: Memory, conversation: ActiveConversation) -> bool:
    return (
        watch.when == "low_confidence"
        and _is_read(memory, conversation)
        and memory.read[conversation.conversation_id][1] - conversation.updated_at >= SETTLED_AFTER
    )


@dataclass(frozen=True, slots=True)
class Look:
    """What one look brought: the conversations to tell of, and what is known after it."""

    conversations: list[JsonObject]
    memory: Memory
    waiting: int  # how many have to wait for the next look


def look(
    watch: Watch,
    memory: Memory,
    rows: Sequence[ActiveConversation],
    found: Sequence[ActiveConversation],
    messages: Mapping[str, Iterable[JsonObject]],
    now: float,
) -> Look:
    """Decide on those of a turn that were looked into: all whose id is among the messages."""
    told, read, conversations = dict(memory.told), dict(memory.read), []
    waiting = [each for each in found if each.conversation_id not in messages and not _is_read(memory, each)]
    for each in found:
        if each.conversation_id in messages:
            marks = watch.marks(each, messages[each.conversation_id])
            new = [message_id for mark, message_id in marks.items() if mark not in told]
            told.update(dict.fromkeys(marks, ceil(watch.moment(each))))
            read[each.conversation_id] = (each.updated_at, now)
            if new:
                conversations.append(
                    {**asdict(each), **({"message_ids": new} if watch.reads_messages else {})}
                )
    reached = max((each.updated_at for each in rows), default=memory.watermark)
    # A time that lies ahead, which a reply might hold, would hide all that comes before it.
    watermark = max(memory.watermark, min([reached, now, *(watch.moment(each) for each in waiting)]))
    shown = {each.conversation_id for each in rows}
    kept = {id_: seen for id_, seen in read.items() if watch.reads_messages and id_ in shown}
    after = replace(memory, watermark=watermark, told=told, read=kept)
    return Look(conversations, _bounded(after), len(waiting))


def _bounded(memory: Memory) -> Memory:
    """Forget the oldest marks when there are too many, and look no further back than to them."""
    newest_first = sorted(memory.told.items(), key=lambda item: item[1], reverse=True)
    kept, forgotten = newest_first[:MOST_TOLD], newest_first[MOST_TOLD:]
    floor = max([memory.floor, *(float(at) for _, at in forgotten[:1])])
    return replace(memory, floor=floor, told=dict(kept))


def message_marks(conversation: JsonObject) -> list[JsonObject]:
    """Keep of a conversation's messages what is judged, and nothing that somebody wrote."""
    names = ("id", "feedback", "metadata")
    return [{name: message.get(name) for name in names} for message in messages_in(conversation)]
