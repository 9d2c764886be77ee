"""Tickets with their messages: what changed in a window, all of it, whatever goes wrong meanwhile."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.exceptions import ChatbasePermanentError
from airflow_provider_chatbase.exports import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.delta_table import TableKind, open_table
from airflow_provider_chatbase.exports.redaction import read_redaction
from airflow_provider_chatbase.exports.rows import TICKETS
from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files.delta_storage import find_storage
from airflow_provider_chatbase.operators.exports import ChatbaseExportTicketsOperator
from airflow_provider_chatbase.simulator import Fault

NOW = datetime.now(UTC)
EVER = Window(NOW - timedelta(days=4_000), NOW + timedelta(days=1))


def export_of(exports, tickets=230, **switches):
    return exports(conversations=0, leads=0, contacts=0, tickets=tickets, **switches)


def say(simulator, number, text, at=None, **more):
    """Let a customer write into a ticket, which changes it."""

    def work():
        agent, now = simulator.store.agents[simulator.agent_id], (at or datetime.now(UTC)).isoformat()
        messages = agent.ticket_messages[number]
        sender = {"type": "customer", "id": "p-1", "name": "Ann", "email": "ann@example.com"}
        message = {"id": f"tm-{number}-{len(messages)}", "type": "reply", "sender": sender}
        messages.append(
            {**message, "content": f"<p>{text}</p>", "contentText": text, "attachments": [], "createdAt": now}
            | more
        )
        agent.tickets[number].update(updatedAt=now)

    simulator.run(work)


def settle(simulator):
    """Let no ticket have been answered in the future, as a seeded one may."""

    def work():
        for ticket in simulator.store.agents[simulator.agent_id].tickets.values():
            ticket["updatedAt"] = min(ticket["updatedAt"], (NOW - timedelta(hours=1)).isoformat())

    simulator.run(work)


def truth_of(export):
    agent = export.simulator.store.agents[export.simulator.agent_id]
    return {number: [each["id"] for each in agent.ticket_messages[number]] for number in agent.tickets}


def found_in(export):
    return {each["ticketNumber"]: [m["id"] for m in each["messages"]] for each in export.objects()}


def run(export, window=EVER, **more):
    return export.run(window, kind="tickets", by="updated", **more)


def test_all_with_their_messages(exports):
    export = export_of(exports)
    for number in (3, 3, 7):
        say(export.simulator, number, "Where is it?")
    outcome = run(export)
    assert found_in(export) == truth_of(export)
    assert (outcome.rows, outcome.api_total) == (230, 230)
    [listed, *_] = export.simulator.requests_for("listTickets")
    assert {"sortBy": "updatedAt", "order": "asc", "includeTotal": "true"}.items() <= listed.query.items()


def test_a_window_holds_what_changed_in_it(exports):
    export = export_of(exports, tickets=40)
    tickets = export.simulator.store.agents[export.simulator.agent_id].tickets.values()
    window = Window(floor_day(NOW - timedelta(days=9)), floor_day(NOW - timedelta(days=2)))
    wanted = [t["ticketNumber"] for t in tickets if window.holds(t["updatedAt"])]
    run(export, window)
    assert sorted(found_in(export)) == sorted(wanted)
    assert 0 < len(wanted) == len(export.simulator.requests_for("getTicket")) < 40


def test_rows(exports):
    export = export_of(exports, tickets=3)
    event = {"eventType": "status_change", "statusFrom": "new", "statusTo": "closed", "doneBy": {"id": "u-1"}}
    say(export.simulator, 2, "Hello")
    say(export.simulator, 2, "", type="event", sender=None, content=None, contentText=None, metadata=event)
    run(export, file_format="csv")
    tickets, messages = (
        list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        for name in ("tickets", "ticket_messages")
        for path, content in export.everything().items()
        if path.endswith(".csv") and f"{name}/" in path
    )
    [two] = [row for row in tickets if row["ticket_number"] == "2"]
    known = export.simulator.store.agents[export.simulator.agent_id].tickets[2]
    assert (two["customer_email"], two["status"]) == (known["customer"]["email"], known["statusCategory"])
    assert (two["message_count"], two["description"]) == ("2", known["description"])
    assert [(m["position"], m["text"], m["sender_email"], m["status_to"]) for m in messages] == [
        ("1", "Hello", "ann@example.com", ""),
        ("2", "", "", "closed"),
    ]
    assert json.loads(messages[1]["raw"]) == {"metadata": {"doneBy": {"id": "u-1"}}}


def test_what_changes_meanwhile_is_for_the_next_window(exports):
    export = export_of(exports, tickets=150)
    settle(export.simulator)
    window = Window(EVER.start, datetime.now(UTC).replace(microsecond=0))
    written = []

    def write(received):
        if received.operation == "listTickets" and len(written) < 2:
            written.append(1 + len(written))
            say(export.simulator, written[-1], "One more thing")
        return False

    export.simulator.faults.add(Fault(kind="status", where=write))
    outcome = run(export, window)
    assert set(found_in(export)) == set(truth_of(export)) - set(written)
    assert outcome.rows == 148


def test_a_listing_that_loses_some_is_not_believed(exports):
    export = export_of(exports)
    export.simulator.faults.add(Fault(kind="drop_items", operation="listTickets", times=2))
    run(export)
    assert found_in(export) == truth_of(export)


@pytest.mark.parametrize("operation", ["listTickets", "listTicketMessages"])
def test_what_never_comes_fails_and_writes_nothing(exports, operation):
    export = export_of(exports, tickets=12)
    say(export.simulator, 3, "Where is it?")
    export.simulator.faults.add(Fault(kind="drop_items", operation=operation))
    with pytest.raises(ChatbaseIncompleteExportError, match="not complete"):
        run(export)
    assert [name for name in export.everything() if "tickets/" in name] == []


def test_a_ticket_that_is_deleted_meanwhile_stays_as_it_was_listed(exports):
    export = export_of(exports, tickets=5)
    export.simulator.faults.add(
        Fault(kind="status", status=404, code="TICKET_NOT_FOUND", operation="getTicket", times=1)
    )
    assert run(export).rows == 5
    assert len([each for each in export.objects() if "messages" not in each]) == 1


def test_bad_weather(exports):
    export = export_of(exports, tickets=60)
    for fault in (
        Fault(kind="reset_before", probability=0.1),
        Fault(kind="status", status=502, probability=0.1),
        Fault(kind="truncate", probability=0.1),
        Fault(kind="not_json", probability=0.1),
    ):
        export.simulator.faults.add(fault)
    run(export)
    export.simulator.faults.clear()
    assert found_in(export) == truth_of(export)


def test_redaction(exports):
    export = export_of(exports, tickets=4)
    say(export.simulator, 2, "Call me: ann@example.com", attachments=[{"name": "a", "url": "https://secret"}])
    hidden = {"email": "drop", "name": "mask", "phone": "drop", "attachments": "drop", "*": "detect"}
    run(export, redaction=read_redaction(hidden, None, "tickets"))
    text = json.dumps(export.objects())
    assert "@example.com" not in text
    assert "https://secret" not in text
    assert "Call me: [email]" in text
    assert sorted(found_in(export)) == [1, 2, 3, 4]


def test_v1_cannot(simulator, connect, tmp_path):
    connect(simulator, extra={"api_version": "v1"})
    task = ChatbaseExportTicketsOperator(task_id="export", output_path=tmp_path.as_uri())
    with pytest.raises(ChatbasePermanentError, match="listTickets is an operation of API v2"):
        task.execute({})


def test_delta_stays_current(start_simulator, connect, tmp_path):
    simulator = start_simulator(conversations=0, tickets=30)
    settle(simulator)
    connect(simulator)

    def export(**window):
        return ChatbaseExportTicketsOperator(
            task_id="export", output_path=tmp_path.as_uri(), file_format="delta", **window
        ).execute({})

    def rows():
        opened = open_table(find_storage(tmp_path.as_uri()), TableKind(TICKETS, "ticket_date", None))
        found = opened.rows(["ticket_number", "message_count"]).to_pylist()
        return {row["ticket_number"]: row["message_count"] for row in found}

    assert export(end=NOW - timedelta(minutes=30))["tables"] == {"tickets": 30, "ticket_messages": 0}
    say(simulator, 4, "And now?", at=NOW - timedelta(minutes=5))
    result = export()
    assert (result["rows"], result["tables"]) == (1, {"tickets": 1, "ticket_messages": 1})
    assert rows() == {number: int(number == 4) for number in range(1, 31)}
