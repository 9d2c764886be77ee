"""Conversations: export, search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from airflow_provider_chatbase.client.checks import require_page_limit
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import Request, segment
from airflow_provider_chatbase.client.shapes import Page, page

EXPORT_PAGE = 20
SEARCH_PAGE = 25


def export_conversations(
    agent_id: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    conversation_id: str | None = None,
    sources: Sequence[str] = (),
    summary: bool = False,
    limit: int = EXPORT_PAGE,
) -> Request[Page]:
    """
    Export conversations of every channel, newest first, with their messages: ``exportConversations``.

    :param agent_id: the agent.
    :param start: only conversations created at or after this time.
    :param end: only conversations created at or before this time. Both bounds are inclusive.
    :param conversation_id: only this conversation.
    :param sources: only these channels, by the API's exact names; all when empty.
    :param summary: leave the messages out.
    :param limit: conversations a page, 1 to 20.
    :return: a request for the first page.
    :raises ChatbaseInputError: when the id is empty, the limit out of range, or a time has no zone.
    """
    return Request(
        operation="exportConversations",
        method="GET",
        path=f"/agents/{segment('agent_id', agent_id)}/conversations/export",
        query={
            "limit": require_page_limit(limit, EXPORT_PAGE),
            "startDate": _timestamp("start", start),
            "endDate": _timestamp("end", end, up=True),
            "conversationId": conversation_id,
            "source": ",".join(sources) or None,
            "include": "summary" if summary else None,
        },
        read=page,
    )


def search_conversations(
    agent_id: str,
    *,
    query: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    updated_after: datetime | None = None,
    updated_before: datetime | None = None,
    sources: Sequence[str] = (),
    user_ids: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    limit: int = SEARCH_PAGE,
) -> Request[Page]:
    """
    Search the conversations of every channel, without their messages: ``searchConversations``.

    The API looks only at conversations created since the 1st of the month twelve months back.

    :param agent_id: the agent.
    :param query: words that must all occur; without it, the most recently active come first.
    :param start: only conversations created at or after this time.
    :param end: only conversations created at or before this time.
    :param updated_after: only conversations active at or after this time.
    :param updated_before: only conversations last active at or before this time.
    :param sources: only these channels; all when empty.
    :param user_ids: only these users; all when empty.
    :param filters: more parameters of the API, by its names, such as ``{"sentiment": "negative"}``.
    :param limit: conversations a page, 1 to 25.
    :return: a request for the first page; pages may be short or empty and have no total.
    :raises ChatbaseInputError: when the id is empty, the limit out of range, or a time has no zone.
    """
    return Request(
        operation="searchConversations",
        method="GET",
        path=f"/agents/{segment('agent_id', agent_id)}/conversations/search",
        query={
            "limit": require_page_limit(limit, SEARCH_PAGE),
            "query": query or None,
            "startDate": _timestamp("start", start),
            "endDate": _timestamp("end", end, up=True),
            "updatedAfter": _timestamp("updated_after", updated_after),
            "updatedBefore": _timestamp("updated_before", updated_before, up=True),
            "source": ",".join(sources) or None,
            "userId": ",".join(user_ids) or None,
            **(filters or {}),
        },
        read=page,
    )


def _timestamp(name: str, at: datetime | None, *, up: bool = False) -> str | None:
    """Write a time to the millisecond, rounded outwards: what lies within it is never cut off."""
    if at is None:
        return None
    if at.tzinfo is None:
        raise ChatbaseInputError(f"{name} has no time zone. Nothing was sent.")
    utc = at.astimezone(UTC)
    beyond = timedelta(microseconds=utc.microsecond % 1000)
    utc += timedelta(milliseconds=1) - beyond if up and beyond else -beyond
    precision = "milliseconds" if utc.microsecond else "seconds"
    return utc.isoformat(timespec=precision).replace("+00:00", "Z")
