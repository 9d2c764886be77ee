"""What answers cost, and who has how many credits left."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from airflow_provider_chatbase.simulator.clock import Clock
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.settings import Settings
from airflow_provider_chatbase.simulator.store import Agent


class Ledger:
    """The workspace's credits; ``prompts_charged`` and ``credits_charged`` count what was billed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.prompts_charged = 0
        self.credits_charged: float = 0
        self.balance = settings.credit_balance

    def check(self, agent: Agent) -> None:
        """
        Refuse an answer that cannot be paid.

        :raises ApiError: 402.
        """
        if self.balance is not None and self.balance <= 0:
            raise ApiError(402, "CHAT_CREDITS_EXHAUSTED", "Message limit reached")
        limit = agent.fields["creditLimit"]
        if limit is not None and self.used(agent) >= limit:
            raise ApiError(402, "CHAT_AGENT_CREDITS_EXHAUSTED", "The agent's credit limit is reached")

    def price(self, model: str) -> float:
        """Return what an answer of the model costs."""
        return self._settings.model_credits.get(model, self._settings.credits_per_answer)

    def charge(self, agent: Agent, credits_: float) -> None:
        """Bill one answer."""
        self.prompts_charged += 1
        self.credits_charged += credits_
        month = self._month()
        agent.credits_by_month[month] = agent.credits_by_month.get(month, 0.0) + credits_
        if self.balance is not None:
            self.balance -= credits_

    def used(self, agent: Agent) -> int:
        """Return the credits an agent used in this calendar month (UTC)."""
        return math.ceil(agent.credits_by_month.get(self._month(), 0.0))

    def reset(self) -> None:
        """Set the counts of what was billed to zero."""
        self.prompts_charged = 0
        self.credits_charged = 0

    def _month(self) -> str:
        return datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m")
