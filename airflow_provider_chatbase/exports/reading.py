"""What can be exported: how each listing of the API is asked for, and which conversations changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, TypeVar

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import (
    ChatbaseInputError,
    ChatbaseNotFoundError,
    ChatbasePermissionError,
    ChatbasePlanError,
    ChatbaseReplyError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.question import AGENT_NOT_FOUND
from airflow_provider_chatbase.client.replies import Page, PageWalk
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v1 import get_conversations, get_leads, list_contacts
from airflow_provider_chatbase.client.v2.conversations import export_conversations, search_conversations
from airflow_provider_chatbase.client.v2.tickets import list_tickets
from airflow_provider_chatbase.exports.rows import created_at, updated_at
from airflow_provider_chatbase.exports.window import Window, floor_day, read_moment

Result = TypeVar("Result")

ATTEMPTS_AT_A_PAGE = 4

DAYS_IN_PART, DAYS_OF_LEADS_IN_PART = 14, 366
"""How long a part may be where no total says how much is in it: a part is held in memory."""

SEARCH_LAG = timedelta(minutes=5)
"""How much later than it happened a change may appear in the search; the window is begun earlier by it."""


CHANNELS = (
    *("API", "WhatsApp", "Messenger", "Instagram", "Slack", "Salesforce", "Zendesk", "Zendesk Messaging"),
    *("Chatbase site", "Playground", "Action preview", "Qna preview", "Widget or Iframe", "Center stage"),
    *("Search", "Iframe", "Email", "Agent page", "Phone", "Android SDK", "iOS SDK", "Unspecified"),
)
"""The channels that Chatbase documents; there may be more."""


def check_channels(channels: Any) -> tuple[str, ...]:
    """Refuse what is no list of channels, or a name that is almost one: no conversation would be found."""
    given = channels or ()
    if isinstance(given, str) or not all(isinstance(each, str) for each in given):
        raise ChatbaseInputError(f"channels must be a list of names, not {channels!r}.")
    names = {name.lower(): name for name in CHANNELS}
    for each in given:
        near = get_close_matches(each.strip().lower(), names, n=1, cutoff=0.85)
        if near and each not in CHANNELS:
            raise ChatbaseInputError(
                f"channels: {each!r} is no channel, but {names[near[0]]!r} is, and names are exact. "
                "Nothing was exported."
            )
    return tuple(given)


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing of the API."""

    client: AsyncChatbaseClient
    operation: str
    page_request: Callable[[Window], Request[Page]]  # for a window's objects, and perhaps others
    moment: Callable[[JsonObject], Any]  # the time by which an object belongs to a window
    says_total: bool = False
    can_be_cut: bool = False  # newest first; any part of a window comes alone, with how many are in it
    most_days: int | None = None  # how long a part may be; where it can be cut, that is found while reading
    whole: Callable[[JsonObject, Window], Awaitable[JsonObject]] | None = (
        None  # where a list is not all of it
    )

    async def pages(self, window: Window) -> AsyncIterator[Page]:
        """Walk over the pages that hold a window's objects, and perhaps others."""
        async for page in follow(self.client, PageWalk(self.page_request(window))):
            if self.whole is None:
                yield page
            else:
                yield replace(page, items=await all_of(self.whole(item, window) for item in page.items))
            del page  # it may have megabytes, and the next one is on its way

    def first_parts(self, window: Window, concurrency: int) -> list[Window]:
        """Cut a window into what is walked over at the same time from the beginning."""
        return split_by_days(window, concurrency, self.most_days) if self.most_days else [window]


def first_page(kind: str, agent_id: str, api_version: str) -> Request[Page]:
    """Return a small request for what is to be exported; its reply tells the server's time."""
    if kind == "leads":
        return get_leads(agent_id)
    if kind == "contacts":
        return list_contacts(agent_id)
    if kind == "tickets":
        return list_tickets(agent_id, limit=1)
    if api_version == "v1":
        return get_conversations(agent_id)
    return export_conversations(agent_id, summary=True, limit=1)


async def follow(client: AsyncChatbaseClient, walk: PageWalk) -> AsyncIterator[Page]:
    """Walk over pages, asking again for one that came damaged."""
    while (request := walk.next_request()) is not None:
        page = await send_steadily(client, request)
        walk.take(page)
        yield page
        del page  # it may have megabytes, and the next one is on its way


async def send_steadily(client: AsyncChatbaseClient, request: Request[Result]) -> Result:
    """Send a request that only reads; a proxy's page instead of the reply is no reason to give up at once."""
    for _ in range(ATTEMPTS_AT_A_PAGE - 1):
        try:
            return await client.send(request)
        except ChatbaseReplyError:
            continue
    return await client.send(request)


