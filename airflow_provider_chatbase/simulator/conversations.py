"""Conversations, their messages, and the indexes that make paging over 100,000 of them cheap."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.simulator.exchange import PageRequest, Position

ROLE_ASSISTANT = "assistant"
ROLE_USER = "user"

_AFTER_EVERY_ID = "\U0010ffff"

Part = dict[str, Any]


@dataclass(slots=True)
class Message:
    """One message; ``parts`` are kept whole, with the input of tool calls."""

    id: str
    role: str
    parts: list[Part]
    created_at: int | None
    feedback: str | None = None
    score: float | None = None

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part["text"] for part in self.parts if part["type"] == "text")


@dataclass(slots=True, eq=False)
class Conversation:
    """
    One conversation.

    Seeded ones make their messages anew on each reading, always the same, until one is changed: hundreds of
    thousands then cost little memory.
    """

    id: str
    created_at: int
    updated_at: int
    title: str | None
    user_id: str | None
    status: str
    source: str | None
    created_by_v2: bool
    stored: list[Message] | None = None
    recipe: Callable[[Conversation], list[Message]] | None = field(default=None, repr=False)
    sentiment: str | None = None
    topic: str | None = None
    visible_at: float = 0.0

    @property
    def messages(self) -> list[Message]:
        """The messages, oldest first. Change them through ``own_messages`` only."""
        if self.stored is not None:
            return self.stored
        return self.recipe(self) if self.recipe else []

    def own_messages(self) -> list[Message]:
        """Return the messages as a list that belongs to this conversation and may be changed."""
        if self.stored is None:
            self.stored = self.messages
        return self.stored

    def message(self, message_id: str) -> Message | None:
        """Return the message of that id, to be changed."""
        return next((message for message in self.own_messages() if message.id == message_id), None)


class SortedPositions(list[Position]):
    """A sorted list of (time, id); adding the newest is cheap."""

    def add(self, position: Position) -> None:
        """Add one."""
        insort(self, position)

    def discard(self, position: Position) -> None:
        """Remove one, if it is there."""
        at = bisect_left(self, position)
        if self[at : at + 1] == [position]:
            del self[at]

    def span(self, start: float | None, end: float | None) -> tuple[int, int]:
        """Return the slice whose times lie between ``start`` and ``end``, both inclusive."""
        low = 0 if start is None else bisect_left(self, (start, ""))
        high = len(self) if end is None else bisect_right(self, (end, _AFTER_EVERY_ID))
        return low, max(low, high)

    def newest_first(self, low: int, high: int) -> Iterator[Position]:
        """Walk a slice from its end to its beginning."""
        return (self[at] for at in range(high - 1, low - 1, -1))


def page_of_positions(
    indexes: Sequence[SortedPositions],
    window: tuple[float | None, float | None],
    show: Callable[[str], Any],
    request: PageRequest,
) -> dict[str, Any]:
    """Return a page of several indexes read as one, newest first, without a walk over what lies before it."""
    spans = [index.span(*window) for index in indexes]
    skip, before = request.start()
    found: list[Position] = []
    for index, (low, high) in zip(indexes, spans, strict=True):
        top = high if before is None else max(low, min(high, bisect_left(index, before)))
        found.extend(index.newest_first(max(low, top - skip - request.limit - 1), top))
    found.sort(reverse=True)
    shown = found[skip : skip + request.limit]
    place: tuple[Any, ...] = ()
    if len(found) > skip + request.limit or (request.trailing_empty and shown):
        place = (skip + len(shown),) if request.offsets else shown[-1]
    total = sum(high - low for low, high in spans)
    return request.page([show(identifier) for _, identifier in shown], total, *place)


class ConversationIndex:
    """
    All conversations of one agent.

    A conversation can be read by id at once; lists, export and search see it when it has become visible.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, Conversation] = {}
        self.by_creation = SortedPositions()
        self.by_source: defaultdict[str | None, SortedPositions] = defaultdict(SortedPositions)
        self.by_activity = SortedPositions()
        self.created_by_v2 = SortedPositions()
        self._by_user: defaultdict[str, dict[str, Conversation]] = defaultdict(dict)
        self._activity_shown: dict[str, int] = {}
        self._hidden: list[Conversation] = []
        self._unsearchable: list[tuple[float, Conversation]] = []

    def load(self, conversations: Iterable[Conversation]) -> None:
        """Add many that are visible from the beginning."""
        for conversation in conversations:
            self.add(conversation, 0.0)
        self.settle(0.0)

    def add(self, conversation: Conversation, searchable_at: float) -> None:
        """Add one that lists show from its ``visible_at`` on, and search from ``searchable_at`` on."""
        self.by_id[conversation.id] = conversation
        self._hidden.append(conversation)
        self.touched(conversation, searchable_at)

    def touched(self, conversation: Conversation, searchable_at: float) -> None:
        """Note that the last activity of a conversation has changed."""
        self._unsearchable.append((max(searchable_at, conversation.visible_at), conversation))

    def remove(self, conversation: Conversation) -> None:
        """Remove one; its place among the last activities stays, as search finds out late."""
        position = (conversation.created_at, conversation.id)
        del self.by_id[conversation.id]
        for positions in (self.by_creation, self.by_source[conversation.source], self.created_by_v2):
            positions.discard(position)
        self._by_user[conversation.user_id or ""].pop(conversation.id, None)
        self._hidden = [each for each in self._hidden if each is not conversation]

    def settle(self, now: float) -> None:
        """Show everything whose time has come."""
        if self._hidden:
            self._hidden = [each for each in self._hidden if not self._show(each, now)]
        if self._unsearchable:
            self._unsearchable = [entry for entry in self._unsearchable if not self._index(*entry, now)]

    def of_user(self, user_id: str) -> list[Conversation]:
        """Return the visible v2 conversations of a user, last activity first."""
        found = self._by_user.get(user_id, {}).values()
        return sorted(found, key=lambda each: (each.updated_at, each.id), reverse=True)

    def _show(self, conversation: Conversation, now: float) -> bool:
        if conversation.visible_at > now:
            return False
        position = (conversation.created_at, conversation.id)
        self.by_creation.add(position)
        self.by_source[conversation.source].add(position)
        if conversation.created_by_v2:
            self.created_by_v2.add(position)
            if conversation.user_id is not None:
                self._by_user[conversation.user_id][conversation.id] = conversation
        return True

    def _index(self, searchable_at: float, conversation: Conversation, now: float) -> bool:
        if searchable_at > now:
            return False
        shown = self._activity_shown.get(conversation.id)
        if shown is not None:
            self.by_activity.discard((shown, conversation.id))
        self.by_activity.add((conversation.updated_at, conversation.id))
        self._activity_shown[conversation.id] = conversation.updated_at
        return True
