"""Agents: list, get, create, update, clone, delete, count what they did."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import Page, bare_object, identified, page, success
from airflow_provider_chatbase.client.request import (
    Json,
    JsonObject,
    Request,
    require_object,
    require_page_limit,
    require_text,
    segment,
)

NAME_LENGTH = 100

NULLABLE_SETTINGS = frozenset(
    {
        "channelInstructions",
        "allowedDomains",
        "suggestedMessages",
        "creditLimit",
        "notificationsSettings",
        "ipRateLimits",
        "spamSettings",
        "voiceSettings",
        "blockedCountries",
    }
)
"""Settings that ``null`` resets or switches off."""

FIXED_SETTINGS = frozenset({"name", "instructions", "model", "temp", "visibility", "initialMessages"})
"""Settings that always have a value. Settings in neither set pass through as they are."""

SET_AT_CREATION = ("instructions", "model", "temp", "visibility")
STYLES, AUTO_RETRAIN = "styles", "autoRetrain"
"""Settings that have an operation of their own."""


def list_agents(*, limit: int = 100) -> Request[Page]:
    """List the workspace's agents: ``listAgents``."""
    return Request("listAgents", "GET", "/agents", page, query={"limit": require_page_limit(limit, 100)})


def get_agent(agent_id: str) -> Request[JsonObject]:
    """Get an agent with its settings and training status: ``getAgent``."""
    return Request("getAgent", "GET", _path(agent_id), identified)


def create_agent(settings: JsonObject) -> Request[JsonObject]:
    """Create an agent: ``createAgent``. Creating twice makes two agents, so it is never repeated blindly."""
    body = require_object("settings", settings)
    require_text("settings['name']", body.get("name"), longest=NAME_LENGTH)
    return Request("createAgent", "POST", "/agents", identified, body=body, repeatable=False)


def update_agent(agent_id: str, settings: JsonObject) -> Request[JsonObject]:
    """Change some of an agent's settings: ``updateAgent``."""
    return Request("updateAgent", "PUT", _path(agent_id), success, body=checked_settings(settings))


def update_settings(agent_id: str, settings: JsonObject) -> list[Request[JsonObject]]:
    """Change some of an agent's settings, also those that have an operation of their own."""
    plain = {name: value for name, value in settings.items() if name not in (STYLES, AUTO_RETRAIN)}
    requests = [update_agent(agent_id, plain)] if plain else []
    if STYLES in settings:
        requests.append(update_styles(agent_id, settings[STYLES]))
    if AUTO_RETRAIN in settings:
        requests.append(update_auto_retrain(agent_id, settings[AUTO_RETRAIN]))
    return requests


def update_styles(agent_id: str, styles: JsonObject) -> Request[JsonObject]:
    """Change how an agent's chat looks: ``updateAgentStyles``."""
    body = {STYLES: require_object(STYLES, styles)}
    return Request("updateAgentStyles", "PUT", f"{_path(agent_id)}/styles", success, body=body)


def update_auto_retrain(agent_id: str, enabled: bool) -> Request[JsonObject]:
    """Let an agent refresh its sources every 7 days, or not: ``updateAgentAutoRetrain``."""
    body = {"enabled": _bool(AUTO_RETRAIN, enabled)}
    return Request("updateAgentAutoRetrain", "PUT", f"{_path(agent_id)}/auto-retrain", success, body=body)


def clone_agent(agent_id: str) -> Request[JsonObject]:
    """Copy an agent with its sources, except Notion pages: ``cloneAgent``. Never repeated blindly."""
    return Request("cloneAgent", "POST", f"{_path(agent_id)}/clone", identified, repeatable=False)


def delete_agent(agent_id: str) -> Request[JsonObject]:
    """Delete an agent with its sources and integrations, for good: ``deleteAgent``."""
    path = _path(agent_id)
    return Request(
        "deleteAgent", "DELETE", path, success, means_done_on_repeat={"AGENT_NOT_FOUND": {"success": True}}
    )


def get_analytics(agent_id: str, query: Mapping[str, str | None]) -> Request[JsonObject]:
    """Count what an agent did over a range, cut into 7 equal buckets: ``getAgentAnalytics``."""
    return Request("getAgentAnalytics", "GET", f"{_path(agent_id)}/analytics", bare_object, query=query)


def get_health() -> Request[JsonObject]:
    """Ask whether the service is up: ``getHealth``."""
    return Request("getHealth", "GET", "/health", bare_object)


def checked_settings(settings: Json) -> JsonObject:
    """Check settings for an update, as far as that is sure without asking."""
    body = require_object("settings", settings)
    for name, value in body.items():
        camel = _camel_case(name)
        if camel != name and camel in NULLABLE_SETTINGS | FIXED_SETTINGS:
            raise ChatbaseInputError(
                f"settings[{name!r}] is not a name of the API; it is {camel!r}. Nothing was sent."
            )
        if value is None and name in FIXED_SETTINGS:
            raise ChatbaseInputError(
                f"settings[{name!r}] cannot be None: it always has a value. "
                f"None resets only {', '.join(sorted(NULLABLE_SETTINGS))}. Nothing was sent."
            )
    if "name" in body:
        require_text("settings['name']", body["name"], longest=NAME_LENGTH)
    if STYLES in body:
        require_object(STYLES, body[STYLES])
    if AUTO_RETRAIN in body:
        _bool(AUTO_RETRAIN, body[AUTO_RETRAIN])
    return body


def _bool(name: str, value: Json) -> bool:
    if not isinstance(value, bool):
        raise ChatbaseInputError(f"{name} must be true or false, not {value!r}. Nothing was sent.")
    return value


def _path(agent_id: str) -> str:
    return f"/agents/{segment('agent_id', agent_id)}"


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)
