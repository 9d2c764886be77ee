"""Agents and their sources: how they are made, and their state, worked out from the clock alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.simulator.access import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.conversations import ConversationIndex
from airflow_provider_chatbase.simulator.exchange import ApiError

if TYPE_CHECKING:
    from airflow_provider_chatbase.simulator.world import World

FAIL_MARKER = "sim:fail-training"
SEED: dict[str, Any] = json.loads(Path(__file__).with_name("seed.json").read_bytes())


@dataclass(slots=True, eq=False)
class Source:
    """
    One training source.

    ``content`` is what was written last, ``live_content`` what the agent answers with. Training of the last
    write began at ``changed_at`` and is over at ``ready_at``.
    """

    id: str
    type: str
    name: str
    content: str
    size: int
    created_at: float
    changed_at: float
    ready_at: float
    metadata: dict[str, Any] | None = None
    fails: bool = False
    live_content: str | None = None
    live_since: float | None = None
    purge_at: float | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def begin_training(self, now: float, seconds: float) -> None:
        """Start a training that ends after the given time."""
        self.changed_at = now
        self.ready_at = now + seconds
        self.fails = FAIL_MARKER in self.content or FAIL_MARKER in self.name

    def settle(self, now: float) -> None:
        """Put the trained content live when its time has come."""
        landed = self.ready_at <= now and not self.fails
        if landed and (self.live_since is None or self.live_since < self.ready_at):
            self.live_content = self.content
            self.live_since = self.ready_at

    def is_training(self, now: float) -> bool:
        """Whether the last write is still being trained."""
        return self.purge_at is None and now < self.ready_at

    def status(self, now: float) -> str:
        """Return the status that the API shows."""
        self.settle(now)
        if self.purge_at is not None:
            return "toBeDeleted"
        if now < self.ready_at:
            return "untrained" if self.live_since is None else "updated"
        return "failed" if self.fails else "trained"


def agent_status(sources: Iterable[Source], now: float, lag: float = 0.0) -> str:
    """Return the status of an agent with these sources; a write does not show for the time of ``lag``."""
    seen = {_seen_status(source, now, lag) for source in sources}
    if seen & {"untrained", "updated"}:
        return "training"
    if "failed" in seen:
        return "failed"
    return "trained" if "trained" in seen else "untrained"


def _seen_status(source: Source, now: float, lag: float) -> str | None:
    status = source.status(now)
    if status == "toBeDeleted":
        return None
    if now < source.changed_at + lag:
        return None if source.live_since is None or source.live_since >= source.changed_at else "trained"
    return status


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
    tickets: dict[int, dict[str, Any]] = field(default_factory=dict)
    ticket_messages: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    actions: list[dict[str, Any]] = field(default_factory=list)
    procedures: list[dict[str, Any]] = field(default_factory=list)
    leads: list[dict[str, Any]] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    attributes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self.fields["name"])


def create_agent(
    world: World, name: str, workspace: str = MAIN_WORKSPACE, agent_id: str | None = None
) -> Agent:
    """Create an agent without sources; raise ``ApiError`` 403 when the workspace has as many as it may."""
    limit = world.settings.agent_limit
    existing = sum(agent.workspace == workspace for agent in world.store.agents.values())
    if limit is not None and existing >= limit:
        raise ApiError(403, "AGENT_LIMIT_REACHED", "Agent limit reached for your plan")
    now = world.clock.time()
    identifier = agent_id or world.store.new_id("ag").replace("_", "")
    agent = Agent(
        identifier, {"name": name, **copy.deepcopy(SEED["new_agent"])}, now, workspace, updated_at=now
    )
    agent.fields["styles"]["chat"]["displayName"] = name
    world.store.agents[agent.id] = agent
    return agent


def clone_agent(world: World, original: Agent) -> Agent:
    """Copy an agent deeply, with its sources except those of Notion; the copy trains them anew."""
    clone = create_agent(world, f"{original.name} (copy)"[:100], original.workspace)
    clone.fields = {**copy.deepcopy(original.fields), "name": clone.name}
    clone.tools = original.tools
    for source in original.sources.values():
        if source.type == "notionPage" or source.purge_at is not None:
            continue
        twin = add_source(world, clone, source.type, source.name, source.content, size=source.size)
        twin.metadata = copy.deepcopy(source.metadata)
        twin.details = copy.deepcopy(source.details)
    return clone


def add_source(
    world: World, agent: Agent, kind: str, name: str, content: str, size: int | None = None
) -> Source:
    """Add a source, which begins to train; raise ``ApiError`` 422 when the storage is full."""
    needed = len(content.encode()) if size is None else size
    _check_storage(world, agent, needed)
    now = world.clock.time()
    source = Source(world.store.new_id(), kind, name, content, needed, now, now, now)
    source.begin_training(now, world.settings.training_seconds)
    agent.sources[source.id] = source
    return source


def add_qna(world: World, agent: Agent, name: str, questions: list[str], reply: str) -> Source:
    """Add questions and their answer as a source."""
    source = add_source(world, agent, "qna", name, qna_content(questions, reply))
    source.details = {"questions": questions, "answer": reply}
    return source


def qna_content(questions: list[str], reply: str) -> str:
    """Return questions and their answer as the content of a source."""
    return json.dumps({"questions": questions, "answer": reply}, ensure_ascii=False)


def change_content(
    world: World, agent: Agent, source: Source, content: str, *, size: int | None = None
) -> None:
    """Replace a source's content, which trains anew while the earlier one still answers."""
    needed = len(content.encode()) if size is None else size
    _check_storage(world, agent, needed - source.size)
    now = world.clock.time()
    source.settle(now)
    source.content, source.size = content, needed
    source.begin_training(now, world.settings.training_seconds)


def remove_source(world: World, agent: Agent, source: Source) -> str:
    """Delete a source and return the status that the API then shows."""
    if world.settings.purge_seconds > 0:
        source.purge_at = world.clock.time() + world.settings.purge_seconds
        return "toBeDeleted"
    del agent.sources[source.id]
    return "deleted"


def _check_storage(world: World, agent: Agent, needed: int) -> None:
    used = sum(source.size for source in agent.sources.values() if source.purge_at is None)
    if needed > 0 and used + needed > world.settings.storage_limit:
        raise ApiError(422, "SOURCE_SIZE_LIMIT_EXCEEDED", "Chatbot storage limit exceeded")
