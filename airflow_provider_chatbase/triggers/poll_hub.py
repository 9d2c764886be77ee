"""One place for all polls of a connection: a thousand waiting tasks share its client and its requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakKeyDictionary

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.replies import Page, PageWalk
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v2.sources import get_source, list_sources
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.training import POLL_POLICY, Verdict, judge_and_name, judge_sources
from airflow_provider_chatbase.triggers.agent_conversations import AgentConversations
from airflow_provider_chatbase.triggers.shared_states import SharedStates, States

CONNECTION_AGE = 60.0
"""Seconds after which a newcomer reads the Airflow connection again: its key may have been changed."""

PAGE = 100


class PollHub:
    """Polls for all waiting tasks of one Airflow connection on one event loop."""

    def __init__(self, chatbase_conn_id: str) -> None:
        self._conn_id = chatbase_conn_id
        self._connecting = asyncio.Lock()
        self._read_at = float("-inf")
        self._clients: list[AsyncChatbaseClient] = []
        self._agents = SharedStates(self._list_agents, self._get_agent)
        self._sources: dict[str, SharedStates] = {}
        self._conversations: dict[str, AgentConversations] = {}
        self.hook = ChatbaseHook(chatbase_conn_id)
        self.members = 0

    @property
    def client(self) -> AsyncChatbaseClient:
        """The client that all polls go through."""
        return self._clients[-1]

    async def connect(self) -> None:
        """Read the Airflow connection, unless somebody did a moment ago, and open a client if it is new."""
        async with self._connecting:
            if time.monotonic() - self._read_at < CONNECTION_AGE:
                return
            hook = ChatbaseHook(self._conn_id)
            client = await hook.open_async_client(POLL_POLICY)
            self._read_at = time.monotonic()
            if self._clients and client.settings == self.client.settings:
                await client.close()
            else:
                self._clients.append(client)
                self.hook = hook

    async def close(self) -> None:
        """Stop what is under way, and close all clients."""
        for states in (self._agents, *self._sources.values()):
            states.close()
        for conversations in self._conversations.values():
            conversations.close()
        for client in self._clients:
            await client.close()

    @contextmanager
    def watching(self, agent_id: str, source_ids: Sequence[str] | None) -> Iterator[None]:
        """Take part in the polls for a block."""
        states = self._states(agent_id, source_ids)
        try:
            with states.watching([agent_id] if source_ids is None else source_ids):
                yield
        finally:
            if self._sources.get(agent_id) is states and not states.watched:
                del self._sources[agent_id]
                states.close()

    async def poll(self, agent_id: str, source_ids: Sequence[str] | None, not_before: float) -> Verdict:
        """Judge how far training is, by what was read not earlier than asked for."""
        states = self._states(agent_id, source_ids)
        if source_ids is not None:
            return judge_sources(await states.get(source_ids, not_before))
        (state,) = await states.get([agent_id], not_before)
        return await self.client.run(judge_and_name(self.client.api, state))

    def conversations(self, agent_id: str) -> AgentConversations:
        """Return an agent's conversations, for all who watch them."""
        return self._conversations.setdefault(agent_id, AgentConversations(agent_id))

    def _states(self, agent_id: str, source_ids: Sequence[str] | None) -> SharedStates:
        if source_ids is None:
            return self._agents
        if agent_id not in self._sources:
            self._sources[agent_id] = SharedStates(
                lambda wanted: self._list(lambda: list_sources(agent_id, limit=PAGE), wanted),
                lambda source_id: self.client.send(get_source(agent_id, source_id)),
            )
        return self._sources[agent_id]

    async def _list_agents(self, wanted: frozenset[str]) -> States:
        return await self._list(lambda: self.client.api.list_agents(limit=PAGE), wanted)

    async def _get_agent(self, agent_id: str) -> JsonObject:
        return await self.client.send(self.client.api.get_agent(agent_id))

    async def _list(self, first: Callable[[], Request[Page]], wanted: frozenset[str]) -> States:
        """Read a listing until all wanted things are found, or single requests would be fewer."""
        walk = PageWalk(first())
        found: dict[str, JsonObject] = {}
        while (request := walk.next_request()) is not None and len(found) < len(wanted):
            page = await self.client.send(request)
            walk.take(page)
            found.update(
                {str(each.get("id")): _state(each) for each in page.items if each.get("id") in wanted}
            )
            if (page.total or 0) > PAGE * len(wanted):
                break
        return found


def _state(thing: JsonObject) -> JsonObject:
    """Keep what is judged: a thousand whole agents, kept, would make Python's garbage collection slow."""
    return {name: thing.get(name) for name in ("id", "name", "status")}


_HUBS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, PollHub]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_polls(chatbase_conn_id: str) -> AsyncIterator[PollHub]:
    """Join the polls of a connection for a block."""
    hubs = _HUBS.setdefault(asyncio.get_running_loop(), {})
    if chatbase_conn_id not in hubs:
        hubs[chatbase_conn_id] = PollHub(chatbase_conn_id)
    hub = hubs[chatbase_conn_id]
    hub.members += 1
    try:
        await hub.connect()
        yield hub
    finally:
        hub.members -= 1
        if not hub.members:
            if hubs.get(chatbase_conn_id) is hub:
                del hubs[chatbase_conn_id]
            await hub.close()
