"""Search over conversations of every channel; a page looks at a limited number, so it may be short."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from airflow_provider_chatbase.simulator.conversations import ROLE_USER, Conversation, Position
from airflow_provider_chatbase.simulator.errors import ApiError, invalid
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.pagination import decode_cursor, encode_cursor, envelope
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.v2.views import conversation_view
from airflow_provider_chatbase.simulator.validation import (
    comma_list,
    date_window,
    moment,
    one_of,
    page_limit,
)
from airflow_provider_chatbase.simulator.world import Call

Test = Callable[[Conversation], bool]

_LOOKED_AT = 2000
_LOOKED_AT_WITH_TEXT = 200
_SNIPPET = 180
_MAX_LIMIT = 25


def search_conversations(call: Call) -> Reply:
    """Answer searchConversations, last activity first."""
    agent = call.agent()
    words = call.query.get("query", "").lower().split()
    if not call.key.plan.search or (words and not call.key.plan.query_search):
        raise ApiError(403, "CONVERSATION_SEARCH_UNAVAILABLE", "Conversation search is not available")
    limit = page_limit(call.query, _MAX_LIMIT, _MAX_LIMIT)
    tests = _tests(call, words)
    found, cursor = _page(call, agent, tests, limit, _LOOKED_AT_WITH_TEXT if words else _LOOKED_AT)
    return Reply(payload=envelope([_row(call, each, words) for each in found], cursor, None))


def window_start(now: float) -> float:
    """Return the beginning of what can be searched: the 1st of the month twelve months back, UTC."""
    today = datetime.fromtimestamp(now, UTC)
    return datetime(today.year - 1, today.month, 1, tzinfo=UTC).timestamp()


def _page(
    call: Call, agent: Agent, tests: list[Test], limit: int, budget: int
) -> tuple[list[Conversation], str | None]:
    index = agent.conversations
    after = _inside_window(call, "updatedAfter", end_of_day=False, must=False)
    before = _inside_window(call, "updatedBefore", end_of_day=True)
    low, high = index.by_activity.span(after, before)
    start = _start(call)
    if start is not None:
        high = max(low, min(high, index.by_activity.index_of(start)))
    found: list[Conversation] = []
    for looked_at, position in enumerate(index.by_activity.newest_first(low, high), start=1):
        conversation = index.by_id[position[1]]
        if all(test(conversation) for test in tests):
            found.append(conversation)
        if len(found) == limit or looked_at == budget:
            more = looked_at < high - low
            return found, encode_cursor("search", _signature(call), *position) if more else None
    return found, None


def _start(call: Call) -> Position | None:
    if "cursor" not in call.query:
        return None
    place = decode_cursor("search", call.query["cursor"])
    if place[0] != _signature(call):
        message = "The query must not change while following a cursor"
        raise ApiError(400, "VALIDATION_CURSOR_QUERY_MISMATCH", message)
    return float(place[1]), str(place[2])


def _signature(call: Call) -> int:
    fixed = {name: value for name, value in call.query.items() if name not in {"cursor", "limit"}}
    return zlib.crc32(json.dumps([fixed, call.params["agentId"]], sort_keys=True).encode())


def _inside_window(call: Call, name: str, *, end_of_day: bool, must: bool = True) -> float | None:
    value = moment(call.query, name, end_of_day=end_of_day)
    if must and value is not None and value < window_start(call.now):
        raise invalid({name: "Outside of the search window"}, "Invalid query parameters")
    return value


def _tests(call: Call, words: list[str]) -> list[Test]:
    start, end = date_window(call.query)
    for name in ("startDate", "endDate"):
        _inside_window(call, name, end_of_day=name == "endDate")
    first = max(window_start(call.now), start if start is not None else 0.0)
    tests: list[Test] = [lambda each: each.created_at >= first]
    if end is not None:
        tests.append(lambda each: each.created_at <= end)
    for name, values_of in _FILTERS.items():
        wanted = comma_list(call.query, name)
        if wanted is not None:
            tests.append(_any_of(frozenset(wanted), values_of))
    if one_of(call.query, "escalated", ("true",)):
        tests.append(lambda each: each.status == "taken_over")
    if one_of(call.query, "hasVoice", ("true", "false")) is not None:
        voiced = call.query["hasVoice"] == "true"
        tests.append(lambda each: (each.source == "Phone") is voiced)
    if words:
        tests.append(lambda each: all(word in _full_text(each) for word in words))
    return tests


def _any_of(wanted: frozenset[str], values_of: Callable[[Conversation], Iterable[str | None]]) -> Test:
    return lambda conversation: not wanted.isdisjoint(values_of(conversation))


def _parts(conversation: Conversation, kind: str) -> Iterable[dict[str, Any]]:
    for message in conversation.messages:
        yield from (part for part in message.parts if part["type"] == kind)


def _tool_names(conversation: Conversation) -> Iterable[str | None]:
    return (part["toolName"] for part in _parts(conversation, "tool-call"))


def _tool_outcomes(conversation: Conversation) -> Iterable[str | None]:
    outputs = (part.get("output") for part in _parts(conversation, "tool-result"))
    return (output.get("status") for output in outputs if isinstance(output, dict))


_FILTERS: dict[str, Callable[[Conversation], Iterable[str | None]]] = {
    "source": lambda each: (each.source,),
    "sentiment": lambda each: (each.sentiment or "unspecified",),
    "topic": lambda each: (each.topic or "unspecified",),
    "userId": lambda each: (each.user_id,),
    "activityState": lambda each: (each.status,),
    "feedback": lambda each: (message.feedback for message in each.messages),
    "tool": _tool_names,
    "toolOutcome": _tool_outcomes,
    "actionType": lambda _each: (),
    "procedure": lambda _each: (),
    "procedureOutcome": lambda _each: (),
}


def _full_text(conversation: Conversation) -> str:
    texts = [message.text for message in conversation.messages]
    return "\n".join([conversation.title or "", *texts]).lower()


def _row(call: Call, conversation: Conversation, words: list[str]) -> dict[str, Any]:
    return {
        **conversation_view(call.world, conversation),
        "source": conversation.source,
        "parentConversationId": None,
        "parentSummary": None,
        "embedOrigin": None,
        "snippet": _snippet(conversation, words) if words else None,
    }


def _snippet(conversation: Conversation, words: list[str]) -> dict[str, Any] | None:
    for message in conversation.messages:
        text = message.text
        hits = [text.lower().find(word) for word in words if word in text.lower()]
        if hits:
            start = max(0, min(hits) - _SNIPPET // 3)
            wanted = re.compile(f"({'|'.join(map(re.escape, words))})", re.IGNORECASE)
            pieces = wanted.split(text[start : start + _SNIPPET])
            highlights = [{"value": piece, "isHit": piece.lower() in words} for piece in pieces if piece]
            return {"speaker": "user" if message.role == ROLE_USER else "agent", "highlights": highlights}
    return None
