"""What is asked, the tag under which it is found again, and how to look for it and for its answer."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import takewhile
from typing import Any

from airflow_provider_chatbase.client.answer import (
    Answer,
    message_parts,
    parts_text,
    pending_tool_calls,
    read_id,
)
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseInputError,
    ChatbaseNotFoundError,
)
from airflow_provider_chatbase.client.replies import Page, PageWalk
from airflow_provider_chatbase.client.request import (
    JsonObject,
    Pause,
    Request,
    ServerTime,
    Steps,
    require_count,
)
from airflow_provider_chatbase.client.v2.conversations import (
    get_conversation,
    list_messages,
    list_user_conversations,
    messages_in,
)

log = logging.getLogger(__name__)

TAG_PREFIX = "airflow-"
"""What this provider sends without a user id of the caller's begins with this, and can be told apart."""

MAX_MESSAGES = 50
MAX_CHARS = 50_000
ROLES = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Question:
    """A message for an agent, with what tells it from others when its fate is unknown."""

    agent_id: str
    message: str | None  # None: the agent is to go on after the results of its tools
    conversation_id: str | None = None  # to continue; None begins a new one
    after_message_id: str | None = None  # the conversation's last message before it, where that is known
    user_id: str | None = None  # the caller's, for a new conversation
    tag: str | None = None  # a user id of our own, used where the caller gave none
    asked_at: float = field(default_factory=time.monotonic)  # before it was sent; no clock that is put right
    earlier_try_began: float | None = None  # when an earlier try may have sent it, in seconds since the epoch
    history: list[JsonObject] = field(default_factory=list, repr=False)  # for API v1
    model: str | None = None  # for API v1
    temperature: float | None = None  # for API v1
    stream: bool = False
    on_text: Callable[[str], None] | None = None  # told each text of a stream
    other_conversations: frozenset[str] = frozenset()  # begun by the same user with other messages
    other_messages: frozenset[str] = frozenset()  # of the same conversation

    @property
    def begins_as(self) -> str | None:
        """The user id under which it begins a conversation."""
        return None if self.conversation_id else self.user_id or self.tag

    @property
    def has_own_tag(self) -> bool:
        """Whether nobody else uses its user id, so that what was begun under it can only be this message."""
        return self.user_id is None and self.conversation_id is None

    def is_younger(self, at: float, server_now: float | None) -> bool | None:
        """Say whether the message was sent after a time of the server; ``None`` where no clock tells."""
        if self.earlier_try_began is not None:
            sent, in_doubt = self.earlier_try_began, OTHER_CLOCKS
            if server_now is None or sent > server_now + CLOCK_SKEW:  # that clock is wrong, by any amount
                in_doubt = float("inf")
        else:
            now, in_doubt = (time.time(), float("inf")) if server_now is None else (server_now, 0.0)
            sent = now - (time.monotonic() - self.asked_at)
        if self.has_own_tag:  # an earlier message has it only where a DAG run was deleted and made again
            return self.earlier_try_began is None and server_now is not None and at < sent - OTHER_CLOCKS
        if at >= sent - CLOCK_SKEW:
            return False
        return None if at >= sent - CLOCK_SKEW - in_doubt else True


def tag_of(*parts: object) -> str:
    """Make a tag that is the same for the same parts."""
    text = json.dumps([str(part) for part in parts])
    return TAG_PREFIX + sha256(text.encode(errors="surrogatepass")).hexdigest()[:40]


def new_tag() -> str:
    """Make a tag that no other message has."""
    return TAG_PREFIX + uuid.uuid4().hex


def read_history(history: Any) -> list[JsonObject]:
    """Read the earlier messages of a conversation, or those of an earlier result."""
    found = history.get("history") if isinstance(history, Mapping) else history
    if found is None:
        return []
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise ChatbaseInputError(
            f"history must be a list of messages or an earlier result, not {type(found).__name__}. "
            "Nothing was sent."
        )
    return [_message(number, message) for number, message in enumerate(found)]


