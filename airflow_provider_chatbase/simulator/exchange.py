"""What goes through the simulator: a request as it arrived, and the reply to it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

JSON_TYPE = "application/json; charset=utf-8"


@dataclass(eq=False)
class Request:
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


@dataclass
class Reply:
    """
    What to send, and how to send it.

    ``payload`` is sent as JSON unless ``content`` (bytes) or ``chunks`` (a stream) is given. The fields from
    ``reset`` on describe damage on the wire.
    """

    status: int = 200
    payload: Any = None
    content: bytes | None = None
    content_type: str = JSON_TYPE
    chunks: AsyncIterator[bytes] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False
    cut_after: int | None = None
    without_length: bool = False
    drip_bytes: int = 0
    drip_seconds: float = 0.0
    stale_after: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether nothing of it reaches the client."""
        return self.reset and self.cut_after is None and self.chunks is None

    def body(self) -> bytes:
        """Return the whole body of a reply that is not streamed."""
        if self.content is None:
            self.content = json.dumps(self.payload, ensure_ascii=False, separators=(",", ":")).encode()
        return self.content
