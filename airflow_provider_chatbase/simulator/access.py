"""Who may ask what, how often, and for how many credits."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_chatbase.simulator.exchange import ApiError
from airflow_provider_chatbase.simulator.settings import Settings

if TYPE_CHECKING:
    from airflow_provider_chatbase.simulator.agents import Agent
    from airflow_provider_chatbase.simulator.world import Clock

MAIN_WORKSPACE = "main"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a key may do."""

    versions: frozenset[str] = frozenset({"v1", "v2"})
    expired: bool = False
    may_read: bool = True
    may_write: bool = True
    search: bool = True
    query_search: bool = True
    auto_retrain: bool = True


PLANS: Mapping[str, Rights] = {
    "standard": Rights(),
    "v1-only": Rights(versions=frozenset({"v1"})),
    "no-api": Rights(versions=frozenset()),
    "expired": Rights(expired=True),
    "no-permission": Rights(may_read=False, may_write=False),
    "read-only": Rights(may_write=False),
    "no-search": Rights(search=False),
    "no-query-search": Rights(query_search=False),
    "no-auto-retrain": Rights(auto_retrain=False),
}


@dataclass(frozen=True, slots=True)
class Key:
    """An accepted key, what its plan allows, and the workspace it opens."""

    value: str
    rights: Rights
    workspace: str


class Keyring:
    """The keys that the service knows; ``version_plans`` add to the built-in plans or change them."""

    def __init__(self, version_plans: Mapping[str, Iterable[str]]) -> None:
        self._plans = dict(PLANS)
        for name, versions in version_plans.items():
            self._plans[name] = replace(self._plans.get(name, Rights()), versions=frozenset(versions))
        self._keys: dict[str, Key] = {}

    def add(self, value: str, plan: str = "standard", workspace: str = MAIN_WORKSPACE) -> None:
        """Accept a key that opens a workspace; agents of other workspaces do not exist for it."""
        if plan not in self._plans:
            raise ValueError(f"Unknown plan {plan!r}; known: {', '.join(sorted(self._plans))}")
        self._keys[value] = Key(value, self._plans[plan], workspace)

    def identify(self, authorization: str | None) -> Key:
        """Return the key of an ``Authorization`` header, or raise ``ApiError`` 401."""
        if not authorization:
            raise ApiError(401, "AUTH_MISSING_API_KEY", "Missing API key")
        scheme, _, value = authorization.partition(" ")
        key = self._keys.get(value.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise ApiError(401, "AUTH_INVALID_API_KEY", "Invalid API key")
        if key.rights.expired:
            raise ApiError(401, "AUTH_EXPIRED_API_KEY", "API key has expired")
        return key


def check_access(rights: Rights, version: str, method: str) -> None:
    """Refuse a request with ``ApiError`` 403 when the key's rights do not cover it."""
    if version not in rights.versions:
        raise ApiError(
            403, "SUBSCRIPTION_API_RESTRICTED_PLAN", "API access requires the Standard plan or higher"
        )
    if not (rights.may_read if method == "GET" else rights.may_write):
        raise ApiError(
            403, "AUTH_INSUFFICIENT_PERMISSIONS", "This API key does not have the required permissions"
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a window said about one request; ``seconds_to_slot`` is when a place becomes free."""

    limit: int
    remaining: int
    seconds_to_slot: float
    granted: bool = True


class SlidingWindow:
    """Grants ``limit`` places in any ``seconds``; with ``count_refused`` a refused one takes a place, too."""

    def __init__(self, limit: int, seconds: float, *, count_refused: bool = False) -> None:
        self._limit = limit
        self._seconds = seconds
        self._count_refused = count_refused
        self._times: deque[float] = deque()

    def take(self, now: float) -> Allowance:
        """Take a place, or be refused."""
        times, limit = self._times, self._limit
        while times and times[0] <= now - self._seconds:
            times.popleft()
        granted = len(times) < limit
        if granted or self._count_refused:
            times.append(now)
        remaining = max(0, limit - len(times))
        slot = times[-limit] if remaining == 0 and limit else (times[0] if times else now)
        return Allowance(limit, remaining, max(0.0, slot + self._seconds - now), granted)


class RateLimits:
    """The limits of the whole service."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._requests: dict[str, SlidingWindow] = defaultdict(
            lambda: SlidingWindow(settings.rate_limit, settings.rate_window)
        )
        self._uploads: dict[str, SlidingWindow] = defaultdict(
            lambda: SlidingWindow(settings.upload_limit, settings.upload_window, count_refused=True)
        )

    def take_request(self, key: str) -> Allowance:
        """Count one request of a key."""
        return self._requests[key].take(self._clock.monotonic())

    def count_upload(self, workspace: str) -> None:
        """Count one file upload of a workspace, or refuse it with ``ApiError`` 429."""
        allowance = self._uploads[workspace].take(self._clock.monotonic())
        if not allowance.granted:
            raise self.refusal(allowance, "Rate limit exceeded.")

    def untouched(self) -> Allowance:
        """Return the allowance of a caller that is not counted."""
        return Allowance(self._settings.rate_limit, self._settings.rate_limit, 0.0)

    def headers(self, allowance: Allowance) -> dict[str, str]:
        """Return the rate-limit headers; the reset is in real time, so that callers can compare."""
        reset = time.time() + allowance.seconds_to_slot
        in_unit = math.ceil(reset * 1000) if self._settings.reset_unit == "milliseconds" else math.ceil(reset)
        return {
            "X-RateLimit-Limit": str(allowance.limit),
            "X-RateLimit-Remaining": str(allowance.remaining),
            "X-RateLimit-Reset": str(in_unit),
        }

    def refusal(
        self, allowance: Allowance, message: str = "Too many requests, please try again later"
    ) -> ApiError:
        """Return the 429 for a request that was not granted."""
        headers = self.headers(allowance)
        if self._settings.retry_after:
            headers["Retry-After"] = str(max(1, math.ceil(allowance.seconds_to_slot)))
        return ApiError(429, "RATE_LIMIT_TOO_MANY_REQUESTS", message, headers=headers)


class Ledger:
    """The workspace's credits; ``prompts_charged`` and ``credits_charged`` count what was billed."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.prompts_charged = 0
        self.credits_charged: float = 0
        self.balance = settings.credit_balance

    def check(self, agent: Agent) -> None:
        """Refuse an answer that cannot be paid, with ``ApiError`` 402."""
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