def trim_history(
    history: list[JsonObject], max_messages: int = MAX_MESSAGES, max_chars: int = MAX_CHARS
) -> list[JsonObject]:
    """Keep the newest messages of a history, as many as both limits allow. No message is cut in two."""
    require_count("max_history_messages", max_messages)
    require_count("max_history_chars", max_chars)
    kept: list[JsonObject] = []
    chars = 0
    for message in reversed(history):
        chars += len(message["content"])
        if len(kept) >= max_messages or chars > max_chars:
            break
        kept.append(message)
    if len(kept) < len(history):
        log.info(
            "History trimmed from %d messages (%d characters) to the newest %d (%d characters): at most %d "
            "messages and %d characters are sent along.",
            len(history),
            chars_of(history),
            len(kept),
            chars_of(kept),
            max_messages,
            max_chars,
        )
    return kept[::-1]


def chars_of(history: list[JsonObject]) -> int:
    """Return how many characters the messages have together."""
    return sum(len(message["content"]) for message in history)


def _message(number: int, message: Any) -> JsonObject:
    role = message.get("role") if isinstance(message, Mapping) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    if role not in ROLES or not isinstance(content, str):
        raise ChatbaseInputError(
            f"history[{number}] must be {{'role': 'user' or 'assistant', 'content': text}}. Nothing was sent."
        )
    return {"role": role, "content": content}


# -- what became of it: looking reads only, and costs nothing

ANSWER_PATIENCE = 180.0
"""Seconds after the message, and of looking, in which the answer to a message that arrived can still come."""

SILENT = ("ended", "taken_over", "paused")
AGENT_NOT_FOUND = "AGENT_NOT_FOUND"
TOOL_PARTS = ("tool-call", "tool-result")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
LEAST_LOOKS = 3
"""How often a message must not be found: one look may meet a page that lacks it, and a machine that sleeps
uses up the patience without looking."""

CLOCK_SKEW = 60.0
"""Seconds by which Chatbase's clock and what its replies tell of it may differ."""

OTHER_CLOCKS = 900.0
"""Seconds by which the clock of another machine, where an earlier try began, may differ from Chatbase's."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A message that arrived and has no answer."""

    conversation_id: str | None
    patience: float  # seconds in which one may still come


Found = Answer | Unanswered | None
"""What became of a message; ``None`` where it is not there."""


def look_until_sure(
    question: Question, patience: float, answer_patience: float = float("inf")
) -> Steps[Found]:
    """Look until the message is answered, or it is sure enough that it never arrived."""
    began, pause, looks = time.monotonic(), FIRST_PAUSE, 0
    found: Found = None
    longest = min(answer_patience, ANSWER_PATIENCE)
    while True:
        looked = time.monotonic() - began  # what is seen is of then, even where the machine sleeps over it
        found = (yield from look(question)) or found  # what was there once has arrived; a page may lack it
        looks += 1
        if isinstance(found, Answer):
            return found
        left = patience - looked if found is None else min(found.patience, longest - looked)
        if left <= 0 and (found is not None or patience <= 0 or looks >= LEAST_LOOKS):
            return found
        yield Pause(min(pause, max(left, FIRST_PAUSE)))
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
    return read_id(messages[-1].get("id")) if messages else None


def _look_among_conversations(question: Question, user_id: str) -> Steps[Found]:
    """Look among those that a user began, since the message began one; an answered one goes first."""
    best: Found = None
    walk = PageWalk(list_user_conversations(question.agent_id, user_id))
    while (request := walk.next_request()) is not None:
        page = yield from _page_or_none(request)
        walk.take(page)
        now: float | None = yield ServerTime()
        for conversation in page.items:
            if question.is_younger(_time(conversation, "updatedAt"), now):
                return best  # the last active come first: the rest is older still
            is_older = question.is_younger(_time(conversation, "createdAt"), now)
            if is_older or conversation.get("id") in question.other_conversations:
                continue
            found = yield from _look_at_beginning(question, conversation, now)
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


