"""The help desk of API v2: tickets that people answer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow_provider_chatbase.simulator.paging import Position, page_of_list
from airflow_provider_chatbase.simulator.seed import TICKET_CATEGORIES, TICKET_PRIORITIES
from airflow_provider_chatbase.simulator.world import Call, operation

Ticket = dict[str, Any]

_ONLY_IN_A_SINGLE_ONE = {"description", "metadata"}


@operation("listTickets")
def list_tickets(call: Call) -> Any:
    """List tickets; filters narrow each other down, and a cursor is good for one order only."""
    query, sort, is_ascending = call.query, call.query["sortBy"], call.query["order"] == "asc"
    after, before = call.moment("createdAfter"), call.moment("createdBefore")
    wanted = {
        "statusCategory": call.list_of("status", TICKET_CATEGORIES),
        "channel": call.list_of("channel"),
        "priority": call.list_of("priority", TICKET_PRIORITIES),
        "assigneeId": _or_none(query.get("assigneeId")),
        "teamId": _or_none(query.get("teamId")),
    }

    def place(ticket: Ticket, name: str) -> Position:
        moment = datetime.fromisoformat(ticket[name] or ticket["createdAt"])
        return moment.timestamp(), f"{ticket['ticketNumber']:010d}"

    found = [
        ticket
        for ticket in call.agent.tickets.values()
        if all(values is None or ticket[name] in values for name, values in wanted.items())
        and (after is None or place(ticket, "createdAt")[0] >= after)
        and (before is None or place(ticket, "createdAt")[0] <= before)
    ]
    request = call.page(f"tickets {sort} {query['order']}")
    page = page_of_list(found, lambda each: place(each, sort), _in_list, request, ascending=is_ascending)
    if query["includeTotal"] != "true":
        del page["pagination"]["total"]
    return page


def _or_none(wanted: str | None) -> list[str | None] | None:
    return None if wanted is None else [None if wanted == "none" else wanted]


def _in_list(ticket: Ticket) -> Ticket:
    return {name: value for name, value in ticket.items() if name not in _ONLY_IN_A_SINGLE_ONE}
