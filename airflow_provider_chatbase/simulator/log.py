"""The record of what was asked, for tests to look at."""

from __future__ import annotations

from collections import Counter

from airflow_provider_chatbase.simulator.exchange import Request


class RequestLog:
    """
    The last requests, and counts of all.

    :param limit: how many requests are kept; None keeps all.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.requests: list[Request] = []
        self.counts: Counter[tuple[str, int | None]] = Counter()

    def add(self, request: Request) -> None:
        """Keep a request."""
        self.requests.append(request)
        if self._limit is not None and len(self.requests) >= 2 * self._limit + 1:
            del self.requests[: -self._limit]

    def close(self, request: Request) -> None:
        """Count a request whose outcome is known, and let go of uploaded files."""
        self.counts[request.operation or "unknown", request.status] += 1
        if request.is_multipart:
            request.body = b""

    def clear(self) -> None:
        """Forget everything."""
        self.requests = []
        self.counts = Counter()
