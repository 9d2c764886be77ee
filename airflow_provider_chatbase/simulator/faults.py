"""Faults on demand: what goes wrong, for which requests, and how often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from airflow_provider_chatbase.simulator.exchange import ApiError, Ending, ReceivedRequest, ServedReply

KINDS: Mapping[str, str] = {
    "status": "answer with `status`, `code`, `message`, `headers`, or with `body`, to its `ending`",
    "redirect": "answer with a redirect to `location`",
    "not_json": "answer 200 with a page of HTML",
    "reset_before": "reset the connection before any work",
    "reset_after": "do and charge the work, then reset the connection",
    "reset_during": "reset the connection at once; the work goes on, so an answer comes later",
    "truncate": "end the body after `after_bytes`; with `chunked`, a body without Content-Length",
    "truncate_json": "complete HTTP message whose JSON ends in the middle",
    "slow": "do the work and wait `seconds` before the reply; with `after=False`, wait before the work",
    "drip": "send the body `chunk_size` bytes at a time, `seconds` apart",
    "stale": "a whole reply; the next request on that connection is reset, unread",
    "no_end": "a whole reply, but not its end: `ending` says what comes instead",
    "stream_cut": "end the stream after `after_events` events (default: half), without [DONE]; then `ending`",
    "stream_error": "an error event after `after_events` events instead of the rest",
    "generation_error": "the question is kept, but no answer is made or charged: 500, with `reset` a reset",
    "answer": "nothing but the answer that is ordered with `answer`",
    "finish_error": "an answer whose finishReason is error; it is neither kept nor charged",
    "repeat_cursor": "a page that points to itself",
    "wrong_total": "a page whose total is `amount` too high",
    "drop_items": "a page, or a conversation's messages, without the last `amount` items",
    "short_page": "a page of at most `amount` items, whatever was asked for",
    "empty_page": "a page without its items, with hasMore and a good cursor",
    "no_tool_results": "a conversation that does not show the results of its tools",
}

_CODES = {
    400: ("VALIDATION_INVALID_BODY", "Invalid request body"),
    401: ("AUTH_INVALID_API_KEY", "Invalid API key"),
    402: ("CHAT_CREDITS_EXHAUSTED", "Message limit reached"),
    403: ("AUTH_INSUFFICIENT_PERMISSIONS", "Insufficient permissions"),
    404: ("RESOURCE_NOT_FOUND", "Resource not found"),
    429: ("RATE_LIMIT_TOO_MANY_REQUESTS", "Too many requests, please try again later"),
    500: ("INTERNAL_SERVER_ERROR", "Internal server error"),
}

_STREAM_CUT = 200
_PROXY_PAGE = b"<html><head><title>%d</title></head><body><h1>The proxy answers</h1></body></html>"


@dataclass(kw_only=True, eq=False)
class Fault:
    """
    One thing that goes wrong.

    :param kind: one of ``KINDS``.
    :param operation: operationId of v2.json or v1.json that is hit; None hits any.
    :param times: how often it strikes; None means for ever.
    :param probability: chance that a matching request is hit.
    :param skip: how many matching requests pass first.
    :param where: further condition on the request.
    :param after: whether the work is done and charged all the same, for kinds that leave it out: ``status``,
        ``redirect``, ``not_json``, ``stream_error`` and ``finish_error``; False makes ``slow`` wait first.
    :param status: HTTP status of kinds ``status`` and ``redirect``.
    :param code: error code; a 502, 503 or 504 without one is an HTML page, as of a proxy.
    :param message: error message.
    :param headers: extra reply headers.
    :param retry_after: value of a ``Retry-After`` header, in seconds.
    :param body: reply body instead of an error envelope; bytes in a list are sent piece by piece.
    :param content_type: content type of ``body``.
    :param pause: wait between the pieces of such a body, in seconds.
    :param ending: how a reply ends, for ``status`` with a ``body``, ``no_end`` and ``stream_cut``: with its
        ``end``; ``cut``, the connection is closed; with a ``reset``; or it will ``hang``.
    :param answer: what the agent answers wherever the work is done: a text, or a mapping with any of
        ``text``, ``tools`` (pairs of name and input), ``credits`` (None hides them), ``finish_reason`` and
        ``in_place`` (it is added to the message that asked for the tools).
    :param location: target of a redirect.
    :param seconds: waiting time of kinds ``slow`` and ``drip``.
    :param after_bytes: where kind ``truncate`` cuts; None means half of a body, 200 bytes of a stream.
    :param after_events: where ``stream_cut`` and ``stream_error`` cut.
    :param chunked: ``truncate`` a chunked body.
    :param reset: end a cut body or stream with a connection reset, like ``ending="reset"``.
    :param chunk_size: size of the pieces of kind ``drip``.
    :param amount: how many, for ``wrong_total``, ``drop_items`` and ``short_page``.
    """

    kind: str
    operation: str | None = None
    times: int | None = None
    probability: float = 1.0
    skip: int = 0
    where: Callable[[ReceivedRequest], bool] | None = None
    after: bool | None = None
    status: int = 500
    code: str | None = None
    message: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None
    body: str | bytes | Sequence[bytes] | None = None
    content_type: str = "text/html; charset=utf-8"
    pause: float = 0.0
    ending: Ending = "end"
    answer: str | Mapping[str, Any] | None = None
    location: str = "http://127.0.0.1:9/elsewhere"
    seconds: float = 1.0
    after_bytes: int | None = None
    after_events: int | None = None
    chunked: bool = False
    reset: bool = False
    chunk_size: int = 64
    amount: int = 1
    fired: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"Unknown fault kind {self.kind!r}; known: {', '.join(KINDS)}")

    @property
    def final_ending(self) -> Ending:
        """How a broken body or stream ends."""
        return "reset" if self.reset else self.ending

    def matches(self, request: ReceivedRequest) -> bool:
        """Whether this fault is about the given request."""
        if self.times is not None and self.fired >= self.times:
            return False
        if self.operation is not None and self.operation != request.operation:
            return False
        return self.where is None or self.where(request)


class FaultBoard:
    """The faults that are active; the first that strikes a request decides."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.active: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Activate faults."""
        self.active = [*self.active, *faults]

    def clear(self) -> None:
        """Deactivate all faults."""
        self.active = []

    def draw(self, request: ReceivedRequest) -> Fault | None:
        """Return the fault that strikes this request, if one does."""
        for fault in self.active:
            if not fault.matches(request):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.probability < 1 and self._rng.random() >= fault.probability:
                continue
            fault.fired += 1
            return fault
        return None


