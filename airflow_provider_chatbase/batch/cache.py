"""Answers of earlier runs to the same question."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

from airflow_provider_chatbase.batch.item import Item
from airflow_provider_chatbase.batch.outcomes import Outcome
from airflow_provider_chatbase.batch.prompts import Prompt
from airflow_provider_chatbase.batch.storage import Storage


class AnswerCache:
    """A directory with a file for each answer."""

    def __init__(self, storage: Storage, agent: list[Any], ttl: timedelta | None) -> None:
        self._storage = storage
        self._agent = agent
        self._ttl = ttl

    def get(self, prompt: Prompt) -> Item | None:
        """Return an earlier answer to the same question; it costs nothing."""
        if prompt.question is None:
            return None
        found = self._storage.read_json(self._name(prompt.question))
        if found is None or not self._is_fresh(found.get("answered_at")):
            return None
        try:
            item = Item.from_json(found["item"])
        except (KeyError, TypeError, ValueError):
            return None
        return replace(
            item, credits=0.0, seconds=0.0, attempts=0, cached=True, recovered=False, sent_at=None, final=True
        )

    def put(self, prompt: Prompt, item: Item) -> None:
        """Keep an answer."""
        if prompt.question is None or item.outcome != Outcome.ANSWERED or item.cached:
            return
        content = {"answered_at": time.time(), "item": item.as_json()}
        self._storage.write(self._name(prompt.question), json.dumps(content).encode())

    def _name(self, question: list[Any]) -> str:
        digest = sha256(json.dumps([self._agent, question]).encode()).hexdigest()
        return f"{digest[:2]}/{digest}.json"

    def _is_fresh(self, answered_at: Any) -> bool:
        if not isinstance(answered_at, int | float):
            return False
        return self._ttl is None or time.time() - answered_at < self._ttl.total_seconds()
