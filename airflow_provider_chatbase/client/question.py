"""What is asked: a message, the tag under which it is found again, and the earlier messages."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from airflow_provider_chatbase.client.checks import require_count
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject

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
    asked_at: float = field(default_factory=time.time)  # in seconds since the epoch
    earlier_try_began: float | None = None  # when an earlier try may have sent it, at the earliest
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

    @property
    def not_before(self) -> float:
        """When it was sent at the earliest, in seconds since the epoch."""
        if self.earlier_try_began is None:
            return self.asked_at
        return 0.0 if self.has_own_tag else self.earlier_try_began


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
