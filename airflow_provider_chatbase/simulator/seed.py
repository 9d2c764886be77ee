"""What the service holds when it starts, and what is added to it while it runs.

The outlines of seeded conversations are made at once, their messages when somebody reads them.
"""

from __future__ import annotations

import copy
import random
from datetime import UTC, datetime
from typing import Any

from airflow_provider_chatbase.simulator.access import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.agents import (
    SEED,
    Agent,
    add_qna,
    add_source,
    add_ticket,
    create_agent,
)
from airflow_provider_chatbase.simulator.conversations import (
    ROLE_ASSISTANT,
    ROLE_USER,
    Conversation,
    Message,
    Part,
)
from airflow_provider_chatbase.simulator.settings import Settings
from airflow_provider_chatbase.simulator.world import World, iso, make_uuid

DAY = 86_400

_TOPICS = {topic["name"]: topic for topic in SEED["topics"]}
_UNKNOWN_SOURCE = "Telegram"
_UNKNOWN_STATUS = "escalated"


def seed_world(world: World) -> Agent:
    """Fill an empty service: one trained agent with conversations, leads and contacts."""
    settings = world.settings
    world.keys.add(settings.api_key)
    rng = random.Random(settings.seed)  # noqa: S311
    now = float(int(world.clock.time()))  # equal seeds give equal data, however long this takes
    agent = create_agent(world, "Ridgeline Support", agent_id=settings.agent_id)
    agent.created_at = agent.updated_at = now - settings.months * 30 * DAY
    agent.fields.update(instructions=SEED["instructions"], model="gpt-5-mini", visibility="public")
    agent.tools = settings.tools
    if settings.seed_sources:
        _add_sources(world, agent)
    agent.conversations.load(make_conversations(settings, now, rng))
    activity = agent.conversations.by_activity
    agent.last_message_at = next((at for at, _ in activity.newest_first(*activity.span(None, now))), None)
    people = [_person(rng, number) for number in range(max(settings.leads, settings.contacts))]
    agent.leads = [_lead(agent, person, now, rng) for person in people[: settings.leads]]
    agent.leads.sort(key=lambda lead: str(lead["created_at"]), reverse=True)
    agent.contacts = [_contact(person, now, rng) for person in people[: settings.contacts]]
    agent.actions, agent.procedures = copy.deepcopy(SEED["actions"]), copy.deepcopy(SEED["procedures"])
    agent.attributes = copy.deepcopy(SEED["attributes"])
    _add_tickets(agent, settings, now)
    return agent


def create_conversations(
    world: World,
    agent_id: str,
    *,
    count: int = 1,
    at: float | None = None,
    source: str | None = "API",
    user_id: str | None = None,
    message: str = "Where is my order?",
    reply: str | None = "It is on its way.",
) -> list[Conversation]:
    """
    Create conversations as customers would.

    ``source`` is their channel; with ``API`` they count as created by API v2. Without a ``reply`` the
    question stays open.
    """
    agent = world.store.agents[agent_id]
    made = []
    for _ in range(count):
        conversation = world.store.start_conversation(
            agent, user_id=user_id, title=message[:60], source=source, created_by_v2=source == "API", at=at
        )
        add_message(world, agent, conversation, ROLE_USER, message, at)
        if reply is not None:
            add_message(world, agent, conversation, ROLE_ASSISTANT, reply, at)
        made.append(conversation)
    agent.conversations.settle(world.clock.time())
    return made


def add_message(
    world: World, agent: Agent, conversation: Conversation, role: str, text: str, at: float | None = None
) -> Message:
    """Let somebody say something in a conversation."""
    moment = int(world.clock.time() if at is None else at)
    message = Message(world.store.new_id("msg"), role, [{"type": "text", "text": text}], moment)
    world.store.append(agent, conversation, message)
    return message


def disturb(world: World, agent: Agent) -> None:
    """Create and continue conversations while an export runs, as the settings say."""
    settings = world.settings
    if settings.create_while_exporting:
        create_conversations(
            world, agent.id, count=settings.create_while_exporting, source="Widget or Iframe"
        )
    if settings.grow_while_exporting and agent.conversations.by_id:
        everyone = list(agent.conversations.by_id.values())
        for conversation in world.rng.sample(everyone, min(len(everyone), settings.grow_while_exporting)):
            add_message(world, agent, conversation, ROLE_USER, "One more thing, please.")


def _add_sources(world: World, agent: Agent) -> None:
    for name, content in SEED["text_sources"]:
        add_source(world, agent, "text", name, content)
    for name, questions, reply in SEED["qna_sources"]:
        add_qna(world, agent, name, list(questions), reply)
    link = add_source(world, agent, "link", SEED["link_source"], "Help pages of the shop.")
    link.metadata = {"type": "individual"}
    for source in agent.sources.values():
        source.created_at = source.changed_at = source.ready_at = agent.created_at + 60


