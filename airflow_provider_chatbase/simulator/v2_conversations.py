"""Conversations as API v2 has them: list, read, export, search, pause, rate."""

from __future__ import annotations

import json
import re
import zlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from airflow_provider_chatbase.simulator.conversations import (
    ROLE_ASSISTANT,
    ROLE_USER,
    Conversation,
    Message,
    Part,
    page_of_positions,
)
from airflow_provider_chatbase.simulator.exchange import (
    ApiError,
    PageRequest,
    Position,
    invalid,
    not_found,
    page_of_list,
)
from airflow_provider_chatbase.simulator.seed import disturb
from airflow_provider_chatbase.simulator.world import Call, World, iso, operation

Condition = Callable[[Conversation], bool]

_EMBEDDED_MESSAGES = 20
_LOOKED_AT = 2000  # conversations that search looks at for one page, which may be short for it
_LOOKED_AT_WITH_TEXT = 200
_SECRET_KEYS = frozenset({"internalToken", "rawResponse"})
_SNIPPET = 180


def conversation_view(world: World, conversation: Conversation) -> dict[str, Any]:
    """Return a conversation without its messages."""
    view: dict[str, Any] = {
        "id": conversation.id,
        "title": conversation.title,
        "createdAt": conversation.created_at,
        "updatedAt": conversation.updated_at,
        "userId": conversation.user_id,
        "status": conversation.status,
    }
    if world.settings.unknown_fields:
        view["country"] = None
    return view


def export_view(world: World, conversation: Conversation, *, with_messages: bool) -> dict[str, Any]:
    """Return a conversation as the export does."""
    view = conversation_view(world, conversation)
    view["source"] = conversation.source
    if with_messages:
        view["messages"] = [message_view(world, message, exported=True) for message in conversation.messages]
    return view


def message_view(world: World, message: Message, *, exported: bool = False) -> dict[str, Any]:
    """Return a message; the export hides the input of tools and cleans their output."""
    view: dict[str, Any] = {
        "id": message.id,
        "role": message.role,
        "parts": [_exported_part(part) for part in message.parts] if exported else message.parts,
    }
    if message.created_at is not None:
        view["createdAt"] = message.created_at
    if message.role == ROLE_ASSISTANT:
        view["feedback"] = message.feedback
        view["metadata"] = {"score": message.score}
    if world.settings.unknown_fields:
        view["language"] = "en"
    return view


def _exported_part(part: Part) -> Part:
    if part["type"] == "tool-call":
        return {name: value for name, value in part.items() if name != "input"}
    if part["type"] == "tool-result" and isinstance(part.get("output"), dict):
        clean = {name: value for name, value in part["output"].items() if name not in _SECRET_KEYS}
        return {**part, "output": clean}
    return part


@operation("listConversations")
def list_conversations(call: Call) -> Any:
    index = call.agent.conversations
    return page_of_positions(
        [index.created_by_v2],
        call.window(),
        lambda identifier: conversation_view(call.world, index.by_id[identifier]),
        call.page("conversations"),
    )


@operation("listUserConversations")
def list_of_user(call: Call) -> Any:
    return page_of_list(
        call.agent.conversations.of_user(call.params["userId"]),
        lambda each: (each.updated_at, each.id),
        lambda each: conversation_view(call.world, each),
        call.page("user-conversations"),
    )


@operation("getConversation")
def get_conversation(call: Call) -> Any:
    conversation = call.find_conversation()
    page = _messages_page(call, conversation, call.page("messages", limit=_EMBEDDED_MESSAGES))
    data = {**conversation_view(call.world, conversation), "messages": page["data"]}
    return {"data": data, "pagination": page["pagination"]}


@operation("listConversationMessages")
def list_messages(call: Call) -> Any:
    """List messages: pages go back in time, each in the order of time."""
    return _messages_page(call, call.find_conversation(), call.page("messages"))


