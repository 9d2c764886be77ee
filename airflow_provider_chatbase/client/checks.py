"""Limits that the API states, checked before anything is sent."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError

USER_ID = re.compile(r"[a-zA-Z0-9._-]{1,128}\Z")


def require_text(name: str, value: Any, *, longest: int | None = None) -> str:
    """
    Check a text.

    :param name: the argument's name, for the error.
    :param value: what was given.
    :param longest: the most characters that the API takes.
    :return: the text.
    :raises ChatbaseInputError: when it is no text, blank, or too long.
    """
    if not isinstance(value, str):
        raise ChatbaseInputError(f"{name} must be text, not {type(value).__name__}. Nothing was sent.")
    if not value.strip():
        raise ChatbaseInputError(f"{name} is empty. Nothing was sent.")
    if not is_unicode(value):
        raise ChatbaseInputError(
            f"{name} has half a character and cannot be sent as UTF-8. Nothing was sent."
        )
    if longest is not None and len(value) > longest:
        raise ChatbaseInputError(
            f"{name} has {len(value):,} characters; Chatbase takes at most {longest:,}. Nothing was sent."
        )
    return value


def is_unicode(text: str) -> bool:
    """
    Say whether a text can be sent; one with a lone surrogate cannot.

    :param text: the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_page_limit(value: int, most: int) -> int:
    """
    Check how many items to ask for in a page.

    :param value: what was given.
    :param most: the most that the operation takes.
    :return: the number.
    :raises ChatbaseInputError: when it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ChatbaseInputError(
            f"limit must be a whole number from 1 to {most}, not {value!r}. Nothing was sent."
        )
    return value


def require_count(name: str, value: Any) -> int:
    """
    Check a number of things.

    :param name: the argument's name, for the error.
    :param value: what was given.
    :return: the number.
    :raises ChatbaseInputError: when it is no whole number, or below zero.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ChatbaseInputError(
            f"{name} must be a whole number that is not negative, not {value!r}. Nothing was sent."
        )
    return value


def require_user_id(value: Any) -> str:
    """
    Check a user id.

    :param value: what was given.
    :return: the id.
    :raises ChatbaseInputError: when it has other characters than the API takes, or too many.
    """
    if not isinstance(value, str) or not USER_ID.match(value):
        raise ChatbaseInputError(
            f"user_id {value!r} is refused by Chatbase: it takes 1 to 128 letters (a-z, A-Z), digits, "
            "dots, underscores and hyphens, so no e-mail addresses. Nothing was sent."
        )
    return value


def require_object(name: str, value: Any) -> dict[str, Any]:
    """
    Check a JSON object.

    :param name: the argument's name, for the error.
    :param value: what was given.
    :return: a copy of it.
    :raises ChatbaseInputError: when it is no dict with text keys.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ChatbaseInputError(f"{name} must be a dict with text keys, not {value!r}. Nothing was sent.")
    return dict(value)
