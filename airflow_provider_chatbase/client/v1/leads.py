"""Leads: only API v1 has them, and its operation works with a key of any version."""

from __future__ import annotations

from datetime import date

from airflow_provider_chatbase.client.request import Json, Request
from airflow_provider_chatbase.client.shapes import Page, bare_object, listed

LEADS_PAGE = 100


def get_leads(
    agent_id: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    page: int = 1,
    size: int = LEADS_PAGE,
) -> Request[Page]:
    """
    List the leads that an agent collected: ``getLeads``.

    :param agent_id: the agent.
    :param first_day: only leads of this day (UTC) or later.
    :param last_day: only leads of this day or earlier.
    :param page: which page, from 1.
    :param size: leads a page.
    :return: a request for the page; the API does not say how many there are.
    """
    return Request(
        operation="getLeads",
        method="GET",
        path="/get-leads",
        version="v1",
        query={
            "chatbotId": agent_id,
            "startDate": first_day.isoformat() if first_day else None,
            "endDate": last_day.isoformat() if last_day else None,
            "page": str(page),
            "size": str(size),
        },
        read=_leads,
    )


def _leads(reply: Json) -> Page:
    """Read a page of leads: ``collectedCustomers``, its ``data``, or ``data``, as the documents differ."""
    body = bare_object(reply)
    found = body["collectedCustomers"] if "collectedCustomers" in body else body.get("data")
    if isinstance(found, dict):
        found = found.get("data")
    return listed(found)
