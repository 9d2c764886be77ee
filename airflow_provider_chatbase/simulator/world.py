"""Everything an operation of the API works with."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

from airflow_provider_chatbase.simulator.clock import Clock
from airflow_provider_chatbase.simulator.errors import not_found
from airflow_provider_chatbase.simulator.exchange import Reply, Request
from airflow_provider_chatbase.simulator.faults import Fault, FaultBoard
from airflow_provider_chatbase.simulator.keys import Key, Keyring
from airflow_provider_chatbase.simulator.ledger import Ledger
from airflow_provider_chatbase.simulator.limits import RateLimits
from airflow_provider_chatbase.simulator.pagination import PageRequest
from airflow_provider_chatbase.simulator.settings import Settings
from airflow_provider_chatbase.simulator.store import Agent, Store
from airflow_provider_chatbase.simulator.validation import json_body, page_limit


class World:
    """The simulated service without its network: state, clock, chance, limits, credits, faults."""

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


@dataclass(slots=True)
class Call:
    """One request on its way through an operation."""

    request: Request
    params: dict[str, str]
    key: Key
    world: World
    fault: Fault | None = None

    @property
    def now(self) -> float:
        """The simulated time."""
        return self.world.clock.time()

    @property
    def query(self) -> dict[str, str]:
        """The query parameters."""
        return self.request.query

    def agent(self, code: str = "AGENT_NOT_FOUND") -> Agent:
        """
        Return the agent of the path, with everything that has become visible.

        :raises ApiError: 404, there is none in this workspace.
        """
        agent = self.world.store.agents.get(self.params["agentId"])
        if agent is None or agent.workspace != self.key.workspace:
            raise not_found(code, "Agent")
        agent.conversations.settle(self.now)
        self.world.store.purge(agent)
        return agent

    def body(self, validator: Draft202012Validator) -> dict[str, Any]:
        """Return the JSON body, checked; raise ``ApiError`` 400 otherwise."""
        return json_body(self.request, validator)

    def page(self, kind: str, *, default: int = 20, maximum: int = 100) -> PageRequest:
        """Return which page is asked for; raise ``ApiError`` 400 for a bad limit."""
        settings = self.world.settings
        return PageRequest(
            limit=page_limit(self.query, default, maximum),
            cursor=self.query.get("cursor"),
            kind=kind,
            offsets=settings.cursor_mode == "offset",
            trailing_empty=settings.trailing_empty_page,
        )


Operation = Callable[[Call], Reply | Awaitable[Reply]]
