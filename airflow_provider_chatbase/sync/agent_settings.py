"""An agent's settings as declared: compare them with those it has, and send what differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseInputError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Request, Steps
from airflow_provider_chatbase.client.v2 import agents
from airflow_provider_chatbase.settings_diff import changes, differing

STYLES, AUTO_RETRAIN = "styles", "autoRetrain"
LONGEST_SHOWN = 200

_SAME_IN_V1 = ("name", "instructions", "initialMessages", "visibility", "model", "temp", "styles")
_SHOWN_BY_V1 = {"initial_messages": "initialMessages"}


def checked(settings: Any) -> JsonObject:
    """Check settings, as far as that is sure without asking."""
    body = agents.checked_settings(settings)
    if STYLES in body:
        agents.update_styles("any", body[STYLES])
    if AUTO_RETRAIN in body:
        agents.update_auto_retrain("any", body[AUTO_RETRAIN])
    return body


def compare(agent_id: str, settings: JsonObject, api_version: ApiVersion) -> Steps[JsonObject]:
    """Say in what an agent differs from its declared settings, as steps of a client. It changes nothing."""
    agent = yield from read_agent(agent_id, api_version)
    differs = differing(_comparable(settings, agent, api_version), agent)
    return {
        "agent_id": agent_id,
        "drift": bool(differs),
        "differs": {
            name: {"wanted": shortened(value), "actual": shortened(agent.get(name))}
            for name, value in differs.items()
        },
        "unchanged": sorted(set(settings) - set(differs)),
    }


def change(
    agent_id: str, settings: JsonObject, api_version: ApiVersion, *, is_new: bool = False
) -> Steps[JsonObject]:
    """Give an agent its declared settings, as steps of a client. What it has already is not sent."""
    before = after = yield from read_agent(agent_id, api_version)
    sent = differing(settings, before)
    refused: list[str] = []
    if sent:
        for request in _requests(agent_id, sent, api_version):
            try:
                yield request
            except ChatbaseApiError as error:
                if not is_new or error.code != "AGENT_NOT_TRAINED":
                    raise
                refused.append(AUTO_RETRAIN)
        after = yield from read_agent(agent_id, api_version)
    changed = changes(list(sent), before, after)
    unseen = {} if api_version == "v2" else {name: sent[name] for name in sent if name not in after}
    changed.update({name: {"from": None, "to": value} for name, value in unseen.items()})
    not_met = differing(_comparable(sent, after, api_version), after)
    return {
        "agent_id": agent_id,
        "changed": {
            name: {side: shortened(value) for side, value in sides.items()} for name, sides in changed.items()
        },
        "unchanged": sorted(set(settings) - set(sent)),
        "not_applied": sorted({name for name, value in not_met.items() if value is not None} | {*refused}),
    }


def read_agent(agent_id: str, api_version: ApiVersion) -> Steps[JsonObject]:
    """Get an agent, as steps of a client; what v1 shows gets the names of v2."""
    if api_version == "v2":
        agent: JsonObject = yield agents.get_agent(agent_id)
        return agent
    found = v1.find_chatbot((yield v1.list_chatbots()), agent_id)
    return {_SHOWN_BY_V1.get(name, name): value for name, value in found.items()}


def v1_settings(settings: JsonObject) -> JsonObject:
    """Put settings into the words of API v1."""
    translated: JsonObject = {}
    missing: list[str] = []
    for name, value in settings.items():
        translate = _V1_WORDS.get(name)
        words = None if translate is None or value is None else translate(value)
        if words is None:
            missing.append(f"{name} (reset)" if value is None else name)
        else:
            translated.update(words)
    if missing:
        raise ChatbaseUnsupportedError(
            f"API v1 cannot set {', '.join(sorted(missing))}. Leave them out, or set api_version to v2 in "
            "the connection. Nothing was sent.",
            operation="updateChatbotSettings",
        )
    return translated


def shortened(value: Any) -> Any:
    """Shorten a text for a result that goes to XCom."""
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"{value[:LONGEST_SHOWN]}... ({len(value):,} characters)"
    if isinstance(value, dict):
        return {name: shortened(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shortened(part) for part in value]
    return value


def _requests(agent_id: str, settings: JsonObject, api_version: ApiVersion) -> list[Request[JsonObject]]:
    if api_version == "v1":
        return [v1.update_chatbot_settings(agent_id, v1_settings(settings))]
    requests = []
    plain = {name: value for name, value in settings.items() if name not in (STYLES, AUTO_RETRAIN)}
    if plain:
        requests.append(agents.update_agent(agent_id, plain))
    if STYLES in settings:
        requests.append(agents.update_styles(agent_id, settings[STYLES]))
    if AUTO_RETRAIN in settings:
        requests.append(agents.update_auto_retrain(agent_id, settings[AUTO_RETRAIN]))
    return requests


def _comparable(settings: JsonObject, agent: JsonObject, api_version: ApiVersion) -> JsonObject:
    """Leave out what v1 does not show: it cannot be said to differ."""
    if api_version == "v2":
        return settings
    return {name: value for name, value in settings.items() if name in agent}


def _suggestions(messages: Any) -> JsonObject | None:
    texts = [message.get("text") if isinstance(message, dict) else message for message in messages]
    return {"suggestedMessages": texts} if all(isinstance(text, str) for text in texts) else None


def _ip_limits(limits: JsonObject) -> JsonObject:
    words = {"limit": "ipLimit", "timeframe": "ipLimitTimeframe", "message": "ipLimitMessage"}
    if set(limits) - set(words):
        raise ChatbaseInputError(f"ipRateLimits has other fields than {', '.join(words)}. Nothing was sent.")
    return {words[name]: value for name, value in limits.items()}


def _same(name: str) -> Callable[[Any], JsonObject | None]:
    return lambda value: {name: value}


_V1_WORDS: dict[str, Callable[[Any], JsonObject | None]] = {
    **{name: _same(name) for name in _SAME_IN_V1},
    "suggestedMessages": _suggestions,
    "allowedDomains": lambda domains: {"domains": domains, "onlyAllowOnAddedDomains": bool(domains)},
    "ipRateLimits": _ip_limits,
}
