"""Agents: how they and their sources are made, their state by the clock alone, and what they answer."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.simulator.access import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.conversations import ConversationIndex, Part
from airflow_provider_chatbase.simulator.exchange import ApiError

if TYPE_CHECKING:
    from airflow_provider_chatbase.simulator.world import World

FAIL_MARKER = "sim:fail-training"
SEED: dict[str, Any] = json.loads(Path(__file__).with_name("seed.json").read_bytes())
ORDER_TOOL = "get_order_status"

_ORDER = re.compile(r"\[sim:([a-z-]+)(?:=([^\]]*))?\]\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"\w+")
_QUOTED_ENDING = re.compile(r"\b(?:end|close|finish|sign)\b[^\"“”.]*[\"“](.+?)[\"”]", re.IGNORECASE)
_QUOTED_OPENING = re.compile(r"\b(?:start|begin|open|greet)\b[^\"“”.]*[\"“](.+?)[\"”]", re.IGNORECASE)
_COMMON = frozenset(SEED["common_words"].split())
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_LONGEST = 100_000
_PASSAGES_READ = 400


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


def add_ticket(agent: Agent, number: int, **details: Any) -> None:
    """Add a ticket without messages to an agent's help desk."""
    agent.tickets[number] = {**copy.deepcopy(SEED["new_ticket"]), "ticketNumber": number, **details}
    agent.ticket_messages[number] = []


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


@dataclass(slots=True)
class MadeAnswer:
    """One answer; without ``credits`` it has the usual price; ``in_place`` it joins the message before it."""

    parts: list[Part]
    finish_reason: str = "stop"
    score: float | None = None
    credits: float | None = None
    tells_credits: bool = True
    in_place: bool = False


def orders_in(message: str) -> dict[str, str]:
    """Return the ``[sim:name=value]`` marks in a message."""
    return {name: value or "" for name, value in _ORDER.findall(message)}


def answer(agent: Agent, message: str, now: float, call_id: str) -> MadeAnswer:
    """
    Return an agent's answer to a message, with the sources that are live now.

    ``[sim:error]``, ``[sim:empty]``, ``[sim:answer] text``, ``[sim:long=words]``, ``[sim:tool=name]``,
    ``[sim:server-tool]``, ``[sim:score=0.2]`` and ``[sim:credits=0.5]`` order an answer of that kind.
    """
    orders = orders_in(message)
    plain = _ORDER.sub("", message)
    text, score = _text(agent, plain, orders, now)
    result = MadeAnswer([{"type": "text", "text": text}], score=_number(orders, "score", score))
    result.credits = _number(orders, "credits", None)
    if "error" in orders:
        result.parts, result.finish_reason = [], "error"
    elif "empty" in orders:
        result.parts = [{"type": "text", "text": ""}]
    elif "server-tool" in orders:
        result.parts = [*_server_tool(call_id), *result.parts]
    else:
        name = orders.get("tool") or (ORDER_TOOL if "order status" in plain.lower() else None)
        if name and (name in agent.tools or "tool" in orders):
            result.parts = [_tool_call(call_id, name, plain)]
            result.finish_reason = "tool-calls"
    return result


def answer_to_tools(results: Iterable[Part]) -> MadeAnswer:
    """Return the answer that follows the results of client-side tools."""
    found = "; ".join(f"{part['toolName']}: {_readable(part.get('output'))}" for part in results)
    return MadeAnswer([{"type": "text", "text": f"Here is what I found. {found}"}], score=0.9)


def ordered_answer(order: str | Mapping[str, Any], new_call_id: Callable[[], str]) -> MadeAnswer:
    """Return the answer that a fault orders with a text, or with the keys of its ``answer``."""
    wanted: Mapping[str, Any] = {"text": order} if isinstance(order, str) else order
    text, tools = wanted.get("text", ""), wanted.get("tools", ())
    parts: list[Part] = [{"type": "text", "text": text}] if text else []
    for name, given in tools:
        parts.append({"type": "tool-call", "toolCallId": new_call_id(), "toolName": name, "input": given})
    made = MadeAnswer(parts, wanted.get("finish_reason") or ("tool-calls" if tools else "stop"), 0.9)
    made.credits, made.tells_credits = wanted.get("credits"), wanted.get("credits", 0) is not None
    made.in_place = wanted.get("in_place", False)
    return made


def _number(orders: dict[str, str], name: str, otherwise: float | None) -> float | None:
    text = orders.get(name, "")
    return float(text) if _NUMBER.fullmatch(text) else otherwise


def _text(agent: Agent, message: str, orders: dict[str, str], now: float) -> tuple[str, float]:
    if "answer" in orders:
        return message.strip(), 0.9
    if "long" in orders:
        words = SEED["long_answer"].split()
        wanted = min(_LONGEST, int(_number(orders, "long", 400.0) or 0))
        return " ".join((words * (wanted // len(words) + 1))[:wanted]), 0.8
    found, score = _best_passage(agent, message, now)
    instructions = agent.fields["instructions"]
    opening, ending = _QUOTED_OPENING.search(instructions), _QUOTED_ENDING.search(instructions)
    pieces = [opening.group(1) if opening else "", found, ending.group(1) if ending else ""]
    return " ".join(piece for piece in pieces if piece), score


def _best_passage(agent: Agent, message: str, now: float) -> tuple[str, float]:
    wanted = _words(message)
    best, best_hits = SEED["no_answer"], 0
    for source in agent.sources.values():
        source.settle(now)
        if source.live_content is None or source.purge_at is not None:
            continue
        for words, passage in _passages(source):
            hits = len(wanted & words)
            if hits > best_hits:
                best, best_hits = passage, hits
    for words, passage in _sentences(agent.fields["instructions"]):
        hits = len(wanted & words)
        if hits > best_hits:
            best, best_hits = passage, hits
    return best, round(min(0.97, 0.25 + 0.2 * best_hits), 2)


def _passages(source: Source) -> tuple[tuple[frozenset[str], str], ...]:
    content = source.live_content or ""
    return _questions(content) if source.type == "qna" else _sentences(content)


@lru_cache(maxsize=512)
def _sentences(content: str) -> tuple[tuple[frozenset[str], str], ...]:
    found = []
    for sentence in _SENTENCE_END.split(content[:200_000])[:_PASSAGES_READ]:
        plain = sentence.strip().lstrip("#*- ")
        if plain:
            found.append((_words(plain), plain))
    return tuple(found)


@lru_cache(maxsize=512)
def _questions(content: str) -> tuple[tuple[frozenset[str], str], ...]:
    entry = json.loads(content)
    return tuple((_words(question), entry["answer"]) for question in entry["questions"])


@lru_cache(maxsize=2048)
def _words(text: str) -> frozenset[str]:
    words = (word.lower() for word in _WORD.findall(text))
    return frozenset(word.removesuffix("s") for word in words if word not in _COMMON and len(word) > 1)


def _tool_call(call_id: str, name: str, message: str) -> Part:
    number = re.search(r"\d+", message)
    call_input = {"orderId": number.group() if number else "unknown"}
    return {"type": "tool-call", "toolCallId": call_id, "toolName": name, "input": call_input}


def _server_tool(call_id: str) -> list[Part]:
    shared = {"toolCallId": call_id, "toolName": "search_help_center"}
    return [
        {"type": "tool-call", **shared, "input": {"query": "help"}},
        {"type": "tool-result", **shared, "output": {"hits": 3, "internalToken": "tok_hidden"}},
    ]


def _readable(output: Any) -> str:
    return output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
