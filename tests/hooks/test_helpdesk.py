"""Tickets and replies to them are made once, whatever becomes of the reply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.client.v2 import tickets
from airflow_provider_chatbase.exceptions import ChatbaseAmbiguousError, ChatbaseInputError
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator import Fault

TOM = "tom@shop.example.com"
CUSTOMER = {"email": "Ann@example.com", "name": "Ann"}


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(tickets, "PATIENCE", 0.3)
    monkeypatch.setattr(tickets, "FIRST_PAUSE", 0.05)


@pytest.fixture
def hook(simulator, connect):
    connect(simulator)
    with ChatbaseHook() as hook:
        yield hook


class Tickets:
    operation, listing = "createTicket", "listTickets"

    def __init__(self, hook):
        self.hook = hook

    def make(self, **how):
        return self.hook.create_ticket("Lost parcel", "My parcel is lost.\n", CUSTOMER, **how)

    def all(self):
        return [t for t in self.hook.list_tickets() if t["subject"] == "Lost parcel"]


class Replies(Tickets):
    operation, listing = "createTicketMessage", "listTicketMessages"

    def __init__(self, hook):
        super().__init__(hook)
        self.number = Tickets(hook).make()["ticketNumber"]

    def make(self, **how):
        return self.hook.reply_to_ticket(self.number, "It is **found**.", author_email="TOM" + TOM[3:], **how)

    def all(self):
        found = self.hook.list_ticket_messages(self.number)
        return [m for m in found if m["contentText"] == "It is **found**."]


@pytest.fixture(params=[Tickets, Replies])
def writes(request, hook):
    return request.param(hook)


DONE_ALL_THE_SAME = [
    {"kind": "reset_after"},
    {"kind": "status", "status": 502, "after": True},
    {"kind": "truncate_json"},
]


@pytest.mark.parametrize("fault", DONE_ALL_THE_SAME, ids=str)
def test_a_lost_reply_is_looked_for(simulator, writes, fault):
    writes.make()
    simulator.faults.add(Fault(operation=writes.operation, times=1, **fault))
    second = writes.make()
    assert len(writes.all()) == 2, "each call makes one"
    assert second in (
        [writes.hook.get_ticket(second["ticketNumber"])] if "subject" in second else writes.all()
    )
    assert len(simulator.requests_for(writes.operation)) == 2


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "not_json"}], ids=str)
def test_what_never_arrived_is_sent_again_though_an_equal_one_is_there(simulator, writes, fault):
    first = writes.make()
    simulator.faults.add(Fault(operation=writes.operation, times=1, **fault))
    second = writes.make()
    assert len(writes.all()) == 2
    assert second != first


def test_a_retried_task_makes_no_second_one(simulator, writes):
    began = datetime.now(UTC)
    first = writes.make(unless_made_since=began)
    assert writes.make(unless_made_since=began)["createdAt"] == first["createdAt"]
    assert len(writes.all()) == 1
    writes.make(unless_made_since=began + timedelta(hours=1))
    assert len(writes.all()) == 2


def test_where_it_cannot_be_looked_for_it_is_not_sent_again(simulator, writes):
    simulator.faults.add(Fault(kind="reset_after", operation=writes.operation, times=1))
    simulator.faults.add(Fault(kind="status", status=403, operation=writes.listing, skip=1, times=1))
    with pytest.raises(ChatbaseAmbiguousError, match=r"looking for it failed .*before you run it again"):
        writes.make()
    assert len(writes.all()) == 1


def test_a_reply_that_began_is_not_sent_again(simulator, writes):
    simulator.faults.add(
        Fault(kind="truncate_json", operation=writes.operation, times=1),
        Fault(kind="drop_items", operation=writes.listing, amount=100),
    )
    with pytest.raises(ChatbaseAmbiguousError, match="a reply had begun"):
        writes.make()
    simulator.faults.clear()
    assert len(writes.all()) == 1


def test_a_half_done_change_is_completed(simulator, hook):
    simulator.faults.add(Fault(kind="status", status=500, after=True, operation="updateTicket", times=1))
    changed = hook.update_ticket(3, {"statusCategory": "closed", "priority": "high", "assigneeEmail": TOM})
    assert (changed["statusCategory"], changed["priority"]) == ("closed", "high")
    assert hook.update_ticket(3, {"assigneeId": None})["assigneeId"] is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda hook: hook.update_ticket(3, {}), "nothing to change"),
        (lambda hook: hook.update_ticket(0, {"priority": "low"}), "ticket_number must be"),
        (
            lambda hook: hook.update_ticket(3, {"statusId": "a", "statusCategory": "new"}),
            "statusId or statusCategory",
        ),
        (lambda hook: hook.reply_to_ticket(3, "Yes"), "author_id or author_email"),
        (lambda hook: hook.reply_to_ticket(3, " " * 9, author_email=TOM), "content is empty"),
        (lambda hook: hook.create_ticket("A" * 501, "B", CUSTOMER), "subject has 501"),
        (lambda hook: hook.create_ticket("A", "B", {"name": "Ann"}), "email must be text"),
        (
            lambda hook: hook.create_ticket("A", "B", CUSTOMER, unless_made_since=datetime(2026, 1, 1)),  # noqa: DTZ001
            "unless_made_since has no time zone",
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_sent(simulator, hook, wrong, told):
    with pytest.raises(ChatbaseInputError, match=told):
        wrong(hook)
    assert simulator.requests == []
