"""The help desk: its tickets and their messages, statuses and teams. What is new is made once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseDamagedReplyError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseTimeoutError,
)
from airflow_provider_chatbase.client.replies import Page, PageWalk, bare_object, identified, listed, page
from airflow_provider_chatbase.client.request import (
    Json,
    JsonObject,
    Pause,
    Request,
    Steps,
    require_object,
    require_page_limit,
    require_text,
    segment,
    timestamp,
)

log = logging.getLogger(__name__)

SUBJECT_LENGTH, TEXT_LENGTH = 500, 10_000
MOST_FOUND = 50
HIGHEST_NUMBER = 2_147_483_647
EITHER = (("statusId", "statusCategory"), ("assigneeId", "assigneeEmail"))
"""Two names of one thing each, of which the API takes one."""

PATIENCE, PATIENCE_AFTER_TIMEOUT = 15.0, 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
MOST_SENDS = 3
CLOCK_SKEW = timedelta(minutes=2)


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
    return Request("listTickets", "GET", f"{_helpdesk(agent_id)}/tickets", page, query=query)


def search_tickets(agent_id: str, query: str, *, limit: int = MOST_FOUND) -> Request[Page]:
    """Search the messages of tickets, the best match first, in one page: ``searchTickets``."""
    body = {
        "query": require_text("query", query, longest=512),
        "limit": require_page_limit(limit, MOST_FOUND),
    }
    return Request("searchTickets", "POST", f"{_helpdesk(agent_id)}/tickets/search", page, body=body)


def get_ticket(agent_id: str, ticket_number: int) -> Request[JsonObject]:
    """Get a ticket with its description: ``getTicket``."""
    return Request("getTicket", "GET", ticket_path(agent_id, ticket_number), bare_object)


def list_ticket_messages(
    agent_id: str,
    ticket_number: int,
    *,
    types: Sequence[str] = (),
    newest_first: bool = False,
    limit: int = 100,
) -> Request[Page]:
    """List a ticket's messages: ``listTicketMessages``."""
    query = {
        "limit": require_page_limit(limit, 100),
        "types": ",".join(types) or None,
        "order": "desc" if newest_first else "asc",
    }
    path = f"{ticket_path(agent_id, ticket_number)}/messages"
    return Request("listTicketMessages", "GET", path, page, query=query)


def list_ticket_statuses(agent_id: str) -> Request[Page]:
    """List the statuses that tickets can have: ``listTicketStatuses``."""
    return Request("listTicketStatuses", "GET", f"{_helpdesk(agent_id)}/ticket-statuses", listed)


def list_teams(agent_id: str) -> Request[Page]:
    """List the teams of the help desk: ``listHelpdeskTeams``."""
    return Request("listHelpdeskTeams", "GET", f"{_helpdesk(agent_id)}/teams", listed)


def update_ticket(agent_id: str, ticket_number: int, changes: JsonObject) -> Request[JsonObject]:
    """Change a ticket's status, assignee, team or priority: ``updateTicket``. A repeat completes a half."""
    body = _checked(changes)
    if not body:
        raise ChatbaseInputError("changes is empty: there is nothing to change. Nothing was sent.")
    return Request("updateTicket", "PATCH", ticket_path(agent_id, ticket_number), bare_object, body=body)


def create_ticket(
    agent_id: str, ticket: JsonObject, *, unless_made_since: datetime | None = None
) -> Steps[JsonObject]:
    """Make a ticket once, or return the equal one made since a time: ``createTicket``."""
    body = _checked(ticket)
    require_text("subject", body.get("subject"), longest=SUBJECT_LENGTH)
    require_text("description", body.get("description"), longest=TEXT_LENGTH)
    email = require_text("email", require_object("customer", body.get("customer")).get("email"))
    request = Request(
        "createTicket", "POST", f"{_helpdesk(agent_id)}/tickets", bare_object, body=body, repeatable=False
    )

    def is_same(found: JsonObject) -> bool:
        customer = found.get("customer") or {}
        return (
            str(customer.get("email")).lower() == email.strip().lower()
            and _same_text(found.get("subject"), body["subject"])
            and ("description" not in found or _same_text(found["description"], body["description"]))
        )

    listing = list_tickets(agent_id, filters={"sortBy": "createdAt", "order": "desc"})
    whole = partial(_whole_ticket, agent_id)
    return _once(_Wanted(request, listing, is_same, whole), unless_made_since)


def _whole_ticket(agent_id: str, found: JsonObject) -> Request[JsonObject]:
    return get_ticket(agent_id, found["ticketNumber"])