@operation("updateConversation")
def update_conversation(call: Call) -> Any:
    """Pause or resume a conversation, or set its status, which the newer of two documents has."""
    conversation = call.find_conversation(any_channel=True)
    if "paused" in call.body and conversation.status in {"ended", "taken_over"}:
        raise invalid({"paused": f"The conversation is {conversation.status}"}, "Invalid request body")
    paused = "paused" if call.body.get("paused") else "ongoing"
    conversation.status = call.body.get("status", paused)
    call.world.store.touch(call.agent, conversation)
    return {"data": {"id": conversation.id, "status": conversation.status}}


@operation("deleteConversation")
def delete_conversation(call: Call) -> Any:
    """Delete a conversation for good; search leaves it out of pages that it had a place in."""
    call.agent.conversations.remove(call.find_conversation(any_channel=True))
    return {"success": True}


@operation("getAgentAnalytics")
def get_analytics(call: Call) -> Any:
    """Sum up a range in 7 buckets, by last activity; names in the answer are made up, for none is known."""
    low, high = call.window()
    end = call.now if high is None else high
    start = end - 7 * 86_400 if low is None else low
    if start < window_start(call.now):
        raise invalid({"startDate": "Outside of the search window"}, "Invalid query parameters")
    index, width = call.agent.conversations, (end - start) / 7
    positions = index.by_activity.newest_first(*index.by_activity.span(start, end))
    found = [index.by_id[identifier] for _, identifier in positions if identifier in index.by_id]
    buckets: list[dict[str, Any]] = [
        {"start": int(start + width * at), "conversations": 0, "messages": 0, "ratings": {"negative": 0}}
        for at in range(7)
    ]
    hours, confidence = [0] * 24, [0] * 10
    for conversation in found:
        bucket = buckets[min(6, int((conversation.updated_at - start) // width))]
        bucket["conversations"] += 1
        bucket["messages"] += len(conversation.messages)
        bucket["ratings"]["negative"] += sum(each.feedback == "negative" for each in conversation.messages)
        hours[int(conversation.created_at % 86_400 // 3600)] += 1
        scores = [each.score for each in conversation.messages if each.score is not None]
        confidence[min(9, int(min(scores, default=1.0) * 10))] += 1
    whole = {"sources": Counter(str(each.source) for each in found), "hours": hours, "confidence": confidence}
    return {"data": {"buckets": buckets, **whole, "creditsPerDay": _credits_per_day(call, start, end)}}


def _credits_per_day(call: Call, start: float, end: float) -> list[dict[str, Any]]:
    """Count what answers cost on each whole UTC day that the range meets; days without any have no entry."""
    price, first = call.world.settings.credits_per_answer, start // 86_400 * 86_400
    used: Counter[int] = Counter()
    for conversation in call.agent.conversations.by_id.values():
        for message in conversation.messages:
            at = message.created_at
            if message.role == ROLE_ASSISTANT and at is not None and first <= at < end:
                used[int(at // 86_400)] += 1
    return [{"date": iso(day * 86_400)[:10], "credits": count * price} for day, count in sorted(used.items())]


@operation("updateMessageFeedback")
def rate_message(call: Call) -> Any:
    message = call.find_conversation().message(call.params["messageId"])
    if message is None:
        raise not_found("RESOURCE_MESSAGE_NOT_FOUND", "Message")
    if message.role != ROLE_ASSISTANT or not message.text:
        raise ApiError(422, "RESOURCE_MESSAGE_NOT_ASSISTANT", "Feedback is for assistant messages only")
    message.feedback = call.body["feedback"]
    return {"data": message_view(call.world, message)}


def _messages_page(call: Call, conversation: Conversation, request: PageRequest) -> dict[str, Any]:
    messages = conversation.messages
    end = len(messages)
    if request.cursor is not None:
        oldest_seen = request.place()[0]
        end = next((at for at, message in enumerate(messages) if message.id == oldest_seen), 0)
    start = max(0, end - request.limit)
    place = (messages[start].id,) if start > 0 else ()
    shown = [message_view(call.world, message) for message in messages[start:end]]
    return request.page(shown, len(messages), *place)


@operation("exportConversations")
def export_conversations(call: Call) -> Any:
    window, request = call.window(), call.page("export")
    disturb(call.world, call.agent)
    index = call.agent.conversations
    with_messages = call.query["include"] != "summary"

    def show(identifier: str) -> dict[str, Any]:
        return export_view(call.world, index.by_id[identifier], with_messages=with_messages)

    if "conversationId" in call.query:
        found = [show(each) for each in [call.query["conversationId"]] if each in index.by_id]
        return request.page(found, len(found))
    sources = call.list_of("source")
    wanted = [index.by_source[each] for each in dict.fromkeys(sources or ())]
    return page_of_positions([index.by_creation] if sources is None else wanted, window, show, request)


@operation("searchConversations")
def search_conversations(call: Call) -> Any:
    words = call.query.get("query", "").lower().split()
    if not call.key.rights.search or (words and not call.key.rights.query_search):
        raise ApiError(403, "CONVERSATION_SEARCH_UNAVAILABLE", "Conversation search is not available")
    conditions = _conditions(call, words)
    found, place = _search_page(call, conditions, _LOOKED_AT_WITH_TEXT if words else _LOOKED_AT)
    return call.page("search").page([_row(call, each, words) for each in found], None, *place)


def window_start(now: float) -> float:
    """Return the beginning of what can be searched: the 1st of the month twelve months back, UTC."""
    today = datetime.fromtimestamp(now, UTC)
    return datetime(today.year - 1, today.month, 1, tzinfo=UTC).timestamp()


def _search_page(
    call: Call, conditions: list[Condition], budget: int
) -> tuple[list[Conversation], tuple[Any, ...]]:
    limit, index = call.page("search").limit, call.agent.conversations
    after = _inside_window(call, "updatedAfter", end_of_day=False, must=False)
    before = _inside_window(call, "updatedBefore", end_of_day=True)
    low, high = index.by_activity.span(after, before)
    start = _start(call)
    if start is not None:
        high = max(low, min(high, bisect_left(index.by_activity, start)))
    found: list[Conversation] = []
    for looked_at, position in enumerate(index.by_activity.newest_first(low, high), start=1):
        conversation = index.by_id.get(position[1])  # a deleted one leaves its place empty
        if conversation is not None and all(holds(conversation) for holds in conditions):
            found.append(conversation)
        if len(found) == limit or looked_at == budget:
            more = looked_at < high - low
            return found, (_signature(call), *position) if more else ()
    return found, ()


def _start(call: Call) -> Position | None:
    place = call.page("search").place()
    if not place:
        return None
    if place[0] != _signature(call):
        message = "The query must not change while following a cursor"
        raise ApiError(400, "VALIDATION_CURSOR_QUERY_MISMATCH", message)
    return float(place[1]), str(place[2])


def _signature(call: Call) -> int:
    fixed = {name: value for name, value in call.request.query.items() if name not in {"cursor", "limit"}}
    return zlib.crc32(json.dumps([fixed, call.params["agentId"]], sort_keys=True).encode())


def _inside_window(call: Call, name: str, *, end_of_day: bool, must: bool = True) -> float | None:
    value = call.moment(name, end_of_day=end_of_day)
    if must and value is not None and value < window_start(call.now):
        raise invalid({name: "Outside of the search window"}, "Invalid query parameters")
    return value


def _conditions(call: Call, words: list[str]) -> list[Condition]:
    start, end = call.window()
    for name in ("startDate", "endDate"):
        _inside_window(call, name, end_of_day=name == "endDate")
    first = max(window_start(call.now), start if start is not None else 0.0)
    conditions: list[Condition] = [lambda each: each.created_at >= first]
    if end is not None:
        conditions.append(lambda each: each.created_at <= end)
    for name, values_of in _FILTERS.items():
        wanted = call.list_of(name)
        if wanted is not None:
            conditions.append(_any_of(frozenset(wanted), values_of))
    if "escalated" in call.query:
        conditions.append(lambda each: each.status == "taken_over")
    if "hasVoice" in call.query:
        voiced = call.query["hasVoice"] == "true"
        conditions.append(lambda each: (each.source == "Phone") is voiced)
    if words:
        conditions.append(lambda each: all(word in _full_text(each) for word in words))
    return conditions


def _any_of(wanted: frozenset[str], values_of: Callable[[Conversation], Iterable[str | None]]) -> Condition:
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
    "actionType": lambda each: (str(name).replace("_", "-") for name in _tool_names(each)),
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
