"""The one module that knows the HTTP library."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Generic, TypeVar

import anyio
import httpx
from httpx_sse import EventSource

from airflow_provider_chatbase import __version__
from airflow_provider_chatbase.client.errors import (
    ChatbaseConfigurationError,
    ChatbaseConnectionLostError,
    ChatbaseError,
    ChatbaseTimeoutError,
    ChatbaseUnreachableError,
)
from airflow_provider_chatbase.client.replies import Reply
from airflow_provider_chatbase.client.request import Form, Request
from airflow_provider_chatbase.client.settings import ClientSettings

Client = TypeVar("Client")
Piece = TypeVar("Piece")

POOL_SIZE = 10


class Pool(Generic[Client]):
    """A client with connections of its own."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.busy = 0

    def release(self) -> None:
        """Give back a place that was taken."""
        self.busy -= 1


class Pools(Generic[Client]):
    """Pools that are opened as they are needed. For one event loop."""

    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._open_client = open_client
        self._pools = [Pool(open_client())]

    def take(self) -> Pool[Client]:
        """Take a place in the first pool that has one; it is released in the end."""
        pool = next((pool for pool in self._pools if pool.busy < POOL_SIZE), None)
        if pool is None:
            pool = Pool(self._open_client())
            self._pools.append(pool)
        pool.busy += 1
        return pool

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Take a client for the time of a block."""
        pool = self.take()
        try:
            yield pool.client
        finally:
            pool.release()

    def clients(self) -> list[Client]:
        """Return all clients, to close them."""
        return [pool.client for pool in self._pools]


END_MARKER = "[DONE]"
"""What the last event of a whole stream says; what comes after it does not matter."""

NO_END = "the stream ended without its end marker"

USER_AGENT = f"airflow-provider-chatbase/{__version__}"

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class _BearerAuth(httpx.Auth):
    """Adds the key while sending, so that no request object or traceback shows it."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


class BlockingTransport:
    """Sends with calls that block: its coroutines never wait, and end at their first step."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        with _bad_settings():
            self.client = httpx.Client(**_client_arguments(settings))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    async def open(self, request: Request[Any]) -> OpenReply:
        """Send a request once, and leave the body of the reply to come."""
        with _no_reply(self._settings, request):
            response = self.client.send(_build(self.client, self._settings, request), stream=True)
        return OpenReply(response, self._settings, request)

    async def close(self) -> None:
        """Close all connections."""
        self.client.close()


class AsyncTransport:
    """Sends on an event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        with _bad_settings():
            self.pools = Pools(lambda: httpx.AsyncClient(**_client_arguments(settings)))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def open(self, request: Request[Any]) -> OpenReply:
        """Send a request once, and leave the body of the reply to come."""
        with ExitStack() as place, _no_reply(self._settings, request):
            client = place.enter_context(self.pools.client())
            response = await client.send(_build(client, self._settings, request), stream=True)
            return OpenReply(response, self._settings, request, place.pop_all().close)

    async def close(self) -> None:
        """Close all connections."""
        for client in self.pools.clients():
            await client.aclose()


class OpenReply:
    """A reply whose body is still to come, over a transport of either kind."""

    def __init__(
        self,
        response: httpx.Response,
        settings: ClientSettings,
        request: Request[Any],
        release: Callable[[], None] | None = None,
    ) -> None:
        self._response = response
        self._release = release  # gives back the place in a pool, on an event loop
        self._settings = settings
        self._request = request
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    @property
    def streams(self) -> bool:
        """Whether the body is a stream, and no refusal or document of another kind."""
        known = self._sends_events or (self._request.version == "v1" and "text/plain" in self._content_type)
        return known and 200 <= self._response.status_code < 300

    async def pieces(self) -> AsyncIterator[str]:
        """
        Return the data of each server-sent event, or the chunks of a plain text, as they come.

        The end marker of server-sent events is not among them; a plain text has none.
        """
        blocks, response = self._release is None, self._response
        with _broken():
            if not self._sends_events:
                async for text in _each(response.iter_text() if blocks else response.aiter_text()):
                    yield text
                return
            source = EventSource(response)
            async for event in _each(source.iter_sse() if blocks else source.aiter_sse()):
                if event.data.strip() == END_MARKER:
                    return
                yield event.data
            raise StreamBrokenError(NO_END)

    async def whole(self) -> Reply:
        """Read the rest of the body, and return the reply."""
        with _no_reply(self._settings, self._request):
            if self._release is None:
                self._response.read()
            else:
                await self._response.aread()
        return Reply(self._response.status_code, self.headers, self._response.content)

    async def close(self) -> None:
        """Close the connection, or give it back."""
        if self._release is None:
            return self._response.close()
        try:
            await self._response.aclose()
        finally:
            self._release()

    @property
    def _sends_events(self) -> bool:
        return "text/event-stream" in self._content_type

    @property
    def _content_type(self) -> str:
        return self.headers.get("content-type", "").lower()


