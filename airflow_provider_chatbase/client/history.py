"""The history that API v1 wants with each message: checked, and kept to a length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_chatbase.client.checks import require_count
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject

MAX_MESSAGES = 50
MAX_CHARS = 50_000
ROLES = ("user", "assistant")

History = Sequence[Mapping[str, Any]]


def read_history(history: Any) -> list[JsonObject]:
    """
    Read the earlier messages of a conversation.

    :param history: a list of ``{"role", "content"}``, or an earlier result that has it under ``history``.
    :return: the messages, oldest first; other fields are left out.
    :raises ChatbaseInputError: when it is something else.
    """
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
    """
    Keep the newest messages of a history, as many as both limits allow. No message is cut in two.

    :param history: the earlier messages, oldest first; the new message is not among them.
    :param max_messages: the most to keep.
    :param max_chars: the most characters that those kept may have together.
    :return: the messages kept, oldest first.
    :raises ChatbaseInputError: when a limit is no number of things.
    """
    require_count("max_history_messages", max_messages)
    require_count("max_history_chars", max_chars)
    kept: list[JsonObject] = []
    chars = 0
    for message in reversed(history):
        chars += len(message["content"])
        if len(kept) >= max_messages or chars > max_chars:
            break
        kept.append(message)
    return kept[::-1]


def chars_of(history: list[JsonObject]) -> int:
    """
    Return how many characters the messages have together.

    :param history: the messages.
    """
    return sum(len(message["content"]) for message in history)


def _message(number: int, message: Any) -> JsonObject:
    role = message.get("role") if isinstance(message, Mapping) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    if role not in ROLES or not isinstance(content, str):
        raise ChatbaseInputError(
            f"history[{number}] must be {{'role': 'user' or 'assistant', 'content': text}}. Nothing was sent."
        )
    return {"role": role, "content": content}
