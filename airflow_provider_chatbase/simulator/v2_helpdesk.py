"""People who answer, in API v2: the tickets of the help desk, and templates of WhatsApp."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from airflow_provider_chatbase.simulator.agents import SEED, add_ticket
from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT
from airflow_provider_chatbase.simulator.exchange import (
    ApiError,
    Position,
    ServedReply,
    invalid,
    not_found,
    page_of_list,
)
from airflow_provider_chatbase.simulator.seed import add_message
from airflow_provider_chatbase.simulator.world import Call, iso, operation

Ticket = dict[str, Any]

_CATEGORIES = tuple(status["category"] for status in SEED["ticket_statuses"])
_ONLY_IN_A_SINGLE_ONE = {"description", "metadata"}
_TYPES = ("reply", "note", "event")
_BAD_VARIABLE = re.compile(r"[\n\t]| {5}")


@operation("listTickets")
def list_tickets(call: Call) -> Any:
    """List tickets; filters narrow each other down, and a cursor is good for one order only."""
    query, sort, is_ascending = call.query, call.query["sortBy"], call.query["order"] == "asc"
    after, before = call.moment("createdAfter"), call.moment("createdBefore")
    wanted = {
        "statusCategory": call.list_of("status", _CATEGORIES),
        "channel": call.list_of("channel"),
        "priority": call.list_of("priority", tuple(SEED["ticket_priorities"])),
        "assigneeId": _or_none(query.get("assigneeId")),
        "teamId": _or_none(query.get("teamId")),
    }
    found = [
        ticket
        for ticket in call.agent.tickets.values()
        if all(values is None or ticket[name] in values for name, values in wanted.items())
        and (after is None or _place(ticket, "createdAt")[0] >= after)
        and (before is None or _place(ticket, "createdAt")[0] <= before)
    ]
    request = call.page(f"tickets {sort} {query['order']}")
    page = page_of_list(found, lambda each: _place(each, sort), _in_list, request, ascending=is_ascending)
    if query["includeTotal"] != "true":
        del page["pagination"]["total"]
    return page


@operation("searchTickets")
def search_tickets(call: Call) -> Any:
    words, limit = call.body["query"].lower().split(), call.body.get("limit", 20)
    found = [each for each in call.agent.tickets.values() if _has_words(call, each, words)]
    pagination = {"cursor": None, "hasMore": len(found) > limit}
    return {"data": [_in_list(each) for each in found[:limit]], "pagination": pagination}


@operation("createTicket")
def create_ticket(call: Call) -> Any:
    body, number, now = call.body, max(call.agent.tickets, default=0) + 1, iso(call.now)
    changes = {"statusId": _status("category", "new")["id"], **_checked_changes(call)}
    customer = {"id": call.world.store.new_id(), "name": body["customer"].get("name")}
    customer["email"] = body["customer"]["email"].lower()
    add_ticket(
        call.agent,
        number,
        **{name: body[name] for name in ("subject", "description")},
        **changes,
        customer={**customer, "phoneNumber": None},
        createdAt=now,
        updatedAt=now,
    )
    _add_message(call, number, {"type": "customer", **customer}, body["description"])
    return ServedReply(201, call.agent.tickets[number])


@operation("updateTicket")
def update_ticket(call: Call) -> Any:
    ticket = _ticket(call)
    ticket.update(_checked_changes(call), updatedAt=iso(call.now))
    return ticket


@operation("listTicketMessages")
def list_ticket_messages(call: Call) -> Any:
    types, order = call.list_of("types", _TYPES) or (), call.query["order"]
    number = _ticket(call)["ticketNumber"]
    found = [each for each in call.agent.ticket_messages[number] if each["type"] in types]
    return page_of_list(
        found,
        lambda each: (datetime.fromisoformat(each["createdAt"]).timestamp(), each["id"]),
        lambda each: each,
        call.page(f"ticket-messages {order}"),
        ascending=order == "asc",
    )


@operation("createTicketMessage")
def create_ticket_message(call: Call) -> Any:
    """Reply for a team member; a live conversation has to be taken over before."""
    ticket, text = _ticket(call), call.body["content"].strip()
    conversation = call.agent.conversations.by_id.get(ticket["conversationId"] or "")
    if conversation is not None and conversation.status != "taken_over":
        raise ApiError(409, "CONVERSATION_NOT_TAKEN_OVER", "The AI agent still answers this conversation")
    author = _member(call, "authorId", "authorEmail", "TEAM_MEMBER_NOT_FOUND")
    if author is None:
        raise invalid({"authorId": "Give exactly one of authorId and authorEmail"}, "Invalid request body")
    if not re.sub(r"<[^>]*>", "", text).strip():
        raise ApiError(422, "MESSAGE_CONTENT_NOT_RENDERABLE", "The message renders to nothing")
    made = _add_message(call, ticket["ticketNumber"], {"type": "agent", **author}, text)
    return ServedReply(201, {name: value for name, value in made.items() if name != "attachments"})


def _place(ticket: Ticket, name: str) -> Position:
    moment = datetime.fromisoformat(ticket[name] or ticket["createdAt"])
    return moment.timestamp(), f"{ticket['ticketNumber']:010d}"


def _or_none(wanted: str | None) -> list[str | None] | None:
    return None if wanted is None else [None if wanted == "none" else wanted]


def _in_list(ticket: Ticket) -> Ticket:
    return {name: value for name, value in ticket.items() if name not in _ONLY_IN_A_SINGLE_ONE}


def _has_words(call: Call, ticket: Ticket, words: list[str]) -> bool:
    messages = call.agent.ticket_messages[ticket["ticketNumber"]]
    texts = [ticket["subject"], ticket["description"], *(each["contentText"] for each in messages)]
    return all(any(word in (text or "").lower() for text in texts) for word in words)


def _ticket(call: Call) -> Ticket:
    ticket = call.agent.tickets.get(call.params["ticketNumber"])
    if ticket is None:
        raise not_found("TICKET_NOT_FOUND", "Ticket")
    return ticket


operation("getTicket")(_ticket)
operation("listTicketStatuses")(lambda _: SEED["ticket_statuses"])
operation("listHelpdeskTeams")(lambda _: SEED["ticket_teams"])


def _status(key: str, value: str) -> dict[str, Any]:
    for status in SEED["ticket_statuses"]:
        if status[key] == value:
            return dict(status)
    raise ApiError(422, "TICKET_INVALID_STATUS", "The status is not one of this agent")


def _member(call: Call, by_id: str, by_email: str, code: str) -> dict[str, Any] | None:
    """Return who is named by id or e-mail address; None when nobody is."""
    body = call.body
    if by_id in body and by_email in body:
        raise invalid({by_id: f"At most one of {by_id} and {by_email}"}, "Invalid request body")
    wanted = body.get(by_id), body.get(by_email, "").lower()
    if not any(wanted):
        return None
    for member in SEED["ticket_members"]:
        if wanted in ((member["id"], ""), (None, member["email"])):
            return dict(member)
    raise ApiError(422, code, "There is no such team member")


def _checked_changes(call: Call) -> dict[str, Any]:
    """Return what a body sets on a ticket; it is checked as a whole before anything is written."""
    body = call.body
    if "statusId" in body and "statusCategory" in body:
        raise invalid({"statusId": "At most one of statusId and statusCategory"}, "Invalid request body")
    changes = {name: body[name] for name in ("priority", "teamId") if name in body}
    for name, key in (("statusId", "id"), ("statusCategory", "category")):
        if name in body:
            status = _status(key, body[name])
            changes |= {"statusId": status["id"], "statusCategory": status["category"]}
    if "assigneeId" in body or "assigneeEmail" in body:
        member = _member(call, "assigneeId", "assigneeEmail", "TICKET_TEAM_MEMBER_NOT_FOUND")
        changes["assigneeId"] = member and member["id"]
    if changes.get("teamId") and changes["teamId"] not in {team["id"] for team in SEED["ticket_teams"]}:
        raise ApiError(422, "TICKET_TEAM_NOT_FOUND", "The team is not one of this agent")
    return changes


def _add_message(call: Call, number: int, sender: dict[str, Any], text: str) -> dict[str, Any]:
    message = {
        "id": call.world.store.new_id("tm"),
        "type": "reply",
        "sender": sender,
        "content": f"<p>{text}</p>",
        "contentText": text,
        "attachments": [],
        "createdAt": iso(call.now),
    }
    call.agent.ticket_messages[number].append(message)
    call.agent.tickets[number].update(updatedAt=message["createdAt"], lastMessageAt=message["createdAt"])
    return message


@operation("listWhatsAppTemplates")
def list_templates(_call: Call) -> Any:
    found = SEED["whatsapp"]
    approved = [each for each in found["templates"] if each["status"] == "APPROVED"]
    return {"templates": approved, "complete": True, "unavailableWabaIds": [], "senders": found["senders"]}


@operation("sendWhatsAppTemplateMessage")
def send_template(call: Call) -> Any:
    """Send a template; what the user answers goes on in the conversation. Twice asked is twice sent."""
    body, digits = call.body, re.sub(r"\D", "", call.body["to"])
    sender = _sender(body.get("from"))
    if not 8 <= len(digits) <= 15:
        raise ApiError(422, "RECIPIENT_INVALID", "The recipient is no international number")
    template = _template(body["template"], sender["wabaId"])
    text = f"[{template['name']}] {' '.join(_values(template, body['template'].get('variables', {})))}"
    if digits.endswith(SEED["whatsapp"]["unreachable"]):
        raise ApiError(422, "RECIPIENT_NOT_REACHABLE", "The recipient is not on WhatsApp")
    conversation_id = _told_on_whatsapp(call, digits, template["name"], text)
    sent = {"to": digits, "template": template["name"], "language": template["language"], "text": text}
    message_id = f"wamid.{call.world.store.new_id('m')}"
    call.world.store.templates_sent.append(
        {"agentId": call.agent.id, **sent, "messageId": message_id, "conversationId": conversation_id}
    )
    return ServedReply(201, {"messageId": message_id, "conversationId": conversation_id, "to": digits})


def _sender(wanted: str | None) -> dict[str, Any]:
    senders = SEED["whatsapp"]["senders"]
    if wanted is None and len(senders) > 1:
        raise ApiError(400, "PHONE_NUMBER_REQUIRED", "Several numbers are connected: give from")
    digits = re.sub(r"\D", "", wanted or senders[0]["from"])
    for sender in senders:
        if re.sub(r"\D", "", sender["from"]) == digits:
            return dict(sender)
    raise not_found("PHONE_NUMBER_NOT_FOUND", "Number")


def _values(template: dict[str, Any], given: dict[str, dict[str, str]]) -> list[str]:
    wanted = [(part, key) for part, keys in template["variables"].items() for key in keys]
    missing = [f"{part}[{key}]" for part, key in wanted if key not in given.get(part, {})]
    if missing:
        raise _refused("MISSING_TEMPLATE_VARIABLES", "missing", ", ".join(missing))
    values = {f"{part}[{key}]": given[part][key] for part, key in wanted}
    bad = [name for name, value in values.items() if not value or _BAD_VARIABLE.search(value)]
    if bad:
        raise _refused("INVALID_TEMPLATE_VARIABLES", "invalid", ", ".join(bad))
    return list(values.values())


def _told_on_whatsapp(call: Call, number: str, title: str, text: str) -> str:
    """Append to the number's conversation, unless people have taken it over or it has ended."""
    store, agent = call.world.store, call.agent
    earlier = [
        each["conversationId"]
        for each in store.templates_sent
        if (each["agentId"], each["to"]) == (agent.id, number)
    ]
    conversation = agent.conversations.by_id.get(earlier[-1]) if earlier else None
    if conversation is None:
        conversation = store.start_conversation(
            agent, user_id=None, title=title, source="WhatsApp", created_by_v2=False
        )
    if conversation.status not in ("taken_over", "ended"):
        add_message(call.world, agent, conversation, ROLE_ASSISTANT, text)
    return conversation.id


def _template(wanted: dict[str, Any], waba_id: str) -> dict[str, Any]:
    found = [
        each
        for each in SEED["whatsapp"]["templates"]
        if (each["name"], each["wabaId"]) == (wanted["name"], waba_id)
        and wanted.get("language") in {None, each["language"]}
    ]
    approved = [each for each in found if each["status"] == "APPROVED"]
    if not found:
        raise not_found("TEMPLATE_NOT_FOUND", "Template")
    if not approved:
        raise _refused("TEMPLATE_NOT_APPROVED", "status", found[0]["status"], status=409)
    if len(approved) > 1:
        raise ApiError(400, "TEMPLATE_LANGUAGE_REQUIRED", "The template exists in several languages")
    return dict(approved[0])


def _refused(code: str, name: str, reason: str, status: int = 422) -> ApiError:
    return ApiError(status, code, f"The template cannot be sent: {name}", details={name: reason})
