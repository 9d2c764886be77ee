"""Single calls whose raw replies tell something, refusals too."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.client import RetryPolicy
from airflow_provider_chatbase.client.client import repeated
from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.loop_thread import shared_loop
from airflow_provider_chatbase.client.replies import Reply, error_envelope, refusal
from airflow_provider_chatbase.client.request import CHAT_PATIENCE, ApiVersion, Json, Method, Request
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import Transport

POLICY = RetryPolicy(max_attempts=4, deadline=90.0)
NO_REPLY, NO_JSON = "no reply", "without JSON"


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a call; as text the status and the code, which are no one's content."""

    status: int = 0  # 0: no reply
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)

    def __str__(self) -> str:
        code = error_envelope(self.content)[0] or ""
        code = code if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", code[:80]) else ""
        told = "" if self.works else code or (NO_JSON if self._is_success else "")
        return f"{self.status} {told}".strip() if self.status else NO_REPLY

    @property
    def works(self) -> bool:
        """Whether Chatbase did it; what says so and is no JSON came of something else, such as a proxy."""
        return self._is_success and (
            not self.content
            or self.headers.get("content-type", "").startswith("text/event-stream")
            or self._decoded is not None
        )

    @property
    def _is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def json(self) -> dict[str, Any]:
        """The body, empty where it is no object."""
        found = self._decoded
        return found if isinstance(found, dict) else {}

    @property
    def _decoded(self) -> Json:
        try:
            return decode_json(self.content)
        except ValueError:
            return None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The objects of a listing."""
        rows = self.json.get("data", self.json.get("chatbots"))
        return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


class Caller:
    """Sends calls one by one and keeps a list of them; only what reads, unless ``may_write`` is set."""

    def __init__(self, settings: ClientSettings) -> None:
        self._transport = Transport(settings)
        self.may_write = False
        self.made: list[tuple[ApiVersion, str, str]] = []
        self.first_error: ChatbaseError | None = None
        self.retry_after: list[str] = []  # of each 429, empty where it had none

    def get(self, operation: str, path: str, query: Mapping[str, Any] | None = None) -> Heard:
        """Read something of API v2."""
        return self.call(operation, "GET", path, query=query)

    def call(
        self,
        operation: str,
        method: Method,
        path: str,
        body: Json = None,
        query: Mapping[str, Any] | None = None,
        version: ApiVersion = "v2",
    ) -> Heard:
        """Make a call, again where that is safe; what comes of it is told and never raised."""
        if method != "GET" and not self.may_write:
            raise PermissionError(f"{operation} would write something.")
        request: Request[Json] = Request(
            operation,
            method,
            path,
            lambda reply: reply,
            version=version,
            query=query or {},
            body=body,
            repeatable=method in ("GET", "DELETE"),
            patience=CHAT_PATIENCE if operation == "chatWithAgent" else None,
        )
        heard = shared_loop().run(self._ask(request))
        self.made.append((version, operation, str(heard)))
        return heard

    def close(self) -> None:
        """Close the HTTP connections."""
        shared_loop().run(self._transport.close())

    async def _ask(self, request: Request[Json]) -> Heard:
        replies: list[Reply] = []

        async def attempt() -> None:
            replies.clear()
            opened = await self._transport.open(request)
            try:
                replies.append(await opened.whole())
            finally:
                await opened.close()
            if replies[0].status == 429:
                self.retry_after.append(replies[0].headers.get("retry-after", ""))
            if not 200 <= replies[0].status < 300:
                raise refusal(request, replies[0], time.time())

        try:
            await repeated(POLICY, request, attempt)
        except ChatbaseError as error:
            self.first_error = self.first_error or error
            if not replies:
                return Heard()
        return Heard(replies[0].status, replies[0].headers, replies[0].content)
