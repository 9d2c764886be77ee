"""The one module that knows the HTTP library: httpx2 where it is installed, else httpx, whose fork it is."""

from __future__ import annotations

import asyncio
import codecs
import logging
import os
import re
import socket
import ssl
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from airflow_provider_chatbase import __version__
from airflow_provider_chatbase.client.errors import (
    ChatbaseConfigurationError,
    ChatbaseConnectionLostError,
    ChatbaseDamagedReplyError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseReplyError,
    ChatbaseTimeoutError,
    ChatbaseUnreachableError,
    quoted,
)
from airflow_provider_chatbase.client.lasting import causes, is_lasting
from airflow_provider_chatbase.client.replies import Reply
from airflow_provider_chatbase.client.request import Form, Request
from airflow_provider_chatbase.client.settings import ClientSettings

if TYPE_CHECKING:
    import httpx as httpx
else:
    try:
        import httpx2 as httpx
    except ImportError:
        import httpx

Client = TypeVar("Client")

HTTP_LOGGER = httpx.__name__
"""The logger that has a line for each request."""

END_MARKER = "[DONE]"
"""What the last event of a whole stream says; what comes after it does not matter."""

NO_END = "the stream ended without its end marker"

MOST_BYTES = 64 * 2**20
"""How much a reply may hold, unpacked. The largest are pages of conversations with their messages."""

USER_AGENT = f"airflow-provider-chatbase/{__version__}"

_LINE_END = re.compile(r"\r\n|\n|\r")
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Pools(Generic[Client]):
    """
    Clients that are opened as they are needed, for one event loop; each serves one request at a time.

    The library's own pool looks at all of its connections for each request, as costly as sending it.
    """

    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._open_client = open_client
        self._all = [open_client()]
        self._free = list(self._all)

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Take the client that was used last, whose connection is open still, for the time of a block."""
        if not self._free:
            self._all.append(self._open_client())
            self._free.append(self._all[-1])
        client = self._free.pop()
        try:
            yield client
        finally:
            self._free.append(client)

    def clients(self) -> list[Client]:
        """Return all clients, to close them."""
        return list(self._all)


class _BearerAuth(httpx.Auth):
    """Adds the key while sending, so that no request object or traceback shows it."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