def _add_tickets(agent: Agent, settings: Settings, now: float) -> None:
    # Their own stream of chance: what was seeded before tickets existed stays as it was.
    rng = random.Random(f"tickets, {settings.seed}")  # noqa: S311
    staff = [None, *(each["id"] for each in SEED["ticket_members"])]
    teams = [None, *(each["id"] for each in SEED["ticket_teams"])]
    for number in range(1, settings.tickets + 1):
        person, topic = _person(rng, number), rng.choice(SEED["topics"])
        # Older ones have lower numbers; two of them share a moment, as things do that are imported.
        created = now - (settings.tickets - number // 2 * 2) * DAY / 2
        answered = created + rng.randrange(60, 12 * 3600) if rng.random() < 0.7 else None
        status = rng.choice(SEED["ticket_statuses"])
        phone = None if number % 4 == 0 else person["phone"]
        add_ticket(
            agent,
            number,
            subject=None if number % 9 == 0 else topic["title"],
            description=topic["openings"][0][0].replace("{order}", "#4711"),
            statusCategory=status["category"],
            statusId=status["id"],
            assigneeId=rng.choice(staff),
            customer={name: person[name] for name in ("id", "name", "email")} | {"phoneNumber": phone},
            channel=rng.choice(SEED["ticket_channels"]),
            teamId=rng.choice(teams),
            priority=rng.choice(SEED["ticket_priorities"]),
            createdAt=iso(created),
            updatedAt=iso(answered or created),
            lastMessageAt=iso(answered) if answered else None,
        )


def _person(rng: random.Random, number: int) -> dict[str, str]:
    first, last = rng.choice(SEED["first_names"]), rng.choice(SEED["last_names"])
    return {
        "name": f"{first} {last}",
        "email": f"{first}.{last}{number}@example.com".lower(),
        "phone": f"+4915{number:09d}",
        "id": f"{rng.getrandbits(64):016x}",
    }


def _lead(agent: Agent, person: dict[str, str], now: float, rng: random.Random) -> dict[str, Any]:
    return {
        **person,
        "id": f"lead_{person['id']}",
        "created_at": iso(now - rng.randrange(180 * DAY)),
        "chatbot_id": agent.id,
        "account_id": MAIN_WORKSPACE,
    }


def _contact(person: dict[str, str], now: float, rng: random.Random) -> dict[str, Any]:
    created = int(now) - rng.randrange(180 * DAY)
    return {
        "id": f"{person['id'][:8]}-0000-4000-a000-{person['id']}"[:36],
        "external_id": f"customer-{person['id'][:6]}",
        "name": person["name"],
        "email": person["email"],
        "phonenumber": person["phone"],
        "stripe_accounts": [],
        "custom_attributes": {"plan": rng.choice(["basic", "pro"]), "orders": rng.randrange(20)},
        "created_at": created,
        "updated_at": created,
    }


def make_conversations(settings: Settings, now: float, rng: random.Random) -> list[Conversation]:
    """Return the outlines of all seeded conversations."""
    count = settings.conversations
    times = _creation_times(count, settings.months, now, rng)
    sources = _drawn(SEED["channels"], count, rng)
    statuses = _drawn(SEED["statuses"], count, rng)
    sentiments = _drawn(SEED["sentiments"], count, rng)
    topics = rng.choices(SEED["topics"], k=count)
    made = []
    for number, created in enumerate(times):
        topic = topics[number]
        made.append(
            Conversation(
                id=make_uuid(rng),
                created_at=created,
                updated_at=created + 20 + int(rng.expovariate(1 / 300)),
                title=topic["title"],
                user_id=f"user-{rng.randrange(max(1, count // 3)):05d}" if rng.random() < 0.4 else None,
                status=statuses[number],
                source=sources[number],
                created_by_v2=sources[number] == "API",
                recipe=lambda conversation: _Script(conversation, settings).messages(),
                sentiment=sentiments[number],
                topic=topic["name"],
            )
        )
        if settings.odd_data:
            _make_odd(made[-1], number)
    return made


def _drawn(weights: dict[str, int], count: int, rng: random.Random) -> list[str]:
    return rng.choices(list(weights), list(weights.values()), k=count)


class _Script:
    """How one conversation goes; it is the same on every reading."""

    def __init__(self, conversation: Conversation, settings: Settings) -> None:
        self._conversation = conversation
        self._topic = _TOPICS[conversation.topic or "hours"]
        self._settings = settings
        self._number = int(conversation.id[:8], 16)
        self._rng = random.Random(self._number)  # noqa: S311
        self._written: list[Message] = []
        self._details = {
            "order": f"#{self._number % 90_000 + 10_000}",
            "email": f"{self._rng.choice(SEED['first_names']).lower()}{self._number % 97}@example.com",
            "phone": f"+49 151 {self._number % 10_000_000:07d}",
        }

    def messages(self) -> list[Message]:
        rng, topic = self._rng, self._topic
        question, reply = rng.choice(topic["openings"])
        self._say(ROLE_USER, self._odd_question() or question)
        self._reply(reply, tool=topic["tool"] if rng.random() < 0.6 else None)
        for question, reply in topic["follow_ups"][: rng.randrange(len(topic["follow_ups"]) + 1)]:
            self._say(ROLE_USER, question)
            self._reply(reply)
        if rng.random() < 0.5:
            question, reply = rng.choice(SEED["closings"])
            self._say(ROLE_USER, question)
            self._reply(reply)
        if self._conversation.status == "taken_over":
            self._say(
                self._settings.human_role if self._settings.odd_data else ROLE_ASSISTANT,
                SEED["human_reply"],
            )
        self._set_times()
        self._rate()
        return self._written

    def _odd_question(self) -> str | None:
        if self._settings.odd_data and self._number % 23 == 0:
            return str(SEED["odd_texts"][self._number // 23 % len(SEED["odd_texts"])])
        return None

    def _say(self, role: str, text: str) -> Message:
        for name, value in self._details.items():
            text = text.replace(f"{{{name}}}", value)
        identifier = f"msg_{self._number:08x}{len(self._written):02x}{self._conversation.id[-12:]}"
        message = Message(identifier, role, [{"type": "text", "text": text}], 0)
        self._written.append(message)
        return message

    def _reply(self, text: str, tool: str | None = None) -> None:
        message = self._say(ROLE_ASSISTANT, text)
        draw = self._rng.random()
        message.score = None if draw < 0.08 else round(1 - 0.7 * draw * draw, 2)
        if tool is not None:
            message.parts[:0] = self._tool_parts(tool)
        if self._settings.odd_data and self._number % 29 == 0:
            message.parts.insert(0, {"type": "reasoning", "text": "The user wants to know.", "state": "done"})

    def _tool_parts(self, tool: str) -> list[Part]:
        shared = {"toolCallId": f"call_{self._number:08x}", "toolName": tool}
        failed = self._number % 11 == 0
        output = {
            "status": "error" if failed else "in_transit",
            "days": self._number % 5,
            "internalToken": "tok_1",
        }
        return [
            {"type": "tool-call", **shared, "input": {"orderId": self._details["order"]}},
            {"type": "tool-result", **shared, "output": output},
        ]

    def _set_times(self) -> None:
        start, end = self._conversation.created_at, self._conversation.updated_at
        steps = max(1, len(self._written) - 1)
        for place, message in enumerate(self._written):
            message.created_at = start + (end - start) * place // steps
        if self._settings.odd_data and self._number % 31 == 0:
            self._written[0].created_at = None

    def _rate(self) -> None:
        rating = {"negative": "negative", "positive": "positive"}.get(self._conversation.sentiment or "")
        if rating and self._number % 3 != 0:
            rated = [message for message in self._written if message.role == ROLE_ASSISTANT]
            rated[-1].feedback = rating


def _creation_times(count: int, months: int, now: float, rng: random.Random) -> list[int]:
    days = max(1, months * 30)
    last_midnight = int(now) // DAY * DAY
    weights = [_day_weight(last_midnight - (days - day) * DAY, day / days) for day in range(days)]
    chosen_days = rng.choices(range(days), weights, k=count)
    chosen_hours = rng.choices(range(24), SEED["hours"], k=count)
    times = [
        last_midnight - (days - day) * DAY + hour * 3600 + rng.randrange(3600)
        for day, hour in zip(chosen_days, chosen_hours, strict=True)
    ]
    for number in range(0, count - 3, 40):
        midnight = times[number] // DAY * DAY
        times[number], times[number + 1] = midnight, midnight + DAY - 1
        times[number + 2] = times[number + 3]
    return sorted(times)


def _day_weight(day: int, progress: float) -> float:
    weekday = datetime.fromtimestamp(day, UTC).weekday()
    return (0.6 + 0.8 * progress) * (0.45 if weekday >= 5 else 1.0)


def _make_odd(conversation: Conversation, number: int) -> None:
    if number % 97 == 13:
        conversation.source, conversation.created_by_v2 = _UNKNOWN_SOURCE, False
    elif number % 97 == 14:
        conversation.source, conversation.created_by_v2 = None, False
    elif number % 89 == 21:
        conversation.status = _UNKNOWN_STATUS
    if number % 19 == 5:
        conversation.title = None
    elif number % 61 == 7:
        conversation.title = SEED["odd_texts"][number // 61 % len(SEED["odd_texts"])]
