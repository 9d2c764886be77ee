"""Looking whether a message arrived and was answered. It reads only, and costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_chatbase.client.answers import message_parts, parts_text, pending_tool_calls
from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError
from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.steps import Pause, Steps
from airflow_provider_chatbase.client.v2.messages import (
    get_conversation,
    list_messages,
    list_user_conversations,
    messages_of,
)

ANSWER_PATIENCE = 180.0
"""Seconds to wait for the answer to a message that arrived."""

SILENT = ("ended", "taken_over", "paused")
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
    answer: JsonObject | None = None
    conversation_id: str | None = None
    give_up_at: float = float("-inf")


NOTHING = Finding(Fate.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Sought:
    """
    A message whose fate is unknown.

    :param agent_id: the agent it was sent to.
    :param message: its text; ``None`` for the continuation after a tool's result.
    :param user_id: the tag that it began its conversation with.
    :param conversation_id: the conversation that it continued.
    :param not_before: when it was sent at the earliest, in seconds since the epoch.
    :param after_message_id: the message that a continuation follows.
    :param own_tag: whether nobody else uses the tag, so that what is there can only be this message.
    :param other_conversations: conversations of the same user that other messages are known to have begun.
    :param newer_than: a message of the conversation that is known to be older.
    """

    agent_id: str
    message: str | None
    user_id: str | None
    conversation_id: str | None
    not_before: float
    after_message_id: str | None = None
    own_tag: bool = False
    other_conversations: frozenset[str] = frozenset()
    newer_than: str | None = None


def look_until_sure(sought: Sought, patience: float, clock: Callable[[], float]) -> Steps[Finding]:
    """
    Look until the message is answered, or it is sure enough that it never arrived.

    :param sought: the message.
    :param patience: seconds after which a message that is not found counts as never arrived.
    :param clock: seconds since the epoch.
    :return: what was found last.
    """
    give_up_at = clock() + patience
    pause = FIRST_PAUSE
    while True:
        finding = yield from look(sought)
        if finding.fate is Fate.ANSWERED:
            return finding
        if clock() + pause > (finding.give_up_at if finding.fate is Fate.UNANSWERED else give_up_at):
            return finding
        yield Pause(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def look(sought: Sought) -> Steps[Finding]:
    """
    Look once: ``listUserConversations``, ``getConversation``, ``listConversationMessages``.

    :param sought: the message.
    :return: what was found.
    """
    if sought.conversation_id is not None:
        return (yield from _look_in(sought, sought.conversation_id))
    if sought.user_id is None:
        return NOTHING
    walk = PageWalk(list_user_conversations(sought.agent_id, sought.user_id))
    while (request := walk.next_request()) is not None:
        page = yield request
        walk.take(page)
        for conversation in page.items:
            if not sought.own_tag and _time(conversation, "updatedAt") < sought.not_before - CLOCK_SKEW:
                return NOTHING  # the last active come first: the rest is older still
            if conversation.get("id") in sought.other_conversations:
                continue
            finding = yield from _look_in(sought, str(conversation.get("id")))
            if finding.fate is not Fate.NOT_FOUND:
                return finding
    return NOTHING


def _look_in(sought: Sought, conversation_id: str) -> Steps[Finding]:
    try:
        conversation = yield get_conversation(sought.agent_id, conversation_id)
    except ChatbaseNotFoundError:
        return NOTHING
    messages = messages_of(conversation)
    finding = find_in(sought, conversation, messages)
    if finding.fate is Fate.NOT_FOUND:
        # Messages written since may have pushed it out of what the conversation carries.
        page = yield list_messages(sought.agent_id, conversation_id)
        finding = find_in(sought, conversation, page.items)
    return finding


def find_in(sought: Sought, conversation: JsonObject, messages: list[JsonObject]) -> Finding:
    """
    Look for a message and its answer among a conversation's messages.

    :param sought: the message.
    :param conversation: the conversation.
    :param messages: its messages, oldest first.
    :return: what was found.
    """
    at = _position(sought, messages)
    if at is None:
        return NOTHING
    conversation_id = conversation.get("id")
    replies: list[JsonObject] = []
    for message in messages[at + 1 :]:
        if message.get("role") == "user":
            break
        replies.append(message)
    if not replies or not _says_something(message_parts(replies[-1])):
        return Finding(
            Fate.UNANSWERED,
            conversation_id=conversation_id,
            give_up_at=_give_up_at(conversation, messages[at]),
        )
    return Finding(Fate.ANSWERED, _answer(conversation, messages[at], replies), conversation_id)


def _give_up_at(conversation: JsonObject, question: JsonObject) -> float:
    """No answer comes where the agent is not to answer, nor long after the question."""
    if conversation.get("status") in SILENT:
        return float("-inf")
    return _time(question, "createdAt") + ANSWER_PATIENCE


def _position(sought: Sought, messages: list[JsonObject]) -> int | None:
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if sought.newer_than is not None and message.get("id") == sought.newer_than:
            return None
        if sought.message is None:
            if message.get("id") == sought.after_message_id:
                return at
        elif message.get("role") == "user" and (sought.own_tag or _is_same(sought, message)):
            return at
    return None


def _is_same(sought: Sought, message: JsonObject) -> bool:
    text = parts_text(message_parts(message)).strip()
    recent = _time(message, "createdAt") >= sought.not_before - CLOCK_SKEW
    return recent and text == (sought.message or "").strip()


def _says_something(parts: list[JsonObject]) -> bool:
    return bool(parts_text(parts)) or any(part.get("type") in TOOL_PARTS for part in parts)


def _answer(conversation: JsonObject, question: JsonObject, replies: list[JsonObject]) -> JsonObject:
    parts = [part for reply in replies for part in message_parts(reply)]
    pending = pending_tool_calls(parts)
    waits_for_tools = bool(pending) or parts[-1].get("type") in TOOL_PARTS
    return {
        "text": parts_text(message_parts(replies[-1])),
        "conversation_id": conversation.get("id"),
        "message_id": replies[-1].get("id"),
        "user_message_id": question.get("id"),
        "user_id": conversation.get("userId"),
        "credits": None,
        "finish_reason": "tool-calls" if waits_for_tools else "stop",
        "tool_calls": pending,
    }


def _time(value: JsonObject, name: str) -> float:
    """Return a time of the API in seconds; one that is missing counts as the present."""
    found: Any = value.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else time.time()
