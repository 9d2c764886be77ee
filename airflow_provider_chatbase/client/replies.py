"""From the bytes of a reply to its result or its error. Pure: no network, no clock of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from airflow_provider_chatbase.client.error_codes import advice, error_class
from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseDamagedReplyError,
    ChatbaseRateLimitError,
    ChatbaseReplyError,
)
from airflow_provider_chatbase.client.limits import asked_wait
from airflow_provider_chatbase.client.request import Json, JsonObject, Request

Result = TypeVar("Result")


class UnexpectedShapeError(ValueError):
    """Raised by a reader whose JSON is not what the API promises; :func:`read_reply` adds the rest."""


@dataclass(frozen=True, slots=True)
class Reply:
    """
    A reply as it came, without its HTTP library.

    :param status: the HTTP status.
    :param headers: the headers, with lower-case names.
    :param content: the body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def request_id(self) -> str | None:
        """The id to quote to Chatbase's support."""
        return self.headers.get("x-request-id")

    @property
    def says_json(self) -> bool:
        """Whether the reply claims to be JSON."""
        return "json" in self.headers.get("content-type", "").lower()


def read_reply(request: Request[Result], reply: Reply, now: float) -> Result:
    """
    Read a reply.

    :param request: what was sent.
    :param reply: what came back.
    :param now: the present, in seconds since the epoch; waits are counted from it.
    :return: what the request's reader makes of it.
    :raises ChatbaseApiError: when Chatbase refused.
    :raises ChatbaseReplyError: when the reply is not the promised JSON.
    """
    if not 200 <= reply.status < 300:
        raise refusal(request, reply, now)
    try:
        return request.read(_decoded(request, reply))
    except UnexpectedShapeError as shape:
        raise _not_promised(ChatbaseReplyError, request, reply, str(shape)) from shape


def refusal(request: Request[Result], reply: Reply, now: float) -> ChatbaseApiError | ChatbaseReplyError:
    """
    Make the error of a reply that is no success.

    :param request: what was sent.
    :param reply: what came back, with any status outside 200 to 299.
    :param now: the present, in seconds since the epoch.
    :return: the error to raise.
    """
    if reply.status < 400:
        where = reply.headers.get("location", "nowhere")
        return _not_promised(
            ChatbaseReplyError,
            request,
            reply,
            f"a redirect to {where}, which is not followed, since the API key would go there too. "
            "Check the connection's base URL",
        )
    code, message, details = error_envelope(reply.content)
    cls = error_class(code, reply.status)
    what = message or "no reason given"
    if details:
        what += " (" + "; ".join(f"{field}: {why}" for field, why in details.items()) + ")"
    facts = ", ".join(filter(None, [code, f"HTTP {reply.status}", _request(reply)]))
    return cls(
        " ".join(
            filter(
                None,
                [f"Chatbase refused {request.operation}: {what.rstrip('.')} [{facts}].", advice(code, cls)],
            )
        ),
        operation=request.operation,
        status=reply.status,
        code=code,
        request_id=reply.request_id,
        details=details,
        retry_after=asked_wait(reply.headers, now, rate_limited=issubclass(cls, ChatbaseRateLimitError)),
    )


def error_envelope(content: bytes) -> tuple[str | None, str, JsonObject]:
    """
    Read an error body of either API version.

    :param content: ``{"error": {"code", "message", "details"?}}``, or v1's ``{"message", "issues"?}``,
        or anything else, such as a proxy's page.
    :return: the code, the message and the details; empty where the body has none.
    """
    try:
        body = json.loads(content)
    except ValueError:
        return None, "", {}
    if not isinstance(body, dict):
        return None, "", {}
    error = body.get("error")
    if isinstance(error, str):
        return None, error, {}
    if not isinstance(error, dict):
        error = body
    details = error.get("details")
    code, message = error.get("code"), error.get("message")
    return (
        code if isinstance(code, str) else None,
        message if isinstance(message, str) else "",
        details if isinstance(details, dict) else _issues(error.get("issues")),
    )


def _issues(issues: Json) -> JsonObject:
    if not isinstance(issues, list):
        return {}
    return {str(issue.get("field")): issue.get("message") for issue in issues if isinstance(issue, dict)}


def _decoded(request: Request[Result], reply: Reply) -> Json:
    if reply.status == 204:
        return None
    try:
        return json.loads(reply.content)
    except ValueError as error:
        if reply.says_json:
            raise _not_promised(
                ChatbaseDamagedReplyError, request, reply, f"JSON that was cut or damaged ({error})"
            ) from error
        kind = reply.headers.get("content-type", "no content type")
        raise _not_promised(
            ChatbaseReplyError,
            request,
            reply,
            f"{kind} instead of JSON. A proxy may have answered, or the connection's base URL is wrong",
        ) from error


def _not_promised(
    cls: type[ChatbaseReplyError], request: Request[Result], reply: Reply, what: str
) -> ChatbaseReplyError:
    facts = ", ".join(filter(None, [f"HTTP {reply.status}", _request(reply)]))
    return cls(
        f"The reply to {request.operation} is not what the API promises [{facts}]: {what}.",
        operation=request.operation,
        status=reply.status,
        request_id=reply.request_id,
    )


def _request(reply: Reply) -> str | None:
    return f"request {reply.request_id}" if reply.request_id else None
