"""Chatbots of API v1."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.agents import add_source, create_agent
from airflow_provider_chatbase.simulator.clock import iso
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.training import agent_status
from airflow_provider_chatbase.simulator.v1.access import body_of, chatbot, chatbot_of_query
from airflow_provider_chatbase.simulator.v1.models import MODELS
from airflow_provider_chatbase.simulator.validation import compile_schema
from airflow_provider_chatbase.simulator.world import Call

_STATUSES = {"trained": "ready", "untrained": "ready", "training": "training", "failed": "failed"}
_TEXT: dict[str, Any] = {"type": "string"}
_TEXTS: dict[str, Any] = {"type": "array", "items": _TEXT}
_NAME: dict[str, Any] = {"type": "string", "minLength": 3}
_CREATE = compile_schema(
    {
        "type": "object",
        "required": ["chatbotName"],
        "properties": {"chatbotName": _NAME, "sourceText": _TEXT},
    }
)
_UPDATE_DATA = compile_schema(
    {
        "type": "object",
        "required": ["chatbotId", "chatbotName"],
        "properties": {"chatbotId": _TEXT, "chatbotName": _NAME, "sourceText": _TEXT},
    }
)
_UPDATE_SETTINGS = compile_schema(
    {
        "type": "object",
        "required": ["chatbotId"],
        "properties": {
            "chatbotId": _TEXT,
            "name": _TEXT,
            "instructions": _TEXT,
            "initialMessages": _TEXTS,
            "suggestedMessages": _TEXTS,
            "visibility": {"enum": ["public", "private"]},
            "domains": _TEXTS,
            "onlyAllowOnAddedDomains": {"type": "boolean"},
            "ipLimit": {"type": "integer"},
            "ipLimitTimeframe": {"type": "integer"},
            "ipLimitMessage": _TEXT,
            "model": {"enum": list(MODELS)},
            "temp": {"type": "number", "minimum": 0, "maximum": 1},
            "styles": {"type": "object"},
            "collectCustomerInformation": {"type": "object"},
        },
    }
)
_SAME_IN_V2 = ("name", "instructions", "initialMessages", "visibility", "model", "temp")
_IP_LIMITS = {"ipLimit": "limit", "ipLimitTimeframe": "timeframe", "ipLimitMessage": "message"}


def list_chatbots(call: Call) -> Reply:
    """Answer getChatbots: all of the account at once."""
    agents = call.world.store.agents_where(lambda agent: agent.workspace == call.key.workspace)
    return Reply(payload={"chatbots": [_view(call, agent) for agent in agents]})


def create(call: Call) -> Reply:
    """Answer createChatbot."""
    body = body_of(call, _CREATE)
    agent = create_agent(call.world, body["chatbotName"], call.key.workspace)
    _write_text(call, agent, body)
    return Reply(payload={"chatbotId": agent.id})


def update_data(call: Call) -> Reply:
    """Answer updateChatbotData: rename, and replace all sources by one text."""
    body = body_of(call, _UPDATE_DATA)
    agent = chatbot(call, body["chatbotId"])
    agent.fields["name"] = body["chatbotName"]
    _write_text(call, agent, body)
    return Reply(payload={"chatbotId": agent.id})


def update_settings(call: Call) -> Reply:
    """Answer updateChatbotSettings."""
    body = body_of(call, _UPDATE_SETTINGS)
    agent = chatbot(call, body["chatbotId"])
    agent.fields.update({name: body[name] for name in _SAME_IN_V2 if name in body})
    if "suggestedMessages" in body:
        agent.fields["suggestedMessages"] = [
            {"text": text, "type": "single", "order": order}
            for order, text in enumerate(body["suggestedMessages"])
        ]
    if "domains" in body:
        agent.fields["allowedDomains"] = body["domains"]
    limits = {there: body[here] for here, there in _IP_LIMITS.items() if here in body}
    agent.fields["ipRateLimits"] = {**agent.fields["ipRateLimits"], **limits}
    agent.updated_at = call.now
    return Reply(202, {"message": "Chatbot settings saved"})


def delete(call: Call) -> Reply:
    """Answer deleteChatbot."""
    del call.world.store.agents[chatbot_of_query(call).id]
    return Reply(payload={"message": "Chatbot deleted"})


def _write_text(call: Call, agent: Agent, body: dict[str, Any]) -> None:
    agent.updated_at = call.now
    if "sourceText" not in body:
        return
    replaced, agent.sources = agent.sources, {}
    try:
        add_source(call.world, agent, "text", "sourceText", body["sourceText"])
    except ApiError as error:
        agent.sources = replaced
        raise ApiError(403, error.code, error.message) from error


def _view(call: Call, agent: Agent) -> dict[str, Any]:
    status = agent_status(agent.sources.values(), call.now, call.world.settings.status_lag)
    view = {
        "id": agent.id,
        "name": agent.name,
        "status": _STATUSES[status],
        "model": agent.fields["model"],
        "instructions": agent.fields["instructions"],
        "visibility": agent.fields["visibility"],
        "created_at": iso(agent.created_at),
        "updated_at": iso(agent.updated_at),
    }
    if call.world.settings.unknown_fields:
        view["initial_messages"] = agent.fields["initialMessages"]
    return view
