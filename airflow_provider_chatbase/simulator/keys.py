"""API keys, and what the plan behind each of them may do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from airflow_provider_chatbase.simulator.errors import ApiError

MAIN_WORKSPACE = "main"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a key may do."""

    versions: frozenset[str] = frozenset({"v1", "v2"})
    expired: bool = False
    may_read: bool = True
    may_write: bool = True
    search: bool = True
    query_search: bool = True
    auto_retrain: bool = True


PLANS: Mapping[str, Plan] = {
    "standard": Plan(),
    "v1-only": Plan(versions=frozenset({"v1"})),
    "no-api": Plan(versions=frozenset()),
    "expired": Plan(expired=True),
    "no-permission": Plan(may_read=False, may_write=False),
    "read-only": Plan(may_write=False),
    "no-search": Plan(search=False),
    "no-query-search": Plan(query_search=False),
    "no-auto-retrain": Plan(auto_retrain=False),
}


@dataclass(frozen=True, slots=True)
class Key:
    """An accepted key, its plan and the workspace it opens."""

    value: str
    plan: Plan
    workspace: str


class Keyring:
    """
    The keys that the service knows.

    :param version_plans: API versions by plan name, added to or replacing the built-in plans.
    """

    def __init__(self, version_plans: Mapping[str, Iterable[str]]) -> None:
        self._plans = dict(PLANS)
        for name, versions in version_plans.items():
            self._plans[name] = replace(self._plans.get(name, Plan()), versions=frozenset(versions))
        self._keys: dict[str, Key] = {}

    def add(self, value: str, plan: str = "standard", workspace: str = MAIN_WORKSPACE) -> None:
        """
        Accept a key.

        :param value: the key.
        :param plan: name of its plan; see ``PLANS``.
        :param workspace: the workspace it opens; agents of other workspaces do not exist for it.
        :raises ValueError: the plan is unknown.
        """
        if plan not in self._plans:
            raise ValueError(f"Unknown plan {plan!r}; known: {', '.join(sorted(self._plans))}")
        self._keys[value] = Key(value, self._plans[plan], workspace)

    def identify(self, authorization: str | None) -> Key:
        """
        Return the key of an ``Authorization`` header.

        :raises ApiError: 401, the key is missing, unknown or expired.
        """
        if not authorization:
            raise ApiError(401, "AUTH_MISSING_API_KEY", "Missing API key")
        scheme, _, value = authorization.partition(" ")
        key = self._keys.get(value.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise ApiError(401, "AUTH_INVALID_API_KEY", "Invalid API key")
        if key.plan.expired:
            raise ApiError(401, "AUTH_EXPIRED_API_KEY", "API key has expired")
        return key


def check_access(plan: Plan, version: str, method: str) -> None:
    """
    Refuse a request that the plan or the key's rights do not cover.

    :raises ApiError: 403.
    """
    if version not in plan.versions:
        raise ApiError(
            403, "SUBSCRIPTION_API_RESTRICTED_PLAN", "API access requires the Standard plan or higher"
        )
    if not (plan.may_read if method == "GET" else plan.may_write):
        raise ApiError(
            403, "AUTH_INSUFFICIENT_PERMISSIONS", "This API key does not have the required permissions"
        )
