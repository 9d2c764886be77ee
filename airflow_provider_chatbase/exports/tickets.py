"""The tickets of a help desk as a listing to export: each one of a window whole, with its messages."""

from __future__ import annotations

import asyncio
import logging

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError
from airflow_provider_chatbase.client.question import AGENT_NOT_FOUND
from airflow_provider_chatbase.client.replies import Page, PageWalk
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v2.tickets import get_ticket, list_ticket_messages, list_tickets
from airflow_provider_chatbase.exports import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.parallel import MOST_WALKS
from airflow_provider_chatbase.exports.reading import Listing, changed_at, follow, send_steadily
from airflow_provider_chatbase.exports.window import Window

log = logging.getLogger(__name__)

LAST_CHANGED_LAST = {"sortBy": "updatedAt", "order": "asc", "includeTotal": "true"}
MESSAGE_TYPES = ("reply", "note", "event")


def tickets(client: AsyncChatbaseClient, agent_id: str, *, summary: bool, at_once: int) -> Listing:
    """
    Return the tickets, the last changed last, by a cursor that is bound to that order.

    The API cannot filter by the last change, so all are listed, and those of the window are read whole. One
    that changes meanwhile moves to the end, and belongs to the next window.
    """
    slots = asyncio.Semaphore(max(at_once, 1))

    async def whole(item: JsonObject, window: Window) -> JsonObject:
        if not window.holds(changed_at(item)):
            return item
        number = item["ticketNumber"]
        try:
            async with slots:
                found = await send_steadily(client, get_ticket(agent_id, number))
                if summary or not window.holds(changed_at(found)):
                    return found
                return {**found, "messages": await _messages(client, agent_id, number)}
        except ChatbaseNotFoundError as error:
            if error.code == AGENT_NOT_FOUND:
                raise
            log.info("Ticket %s was deleted after it was listed.", number)
            return item

    def page_request(_window: Window) -> Request[Page]:
        return list_tickets(agent_id, filters=LAST_CHANGED_LAST)

    return Listing(client, "listTickets", page_request, changed_at, says_total=True, whole=whole)


async def _messages(client: AsyncChatbaseClient, agent_id: str, number: int) -> list[JsonObject]:
    """Read all messages of a ticket, again where fewer come than the API counts."""
    found: dict[str, JsonObject] = {}
    total = 0
    for _ in range(MOST_WALKS):
        request = list_ticket_messages(agent_id, number, types=MESSAGE_TYPES)
        async for page in follow(client, PageWalk(request)):
            found |= {str(each.get("id")): each for each in page.items}
            total = page.total or 0
        if len(found) >= total:
            return list(found.values())
    raise ChatbaseIncompleteExportError(
        f"The export is not complete: the API counts {total} messages in ticket {number}, and {len(found)} "
        f"arrived in {MOST_WALKS} walks. Nothing was exported; run the task again, and report it to Chatbase "
        "if it stays.",
        operation="listTicketMessages",
    )
