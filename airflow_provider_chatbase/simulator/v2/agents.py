"""Agents: list, create, read, change, clone, delete."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.agents import (
    DEFAULT_IP_RATE_LIMITS,
    add_source,
    clone_agent,
    create_agent,
)
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.pagination import page_of_list
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.v2 import schemas
from airflow_provider_chatbase.simulator.v2.styles_schema import STYLES
from airflow_provider_chatbase.simulator.v2.views import agent_view
from airflow_provider_chatbase.simulator.world import Call

_SUCCESS = {"success": True}
DEPRECATION_HEADERS = {"Deprecation": "true"}


def list_agents(call: Call) -> Reply:
    """Answer listAgents."""
    world = call.world
    visible = call.now - world.settings.visibility_delay
    agents = world.store.agents_where(
        lambda agent: agent.workspace == call.key.workspace and agent.created_at <= visible
    )
    page = page_of_list(
        agents,
        lambda agent: (agent.created_at, agent.id),
        lambda agent: agent_view(world, agent),
        call.page("agents"),
    )
    return Reply(payload=page)


def create(call: Call) -> Reply:
    """Answer createAgent."""
    body = call.body(schemas.CREATE_AGENT)
    agent = create_agent(call.world, body["name"], call.key.workspace)
    _apply(
        agent, {name: body[name] for name in ("instructions", "model", "temp", "visibility") if name in body}
    )
    pending = list(call.world.settings.pending_steps)
    if "url" in body and "ADD_SOURCE" not in pending:
        source = add_source(call.world, agent, "link", body["url"], f"Welcome to {body['url']}.")
        source.metadata = {"type": "individual"}
    return Reply(201, _created(agent, pending))


def get(call: Call) -> Reply:
    """Answer getAgent."""
    return Reply(payload=agent_view(call.world, call.agent()))


def update(call: Call) -> Reply:
    """Answer updateAgent: only what is given changes; unknown fields are ignored."""
    agent = call.agent()
    body = call.body(schemas.UPDATE_AGENT)
    _apply(agent, {name: value for name, value in body.items() if name in schemas.UPDATABLE})
    agent.updated_at = call.now
    return Reply(payload=_SUCCESS)


def delete(call: Call) -> Reply:
    """Answer deleteAgent."""
    del call.world.store.agents[call.agent().id]
    return Reply(payload=_SUCCESS)


def update_styles(call: Call) -> Reply:
    """Answer updateAgentStyles."""
    agent = call.agent()
    styles = call.body(STYLES)["styles"]
    for part in ("chat", "centerStage"):
        if part in styles:
            agent.fields["styles"][part] = {**(agent.fields["styles"][part] or {}), **styles[part]}
    return Reply(payload=_SUCCESS)


def update_auto_retrain(call: Call) -> Reply:
    """Answer updateAgentAutoRetrain."""
    agent = call.agent()
    enabled = call.body(schemas.AUTO_RETRAIN)["enabled"]
    if not call.key.plan.auto_retrain:
        raise ApiError(403, "PLAN_FEATURE_NOT_AVAILABLE", "Auto retrain is not available on your plan")
    statuses = [source.status(call.now) for source in agent.sources.values()]
    if enabled and "trained" not in statuses and "updated" not in statuses:
        raise ApiError(409, "AGENT_NOT_TRAINED", "The agent must be trained first")
    agent.fields["autoRetrain"] = enabled
    return Reply(payload=_SUCCESS)


def clone(call: Call) -> Reply:
    """Answer cloneAgent."""
    agent = clone_agent(call.world, call.agent())
    return Reply(
        201, _created(agent, [step for step in call.world.settings.pending_steps if step != "ADD_SOURCE"])
    )


def train(call: Call) -> Reply:
    """Answer trainAgent, which does nothing."""
    call.agent()
    return Reply(payload=deprecated(), headers=dict(DEPRECATION_HEADERS))


def deprecated() -> dict[str, Any]:
    """Return the body of an operation that does nothing any more."""
    message = "This endpoint does nothing. Sources train when they are created, updated or deleted."
    return {"success": True, "deprecated": True, "message": message}


def _created(agent: Agent, pending: list[str]) -> dict[str, Any]:
    return {"id": agent.id, "pendingSteps": pending} if pending else {"id": agent.id}


def _apply(agent: Agent, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if name == "ipRateLimits":
            value = {**agent.fields[name], **value} if value else dict(DEFAULT_IP_RATE_LIMITS)
        elif name == "voiceSettings" and value is not None:
            value = {**(agent.fields[name] or {}), **value}
        agent.fields[name] = value
