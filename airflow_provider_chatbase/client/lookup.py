"""Looking whether a message arrived and was answered. It reads only, and costs nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from airflow_provider_chatbase.client.answer import Answer, message_parts, parts_text, pending_tool_calls
from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError
from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.question import Question
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject, Pause, Request, Steps
from airflow_provider_chatbase.client.v2.conversations import (
    get_conversation,
    list_messages,
    list_user_conversations,
    messages_in,
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


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A message that arrived and has no answer."""

    conversation_id: str | None
    give_up_at: float  # when to stop waiting for one, in seconds since the epoch


Found = Answer | Unanswered | None
"""What became of a message; ``None`` where it is not there."""


def look_until_sure(question: Question, patience: float) -> Steps[Found]:
    """Look until the message is answered, or it is sure enough that it never arrived."""
    began = time.time()
    pause = FIRST_PAUSE
    while True:
        found = yield from look(question)
        if isinstance(found, Answer):
            return found
        give_up_at = began + patience if found is None else min(found.give_up_at, began + ANSWER_PATIENCE)
        left = give_up_at - time.time()
        if left <= 0:
            return found
        yield Pause(min(pause, left))
        pause = min(pause * 2, LONGEST_PAUSE)


def look(question: Question) -> Steps[Found]:
    """Look once: ``listUserConversations``, ``getConversation``, ``listConversationMessages``."""
    if question.conversation_id is not None:
        return (yield from _look_in(question, question.conversation_id))
    if question.begins_as is None:
        return None
    return (yield from _look_among_conversations(question, question.begins_as))


def newest_message_id(agent_id: str, conversation_id: str) -> Steps[str | None]:
    """Return the id of a conversation's newest message: ``getConversation``."""
    conversation = yield get_conversation(agent_id, conversation_id)
    messages = messages_in(conversation)
    return messages[-1].get("id") if messages else None


def _look_among_conversations(question: Question, user_id: str) -> Steps[Found]:
    """Look among those that a user began, since the message began one; an answered one goes first."""
    best: Found = None
    earliest, others = question.not_before - CLOCK_SKEW, question.other_conversations
    walk = PageWalk(list_user_conversations(question.agent_id, user_id))
    while (request := walk.next_request()) is not None:
        page = yield from _page_or_none(request)
        walk.take(page)
        for conversation in page.items:
            if _time(conversation, "updatedAt") < earliest:
                return best  # the last active come first: the rest is older still
            if _time(conversation, "createdAt") < earliest or conversation.get("id") in others:
                continue
            found = yield from _look_at_beginning(question, conversation)
            if isinstance(found, Answer):
                return found
            best = found or best
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


def _look_at_beginning(question: Question, conversation: JsonObject) -> Steps[Found]:
    """Look at the message that began a conversation; what follows is of others, who continued it."""
    pages: list[list[JsonObject]] = []
    walk = PageWalk(list_messages(question.agent_id, str(conversation.get("id"))))
    while (request := walk.next_request()) is not None:
        page = yield from _page_or_none(request)
        walk.take(page)
        pages.append(page.items)
    messages = [message for items in reversed(pages) for message in items]
    at = next((at for at, message in enumerate(messages) if message.get("role") == "user"), None)
    if at is not None and (question.has_own_tag or _is_same(question, messages[at])):
        return _found(conversation, messages, at)
    # Under our own tag it can only be this message; it is not shown yet.
    return _unanswered(conversation, conversation) if at is None and question.has_own_tag else None


def _look_in(question: Question, conversation_id: str) -> Steps[Found]:
    try:
        conversation = yield get_conversation(question.agent_id, conversation_id)
    except ChatbaseNotFoundError:
        return None
    found = _find_in(question, conversation, messages_in(conversation))
    if found is None:
        # Messages written since may have pushed it out of what the conversation carries.
        page = yield list_messages(question.agent_id, conversation_id)
        found = _find_in(question, conversation, page.items)
    return found


def _find_in(question: Question, conversation: JsonObject, messages: list[JsonObject]) -> Found:
    """Look for a message and its answer in the conversation that it continued."""
    if question.message is None:
        return _find_continuation(question, conversation, messages)
    known = _index_of(question.after_message_id, messages)
    for at in range(len(messages) - 1, -1 if known is None else known, -1):
        if messages[at].get("id") in question.other_messages:
            continue
        if messages[at].get("role") == "user" and _is_same(question, messages[at]):
            return _found(conversation, messages, at)
    return None


def _find_continuation(question: Question, conversation: JsonObject, messages: list[JsonObject]) -> Found:
    """Find what follows a tool's result: a message of its own, or more of the one with the tool's call."""
    at = _index_of(question.after_message_id, messages)
    if at is None:
        return None
    rest = {**messages[at], "parts": _after_tools(message_parts(messages[at]))}
    replies = [rest, *_replies(messages, at)]
    if not _says_something(message_parts(replies[-1])):
        return None
    return _answer(conversation, {}, replies)


def _found(conversation: JsonObject, messages: list[JsonObject], at: int) -> Found:
    replies = _replies(messages, at)
    if not replies or not _says_something(message_parts(replies[-1])):
        return _unanswered(conversation, messages[at])
    return _answer(conversation, messages[at], replies)


def _replies(messages: list[JsonObject], at: int) -> list[JsonObject]:
    return list(takewhile(lambda message: message.get("role") != "user", messages[at + 1 :]))


def _unanswered(conversation: JsonObject, asked: JsonObject) -> Unanswered:
    """No answer comes where the agent is not to answer, nor long after the question."""
    silent = conversation.get("status") in SILENT
    give_up_at = float("-inf") if silent else _time(asked, "createdAt") + ANSWER_PATIENCE
    return Unanswered(conversation.get("id"), give_up_at)


def _index_of(message_id: str | None, messages: list[JsonObject]) -> int | None:
    ids = [message.get("id") for message in messages]
    return ids.index(message_id) if message_id is not None and message_id in ids else None


def _is_same(question: Question, message: JsonObject) -> bool:
    recent = _time(message, "createdAt") >= question.not_before - CLOCK_SKEW
    return recent and parts_text(message_parts(message)).split() == (question.message or "").split()


def _says_something(parts: list[JsonObject]) -> bool:
    return bool(parts_text(parts)) or any(part.get("type") in TOOL_PARTS for part in parts)


def _after_tools(parts: list[JsonObject]) -> list[JsonObject]:
    tools = [at for at, part in enumerate(parts) if part.get("type") == "tool-result"]
    return parts[tools[-1] + 1 :] if tools else []


def _answer(conversation: JsonObject, asked: JsonObject, replies: list[JsonObject]) -> Answer:
    parts = [part for reply in replies for part in message_parts(reply)]
    pending = pending_tool_calls(parts)
    waits_for_tools = bool(pending) or parts[-1].get("type") in TOOL_PARTS
    return Answer(
        text=parts_text(message_parts(replies[-1])),
        conversation_id=conversation.get("id"),
        message_id=replies[-1].get("id"),
        user_message_id=asked.get("id"),
        user_id=conversation.get("userId"),
        finish_reason="tool-calls" if waits_for_tools else "stop",
        tool_calls=pending,
        recovered=True,
    )


def _time(value: JsonObject, name: str) -> float:
    """Return a time of the API in seconds; one that is missing counts as the present."""
    found: Any = value.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else time.time()
