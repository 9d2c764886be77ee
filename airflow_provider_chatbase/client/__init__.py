"""
The Chatbase API, without Airflow.

Each operation is defined once, as a function that returns a :class:`~.request.Request`: what to send,
how to read the reply, and whether it is safe to repeat. :class:`ChatbaseClient` and
:class:`AsyncChatbaseClient` run such values under one retry policy.
"""

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
