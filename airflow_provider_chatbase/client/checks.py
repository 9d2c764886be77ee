"""What is checked before anything is sent: the limits that the API states."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError

USER_ID = re.compile(r"[a-zA-Z0-9._-]{1,128}\Z")


def require_text(name: str, value: Any, *, longest: int | None = None) -> str:
    """Check a text."""
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
    """Say whether a text can be sent; one with a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_page_limit(value: int, most: int) -> int:
    """Check how many items to ask for in a page."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ChatbaseInputError(
            f"limit must be a whole number from 1 to {most}, not {value!r}. Nothing was sent."
        )
    return value


def require_count(name: str, value: Any) -> int:
    """Check a number of things."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ChatbaseInputError(
            f"{name} must be a whole number that is not negative, not {value!r}. Nothing was sent."
        )
    return value


def require_user_id(value: Any) -> str:
    """Check a user id."""
    if not isinstance(value, str) or not USER_ID.match(value):
        raise ChatbaseInputError(
            f"user_id {value!r} is refused by Chatbase: it takes 1 to 128 letters (a-z, A-Z), digits, "
            "dots, underscores and hyphens, so no e-mail addresses. Nothing was sent."
        )
    return value


def require_object(name: str, value: Any) -> dict[str, Any]:
    """Check a JSON object."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ChatbaseInputError(f"{name} must be a dict with text keys, not {value!r}. Nothing was sent.")
    return dict(value)


def timestamp(name: str, at: datetime | None, *, up: bool = False) -> str | None:
    """Write a time to the millisecond, rounded outwards: what lies within it is never cut off."""
    if at is None:
        return None
    if at.tzinfo is None:
        raise ChatbaseInputError(f"{name} has no time zone. Nothing was sent.")
    utc = at.astimezone(UTC)
    beyond = timedelta(microseconds=utc.microsecond % 1000)
    utc += timedelta(milliseconds=1) - beyond if up and beyond else -beyond
    precision = "milliseconds" if utc.microsecond else "seconds"
    return utc.isoformat(timespec=precision).replace("+00:00", "Z")
