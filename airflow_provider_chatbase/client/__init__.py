"""
The Chatbase API, without Airflow.

Each operation is defined once, as a function that returns a :class:`~.request.Request`: what to send,
how to read the reply, and whether it is safe to repeat. :class:`ChatbaseClient` and
:class:`AsyncChatbaseClient` run such values under one retry policy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_chatbase.client.client import AsyncChatbaseClient, ChatbaseClient, RetryPolicy
    from airflow_provider_chatbase.client.request import Pause, Request, Steps
    from airflow_provider_chatbase.client.settings import ClientSettings

__all__ = [
    "AsyncChatbaseClient",
    "ChatbaseClient",
    "ClientSettings",
    "Pause",
    "Request",
    "RetryPolicy",
    "Steps",
]


def __getattr__(name: str) -> Any:
    """Import a name when it is asked for: a DAG file imports the errors, and parsing it needs no client."""
    for module in ("client", "request", "settings"):
        if name in __all__ and hasattr(found := import_module(f"{__name__}.{module}"), name):
            return getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
