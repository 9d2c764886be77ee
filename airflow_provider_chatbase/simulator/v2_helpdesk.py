"""The help desk of API v2: tickets that people answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_chatbase.simulator.agents import Ticket
from airflow_provider_chatbase.simulator.paging import page_of_list
from airflow_provider_chatbase.simulator.world import Call, iso, operation

STATUS_CATEGORIES = ("new", "on_you", "on_customer", "on_hold", "closed", "cancelled")
PRIORITIES = ("none", "low", "normal", "high", "urgent")

_SORTS: dict[str, Callable[[Ticket], float]] = {
    "createdAt": lambda ticket: ticket.created_at,
    "updatedAt": lambda ticket: ticket.updated_at,
    "lastMessageAt": lambda ticket: ticket.last_message_at or ticket.created_at,
}


@operation("listTickets")
def list_tickets(call: Call) -> Any:
    """List tickets; filters narrow each other down, and a cursor is good for one order only."""
    query = call.query
    after, before = call.moment("createdAfter"), call.moment("createdBefore")
    wanted = {
        "status_category": call.list_of("status", STATUS_CATEGORIES),
        "channel": call.list_of("channel"),
        "priority": call.list_of("priority", PRIORITIES),
        "assignee_id": _or_none(query.get("assigneeId")),
        "team_id": _or_none(query.get("teamId")),
    }
    found = [
        ticket
        for ticket in call.agent.tickets.values()
        if all(values is None or getattr(ticket, name) in values for name, values in wanted.items())
        and (after is None or ticket.created_at >= after)
        and (before is None or ticket.created_at <= before)
    ]
    sort = _SORTS[query["sortBy"]]
    page = page_of_list(
        found,
        lambda ticket: (sort(ticket), f"{ticket.number:010d}"),
        _list_item,
        call.page(f"tickets {query['sortBy']} {query['order']}"),
        ascending=query["order"] == "asc",
    )
    if query["includeTotal"] != "true":
        del page["pagination"]["total"]
    return page


def _or_none(wanted: str | None) -> list[str | None] | None:
    return None if wanted is None else [None if wanted == "none" else wanted]


def _list_item(ticket: Ticket) -> dict[str, Any]:
    return {
        "ticketNumber": ticket.number,
        "subject": ticket.subject,
        "statusCategory": ticket.status_category,
        "statusId": f"status-{ticket.status_category}",
        "assigneeId": ticket.assignee_id,
        "customer": ticket.customer,
        "channel": ticket.channel,
        "conversationId": ticket.conversation_id,
        "teamId": ticket.team_id,
        "priority": ticket.priority,
        "createdAt": iso(ticket.created_at),
        "updatedAt": iso(ticket.updated_at),
        "lastMessageAt": iso(ticket.last_message_at) if ticket.last_message_at else None,
    }
