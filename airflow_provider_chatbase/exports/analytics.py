"""
An agent's days: what Chatbase counted on each of them, out of an answer whose names no document shows.

A range of seven whole days comes as seven buckets, one a day, in that order. What has a date of its own, such
as credits, belongs to that day. Everything else is of the whole range, and of no day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import Page, UnexpectedShapeError, bare_object, listed
from airflow_provider_chatbase.client.request import Json, JsonObject, Request
from airflow_provider_chatbase.client.v2.agents import get_analytics
from airflow_provider_chatbase.exports.reading import Listing, split_by_days
from airflow_provider_chatbase.exports.rows import created_at
from airflow_provider_chatbase.exports.window import Window, floor_day, in_utc, look_back, read_moment

BUCKETS = 7
WEEK = timedelta(days=BUCKETS)
KEPT_MONTHS = 12

_DATED = re.compile(r"date|day|start|from|begin|time|bucket|period", re.IGNORECASE)
_EARLIEST = datetime(2015, 1, 1, tzinfo=UTC)

Entry = tuple[str, Any]
"""A path in the answer, and the number that is there."""


class Days(Listing):
    """The days of an agent, seven at a time."""

    def first_parts(self, window: Window, _concurrency: int) -> list[Window]:
        """Cut a window into weeks, and the days that are left."""
        return split_by_days(window, 1, BUCKETS)


def days(client: AsyncChatbaseClient, agent_id: str) -> Days:
    """Return the days of an agent."""
    return Days(client, "getAgentAnalytics", lambda window: week_request(agent_id, window), created_at)


def week_request(agent_id: str, window: Window) -> Request[Page]:
    """Ask for seven whole days that hold the window; a part of them may lie beyond it."""
    start = floor_day(window.start)
    if start + WEEK > window.end and window.end - WEEK >= oldest(window.end):
        start = window.end - WEEK
    asked = get_analytics(agent_id, {"startDate": in_utc(start), "endDate": in_utc(start + WEEK)})

    def read(reply: Json) -> Page:
        return listed(days_of(bare_object(reply), start.date()))

    return Request(asked.operation, asked.method, asked.path, read, query=asked.query)


def oldest(now: datetime) -> datetime:
    """Return the first moment that Chatbase still counts: the 1st of the month 12 months back."""
    months = now.year * 12 + now.month - 1 - KEPT_MONTHS
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def days_of(reply: JsonObject, first: date) -> list[JsonObject]:
    """Return seven days, each with what the answer counts on it, by the path at which it stands there."""
    asked = [first + timedelta(days=number) for number in range(BUCKETS)]
    counted: dict[date, dict[str, Any]] = {day: {} for day in asked}
    mentions_credits, has_buckets = False, False
    for path, day, value in _by_day(reply.get("data", reply), asked):
        mentions_credits = mentions_credits or "credit" in path.lower()
        has_buckets = has_buckets or day is not None
        if day in counted:
            counted[day][path] = value
    if not has_buckets:
        raise UnexpectedShapeError(
            f"counts for seven buckets or by date were promised, and none came for {asked[0]} to {asked[-1]}"
        )
    return [
        {
            "id": day.isoformat(),
            "createdAt": in_utc(datetime(day.year, day.month, day.day, tzinfo=UTC)),
            "updatedAt": in_utc(floor_day(datetime.now(UTC))),  # of two readings, the later one counts
            "credits": _credits(found, mentions_credits=mentions_credits),
            "counts": found,
        }
        for day, found in counted.items()
    ]


def _credits(counts: dict[str, Any], *, mentions_credits: bool) -> float | None:
    """Return what was spent; a day without an entry has cost nothing, where the answer has credits at all."""
    spent = [value for path, value in counts.items() if "credit" in path.lower()]
    return sum(spent) if mentions_credits else None


def _by_day(value: Json, asked: list[date], path: str = "") -> Iterator[tuple[str, date | None, Any]]:
    """Find what belongs to a day; a path without one is told with ``None``."""
    if isinstance(value, dict):
        for name, each in value.items():
            if (day := _day(name)) is not None:
                for under, number in _numbers(each, path):
                    yield under, day, number
            else:
                yield f"{path}.{name}".lstrip("."), None, None
                yield from _by_day(each, asked, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for day, each in zip(_days_of_list(value, asked, path), value, strict=False):
            for under, number in _numbers(each, path):
                yield under, day, number


def _days_of_list(values: list[Any], asked: list[date], path: str) -> list[date]:
    """Say which day each element of a list is of: by its own date, or by its place among seven."""
    own = [_own_day(each) for each in values]
    if values and None not in own:
        found = [day for day in own if day is not None]
        if len(values) == BUCKETS and len({day for day in found if day in asked}) < BUCKETS - 1:
            raise UnexpectedShapeError(
                f"the seven buckets of {path!r} are of {found[0]} to {found[-1]}, and {asked[0]} to "
                f"{asked[-1]} were asked for"
            )
        return found
    return asked if len(values) == BUCKETS else []


def _own_day(element: Any) -> date | None:
    if not isinstance(element, dict):
        return None
    for name, value in element.items():
        if _DATED.search(name) and (day := _day(value)) is not None:
            return day
    return None


def _day(value: Any) -> date | None:
    """Read a date, a time, or seconds since the epoch."""
    if isinstance(value, str) and not re.match(r"\d{4}-\d{2}-\d{2}", value):
        return None
    at = read_moment(value)
    return at.date() if at is not None and at >= _EARLIEST else None


def _numbers(value: Any, path: str) -> Iterator[Entry]:
    """Walk over the numbers in a day's element; its own date is none of them."""
    if isinstance(value, dict):
        for name, each in value.items():
            if not (_DATED.search(name) and _day(each) is not None):
                yield from _numbers(each, f"{path}.{name}".lstrip("."))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def kept_days(window: Window, lookback: timedelta) -> Window:
    """Move a window's start back as far as Chatbase counts; refuse one that begins before that."""
    first = oldest(datetime.now(UTC))
    if window.start < first:
        raise ChatbaseInputError(
            f"Chatbase counts the last {KEPT_MONTHS} months, since {in_utc(first)}, and the window begins at "
            f"{in_utc(window.start)}. Give a later start. Nothing was exported."
        )
    return Window(max(look_back(window, lookback).start, first), window.end)
