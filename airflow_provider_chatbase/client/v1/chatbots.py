"""Agents on API v1, which calls them chatbots: list."""

from __future__ import annotations

from airflow_provider_chatbase.client.replies import UnexpectedShapeError
from airflow_provider_chatbase.client.request import Json, JsonObject, Request
from airflow_provider_chatbase.client.shapes import bare_object


def list_chatbots() -> Request[list[JsonObject]]:
    """
    List the account's agents with their training ``status``: ``getChatbots``. It has no pages.

    :return: a request for the agents.
    """
    return Request(operation="getChatbots", method="GET", path="/get-chatbots", version="v1", read=_chatbots)


def _chatbots(reply: Json) -> list[JsonObject]:
    found = bare_object(reply).get("chatbots")
    if not isinstance(found, list):
        raise UnexpectedShapeError("a list of chatbots was promised, and did not come")
    return [chatbot for chatbot in found if isinstance(chatbot, dict)]