async def _each(values: Iterator[Piece] | AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    if isinstance(values, AsyncIterator):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


class StreamBrokenError(Exception):
    """The connection broke while a body was coming; its reader knows what that means."""


@cache
def load_async_backend() -> None:
    """Import what httpx would import at the first async connection, on a thread without an event loop."""
    anyio.run(anyio.sleep, 0)


def _client_arguments(settings: ClientSettings) -> dict[str, Any]:
    own = settings.ca_bundle
    return {
        "auth": _BearerAuth(settings.api_key),
        "headers": {"Accept": "application/json, text/event-stream, text/plain", "User-Agent": USER_AGENT},
        "proxy": settings.proxy,
        "verify": ssl.create_default_context(cafile=own) if own else _usual_trust(),
        "follow_redirects": False,  # a redirect would carry the key to another host
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=5.0),
    }


@cache
def _usual_trust() -> ssl.SSLContext:
    """Load the usual certificates once: it takes long enough to hold up an event loop with many triggers."""
    return httpx.create_ssl_context()


def _build(
    client: httpx.Client | httpx.AsyncClient, settings: ClientSettings, request: Request[Any]
) -> httpx.Request:
    timeouts = settings.timeouts(request.patience)
    return client.build_request(
        request.method,
        settings.url(request.host, request.version, request.path),
        params={name: value for name, value in request.query.items() if value is not None},
        json=request.body,
        files=None if request.form is None else _parts(request.form),
        timeout=httpx.Timeout(
            connect=timeouts.connect, read=timeouts.read, write=timeouts.read, pool=timeouts.pool
        ),
    )


def _parts(form: Form) -> list[tuple[str, tuple[str | None, str | bytes]]]:
    """Make every field a part: httpx sends a form without a file as something else than multipart."""
    parts: list[tuple[str, tuple[str | None, str | bytes]]] = [
        (name, (None, value)) for name, value in form.fields.items()
    ]
    if form.filename is not None:
        parts.append(("file", (form.filename, form.content)))
    return parts


@contextmanager
def _no_reply(settings: ClientSettings, request: Request[Any]) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise _connection_error(settings, request, error) from error
    except httpx.InvalidURL as error:
        raise ChatbaseConfigurationError(f"The base URL cannot be used: {error}.") from error


def _connection_error(
    settings: ClientSettings, request: Request[Any], error: httpx.HTTPError
) -> ChatbaseError:
    base = settings.files_host if request.host == "files" else settings.host
    why = str(error) or type(error).__name__
    if isinstance(error, _NOT_SENT):
        return ChatbaseUnreachableError(
            f"{base} cannot be reached for {request.operation}: {why}. Nothing was sent. "
            "Check the connection's base URL and proxy, and the network of this machine.",
            operation=request.operation,
        )
    if isinstance(error, httpx.UnsupportedProtocol):
        return ChatbaseConfigurationError(f"The base URL {base!r} cannot be used: {why}.")
    may = "" if request.repeatable else " Chatbase may have done the work all the same."
    if isinstance(error, httpx.TimeoutException):
        seconds = settings.timeouts(request.patience).read
        return ChatbaseTimeoutError(
            f"{base} did not reply to {request.operation} within {seconds:g} s.{may} "
            "Raise the connection's timeout if this happens often.",
            operation=request.operation,
        )
    return ChatbaseConnectionLostError(
        f"The connection to {base} broke during {request.operation}: {why}.{may}", operation=request.operation
    )


@contextmanager
def _broken() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise StreamBrokenError("nothing came for too long") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise StreamBrokenError(str(error) or type(error).__name__) from error


@contextmanager
def _bad_settings() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise ChatbaseConfigurationError(
            f"The connection's proxy or ca_bundle cannot be used: {error}."
        ) from error


@contextmanager
def quiet_logs(names: Iterable[str], level: int) -> Iterator[None]:
    """Let loggers speak only of what is worse, for the time of a block."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(max(logger.level, level))
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.setLevel(was)
