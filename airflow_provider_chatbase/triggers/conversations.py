"""DAGs that start when conversations appear or change."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.watching import (
    MOST_IN_EVENT,
    Look,
    Memory,
    Watch,
    begin,
    look,
    read_rows,
    turn,
)

if TYPE_CHECKING:
    from airflow_provider_chatbase.triggers.beats import Beat, SharedBeats

STORED_WITHIN = 3.0
"""Seconds after which Airflow before 3.3, which does not say so, has stored an event: it takes one or two."""

AIRFLOW_FAILURES = (AirflowException, AirflowRuntimeError, OSError, RuntimeError)
"""What comes of connections, variables and states that cannot be had; a trigger survives it."""

LONGEST_LOOK = 100.0
"""Seconds for a look. A reading that takes longer goes on, and the next look takes up what it brings."""


class ChatbaseConversationTrigger(BaseEventTrigger):
    """
    Watches an agent's conversations for an ``AssetWatcher``, so that a DAG starts on what happens in them.

    One event tells of all that one poll found, as ``triggering_asset_events[...][i].extra["payload"]``:
    ``agent_id``, ``when``, and ``conversations``: of each ``conversation_id``, ``created_at``, ``updated_at``
    (seconds since the epoch), ``status``, ``channel`` and, where messages decide, ``message_ids``. Nothing
    that a customer wrote is in it. It needs API v2.

    What was told is remembered in the asset's state, or before Airflow 3.3 in a Variable, so that a restarted
    triggerer goes on where it was. All watchers of an agent with one ``poll_interval`` share their requests.

    :param when: ``new``; ``changed``, for each new activity; ``ended``; ``handed_over``, to a human;
        ``negative_feedback`` or ``low_confidence``, for each such message; ``lead``, once one was collected.
    :param agent_id: the agent; ``None`` means the connection's.
    :param channels: only conversations of these channels, by the API's exact names.
    :param confidence_below: what score of an answer is low, from 0 to 1.
    :param poll_interval: seconds between polls.
    :param overlap: how many seconds before the last activity seen to look again, for what the API shows late.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    def __init__(
        self,
        when: str = "new",
        agent_id: str | None = None,
        channels: Sequence[str] | None = None,
        confidence_below: float = 0.5,
        poll_interval: float = 60.0,
        overlap: float = 600.0,
        chatbase_conn_id: str = "chatbase_default",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.when = when
        self.agent_id = agent_id
        self.channels = channels
        self.confidence_below = confidence_below
        self.poll_interval = poll_interval
        self.overlap = overlap
        self.chatbase_conn_id = chatbase_conn_id
        self._memory: Memory | None = None
        self._stored: Memory | None = None
        self._store: WatchStore | None = None
        self._logged = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """
        Return the class and its arguments.

        A DAG's author learns here what is wrong with them: in the constructor it would end the triggerer.

        :raises ChatbaseInputError: when an argument is wrong.
        """
        Watch.read(self.when, self.channels, self.confidence_below)
        for name, least in (("poll_interval", 1), ("overlap", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 864_000:
                raise ChatbaseInputError(f"{name} must be a number of seconds from {least}, not {value!r}.")
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "when": self.when,
                "agent_id": self.agent_id,
                "channels": None if self.channels is None else list(self.channels),
                "confidence_below": self.confidence_below,
                "poll_interval": self.poll_interval,
                "overlap": self.overlap,
                "chatbase_conn_id": self.chatbase_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch for ever, where Airflow has no shared streams: before 3.3."""
        from airflow_provider_chatbase.triggers.beats import beats  # the client: not where a DAG is parsed

        async for beat in beats(self.chatbase_conn_id, self.poll_interval):
            async for event in self._told_at(beat):
                yield event
                await asyncio.sleep(STORED_WITHIN)
            await beat.end()

    def shared_stream_key(self) -> Hashable | None:
        """See Airflow's base class. A shared stream that does not tell what is stored is of no use."""
        if not hasattr(BaseEventTrigger, "create_shared_stream_producer"):
            return None
        return ("chatbase", self.chatbase_conn_id, self.agent_id, self.poll_interval)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedBeats:
        """See Airflow's base class."""
        from airflow_provider_chatbase.triggers.beats import SharedBeats

        return SharedBeats(kwargs["chatbase_conn_id"], kwargs["poll_interval"])

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Beat]) -> AsyncIterator[TriggerEvent]:
        """Watch for ever, with one poll for all that watch the agent: Airflow 3.3 and newer."""
        async for beat in shared_stream:
            async for event in self._told_at(beat):
                yield event

    async def _told_at(self, beat: Beat) -> AsyncIterator[TriggerEvent]:
        """Look once; what comes of it is remembered for good when its event is stored, not before."""
        told = None
        try:
            async with asyncio.timeout(LONGEST_LOOK):
                told = await self._look(beat)
            self._logged = ""
        except TimeoutError:
            self.log.info("Chatbase is still being read; the next poll takes up what comes.")
        except (ChatbaseError, *AIRFLOW_FAILURES) as error:
            kind = f"{type(error).__name__} {getattr(error, 'code', None)}"  # the text has a request id
            if kind != self._logged:
                self.log.warning("This poll of %s conversations failed, trying again: %s", self.when, error)
            self._logged = kind
        if told is not None:
            self._memory = told.memory
            beat.afterwards.append(partial(self._remember, told.memory))
            if told.conversations:
                agent_id = beat.hub.hook.agent_or_default(self.agent_id)
                numbers = len(told.conversations), agent_id, told.waiting
                self.log.info("%s: %s of agent %s; %s wait for the next poll.", self.when, *numbers)
                payload = {"agent_id": agent_id, "when": self.when, "conversations": told.conversations}
                yield TriggerEvent(payload)

    async def _look(self, beat: Beat) -> Look:
        hub = beat.hub
        watch = Watch.read(self.when, self.channels, self.confidence_below)
        agent_id = hub.hook.agent_or_default(self.agent_id)
        conversations = hub.conversations(agent_id)
        not_before = beat.at - self.poll_interval / 2  # what another watcher read a moment ago will do
        if self._memory is None:
            self._memory = self._stored = await self._recall(agent_id)
        if self._memory is None:
            newest = await conversations.newest(hub.client, not_before)
            now = time.time()
            return Look([], begin(read_rows(newest, now), now), 0)
        since = self._memory.since(self.overlap)
        found = await conversations.active_since(hub.client, watch.search, since, not_before)
        now = time.time()
        rows = read_rows(found, now)
        chosen = turn(watch, self._memory, self.overlap, rows)
        messages: dict[str, list[JsonObject]] = {each.conversation_id: [] for each in chosen[:MOST_IN_EVENT]}
        if watch.reads_messages:
            messages = await conversations.messages(hub.client, messages, not_before)
        return look(watch, self._memory, rows, chosen, messages, now)

    async def _recall(self, agent_id: str) -> Memory | None:
        """Read what was remembered. Other arguments but those of the pace make another watcher."""
        _, arguments = self.serialize()
        names = ("when", "channels", "confidence_below", "chatbase_conn_id")
        watched = json.dumps([agent_id, *(arguments[name] for name in names)])
        key = f"chatbase_conversations_{hashlib.sha256(watched.encode()).hexdigest()[:16]}"
        self._store = WatchStore(getattr(self, "asset_state_store", None), key)
        stored = await self._store.get()
        return None if stored is None else Memory.from_json(stored)

    async def _remember(self, memory: Memory) -> None:
        """Store what is known, when that is worth it; a store that fails now is tried again the next time."""
        stored, store = self._stored, self._store
        moved = stored is None or memory.watermark - stored.watermark > self.overlap / 2
        if store is None or (stored is not None and not moved and memory.told == stored.told):
            return
        try:
            await store.set(memory.as_json())
            self._stored = memory
        except AIRFLOW_FAILURES as error:
            self.log.warning("What was told could not be stored, trying again after the next poll: %s", error)


class WatchStore:
    """Where a watcher's memory is kept: in the state of its asset (Airflow 3.3), else in a Variable."""

    def __init__(self, asset_state: Any, key: str) -> None:
        self._asset_state = asset_state
        self._key = key

    async def get(self) -> Any:
        """Return what is stored, or ``None``."""
        if self._asset_state is not None:
            try:
                return await self._asset_state.aget(self._key)
            except ValueError:  # one trigger watches several assets: Airflow knows not whose state is meant
                self._asset_state = None
        text = await sync_to_async(Variable.get)(self._key, default=None)
        try:
            return None if text is None else json.loads(text)
        except ValueError:
            return text  # which is refused

    async def set(self, value: JsonObject) -> None:
        """Store it."""
        if self._asset_state is not None:
            await self._asset_state.aset(self._key, value)
        else:
            text = json.dumps(value, separators=(",", ":"))
            await sync_to_async(Variable.set)(self._key, text, "What a watcher of conversations told")
