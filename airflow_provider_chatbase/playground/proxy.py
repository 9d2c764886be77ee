"""What stands between the page and the real service: it adds the key, and lets nobody else's page in."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import Transport, httpx
from airflow_provider_chatbase.playground import PlaygroundPage, routes

logger = logging.getLogger(__name__)

_PATIENCE = 120.0
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_API_PATH = re.compile(r"/api/(v1|v2)((?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+)")
_FILE_PATH = re.compile(r"/agents/[^/]+/sources(?:/[^/]+)?")
_SENT_ON = (b"accept", b"content-type", b"content-length")
_GIVEN_BACK = re.compile(
    rb"content-(?:type|length|disposition)|retry-after|deprecation|x-request-id|x-ratelimit-.*"
)
_REPLY_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",  # a reply is data, whatever it says that it is
}


class ReplyBrokenError(Exception):
    """The service's reply broke off; what was passed on must not look whole."""


def application(page: PlaygroundPage, settings: ClientSettings, port: int) -> ASGIApp:
    """Return the page and the service behind it, as a loopback server on ``port`` may serve them."""
    api = Route("/api/{rest:path}", Proxy(settings).forward, methods=_METHODS)
    return OwnPagesOnly(Router([*routes(page), api], redirect_slashes=False), port)


class OwnPagesOnly:
    """Refuses what another host's page, or a name that somebody points at this machine, asks of us."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it."""
        app = self._app if self._is_ours(Headers(scope=scope)) else _FOREIGN
        try:
            await app(scope, receive, send)
        except ReplyBrokenError as error:  # leaves the reply unfinished, so that the server cuts it
            logger.warning("%s", error)
        except ClientDisconnect:
            logger.debug("The browser hung up.")

    def _is_ours(self, headers: Headers) -> bool:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        return (
            len(hosts) == 1
            and hosts[0].lower() in self._hosts
            and all(origin.lower() == f"http://{hosts[0].lower()}" for origin in origins)
            and all(site in ("same-origin", "none") for site in headers.getlist("sec-fetch-site"))
        )


class Proxy:
    """Passes calls on to the service, with the key, as they come, and the replies back."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._pools = Transport(settings).pools
        self._key = settings.api_key.encode()

    async def forward(self, request: Request) -> Response:
        """Pass one call on."""
        url = self._url(request)
        if url is None:
            return failure(404, "PLAYGROUND_NO_API_PATH", "This is no path of the API. Nothing was sent.")
        async with AsyncExitStack() as stack:
            try:
                client = stack.enter_context(self._pools.client())
                response = await client.send(self._outgoing(client, request, url), stream=True)
            except httpx.HTTPError as error:
                return self._no_reply(url, error)
            stack.push_async_callback(response.aclose)
            if response.is_redirect:
                return self._redirected(url)
            whole = stack.pop_all()  # what is open stays so until the body has been passed on
        return StreamingResponse(self._body(response, whole), response.status_code, self._headers(response))

    def _url(self, request: Request) -> httpx.URL | None:
        found = _API_PATH.fullmatch(request.scope["raw_path"].decode("latin-1"))
        if found is None or not all(_is_plain(segment) for segment in found[2].split("/")[1:]):
            return None
        form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
        to_files = form and found[1] == "v2" and _FILE_PATH.fullmatch(found[2])
        url = httpx.URL(self._settings.url("files" if to_files else "main", found[1], found[2]))  # type: ignore[arg-type]
        query = request.scope["query_string"]
        return url.copy_with(query=query) if query else url

    def _outgoing(self, client: httpx.AsyncClient, request: Request, url: httpx.URL) -> httpx.Request:
        headers = [(name, value) for name, value in request.headers.raw if name in _SENT_ON]
        headers.append((b"accept-encoding", b"identity"))  # what is not packed can be passed on at once
        has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
        waits = self._settings.timeouts(_PATIENCE)
        return client.build_request(
            request.method,
            url,
            headers=headers,
            content=request.stream() if has_body else None,
            timeout=httpx.Timeout(connect=waits.connect, read=waits.read, write=waits.read, pool=waits.pool),
        )

    async def _body(self, response: httpx.Response, whole: AsyncExitStack) -> AsyncIterator[bytes]:
        async with whole:
            try:
                held = b""
                async for chunk in response.aiter_bytes():
                    data = self._masked(held + chunk)
                    cut = len(data) - self._begins_at_end(data)
                    held = data[cut:]
                    if cut:
                        yield data[:cut]
                if held:
                    yield held
            except (httpx.HTTPError, httpx.StreamError) as error:
                why = str(error) or type(error).__name__
                raise ReplyBrokenError(f"The reply of {response.url.host} broke off: {why}.") from None

    def _headers(self, response: httpx.Response) -> dict[str, str]:
        packed = "content-encoding" in response.headers
        raw = [(name.lower(), value) for name, value in response.headers.raw]
        given = {
            name.decode(): self._masked(value).decode("latin-1")
            for name, value in raw
            if _GIVEN_BACK.fullmatch(name) and not (packed and name == b"content-length")
        }
        return given | _REPLY_HEADERS

    def _masked(self, data: bytes) -> bytes:
        return data.replace(self._key, b"*" * len(self._key))

    def _begins_at_end(self, data: bytes) -> int:
        """Return how many bytes at the end may be the beginning of the key."""
        return next(n for n in range(len(self._key) - 1, -1, -1) if data.endswith(self._key[:n]))

    def _no_reply(self, url: httpx.URL, error: httpx.HTTPError) -> Response:
        why = self._masked((str(error) or type(error).__name__).encode()).decode()
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)):
            says = (
                f"{url.host} cannot be reached ({why}), so nothing was sent: check this machine's network, "
            )
            return failure(502, "PLAYGROUND_UNREACHABLE", says + "and the connection's host and proxy.")
        if isinstance(error, httpx.TimeoutException):
            says = f"{url.host} did not reply in time, and may have done the work all the same: "
            return failure(504, "PLAYGROUND_TIMEOUT", says + "look before you send it again.")
        says = f"The connection to {url.host} broke ({why}), and the work may have been done all the same: "
        return failure(502, "PLAYGROUND_CONNECTION_LOST", says + "look before you send it again.")

    def _redirected(self, url: httpx.URL) -> Response:
        says = f"{url.host} answered with a redirect, which would take the key along, and is not followed: "
        return failure(502, "PLAYGROUND_REDIRECT", says + "correct the connection's host.")


def failure(status: int, code: str, message: str) -> JSONResponse:
    """Return a failure of ours, in the shape of the API's errors."""
    content: dict[str, Any] = {"error": {"code": code, "message": message}}
    return JSONResponse(content, status, headers=_REPLY_HEADERS)


_FOREIGN = failure(
    403,
    "PLAYGROUND_FOREIGN_PAGE",
    "The playground answers its own page only: type its address as it was printed into the browser.",
)


def _is_plain(segment: str) -> bool:
    """Say whether no reader could take a segment for more than one, or for a way up."""
    decoded = unquote(segment, errors="replace")
    return decoded not in (".", "..") and not re.search(r"[/\\%?#\x00-\x1f\x7f]", decoded)
