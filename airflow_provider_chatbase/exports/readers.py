"""What can be exported: how each listing of the API is cut, asked for, and filtered to a window."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseReplyError
from airflow_provider_chatbase.client.paging import NumberedWalk, PageWalk, Walk
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v1 import get_conversations, get_leads, list_contacts
from airflow_provider_chatbase.client.v2.conversations import export_conversations
from airflow_provider_chatbase.exports.rows import created_at, updated_at
from airflow_provider_chatbase.exports.splitting import split_by_days
from airflow_provider_chatbase.exports.window import Window

ATTEMPTS_AT_A_PAGE = 4

DAYS_IN_PART, DAYS_OF_LEADS_IN_PART = 14, 366
"""How long a part may be where no total says how much is in it: a part is held in memory."""


class Reader(Protocol):
    """A listing of the API."""

    @property
    def operation(self) -> str:
        """Its name in the API."""

    @property
    def says_total(self) -> bool:
        """Whether its replies say how many there are."""

    @property
    def keeps_order(self) -> bool:
        """Whether it promises an order, newest first."""

    @property
    def can_be_cut(self) -> bool:
        """Whether it brings any part of a window without the rest, and says how many are in it."""

    @property
    def moment(self) -> Callable[[JsonObject], Any]:
        """Return the time by which an object belongs to a window."""

    def pages(self, window: Window) -> AsyncIterator[Page]:
        """Walk over the pages that hold a window's objects, and perhaps others."""

    def first_parts(self, window: Window, concurrency: int) -> list[Window]:
        """Cut a window where its total is not known."""


async def follow(client: AsyncChatbaseClient, walk: Walk) -> AsyncIterator[Page]:
    """Walk over pages, asking again for one that came damaged."""
    while (request := walk.next_request()) is not None:
        page = await send_steadily(client, request)
        walk.take(page)
        yield page


async def send_steadily(client: AsyncChatbaseClient, request: Request[Page]) -> Page:
    """Send a request that only reads; a proxy's page instead of the reply is no reason to give up at once."""
    for _ in range(ATTEMPTS_AT_A_PAGE - 1):
        try:
            return await client.send(request)
        except ChatbaseReplyError:
            continue
    return await client.send(request)


@dataclass(frozen=True, slots=True)
class ConversationsV2:
    """
    ``exportConversations`` of API v2: newest first, by cursor, with a total.

    :param client: the client.
    :param agent_id: the agent.
    :param channels: only these; all when empty.
    :param summary: without messages.
    """

    client: AsyncChatbaseClient
    agent_id: str
    channels: Sequence[str] = ()
    summary: bool = False
    operation: str = "exportConversations"
    says_total: bool = True
    keeps_order: bool = True
    can_be_cut: bool = True

    @property
    def moment(self) -> Callable[[JsonObject], Any]:
        """See :meth:`Reader.moment`."""
        return created_at

    def pages(self, window: Window) -> AsyncIterator[Page]:
        """See :meth:`Reader.pages`. The API's end is inclusive: it brings what is created at our end too."""
        return follow(self.client, PageWalk(self._request(window)))

    async def probe(self, window: Window) -> Page:
        """Ask how many there are, cheaply."""
        request = self._request(window).with_query(limit=1, include="summary")
        return await send_steadily(self.client, request)

    def first_parts(self, window: Window, _concurrency: int) -> list[Window]:
        """See :meth:`Reader.first_parts`; parts are cut by the total here."""
        return [window]

    async def one(self, conversation_id: str) -> list[JsonObject]:
        """Read a single conversation, whatever its channel."""
        request = export_conversations(
            self.agent_id, conversation_id=conversation_id, sources=self.channels, summary=self.summary
        )
        return (await send_steadily(self.client, request)).items

    def _request(self, window: Window) -> Request[Page]:
        return export_conversations(
            self.agent_id, start=window.start, end=window.end, sources=self.channels, summary=self.summary
        )


@dataclass(frozen=True, slots=True)
class NumberedListing:
    """
    A listing of API v1: by page number, filtered by days at best.

    :param client: the client.
    :param operation: its name in the API.
    :param page_request: makes the request for a page of a window.
    :param moment: the time by which an object belongs to a window.
    :param says_total: whether its replies say how many there are.
    :param most_days: how long a part may be; ``None`` where the API does not filter by day.
    """

    client: AsyncChatbaseClient
    operation: str
    page_request: Callable[[Window, int], Request[Page]]
    moment: Callable[[JsonObject], Any]
    says_total: bool = False
    most_days: int | None = DAYS_IN_PART
    keeps_order: bool = False
    can_be_cut: bool = False

    def pages(self, window: Window) -> AsyncIterator[Page]:
        """See :meth:`Reader.pages`."""
        return follow(self.client, NumberedWalk(lambda number: self.page_request(window, number)))

    def first_parts(self, window: Window, concurrency: int) -> list[Window]:
        """See :meth:`Reader.first_parts`."""
        return split_by_days(window, concurrency, self.most_days) if self.most_days else [window]


def conversations_v1(client: AsyncChatbaseClient, agent_id: str, channels: Sequence[str]) -> NumberedListing:
    """Return the conversations as API v1 lists them."""

    def page_request(window: Window, number: int) -> Request[Page]:
        first, last = _days(window)
        return get_conversations(agent_id, first_day=first, last_day=last, sources=channels, page=number)

    return NumberedListing(client, "getConversations", page_request, created_at)


def leads(client: AsyncChatbaseClient, agent_id: str) -> NumberedListing:
    """Return the leads."""

    def page_request(window: Window, number: int) -> Request[Page]:
        first, last = _days(window)
        return get_leads(agent_id, first_day=first, last_day=last, page=number)

    return NumberedListing(client, "getLeads", page_request, created_at, most_days=DAYS_OF_LEADS_IN_PART)


def contacts(client: AsyncChatbaseClient, agent_id: str) -> NumberedListing:
    """Return the contacts; the API lists all of them, and a window picks those that changed in it."""
    return NumberedListing(
        client,
        "listContacts",
        lambda _window, number: list_contacts(agent_id, page=number),
        lambda item: updated_at(item) or created_at(item),
        says_total=True,
        most_days=None,
    )


def _days(window: Window) -> tuple[Any, Any]:
    last = window.end - timedelta(seconds=1)
    return window.start.date(), last.date()