def conversations_v2(
    client: AsyncChatbaseClient, agent_id: str, channels: Sequence[str], summary: bool
) -> Listing:
    """Return the conversations as API v2 exports them; what is created at a window's end comes too."""

    def page_request(window: Window) -> Request[Page]:
        return export_conversations(
            agent_id, start=window.start, end=window.end, sources=channels, summary=summary
        )

    return Listing(client, "exportConversations", page_request, created_at, says_total=True, can_be_cut=True)


def conversations_v1(client: AsyncChatbaseClient, agent_id: str, channels: Sequence[str]) -> Listing:
    """Return the conversations as API v1 lists them."""

    def page_request(window: Window) -> Request[Page]:
        first, last = _days(window)
        return get_conversations(agent_id, first_day=first, last_day=last, sources=channels)

    return Listing(client, "getConversations", page_request, created_at, most_days=DAYS_IN_PART)


def leads(client: AsyncChatbaseClient, agent_id: str) -> Listing:
    """Return the leads."""

    def page_request(window: Window) -> Request[Page]:
        first, last = _days(window)
        return get_leads(agent_id, first_day=first, last_day=last)

    return Listing(client, "getLeads", page_request, created_at, most_days=DAYS_OF_LEADS_IN_PART)


def contacts(client: AsyncChatbaseClient, agent_id: str) -> Listing:
    """Return the contacts; the API lists all of them, and a window picks those that changed in it."""
    return Listing(
        client, "listContacts", lambda _window: list_contacts(agent_id), changed_at, says_total=True
    )


def changed_at(item: JsonObject) -> Any:
    """Return when an object last changed, or was created."""
    return updated_at(item) or created_at(item)


async def all_of(work: Iterable[Awaitable[Result]]) -> list[Result]:
    """Do several things at once; when one fails, stop the others and raise its error."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def read_one(
    client: AsyncChatbaseClient,
    agent_id: str,
    conversation_id: str,
    channels: Sequence[str],
    summary: bool,
) -> list[JsonObject]:
    """Read a single conversation, whatever its channel; nothing comes of one that is gone."""
    request = export_conversations(
        agent_id, conversation_id=conversation_id, sources=channels, summary=summary
    )
    try:
        return (await send_steadily(client, request)).items
    except ChatbaseNotFoundError as error:
        if error.code == AGENT_NOT_FOUND:
            raise
        return []


def _days(window: Window) -> tuple[date, date]:
    last = window.end - timedelta(seconds=1)
    return window.start.date(), last.date()


def split_by_days(window: Window, most_pieces: int, most_days: int) -> list[Window]:
    """Cut a window at midnights, for an API that knows only days."""
    days = (window.end - floor_day(window.start)).days + 1
    step = timedelta(days=max(1, min(-(-days // most_pieces), most_days)))
    cuts = [window.start]
    while (cut := floor_day(cuts[-1]) + step) < window.end:
        cuts.append(cut)
    return [Window(*bounds) for bounds in pairwise([*cuts, window.end])][::-1]


async def changed_since(
    client: AsyncChatbaseClient, agent_id: str, window: Window, channels: Sequence[str]
) -> list[str]:
    """Find the conversations whose last activity lies in a window."""
    begin = window.start - SEARCH_LAG
    request = search_conversations(agent_id, updated_after=begin, sources=channels)
    found: dict[str, JsonObject] = {}
    try:
        async for page in follow(client, PageWalk(request)):
            found |= {str(item.get("id")): item for item in page.items}
    except (ChatbasePlanError, ChatbasePermissionError, ChatbaseUnsupportedError) as error:
        raise _no_search(error) from error
    except ChatbaseNotFoundError as error:
        if error.code == AGENT_NOT_FOUND:
            raise
        raise _no_search(error) from error
    changed = [item for item in found.values() if Window(begin, window.end).holds(updated_at(item))]
    return [str(item.get("id")) for item in sorted(changed, key=_newest_first)]


def _newest_first(item: JsonObject) -> tuple[float, str]:
    at = read_moment(created_at(item))
    return -at.timestamp() if at else 0.0, str(item.get("id"))


def _no_search(error: Exception) -> ChatbaseUnsupportedError:
    return ChatbaseUnsupportedError(
        f"strategy='changed_since' needs the search of API v2, and it cannot be used here: {error} "
        "Use strategy='lookback', which reads the last days again and needs no search. Nothing was exported.",
        operation="searchConversations",
    )