def _look_at_beginning(question: Question, conversation: JsonObject, now: float | None) -> Steps[Found]:
    """Look at the message that began a conversation; what follows is of others, who continued it."""
    pages: list[list[JsonObject]] = []
    walk = PageWalk(list_messages(question.agent_id, str(conversation.get("id"))))
    while (request := walk.next_request()) is not None:
        page = yield from _page_or_none(request)
        walk.take(page)
        pages.append(page.items)
    messages = [message for items in reversed(pages) for message in items]
    at = next((at for at, message in enumerate(messages) if message.get("role") == "user"), None)
    if at is not None and (question.has_own_tag or _is_same(question, messages[at], now)):
        return _found(conversation, messages, at, now)
    # Under our own tag it can only be this message; it is not shown yet.
    return _unanswered(conversation, conversation, now) if at is None and question.has_own_tag else None


def _look_in(question: Question, conversation_id: str) -> Steps[Found]:
    try:
        conversation = yield get_conversation(question.agent_id, conversation_id)
    except ChatbaseNotFoundError:
        return None
    now: float | None = yield ServerTime()
    found = _find_in(question, conversation, messages_in(conversation), now)
    if found is None:
        # Messages written since may have pushed it out of what the conversation carries.
        page = yield list_messages(question.agent_id, conversation_id)
        found = _find_in(question, conversation, page.items, now)
    return found


def _find_in(
    question: Question, conversation: JsonObject, messages: list[JsonObject], now: float | None
) -> Found:
    """Look for a message and its answer in the conversation that it continued."""
    if question.message is None:
        return _find_continuation(question, conversation, messages)
    known = _index_of(question.after_message_id, messages)
    for at in range(len(messages) - 1, -1 if known is None else known, -1):
        if messages[at].get("id") in question.other_messages:
            continue
        if messages[at].get("role") != "user" or not _has_text(question, messages[at]):
            continue
        if known is not None or _is_same(question, messages[at], now):
            return _found(conversation, messages, at, now)
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


def _found(conversation: JsonObject, messages: list[JsonObject], at: int, now: float | None) -> Found:
    replies = _replies(messages, at)
    if not replies or not _says_something(message_parts(replies[-1])):
        return _unanswered(conversation, messages[at], now)
    return _answer(conversation, messages[at], replies)


def _replies(messages: list[JsonObject], at: int) -> list[JsonObject]:
    return list(takewhile(lambda message: message.get("role") != "user", messages[at + 1 :]))


def _unanswered(conversation: JsonObject, asked: JsonObject, now: float | None) -> Unanswered:
    """No answer comes where the agent is not to answer, nor long after the question."""
    silent = conversation.get("status") in SILENT
    age = 0.0 if now is None else now - min(_time(asked, "createdAt"), now)
    return Unanswered(read_id(conversation.get("id")), -1.0 if silent else ANSWER_PATIENCE - age)


def _index_of(message_id: str | None, messages: list[JsonObject]) -> int | None:
    ids = [message.get("id") for message in messages]
    return ids.index(message_id) if message_id is not None and message_id in ids else None


def _is_same(question: Question, message: JsonObject, now: float | None) -> bool:
    if not _has_text(question, message):
        return False
    is_older = question.is_younger(_time(message, "createdAt"), now)
    if is_older is None:
        raise ChatbaseAmbiguousError(
            "An equal message of the same user is there, and the clocks do not tell whether it is this one "
            "or an earlier one. It is not sent again; on_ambiguous='retry' would, and a user_id for each "
            "message keeps them apart.",
            operation="chatWithAgent",
        )
    return not is_older


def _has_text(question: Question, message: JsonObject) -> bool:
    return parts_text(message_parts(message)).split() == (question.message or "").split()


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
        conversation_id=read_id(conversation.get("id")),
        message_id=read_id(replies[-1].get("id")),
        user_message_id=read_id(asked.get("id")),
        user_id=read_id(conversation.get("userId")),
        finish_reason="tool-calls" if waits_for_tools else "stop",
        tool_calls=pending,
        recovered=True,
    )


def _time(value: JsonObject, name: str) -> float:
    """Return a time of the API in seconds; one that is missing is the latest."""
    found: Any = value.get(name)
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else float("inf")
