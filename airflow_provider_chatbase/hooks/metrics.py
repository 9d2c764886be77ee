"""What a client does, as Airflow's metrics: StatsD, Datadog or OpenTelemetry, as Airflow is configured."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseRateLimitError
from airflow_provider_chatbase.client.request import Request

log = logging.getLogger(__name__)


@dataclass
class AirflowMetrics:
    """Counts requests, refusals for their number, waits and credits of one connection."""

    conn_id: str
    failed: bool = field(default=False, init=False)

    def sent(self, request: Request[Any], error: ChatbaseError | None) -> None:
        """Count an attempt at a request, by how it ended."""
        outcome = "ok" if error is None else type(error).__name__
        tags = {**self._tags(request), "outcome": outcome}
        self._report(lambda: Stats.incr("chatbase.requests", tags=tags))
        if isinstance(error, ChatbaseRateLimitError):
            self._report(lambda: Stats.incr("chatbase.rate_limited", tags=self._tags(request)))

    def waited(self, request: Request[Any], seconds: float) -> None:
        """Time a wait, in milliseconds as Airflow does."""
        self._report(lambda: Stats.timing("chatbase.waited", 1000 * seconds, tags=self._tags(request)))

    def paid(self, request: Request[Any], spent: float) -> None:
        """Count the credits of an answer."""
        amount: Any = spent  # Airflow's types say int; its backends count fractions as well
        self._report(lambda: Stats.incr("chatbase.credits", amount, tags=self._tags(request)))

    def _tags(self, request: Request[Any]) -> dict[str, str]:
        tags = {"connection": self.conn_id, "operation": request.operation}
        agent_id = _agent_of(request)
        return tags if agent_id is None else {**tags, "agent": agent_id}

    def _report(self, metric: Callable[[], object]) -> None:
        """Hand on a metric; what its backend makes of it is never at the cost of the work."""
        if self.failed:
            return
        try:
            metric()
        except Exception as error:  # noqa: BLE001 - any backend may be configured
            self.failed = True
            log.warning("Airflow's metrics fail, so none are sent from here on: %r", error)


def _agent_of(request: Request[Any]) -> str | None:
    named = re.match(r"/agents/([^/]+)", request.path)
    if named is not None:
        return named[1]
    given = request.body if isinstance(request.body, dict) else request.query
    agent_id = given.get("chatbotId")
    return agent_id if isinstance(agent_id, str) else None
