"""What decides an agent's answers."""

from __future__ import annotations

import logging

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbasePermissionError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.v2.agents import get_agent

log = logging.getLogger(__name__)

ANSWERING_SETTINGS = ("instructions", "model", "temp")
"""The settings that decide the answers; others change by themselves, such as ``creditsUsed``."""


def read_agent(connection: ClientSettings, agent_id: str) -> JsonObject | None:
    """Return an agent, or ``None`` where the key or the API version does not show it: ``getAgent``."""
    if connection.api_version == "v1":
        return None
    with ChatbaseClient(connection) as client:
        try:
            return client.send(get_agent(agent_id))
        except ChatbasePermissionError as error:
            log.warning("The agent's settings cannot be read: %s", error)
            return None


def answering_settings(agent: JsonObject | None) -> JsonObject | None:
    """Return the settings that decide an agent's answers."""
    return None if agent is None else {name: agent.get(name) for name in ANSWERING_SETTINGS}
