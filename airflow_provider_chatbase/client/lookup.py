"""Looking whether a message arrived and was answered. It reads only, and costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Any

from airflow_provider_chatbase.client.answer import Answer, message_parts, parts_text, pending_tool_calls
from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError
from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject, Pause, Request, Steps
from airflow_provider_chatbase.client.v2.conversations import (
    get_conversation,
    list_messages,
    list_user_conversations,
    messages_of,
)

ANSWER_PATIENCE = 180.0
"""Seconds after the message, and of looking, in which the answer to a message that arrived can still come."""

SILENT = ("ended", "taken_over", "paused")
AGENT_NOT_FOUND = "AGENT_NOT_FOUND"
TOOL_PARTS = ("tool-call", "tool-result")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
CLOCK_SKEW = 60.0
"""Seconds by which Chatbase's clock and ours may differ."""


class Fate(StrEnum):
    """What became of a message."""

    NOT_FOUND = "not found"
    UNANSWERED = "unanswered"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    What a look brought.

    :param fate: what became of the message.
    :param answer: the answer, where there is one.
    :param conversation_id: the conversation that the message is in.
    :param give_up_at: when to stop waiting for an answer, in seconds since the epoch.
    """

    fate: Fate
    answer: Answer | None = None
    conversation_id: str | None = None
    give_up_at: float = float("-inf")


NOTHING = Finding(Fate.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Sought:
    """
    A message whose fate is unknown.

    :param agent_id: the agent it was sent to.
    :param message: its text; ``None`` for the continuation after a tool's result.
    :param user_id: the user id that it began its conversation with.
    :param conversation_id: the conversation that it continued; ``None`` when it began one.
    :param not_before: when it was sent at the earliest, in seconds since the epoch.
    :param after_message_id: the last message of the conversation before it was sent, where that is known.
    :param own_tag: whether nobody else uses the user id, so that what was begun with it can only be ours.
    :param other_conversations: conversations of the same user that other messages are known to have begun.
    :param other_messages: messages of the conversation that are known to be others.
    """

    agent_id: str
    message: str | None
    user_id: str | None
    conversation_id: str | None
    not_before: float
    after_message_id: str | None = None
    own_tag: bool = False
    other_conversations: frozenset[str] = frozenset()
    other_messages: frozenset[str] = frozenset()


def look_until_sure(sought: Sought, patience: float, clock: Callable[[], float]) -> Steps[Finding]:
    """Look until the message is answered, or it is sure enough that it never arrived."""
    began = clock()
    pause = FIRST_PAUSE
    while True:
        finding = yield from look(sought)
        if finding.fate is Fate.ANSWERED:
            return finding
        arrived = finding.fate is Fate.UNANSWERED
        give_up_at = min(finding.give_up_at, began + ANSWER_PATIENCE) if arrived else began + patience
        left = give_up_at - clock()
        if left <= 0:
            return finding
        yield Pause(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE)


def look(sought: Sought) -> Steps[Finding]:
    """Look once: ``listUserConversations``, ``getConversation``, ``listConversationMessages``."""
    if sought.conversation_id is not None:
        return (yield from _look_in(sought, sought.conversation_id))
    if sought.user_id is None:
        return NOTHING
    return (yield from _look_among_conversations(sought, sought.user_id))


def newest_message_id(agent_id: str, conversation_id: str) -> Steps[str | None]:
    """Return the id of a conversation's newest message: ``getConversation``."""
    conversation = yield get_conversation(agent_id, conversation_id)
    messages = messages_of(conversation)
    return messages[-1].get("id") if messages else None


def _look_among_conversations(sought: Sought, user_id: str) -> Steps[Finding]:
    """Look among those that a user began, since the message began one; an answered one goes first."""
    best = NOTHING
    earliest, others = sought.not_before - CLOCK_SKEW, sought.other_conversations
    walk = PageWalk(list_user_conversations(sought.agent_id, user_id))
    while (request := walk.next_request()) is not None:
        page = yield from _page_or_none(request)
        walk.take(page)
        for conversation in page.items:
            if _time(conversation, "updatedAt") < earliest:
                return best  # the last active come first: the rest is older still
            if _time(conversation, "createdAt") < earliest or conversation.get("id") in others:
                continue
            finding = yield from _look_at_beginning(sought, conversation)
            if finding.fate is Fate.ANSWERED:
                return finding
            best = finding if finding.fate is Fate.UNANSWERED else best
    return best


def _page_or_none(request: Request[Page]) -> Steps[Page]:
    try:
        page = yield request
    except ChatbaseNotFoundError as error:
        if error.code == AGENT_NOT_FOUND:
            raise
        return Page([], None, None)
    found: Page = page
    return found