class Transport:
    """Sends single requests, on an event loop."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        try:
            self.pools = Pools(lambda: httpx.AsyncClient(**_client_arguments(settings)))
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            # The text of a wrong proxy shows its password, and so do the frames that looked at it.
            why = quoted(error) if settings.proxy is None else type(error).__name__
        else:
            return
        raise ChatbaseConfigurationError(f"The connection's proxy or ca_bundle cannot be used: {why}.")

    async def open(self, request: Request[Any]) -> OpenReply:
        """Send a request once, and leave the body of the reply to come."""
        ends_at = asyncio.get_running_loop().time() + self._settings.timeouts(request.patience).total
        with ExitStack() as place, _no_reply(self._settings, request):
            client = place.enter_context(self.pools.client())
            async with asyncio.timeout_at(ends_at):
                response = await client.send(_build(client, self._settings, request), stream=True)
            return OpenReply(response, self._settings, request, ends_at, place.pop_all().close)

    async def close(self) -> None:
        """Close all connections."""
        for client in self.pools.clients():
            await client.aclose()


class OpenReply:
    """A reply whose body is still to come."""

    def __init__(
        self,
        response: httpx.Response,
        settings: ClientSettings,
        request: Request[Any],
        ends_at: float,
        release: Callable[[], None],
    ) -> None:
        self._response = response
        self._settings = settings
        self._request = request
        self._ends_at = ends_at  # by the event loop's clock
        self._release = release  # gives back the place in a pool
        self.headers = _headers(response)

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
        try:
            if not self._sends_events:
                async for text in self._texts():
                    yield text
                return
            async for data in _events(self._texts()):
                if data.strip() == END_MARKER:
                    return
                yield data
        except httpx.TimeoutException:
            raise StreamBrokenError("nothing came for too long") from None
        except TimeoutError:
            raise StreamBrokenError(f"it did not end {_in_time(self._settings, self._request)}") from None
        except (httpx.HTTPError, httpx.StreamError, ChatbaseReplyError, zlib.error) as error:
            raise StreamBrokenError(_why(error)) from None
        raise StreamBrokenError(NO_END)

    async def whole(self) -> Reply:
        """Read the rest of the body, and return the reply."""
        with _no_reply(self._settings, self._request):
            content = b"".join([piece async for piece in self._bytes()])
        return Reply(self._response.status_code, self.headers, content)

    async def close(self) -> None:
        """Give the connection back."""
        try:
            await self._response.aclose()
        finally:
            self._release()

    async def _texts(self) -> AsyncIterator[str]:
        decoder = codecs.getincrementaldecoder(self._response.encoding or "utf-8")("replace")
        async for piece in self._bytes():
            yield decoder.decode(piece)
        yield decoder.decode(b"", final=True)

    async def _bytes(self) -> AsyncIterator[bytes]:
        """Return the body unpacked, until it is too late or too much."""
        packing = self.headers.get("content-encoding", "identity").strip().lower()
        if packing not in ("identity", "gzip", "deflate"):
            raise self._unusable(f"is packed as {packing}, which was not asked for")
        unpacker = None if packing == "identity" else zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)
        left, raw = MOST_BYTES, self._response.aiter_raw()
        while True:
            async with asyncio.timeout_at(self._ends_at):
                packed = await anext(raw, None)
            if packed is None:
                break
            piece = packed if unpacker is None else unpacker.decompress(packed, left + 1)
            left -= len(piece)
            if left < 0:
                raise self._unusable(f"has more than {MOST_BYTES:,} bytes and was not read further")
            yield piece
        if unpacker is not None and left < MOST_BYTES and not unpacker.eof:
            raise zlib.error("it was cut")

    def _unusable(self, why: str) -> ChatbaseReplyError:
        return ChatbaseReplyError(
            f"The reply to {self._request.operation} {why}.",
            operation=self._request.operation,
            status=self._response.status_code,
            request_id=self.headers.get("x-request-id"),
        )

    @property
    def _sends_events(self) -> bool:
        return "text/event-stream" in self._content_type

    @property
    def _content_type(self) -> str:
        return self.headers.get("content-type", "").lower()


async def _events(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Return the data of server-sent events; nothing else of them is of use here."""
    data: list[str] = []
    async for line in _lines(texts):
        name, _, value = line.partition(":")
        if name == "data":
            data.append(value.removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []


async def _lines(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    held: list[str] = []
    after_return = False
    async for text in texts:
        if not text:
            continue
        *lines, rest = _LINE_END.split(text[1:] if after_return and text[0] == "\n" else text)
        for line in lines:
            yield "".join([*held, line])
            held = []
        held.append(rest)
        after_return = text[-1] == "\r"


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
        "headers": {
            "Accept": "application/json, text/event-stream, text/plain",
            "Accept-Encoding": "gzip",
            "User-Agent": USER_AGENT,
        },
        "proxy": settings.proxy,
        "verify": ssl.create_default_context(cafile=own) if own else _usual_trust(),
        "follow_redirects": False,  # a redirect would carry the key to another host
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=5.0),
    }


@cache
def _usual_trust() -> ssl.SSLContext:
    """Load the usual certificates once: it takes long enough to hold up an event loop with many triggers."""
    return httpx.create_ssl_context()


def _build(client: httpx.AsyncClient, settings: ClientSettings, request: Request[Any]) -> httpx.Request:
    timeouts = settings.timeouts(request.patience)
    url = settings.url(request.host, request.version, request.path)
    query = {name: value for name, value in request.query.items() if value is not None}
    try:
        return client.build_request(
            request.method,
            # As one text: a URL with parameters is parsed twice, which a page of an export would notice.
            f"{url}?{httpx.QueryParams(query)}" if query else url,
            json=request.body,
            files=None if request.form is None else _parts(request.form),
            timeout=httpx.Timeout(
                connect=timeouts.connect, read=timeouts.read, write=timeouts.read, pool=timeouts.pool
            ),
        )
    except (TypeError, ValueError, RecursionError) as error:  # NaN, a date, half a character, too deep
        raise ChatbaseInputError(
            f"What {request.operation} was to send is no JSON: {error}. Nothing was sent."
        ) from error


