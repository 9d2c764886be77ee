"""The help desk: tickets that people answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from airflow_provider_chatbase.client.checks import require_page_limit, timestamp
from airflow_provider_chatbase.client.replies import Page, page
from airflow_provider_chatbase.client.request import Request, segment


def list_tickets(
    agent_id: str,
    *,
    statuses: Sequence[str] = (),
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    sort_by: str | None = None,
    order: str | None = None,
    filters: Mapping[str, str] | None = None,
    limit: int = 100,
) -> Request[Page]:
    """List tickets, the last changed first unless told otherwise: ``listTickets``. Pages are no snapshot."""
    return Request(
        "listTickets",
        "GET",
        f"/agents/{segment('agent_id', agent_id)}/helpdesk/tickets",
        page,
        query={
            "limit": require_page_limit(limit, 100),
            "status": ",".join(statuses) or None,
            "createdAfter": timestamp("created_after", created_after),
            "createdBefore": timestamp("created_before", created_before, up=True),
            "sortBy": sort_by,
            "order": order,
            **(filters or {}),
        },
    )