def _look_at_beginning(sought: Sought, conversation: JsonObject) -> Steps[Finding]:
    """Look at the message that began a conversation; what follows is of others, who continued it."""
    pages: list[list[JsonObject]] = []
    walk = PageWalk(list_messages(sought.agent_id, str(conversation.get("id"))))
    while (request := walk.next_request()) is not None:
        page = yield from _page_or_none(request)
        walk.take(page)
        pages.append(page.items)
    messages = [message for items in reversed(pages) for message in items]
    at = next((at for at, message in enumerate(messages) if message.get("role") == "user"), None)
    if at is not None and (sought.own_tag or _is_same(sought, messages[at])):
        return _finding(conversation, messages, at)
    # Under our own tag it can only be this message; it is not shown yet.
    return _unanswered(conversation, conversation) if at is None and sought.own_tag else NOTHING


def _look_in(sought: Sought, conversation_id: str) -> Steps[Finding]:
    try:
        conversation = yield get_conversation(sought.agent_id, conversation_id)
    except ChatbaseNotFoundError:
        return NOTHING
    finding = find_in(sought, conversation, messages_of(conversation))
    if finding.fate is Fate.NOT_FOUND:
        # Messages written since may have pushed it out of what the conversation carries.
        page = yield list_messages(sought.agent_id, conversation_id)
        finding = find_in(sought, conversation, page.items)
    return finding


def find_in(sought: Sought, conversation: JsonObject, messages: list[JsonObject]) -> Finding:
    """Look for a message and its answer in the conversation that it continued."""
    if sought.message is None:
        return _find_continuation(sought, conversation, messages)
    known = _index_of(sought.after_message_id, messages)
    for at in range(len(messages) - 1, -1 if known is None else known, -1):
        if messages[at].get("id") in sought.other_messages:
            continue
        if messages[at].get("role") == "user" and _is_same(sought, messages[at]):
            return _finding(conversation, messages, at)
    return NOTHING


def _find_continuation(sought: Sought, conversation: JsonObject, messages: list[JsonObject]) -> Finding:
    """Find what follows a tool's result: a message of its own, or more of the one with the tool's call."""
    at = _index_of(sought.after_message_id, messages)
    if at is None:
        return NOTHING
    rest = {**messages[at], "parts": _after_tools(message_parts(messages[at]))}
    replies = [rest, *_replies(messages, at)]
    if not _says_something(message_parts(replies[-1])):
        return NOTHING
    return Finding(Fate.ANSWERED, _answer(conversation, {}, replies), conversation.get("id"))


def _finding(conversation: JsonObject, messages: list[JsonObject], at: int) -> Finding:
    replies = _replies(messages, at)
    if not replies or not _says_something(message_parts(replies[-1])):
        return _unanswered(conversation, messages[at])
    return Finding(Fate.ANSWERED, _answer(conversation, messages[at], replies), conversation.get("id"))


def _replies(messages: list[JsonObject], at: int) -> list[JsonObject]:
    return list(takewhile(lambda message: message.get("role") != "user", messages[at + 1 :]))


def _unanswered(conversation: JsonObject, question: JsonObject) -> Finding:
    """No answer comes where the agent is not to answer, nor long after the question."""
    silent = conversation.get("status") in SILENT
    give_up_at = float("-inf") if silent else _time(question, "createdAt") + ANSWER_PATIENCE
    return Finding(Fate.UNANSWERED, conversation_id=conversation.get("id"), give_up_at=give_up_at)


def _index_of(message_id: str | None, messages: list[JsonObject]) -> int | None:
    ids = [message.get("id") for message in messages]
    return ids.index(message_id) if message_id is not None and message_id in ids else None


def _is_same(sought: Sought, message: JsonObject) -> bool:
    recent = _time(message, "createdAt") >= sought.not_before - CLOCK_SKEW
    return recent and parts_text(message_parts(message)).split() == (sought.message or "").split()


def _says_something(parts: list[JsonObject]) -> bool:
    return bool(parts_text(parts)) or any(part.get("type") in TOOL_PARTS for part in parts)


def _after_tools(parts: list[JsonObject]) -> list[JsonObject]:
    tools = [at for at, part in enumerate(parts) if part.get("type") == "tool-result"]
    return parts[tools[-1] + 1 :] if tools else []


def _answer(conversation: JsonObject, question: JsonObject, replies: list[JsonObject]) -> Answer:
    parts = [part for reply in replies for part in message_parts(reply)]
    pending = pending_tool_calls(parts)
    waits_for_tools = bool(pending) or parts[-1].get("type") in TOOL_PARTS
    return Answer(
        text=parts_text(message_parts(replies[-1])),
        conversation_id=conversation.get("id"),
        message_id=replies[-1].get("id"),
        user_message_id=question.get("id"),
        user_id=conversation.get("userId"),
        finish_reason="tool-calls" if waits_for_tools else "stop",
        tool_calls=pending,
        recovered=True,
    )


def _time(value: JsonObject, name: str) -> float:
    """Return a time of the API in seconds; one that is missing counts as the present."""
    found: Any = value.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else time.time()