def _parts(form: Form) -> list[tuple[str, tuple[str | None, str | bytes]]]:
    """Make every field a part: httpx sends a form without a file as something else than multipart."""
    parts: list[tuple[str, tuple[str | None, str | bytes]]] = [
        (name, (None, value)) for name, value in form.fields.items()
    ]
    if form.filename is not None:
        parts.append(("file", (form.filename, form.content)))
    return parts


def _headers(response: httpx.Response) -> dict[str, str]:
    """Return the headers by their names in small letters; those that came twice are joined."""
    found: dict[str, str] = {}
    encoding = response.headers.encoding  # which a look at each of them would find out anew
    for raw_name, raw in response.headers.raw:
        name, value = raw_name.decode(encoding).lower(), raw.decode(encoding)
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


@contextmanager
def _no_reply(settings: ClientSettings, request: Request[Any]) -> Iterator[None]:
    """Turn what the HTTP library raises into ours, without its frames: they hold the key."""
    try:
        yield
    except (httpx.HTTPError, TimeoutError) as error:
        raise _connection_error(settings, request, error) from None
    except httpx.InvalidURL as error:
        raise ChatbaseConfigurationError(f"The base URL cannot be used: {error}.") from None
    except zlib.error as error:
        raise ChatbaseDamagedReplyError(
            f"The reply to {request.operation} cannot be unpacked: {error}.", operation=request.operation
        ) from None


def _connection_error(
    settings: ClientSettings, request: Request[Any], error: httpx.HTTPError | TimeoutError
) -> ChatbaseError:
    base = settings.files_host if request.host == "files" else settings.host
    why = _why(error)
    if isinstance(error, _NOT_SENT):
        unreachable = ChatbaseUnreachableError(
            f"{base} cannot be reached for {request.operation}: {why}. Nothing was sent. "
            "Check the connection's base URL and proxy, and the network of this machine.",
            operation=request.operation,
        )
        if is_lasting(error) or why.startswith("407"):
            unreachable.transient, unreachable.permanent = False, True
        return unreachable
    if isinstance(error, httpx.UnsupportedProtocol):
        return ChatbaseConfigurationError(f"The base URL {base!r} cannot be used: {why}.")
    may = "" if request.repeatable else " Chatbase may have done the work all the same."
    if isinstance(error, TimeoutError):
        return ChatbaseTimeoutError(
            f"The reply of {base} to {request.operation} did not end {_in_time(settings, request)}.{may} "
            "Raise the connection's total_timeout if this happens often.",
            operation=request.operation,
        )
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


def _in_time(settings: ClientSettings, request: Request[Any]) -> str:
    return f"within {settings.timeouts(request.patience).total:g} s"


def _why(error: BaseException) -> str:
    """Say why, by the cause that knows: a refused connection is "all attempts failed" to the library."""
    for cause in causes(error):
        if isinstance(cause, (ssl.SSLError, socket.gaierror)):
            return cause.strerror or str(cause)
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
    return quoted(str(error) or type(error).__name__)


_QUIET: dict[str, list[int]] = {}
"""For loggers that are to be quiet: their own level, and those that are asked for at present."""
_QUIET_LOCK = threading.Lock()


@contextmanager
def quiet_logs(names: Iterable[str], level: int) -> Iterator[None]:
    """Let loggers speak only of what is worse, for the time of a block; blocks may overlap."""
    loggers = [logging.getLogger(name) for name in names]
    with _QUIET_LOCK:
        for logger in loggers:
            levels = _QUIET.setdefault(logger.name, [logger.level])
            levels.append(level)
            logger.setLevel(max(levels))
    try:
        yield
    finally:
        with _QUIET_LOCK:
            for logger in loggers:
                levels = _QUIET[logger.name]
                levels.remove(level)
                if len(levels) == 1:
                    del _QUIET[logger.name]
                logger.setLevel(max(levels))
