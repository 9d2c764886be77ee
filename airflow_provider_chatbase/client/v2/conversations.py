"""Conversations: export."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from airflow_provider_chatbase.client.checks import require_page_limit
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import Request, segment
from airflow_provider_chatbase.client.shapes import Page, page

EXPORT_PAGE = 20


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