def faults_from_json(data: Any) -> Iterator[Fault]:
    """Build faults from a JSON object, or a list of them, with the arguments of ``Fault`` but ``where``."""
    known = {each.name for each in fields(Fault)} - {"where", "fired"}
    for item in data if isinstance(data, list) else [data]:
        unknown = set(item) - known
        if unknown or "kind" not in item:
            raise ValueError(f"Unknown or missing keys of a fault: {', '.join(sorted(unknown)) or 'kind'}")
        yield Fault(**item)


def substitute(fault: Fault, version: str) -> ServedReply | None:
    """Return the reply that stands in for the real one, or None when the kind only damages the real one."""
    if fault.kind == "reset_before":
        return ServedReply(is_silent=True)
    if fault.kind == "redirect":
        status = fault.status if 300 <= fault.status < 400 else 307
        return ServedReply(status, content=b"", headers={"Location": fault.location, **fault.headers})
    if fault.kind == "not_json":
        page = fault.body or "<html><body>Please log in to the network</body></html>"
        return _raw_reply(fault, 200, page, dict(fault.headers))
    return _status_reply(fault, version) if fault.kind == "status" else None


def _status_reply(fault: Fault, version: str) -> ServedReply:
    headers = dict(fault.headers)
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    if fault.body is not None:
        return _raw_reply(fault, fault.status, fault.body, headers)
    code, message = _CODES.get(fault.status, (fault.code, fault.code))
    code, message = fault.code or code, fault.message or message
    if code is None:
        return _raw_reply(fault, fault.status, _PROXY_PAGE % fault.status, headers)
    return ApiError(fault.status, code, message or code, headers=headers).reply(version)


