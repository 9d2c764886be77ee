"""One call of the API as a value: what to send, how to read the reply, whether it is safe to repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, Protocol, Self, TypeVar
from urllib.parse import quote

from airflow_provider_chatbase.client.errors import ChatbaseInputError

Json = Any
"""Decoded JSON; plain values only."""

JsonObject = dict[str, Any]
"""A decoded JSON object."""

ApiVersion = Literal["v2", "v1"]
Host = Literal["main", "files"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]

Result = TypeVar("Result")
Streamed = TypeVar("Streamed")

CHAT_PATIENCE = 180.0
"""Seconds of silence allowed while an answer is written, unless the connection says otherwise."""

UPLOAD_PATIENCE = 120.0
"""Seconds of silence allowed while an uploaded file is taken in, unless the connection says otherwise."""


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form. Its file is kept as bytes, so that every attempt sends the whole of it."""

    fields: Mapping[str, str]
    filename: str | None = None  # with the ending that tells its format
    content: bytes = field(default=b"", repr=False)


class StreamReader(Protocol[Streamed]):
    """Reads a reply that comes in pieces. Pure: it is handed the pieces."""

    def take(self, piece: str) -> str:
        """Take the next piece: the data of a server-sent event, or a chunk of text."""

    def take_whole(self, result: Streamed) -> str:
        """Take a reply that came as one document, although a stream was asked for."""

    def interrupted(self, why: str) -> Exception:
        """Return the error of a stream that broke, with the text received so far."""

    def result(self) -> Streamed:
        """Return the result, at the end of a stream that is whole."""


@dataclass(frozen=True, slots=True)
class Request(Generic[Result]):
    """A call of the API, ready to be sent by a sync or an async client."""

    operation: str  # the ``operationId`` of the API's description
    method: Method
    path: str  # below the version, already quoted
    read: Callable[[Json], Result]
    version: ApiVersion = "v2"  # the API version that has it
    host: Host = "main"
    query: Mapping[str, str | int | None] = field(default_factory=dict)  # what is None is left out
    body: Json = field(default=None, repr=False)
    form: Form | None = field(default=None, repr=False)
    repeatable: bool = True  # whether doing it twice is the same as doing it once
    looked_for: bool = False  # whether who sends it looks, when in doubt, whether it was done
    patience: float | None = None  # seconds of silence to allow where it is known to be slow
    means_done: Mapping[str, Result] = field(
        default_factory=dict
    )  # error codes (HTTP_404 without one) that say so
    means_done_on_repeat: Mapping[str, Result] = field(
        default_factory=dict
    )  # … that say so only after an attempt of unknown fate
    stream: Callable[[], StreamReader[Result]] | None = None  # where the reply is asked for as a stream
    on_text: Callable[[str], None] | None = None  # told each text of it

    def with_query(self, **query: str | int | None) -> Self:
        """Return the same request with these query parameters added or replaced."""
        return replace(self, query={**self.query, **query})


def segment(name: str, value: str) -> str:
    """Quote one segment of a path."""
    if not isinstance(value, str) or not value.strip() or value in (".", ".."):
        raise ChatbaseInputError(f"{name} must be the id as text, not {value!r}. Nothing was sent.")
    return quote(value, safe="")


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait between two requests."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ServerTime:
    """A look at the server's clock, as its replies tell it: seconds since the epoch, ``None`` if none did."""


Step = Request[Any] | Pause | ServerTime
Steps = Generator[Step, Any, Result]
"""Yields each step, is sent what it brought, and returns the outcome."""


# -- what is checked before anything is sent: the limits that the API states

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