def reply_to_ticket(
    agent_id: str,
    ticket_number: int,
    content: str,
    author: Mapping[str, str],
    *,
    unless_made_since: datetime | None = None,
) -> Steps[JsonObject]:
    """Reply to a ticket's customer once, or return the equal reply since a time: ``createTicketMessage``."""
    require_text("content", content.strip() if isinstance(content, str) else content, longest=TEXT_LENGTH)
    if len(author) != 1:
        raise ChatbaseInputError("Give author_id or author_email, one of the two. Nothing was sent.")
    ((by, who),) = author.items()
    body = {"type": "reply", "content": content, by: require_text(by, who)}
    path = f"{ticket_path(agent_id, ticket_number)}/messages"
    request = Request("createTicketMessage", "POST", path, identified, body=body, repeatable=False)

    def is_same(found: JsonObject) -> bool:
        sender = found.get("sender") or {}
        wrote = sender.get("id" if by == "authorId" else "email")
        is_author = sender.get("type") == "agent" and str(wrote).lower() == who.lower()
        return is_author and _same_text(found.get("contentText"), content)

    listing = list_ticket_messages(agent_id, ticket_number, types=("reply",), newest_first=True)
    return _once(_Wanted(request, listing, is_same), unless_made_since)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be made once, and how to know it again."""

    request: Request[JsonObject]
    newest_first: Request[Page]  # where it is listed
    is_same: Callable[[JsonObject], bool]
    whole: Callable[[JsonObject], Request[JsonObject]] | None = None  # where the listing leaves some out


def _once(wanted: _Wanted, since: datetime | None) -> Steps[JsonObject]:
    """Make something; before it is sent again, and where it may be there already, it is looked for."""
    operation = wanted.request.operation
    if since is not None:
        timestamp("unless_made_since", since)  # refuses one without a time zone
        made = yield from _find(wanted, since - CLOCK_SKEW)
        if made is not None:
            log.info("%s: an earlier try made it, and it is not made again.", operation)
            return made
    known: Page = yield wanted.newest_first.with_query(limit=1)
    for sends_left in reversed(range(MOST_SENDS)):
        try:
            sent: JsonObject = yield wanted.request
        except ChatbaseError as error:
            if not error.ambiguous:
                raise
            made = yield from _look(error, wanted, known.items)
            if made is not None:
                log.info("%s had been done.", operation)
                return made
            if not sends_left:
                raise
            log.warning("%s had not arrived; it is sent again.", operation)
        else:
            return sent
    raise RuntimeError("The last send returns or raises.")


def _look(error: ChatbaseError, wanted: _Wanted, known: list[JsonObject]) -> Steps[JsonObject | None]:
    """Return what was made all the same, or ``None`` when it is sure enough that it was not."""
    log.warning("It is unknown whether %s was done; looking for it: %s", wanted.request.operation, error)
    earliest = _made_at(known[0]) if known else None
    patience = PATIENCE_AFTER_TIMEOUT if isinstance(error, ChatbaseTimeoutError) else PATIENCE
    give_up_at, pause = time.monotonic() + patience, FIRST_PAUSE
    while True:
        try:
            made = yield from _find(wanted, earliest, known)
        except ChatbaseError as failed:
            raise _unknown(error, f"looking for it failed ({failed})") from failed
        if made is not None:
            return made
        if time.monotonic() >= give_up_at:
            break
        yield Pause(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    if isinstance(error, ChatbaseDamagedReplyError):
        raise _unknown(error, "a reply had begun, so it is there, though it is not shown yet") from error
    return None


def _unknown(error: ChatbaseError, why: str) -> ChatbaseAmbiguousError:
    return ChatbaseAmbiguousError(
        f"{error} It is unknown whether it was done, and it is not sent again, as a customer would get it "
        f"twice: {why}. Look into the help desk before you run it again.",
        operation=error.operation,
    )


def _find(
    wanted: _Wanted, earliest: datetime | None, known: Sequence[JsonObject] = ()
) -> Steps[JsonObject | None]:
    """Look among what is not older than a time, nor what was the newest before."""
    walk = PageWalk(wanted.newest_first)
    while (request := walk.next_request()) is not None:
        found: Page = yield request
        walk.take(found)
        for each in found.items:
            if earliest is not None and _made_at(each) < earliest:
                return None
            if wanted.is_same(each) and not any(_key(each) == _key(one) for one in known):
                made = each if wanted.whole is None else (yield wanted.whole(each))
                if wanted.is_same(made):
                    return made
    return None


def _key(made: JsonObject) -> Json:
    return made.get("id", made.get("ticketNumber"))


def _made_at(made: JsonObject) -> datetime:
    return datetime.fromisoformat(made["createdAt"])


def _same_text(found: Json, sent: str) -> bool:
    return isinstance(found, str) and found.strip() == sent.strip()


def _checked(given: JsonObject) -> JsonObject:
    body = require_object("ticket", given)
    for names in EITHER:
        if all(name in body for name in names):
            raise ChatbaseInputError(f"Give {' or '.join(names)}, one of the two. Nothing was sent.")
    return body


def _helpdesk(agent_id: str) -> str:
    return f"/agents/{segment('agent_id', agent_id)}/helpdesk"


def ticket_path(agent_id: str, ticket_number: int) -> str:
    """Return the path of a ticket."""
    is_number = isinstance(ticket_number, int) and not isinstance(ticket_number, bool)
    if not is_number or not 1 <= ticket_number <= HIGHEST_NUMBER:
        raise ChatbaseInputError(
            f"ticket_number must be a whole number from 1, not {ticket_number!r}. Nothing was sent."
        )
    return f"{_helpdesk(agent_id)}/tickets/{ticket_number}"