def _raw_reply(
    fault: Fault, status: int, body: str | bytes | Sequence[bytes], headers: dict[str, str]
) -> ServedReply:
    reply = ServedReply(status, content_type=fault.content_type, headers=headers, ending=fault.final_ending)
    if isinstance(body, str | bytes) and reply.ending == "end":
        reply.content = body.encode() if isinstance(body, str) else body
    else:
        pieces = [body.encode()] if isinstance(body, str) else [body] if isinstance(body, bytes) else body
        reply.chunks = _slowly(pieces, fault.pause)
    return reply


async def _slowly(pieces: Iterable[bytes], pause: float) -> AsyncIterator[bytes]:
    for piece in pieces:
        await asyncio.sleep(pause)
        yield piece


def damage(fault: Fault, reply: ServedReply, request: ReceivedRequest) -> ServedReply:
    """Return the real reply with the damage that the fault does to it."""
    if fault.kind == "reset_after" or (fault.kind == "generation_error" and fault.reset):
        return ServedReply(is_silent=True)
    if fault.kind == "truncate":
        half = _STREAM_CUT if reply.chunks is not None else len(reply.body()) // 2
        reply.cut_after = half if fault.after_bytes is None else fault.after_bytes
        reply.without_length = fault.chunked
        reply.ending = "reset" if fault.reset else "cut"
    elif fault.kind == "truncate_json" and reply.chunks is None:
        reply.content = reply.body()[: len(reply.body()) // 2]
    elif fault.kind == "drip":
        reply.drip_bytes, reply.drip_seconds = fault.chunk_size, fault.seconds
    elif fault.kind == "stale":
        reply.stale_after = True
    elif fault.kind == "no_end" or (fault.kind == "stream_cut" and reply.chunks is not None):
        reply.ending = fault.final_ending
    elif isinstance(reply.payload, dict) and isinstance(reply.payload.get("data"), list):
        reply.payload = _damaged_page(fault, reply.payload, request)
    elif isinstance(reply.payload, dict) and isinstance(reply.payload.get("data"), dict):
        reply.payload = {**reply.payload, "data": _damaged_conversation(fault, reply.payload["data"])}
    return reply


def _damaged_page(fault: Fault, page: dict[str, Any], request: ReceivedRequest) -> dict[str, Any]:
    pagination = dict(page.get("pagination", {}))
    data = page["data"]
    if fault.kind == "repeat_cursor":
        pagination.update(cursor=request.query.get("cursor") or pagination.get("cursor"), hasMore=True)
    elif fault.kind == "wrong_total":
        pagination["total"] = pagination.get("total", len(data)) + fault.amount
    elif fault.kind == "drop_items":
        data = data[: max(0, len(data) - fault.amount)]
    elif fault.kind == "empty_page" and pagination.get("cursor"):
        data = []
    return {**page, "data": data, "pagination": pagination}


def _damaged_conversation(fault: Fault, conversation: dict[str, Any]) -> dict[str, Any]:
    messages = conversation.get("messages", [])
    if fault.kind == "drop_items" and messages:
        return {**conversation, "messages": messages[: -fault.amount]}
    if fault.kind == "no_tool_results":
        shown = [
            {**each, "parts": [part for part in each["parts"] if part["type"] != "tool-result"]}
            for each in messages
        ]
        return {**conversation, "messages": shown}
    return conversation
