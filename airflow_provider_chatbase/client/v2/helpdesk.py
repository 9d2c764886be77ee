"""The help desk: tickets that people answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from airflow_provider_chatbase.client.checks import require_page_limit, timestamp
from airflow_provider_chatbase.client.replies import Page, page
from airflow_provider_chatbase.client.request import Request, segment


def list_tickets(
    agent_id: str,
    *,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    filters: Mapping[str, str] | None = None,
    limit: int = 100,
) -> Request[Page]:
    """List tickets, the last changed first unless a filter says otherwise: ``listTickets``."""
    query = {
        "limit": require_page_limit(limit, 100),
        "createdAfter": timestamp("created_after", created_after),
        "createdBefore": timestamp("created_before", created_before, up=True),
        **(filters or {}),
    }
    path = f"/agents/{segment('agent_id', agent_id)}/helpdesk/tickets"
    return Request("listTickets", "GET", path, page, query=query)
