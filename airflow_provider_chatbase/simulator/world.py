"""The simulated service without its network, and one request on its way through an operation."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from airflow_provider_chatbase.simulator import description
from airflow_provider_chatbase.simulator.access import Key, Keyring, Ledger, RateLimits
from airflow_provider_chatbase.simulator.agents import Agent, Source
from airflow_provider_chatbase.simulator.conversations import Conversation, Message
from airflow_provider_chatbase.simulator.exchange import (
    ApiError,
    PageRequest,
    ReceivedRequest,
    RequestLog,
    invalid,
    not_found,
)
from airflow_provider_chatbase.simulator.faults import Fault, FaultBoard
from airflow_provider_chatbase.simulator.settings import Settings

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?\Z")


class Clock:
    """Wall-clock and monotonic time from a chosen start (None: now) at normal speed; tests may move it on."""

    def __init__(self, start: float | None = None) -> None:
        self._offset = 0.0 if start is None else start - time.time()
        self._skipped = 0.0

    def time(self) -> float:
        """Return the simulated epoch time, in seconds."""
        return time.time() + self._offset + self._skipped

    def monotonic(self) -> float:
        """Return the simulated monotonic time, in seconds."""
        return time.monotonic() + self._skipped

    def advance(self, seconds: float) -> None:
        """Let time pass at once: trainings finish and rate-limit windows empty."""
        self._skipped += seconds


def iso(epoch: float) -> str:
    """Write an epoch time as Chatbase does: ISO 8601, UTC, milliseconds, ``Z``."""
    moment = datetime.fromtimestamp(epoch, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def make_uuid(rng: random.Random) -> str:
    """Return a UUID of version 4 that chance decides."""
    digits = f"{rng.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


class Store:
    """Agents with their sources and conversations."""

    def __init__(self, settings: Settings, clock: Clock, rng: random.Random) -> None:
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self.agents: dict[str, Agent] = {}
        self.templates_sent: list[dict[str, Any]] = []  # what customers got on WhatsApp, oldest first

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
        return (
            f"{prefix}_{self._rng.getrandbits(128):032x}"[: len(prefix) + 25]
            if prefix
            else make_uuid(self._rng)
        )

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


class World:
    """State, clock, chance, limits, credits, faults and the record of what was asked."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock(settings.now)
        # Another stream than the seed's, or what is made later would get ids that the seed has given.
        self.rng = random.Random(f"made later, {settings.seed}")  # noqa: S311
        self.store = Store(settings, self.clock, self.rng)
        self.keys = Keyring(settings.api_version_plans)
        self.limits = RateLimits(settings, self.clock)
        self.ledger = Ledger(settings, self.clock)
        self.faults = FaultBoard(random.Random(settings.seed + 1))  # noqa: S311
        self.log = RequestLog(settings.record_limit)


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of a form."""

    name: str
    content: bytes


@dataclass(slots=True)
class Call:
    """
    One request on its way through an operation.

    ``params``, ``query``, ``body``, and ``texts`` and ``files`` of a form have been checked against the API
    description when an operation gets it. ``agent`` is there when the path names one.
    """

    request: ReceivedRequest
    operation: description.Operation
    key: Key
    world: World
    params: dict[str, Any]
    fault: Fault | None = None
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    texts: dict[str, str] = field(default_factory=dict)
    files: dict[str, UploadedFile] = field(default_factory=dict)
    agent: Agent = field(init=False)

    @property
    def now(self) -> float:
        """The simulated time."""
        return self.world.clock.time()

    def take(self) -> None:
        """Find the agent of the path, and check all that was sent; raise ``ApiError``."""
        operation = self.operation
        if operation.takes_form and operation.version == "v2":
            self.world.limits.count_upload(self.key.workspace)
        self.params = {name: unquote(value) for name, value in self.params.items()}
        if "agentId" in self.params:
            self.agent = self.find_agent(self.params["agentId"], operation.code_without_agent)
        self.params = operation.read("path", self.params)
        self.query = operation.read("query", self.request.query)
        if operation.takes_form:
            operation.read_form(self.texts, self.files)
        elif operation.takes_json:
            self.body = operation.read_json(self.request)

    def find_agent(self, identifier: str, code: str = "AGENT_NOT_FOUND", status: int = 404) -> Agent:
        """Return an agent of the key's workspace, with all that has become visible; raise ``ApiError``."""
        agent = self.world.store.agents.get(identifier)
        if agent is None or agent.workspace != self.key.workspace:
            what = "Chatbot" if self.operation.version == "v1" else "Agent"
            raise ApiError(status, code, f"{what} not found")
        agent.conversations.settle(self.now)
        self.world.store.purge(agent)
        return agent

    def find_source(self) -> Source:
        """Return the source of the path; raise ``ApiError`` 404 when there is none."""
        source = self.agent.sources.get(self.params["sourceId"])
        if source is None:
            raise not_found("SOURCE_NOT_FOUND", "Source")
        return source

    def find_conversation(self, *, any_channel: bool = False) -> Conversation:
        """Return the conversation of the path, by default one that API v2 created; raise ``ApiError`` 404."""
        conversation = self.world.store.conversation(self.agent.id, self.params["conversationId"])
        if conversation is None or not (conversation.created_by_v2 or any_channel):
            raise not_found("RESOURCE_NOT_FOUND", "Conversation")
        return conversation

    def check_body(self, pointer: str) -> None:
        """Refuse the body when it is against the schema at a JSON pointer of the description."""
        description.check(self.operation.version, pointer, self.body)

    def page(self, kind: str, *, limit: int | None = None) -> PageRequest:
        """Return which page is asked for; ``limit`` is for operations without such a parameter."""
        settings = self.world.settings
        wanted: int = self.query.get("limit", 20) if limit is None else limit
        if self.fault is not None and self.fault.kind == "short_page":
            wanted = min(wanted, self.fault.amount)
        return PageRequest(
            limit=wanted,
            cursor=self.query.get("cursor"),
            kind=kind,
            offsets=settings.cursor_mode == "offset",
            trailing_empty=settings.trailing_empty_page,
        )

    def list_of(self, name: str, allowed: tuple[str, ...] = ()) -> list[str] | None:
        """Return a comma-separated query parameter; None when it is absent or empty."""
        value = self.query.get(name)
        found = [item.strip() for item in value.split(",")] if value else None
        if found and allowed and set(found) - set(allowed):
            raise invalid({name: f"Must be one of: {', '.join(allowed)}"}, "Invalid query parameters")
        return found

    def moment(self, name: str, *, end_of_day: bool = False) -> float | None:
        """Return a query parameter that is a date-time, or the first or last moment of a day, as epoch."""
        text = self.query.get(name)
        if text is None:
            return None
        try:
            if _DAY.match(text):
                day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
                return (day + timedelta(days=1)).timestamp() - 0.001 if end_of_day else day.timestamp()
            if _MOMENT.match(text):
                parsed = datetime.fromisoformat(text)
                return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
        except ValueError:
            pass
        message = "Must be YYYY-MM-DD or an ISO 8601 date-time"
        raise invalid({name: message}, "Invalid query parameters")

    def window(self) -> tuple[float | None, float | None]:
        """Return ``startDate`` and ``endDate`` as epoch, both inclusive; refuse an inverted window."""
        start, end = self.moment("startDate"), self.moment("endDate", end_of_day=True)
        if (start if start is not None else -math.inf) > (end if end is not None else math.inf):
            message = "startDate must be before or equal to endDate"
            raise ApiError(400, "VALIDATION_INVALID_DATE_RANGE", message)
        return start, end


Work = Callable[[Call], Any]


@dataclass(frozen=True, slots=True)
class Handler:
    """What answers an operation; if ``paced`` it waits for its latency itself; ``keyless`` needs no key."""

    operation: description.Operation
    work: Work
    paced: bool
    keyless: bool


HANDLERS: dict[str, Handler] = {}


def operation(operation_id: str, *, paced: bool = False, keyless: bool = False) -> Callable[[Work], Work]:
    """
    Let a function answer an operation of the API description, which knows its method and its path.

    It returns the payload of a 200, or a ``ServedReply``, and raises ``ApiError`` to refuse.
    """

    def register(work: Work) -> Work:
        HANDLERS[operation_id] = Handler(description.operations()[operation_id], work, paced, keyless)
        return work

    return register
