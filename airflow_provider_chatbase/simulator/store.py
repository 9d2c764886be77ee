"""The state of the simulated service: the truth that tests compare with."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.simulator.clock import Clock
from airflow_provider_chatbase.simulator.conversations import Conversation, ConversationIndex, Message
from airflow_provider_chatbase.simulator.keys import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.settings import Settings
from airflow_provider_chatbase.simulator.training import Source


@dataclass(slots=True, eq=False)
class Agent:
    """One agent; ``fields`` are the settings as the v2 API shows them."""

    id: str
    fields: dict[str, Any]
    created_at: float
    workspace: str = MAIN_WORKSPACE
    tools: tuple[str, ...] = ()
    credits_by_month: dict[str, float] = field(default_factory=dict)
    last_message_at: float | None = None
    updated_at: float = 0.0
    sources: dict[str, Source] = field(default_factory=dict)
    conversations: ConversationIndex = field(default_factory=ConversationIndex)
    leads: list[dict[str, Any]] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    attributes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self.fields["name"])


class Store:
    """Agents with their sources and conversations."""

    def __init__(self, settings: Settings, clock: Clock, rng: random.Random) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self.agents: dict[str, Agent] = {}

    def sources(self, agent_id: str) -> list[Source]:
        """Return the sources of an agent, oldest first."""
        self.purge(self.agents[agent_id])
        return list(self.agents[agent_id].sources.values())

    def conversations(self, agent_id: str) -> list[Conversation]:
        """Return every conversation of an agent, visible or not, newest first."""
        found = list(self.agents[agent_id].conversations.by_id.values())
        return sorted(found, key=lambda each: (each.created_at, each.id), reverse=True)

    def conversation(self, agent_id: str, conversation_id: str) -> Conversation | None:
        """Return one conversation of an agent."""
        return self.agents[agent_id].conversations.by_id.get(conversation_id)

    def conversations_of_user(self, agent_id: str, user_id: str) -> list[Conversation]:
        """Return the conversations with that user id, newest first."""
        return [each for each in self.conversations(agent_id) if each.user_id == user_id]

    def leads(self, agent_id: str) -> list[dict[str, Any]]:
        """Return the leads of an agent."""
        return self.agents[agent_id].leads

    def contacts(self, agent_id: str) -> list[dict[str, Any]]:
        """Return the contacts of an agent."""
        return self.agents[agent_id].contacts

    def new_id(self, prefix: str = "") -> str:
        """Return an id that was not used before: a UUID, or a short id behind a prefix."""
        digits = f"{self._rng.getrandbits(128):032x}"
        if prefix:
            return f"{prefix}_{digits[:24]}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def start_conversation(
        self,
        agent: Agent,
        *,
        user_id: str | None,
        title: str | None,
        source: str | None = "API",
        created_by_v2: bool = True,
        at: float | None = None,
        conversation_id: str | None = None,
    ) -> Conversation:
        """Create an empty conversation, now or at the given time."""
        now = self._clock.time()
        created = int(now if at is None else at)
        conversation = Conversation(
            id=conversation_id or self.new_id(),
            created_at=created,
            updated_at=created,
            title=title,
            user_id=user_id,
            status="ongoing",
            source=source,
            created_by_v2=created_by_v2,
            stored=[],
            visible_at=now + self._settings.visibility_delay,
        )
        agent.conversations.add(conversation, now + self._settings.search_delay)
        return conversation

    def append(self, agent: Agent, conversation: Conversation, message: Message) -> None:
        """Add a message and move the conversation's last activity to it."""
        conversation.own_messages().append(message)
        self.touch(agent, conversation, message.created_at)

    def touch(self, agent: Agent, conversation: Conversation, at: float | None = None) -> None:
        """Move a conversation's last activity."""
        now = self._clock.time()
        moment = int(now if at is None else at)
        conversation.updated_at = max(conversation.updated_at, moment)
        agent.last_message_at = max(agent.last_message_at or 0.0, moment)
        agent.conversations.touched(conversation, now + self._settings.search_delay)

    def purge(self, agent: Agent) -> None:
        """Forget sources whose purge is over."""
        now = self._clock.time()
        for source in list(agent.sources.values()):
            if source.purge_at is not None and source.purge_at <= now:
                del agent.sources[source.id]

    def agents_where(self, accept: Callable[[Agent], bool]) -> list[Agent]:
        """Return the agents that pass, newest first."""
        found = [agent for agent in self.agents.values() if accept(agent)]
        return sorted(found, key=lambda agent: (agent.created_at, agent.id), reverse=True)
