"""Answers of earlier runs to the same question, under the same settings of the agent."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

from airflow_provider_chatbase.batch.outcome import Outcome, PromptRecord
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbasePermissionError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.errors import ChatbaseDamagedFileError

log = logging.getLogger(__name__)

ANSWERING_SETTINGS = ("instructions", "model", "temp")
"""The settings that decide the answers; others change by themselves, such as ``creditsUsed``."""


def read_agent(connection: ClientSettings, agent_id: str) -> JsonObject | None:
    """Return an agent, or ``None`` where the key or the API version does not show it: ``getAgent``."""
    with ChatbaseClient(connection) as client:
        if not client.api.shows_all_settings:
            return None
        try:
            return client.send(client.api.get_agent(agent_id))
        except ChatbasePermissionError as error:
            log.warning("The agent's settings cannot be read: %s", error)
            return None


def answering_settings(agent: JsonObject | None) -> JsonObject | None:
    """Return the settings that decide an agent's answers."""
    return None if agent is None else {name: agent.get(name) for name in ANSWERING_SETTINGS}


class AnswerCache:
    """A directory with a file for each answer."""

    def __init__(self, directory: Directory, agent: list[Any], ttl: timedelta | None) -> None:
        self._directory = directory
        self._agent = agent
        self._ttl = ttl

    def get(self, prompt: Prompt) -> PromptRecord | None:
        """Return an earlier answer to the same question; it costs nothing."""
        if prompt.question is None:
            return None
        try:
            found = self._directory.read_json(self._name(prompt.question))
            if found is None or not self._is_fresh(found.get("answered_at")):
                return None
            record = PromptRecord.from_json(found["item"])
        except (ChatbaseDamagedFileError, KeyError, TypeError, ValueError) as error:
            log.warning("An earlier answer cannot be used, and is asked for anew: %s", error)
            return None
        return replace(
            record,
            credits=0.0,
            seconds=0.0,
            attempts=0,
            cached=True,
            recovered=False,
            sent_at=None,
            final=True,
        )

    def put(self, prompt: Prompt, record: PromptRecord) -> None:
        """Keep an answer."""
        if prompt.question is None or record.outcome != Outcome.ANSWERED or record.cached:
            return
        content = {"answered_at": time.time(), "item": record.as_json()}
        self._directory.write(self._name(prompt.question), json.dumps(content).encode())

    def _name(self, question: list[Any]) -> str:
        digest = sha256(json.dumps([self._agent, question]).encode()).hexdigest()
        return f"{digest[:2]}/{digest}.json"

    def _is_fresh(self, answered_at: Any) -> bool:
        if not isinstance(answered_at, int | float):
            return False
        return self._ttl is None or time.time() - answered_at < self._ttl.total_seconds()
