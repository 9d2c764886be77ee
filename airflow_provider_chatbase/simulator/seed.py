"""What the service holds when it starts, and what is added to it while it runs."""

from __future__ import annotations

import random
from typing import Any

from airflow_provider_chatbase.simulator.agents import add_qna, add_source, create_agent
from airflow_provider_chatbase.simulator.clock import iso
from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT, ROLE_USER, Conversation, Message
from airflow_provider_chatbase.simulator.keys import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.seed_conversations import DAY, make_conversations
from airflow_provider_chatbase.simulator.seed_texts import (
    FIRST_NAMES,
    INSTRUCTIONS,
    LAST_NAMES,
    LINK_SOURCE,
    QNA_SOURCES,
    TEXT_SOURCES,
)
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.world import World


def seed_world(world: World) -> Agent:
    """Fill an empty service: one trained agent with conversations, leads and contacts."""
    settings = world.settings
    world.keys.add(settings.api_key)
    rng = random.Random(settings.seed)  # noqa: S311
    now = world.clock.time()
    agent = create_agent(world, "Ridgeline Support")
    agent.created_at = agent.updated_at = now - settings.months * 30 * DAY
    agent.fields.update(instructions=INSTRUCTIONS, model="gpt-5-mini", visibility="public")
    agent.tools = settings.tools
    if settings.seed_sources:
        _add_sources(world, agent)
    agent.conversations.load(make_conversations(settings, now, rng))
    newest = next(
        agent.conversations.by_activity.newest_first(*agent.conversations.by_activity.span(None, now)), None
    )
    agent.last_message_at = newest[0] if newest else None
    people = [_person(rng, number) for number in range(max(settings.leads, settings.contacts))]
    agent.leads = [_lead(agent, person, now, rng) for person in people[: settings.leads]]
    agent.leads.sort(key=lambda lead: str(lead["created_at"]), reverse=True)
    agent.contacts = [_contact(person, now, rng) for person in people[: settings.contacts]]
    agent.attributes = [
        {"name": "plan", "label": "Plan", "type": "text", "description": "Subscription", "archived": False},
        {"name": "orders", "label": "Orders", "type": "number", "description": "", "archived": True},
    ]
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

    :param world: the service.
    :param agent_id: the agent.
    :param count: how many.
    :param at: epoch seconds of their creation; None means now.
    :param source: their channel; with ``API`` they count as created by API v2.
    :param user_id: their user.
    :param message: what the user says.
    :param reply: what the agent says; None leaves the question open.
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
    for name, content in TEXT_SOURCES:
        add_source(world, agent, "text", name, content)
    for name, questions, reply in QNA_SOURCES:
        add_qna(world, agent, name, list(questions), reply)
    add_source(world, agent, "link", LINK_SOURCE, "Help pages of the shop.").metadata = {"type": "individual"}
    for source in agent.sources.values():
        source.created_at = source.changed_at = source.ready_at = agent.created_at + 60


def _person(rng: random.Random, number: int) -> dict[str, str]:
    first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
    return {
        "name": f"{first} {last}",
        "email": f"{first}.{last}{number}@example.com".lower(),
        "phone": f"+4915{number:09d}",
        "id": f"{rng.getrandbits(64):016x}",
    }


def _lead(agent: Agent, person: dict[str, str], now: float, rng: random.Random) -> dict[str, Any]:
    return {
        "id": f"lead_{person['id']}",
        "name": person["name"],
        "email": person["email"],
        "phone": person["phone"],
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
