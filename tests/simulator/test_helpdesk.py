"""Tickets of the help desk."""

from __future__ import annotations

from datetime import datetime

import pytest


@pytest.fixture
def path(agent):
    return f"{agent}/helpdesk/tickets"


def walk(v2, path, **query):
    """Return the numbers of all tickets, page by page, and the totals that the pages told."""
    numbers, totals, cursor = [], [], None
    while True:
        page = v2.get(path, params={**query, **({"cursor": cursor} if cursor else {})}).json()
        numbers += [ticket["ticketNumber"] for ticket in page["data"]]
        totals.append(page["pagination"].get("total"))
        cursor = page["pagination"]["cursor"]
        if not page["pagination"]["hasMore"]:
            return numbers, totals


def test_every_ticket_once_last_change_first(simulator, v2, path):
    tickets = simulator.store.agents[simulator.agent_id].tickets
    numbers, totals = walk(v2, path, limit=4)
    assert sorted(numbers) == sorted(tickets)
    assert len(numbers) == 25
    assert set(totals) == {None}
    changed = [tickets[number]["updatedAt"] for number in numbers]
    assert changed == sorted(changed, reverse=True)


def test_a_ticket_has_what_the_description_says(v2, path):
    from airflow_provider_chatbase.simulator.description import reasons

    page = v2.get(path, params={"includeTotal": "true"}).json()
    assert reasons("v2", "/components/schemas/ListTicketsResponse", page) == {}
    assert page["pagination"]["total"] == 25
    assert {ticket["subject"] is None for ticket in page["data"]} == {True, False}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["createdAt", "updatedAt", "lastMessageAt"])
def test_orders(v2, path, sort, order):
    numbers, totals = walk(v2, path, sortBy=sort, order=order, limit=7, includeTotal="true")
    assert (len(set(numbers)), set(totals)) == (25, {25})
    data = v2.get(path, params={"sortBy": sort, "order": order, "limit": 100}).json()["data"]
    times = [datetime.fromisoformat(ticket[sort] or ticket["createdAt"]) for ticket in data]
    assert times == sorted(times, reverse=order == "desc")
    assert [ticket["ticketNumber"] for ticket in data] == numbers


def test_filters_narrow_each_other_down(v2, path):
    data = v2.get(path, params={"limit": 100}).json()["data"]
    some = {"status": {"new", "closed", "on_you"}, "priority": {"none", "high"}}
    expected = [
        ticket["ticketNumber"]
        for ticket in data
        if ticket["statusCategory"] in some["status"] and ticket["priority"] in some["priority"]
    ]
    assert 0 < len(expected) < len(data)
    query = {name: ",".join(values) for name, values in some.items()}
    assert walk(v2, path, **query)[0] == expected
    unassigned = [ticket["ticketNumber"] for ticket in data if ticket["assigneeId"] is None]
    assert walk(v2, path, assigneeId="none")[0] == unassigned
    team = next(ticket["teamId"] for ticket in data if ticket["teamId"])
    assert walk(v2, path, teamId=team)[0] == [each["ticketNumber"] for each in data if each["teamId"] == team]
    edge = data[5]["createdAt"]
    between = [ticket["ticketNumber"] for ticket in data if ticket["createdAt"] == edge]
    assert walk(v2, path, createdAfter=edge, createdBefore=edge)[0] == between


def test_a_cursor_is_good_for_one_order(v2, path):
    cursor = v2.get(path, params={"limit": 3}).json()["pagination"]["cursor"]
    assert v2.get(path, params={"cursor": cursor, "limit": 9}).status_code == 200
    for other in ({"order": "asc"}, {"sortBy": "createdAt"}):
        assert v2.get(path, params={"cursor": cursor, **other}).status_code == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "101"),
        ("status", "new,open"),
        ("priority", "top"),
        ("assigneeId", "me"),
        ("createdAfter", "2026-01-01"),
        ("sortBy", "subject"),
        ("order", "up"),
        ("includeTotal", "yes"),
    ],
)
def test_bad_queries_name_the_parameter(v2, path, name, value):
    reply = v2.get(path, params={name: value})
    assert (reply.status_code, list(reply.json()["error"]["details"])) == (400, [name])


def test_the_tickets_of_no_agent(v2):
    assert v2.get("/agents/none/helpdesk/tickets").json()["error"]["code"] == "AGENT_NOT_FOUND"
