"""Conversations on API v1: list, by page, with their messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from airflow_provider_chatbase.client.checks import require_page_limit
from airflow_provider_chatbase.client.request import Json, Request
from airflow_provider_chatbase.client.shapes import Page, bare_object, listed

CONVERSATIONS_PAGE = 100


def get_conversations(
    agent_id: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    sources: Sequence[str] = (),
    page: int = 1,
    size: int = CONVERSATIONS_PAGE,
) -> Request[Page]:
    """
    List conversations of every channel, with their messages: ``getConversations``.

    :param agent_id: the agent.
    :param first_day: only conversations created on this day (UTC) or later.
    :param last_day: only conversations created on this day or earlier.
    :param sources: only these channels; all when empty.
    :param page: which page, from 1.
    :param size: conversations a page, 1 to 100.
    :return: a request for the page; the API does not say how many there are.
    :raises ChatbaseInputError: when the size is out of range.
    """
    return Request(
        operation="getConversations",
        method="GET",
        path="/get-conversations",
        version="v1",
        query={
            "chatbotId": agent_id,
            "startDate": first_day.isoformat() if first_day else None,
            "endDate": last_day.isoformat() if last_day else None,
            "filteredSources": ",".join(sources) or None,
            "page": str(page),
            "size": str(require_page_limit(size, CONVERSATIONS_PAGE)),
        },
        read=_conversations,
    )


def _conversations(reply: Json) -> Page:
    return listed(bare_object(reply).get("data"))
