"""What goes through the simulator: a request as it arrived, its reply, a page, or an error."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

JSON_TYPE = "application/json; charset=utf-8"

Ending = Literal["end", "cut", "reset", "hang"]
Position = tuple[float, str]  # the time and the id of a thing in a list
T = TypeVar("T")


@dataclass(eq=False)
class ReceivedRequest:
    """
    One request, kept in the simulator's log.

    ``operation`` is the operationId of the API description, None for an unknown path. ``status`` is set
    before the reply leaves; it stays None when no reply was sent. ``at`` is the monotonic time of arrival.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    at: float
    request_id: str = ""
    operation: str | None = None
    status: int | None = None

    @cached_property
    def json(self) -> Any:
        """The body as JSON; None when it is empty or is not JSON."""
        if not self.body or self.is_multipart:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def is_multipart(self) -> bool:
        """Whether the body is a form with files."""
        return self.headers.get("content-type", "").startswith("multipart/form-data")


class RequestLog:
    """The last ``limit`` requests (None: all of them), and counts of all by operation and status."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self.requests: list[ReceivedRequest] = []
        self.counts: Counter[tuple[str, int | None]] = Counter()

    def add(self, request: ReceivedRequest) -> None:
        """Keep a request."""
        self.requests.append(request)
        if self._limit is not None and len(self.requests) >= 2 * self._limit + 1:
            del self.requests[: -self._limit]

    def close(self, request: ReceivedRequest) -> None:
        """Count a request whose outcome is known, and let go of uploaded files."""
        self.counts[request.operation or "unknown", request.status] += 1
        if request.is_multipart:
            request.body = b""

    def clear(self) -> None:
        """Forget everything."""
        self.requests = []
        self.counts = Counter()


@dataclass
class ServedReply:
    """
    What to send, and how to send it.

    ``payload`` is sent as JSON unless ``content`` (bytes) or ``chunks`` (a stream) is given. The fields from
    ``ending`` on describe damage on the wire.
    """

    status: int = 200
    payload: Any = None
    content: bytes | None = None
    content_type: str = JSON_TYPE
    chunks: AsyncIterator[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    ending: Ending = "end"
    cut_after: int | None = None  # bytes of the body, of which the last is never sent
    without_length: bool = False
    drip_bytes: int = 0
    drip_seconds: float = 0.0
    is_silent: bool = False  # nothing of it reaches the client but a reset
    stale_after: bool = False

    def body(self) -> bytes:
        """Return the whole body of a reply that is not streamed."""
        if self.content is None:
            self.content = json.dumps(self.payload, ensure_ascii=False, separators=(",", ":")).encode()
        return self.content


class ApiError(Exception):
    """A refusal by the API; ``details`` hold the reason per field of a validation error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def reply(self, version: str) -> ServedReply:
        """Return the reply that carries this error: with a code and details in v2, a message alone in v1."""
        if version == "v1":
            message = self.message
            for name, reason in self.details.items():
                message = f"Invalid {name}: {reason}"
                break
            return ServedReply(self.status, {"message": message}, headers=self.headers)
        error: dict[str, object] = {"code": self.code, "message": self.message}
        if self.details:
            error["details"] = self.details
        return ServedReply(self.status, {"error": error}, headers=self.headers)


def invalid(details: Mapping[str, str], message: str = "Invalid request") -> ApiError:
    """Return the validation error for the given fields."""
    return ApiError(400, "VALIDATION_INVALID_BODY", message, details=details)


def not_found(code: str, what: str) -> ApiError:
    """Return the 404 for a thing that does not exist or belongs to someone else."""
    return ApiError(404, code, f"{what} not found")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page is asked for, and how cursors behave; those of one ``kind`` are good for no other list."""

    limit: int
    cursor: str | None
    kind: str
    offsets: bool = False
    trailing_empty: bool = False

    def place(self) -> list[Any]:
        """Return the place that the cursor stands for, empty without one; raise ``ApiError`` 400."""
        if self.cursor is None:
            return []
        try:
            padded = self.cursor + "=" * (-len(self.cursor) % 4)
            found, *place = json.loads(base64.urlsafe_b64decode(padded.encode()))
        except (ValueError, TypeError) as error:
            raise invalid({"cursor": "Invalid cursor"}) from error
        if found != self.kind or not place:
            raise invalid({"cursor": "Invalid cursor"})
        return list(place)

    def start(self) -> tuple[int, Position | None]:
        """Return how many to leave out, and the last position that was shown; raise ``ApiError`` 400."""
        match self.place():
            case []:
                return 0, None
            case [int(skip)] if self.offsets:
                return skip, None
            case [int() | float() as moment, str(identifier)]:
                return 0, (moment, identifier)
        raise invalid({"cursor": "Invalid cursor"})

    def page(self, data: Any, total: int | None, *place: Any) -> dict[str, Any]:
        """Return the reply body of a page; the next one begins at ``place``, without which it is the last."""
        text = json.dumps([self.kind, *place], separators=(",", ":")).encode()
        cursor = base64.urlsafe_b64encode(text).decode().rstrip("=") if place else None
        counted = {} if total is None else {"total": total}
        return {"data": data, "pagination": {"cursor": cursor, "hasMore": bool(place), **counted}}


def page_of_list(
    items: Iterable[T],
    place_of: Callable[[T], Position],
    show: Callable[[T], Any],
    request: PageRequest,
    *,
    ascending: bool = False,
) -> dict[str, Any]:
    """Return a page of a list, which is sorted by place: newest first unless ``ascending``."""
    ordered = sorted(items, key=place_of, reverse=not ascending)
    _, last = request.start()
    left = ordered
    if last is not None:
        left = [each for each in ordered if (place_of(each) > last if ascending else place_of(each) < last)]
    shown = left[: request.limit]
    place = place_of(shown[-1]) if len(left) > request.limit else ()
    return request.page([show(each) for each in shown], len(ordered), *place)
