"""HTTP/1.1 on the wire: uvicorn's protocol, with full control over how a reply breaks."""

from __future__ import annotations

import asyncio
import gzip
import math
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

from starlette.types import ASGIApp, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from airflow_provider_chatbase.simulator.exchange import ServedReply

_BACKLOG = 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GZIP_FROM = 1024
_KEPT_ALIVE = 86_400


class _Transport:
    """A connection's transport; what is written while it is ``held`` leaves at once, for half the cost."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if self._waiting is None:
            self._transport.write(data)
        else:
            self._waiting.append(data)

    def close(self) -> None:
        self._let_go()  # a client that asks to close gets its reply first
        self._transport.close()

    @contextmanager
    def held(self) -> Iterator[None]:
        self._waiting = []
        try:
            yield
        finally:
            self._let_go()

    def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting:
            self._transport.write(b"".join(waiting))


class Connection(HttpToolsProtocol):
    """One client connection, kept alive over many requests; the application finds it in the scope's state."""

    def __init__(self, config: Config, server_state: ServerState, *, refused: bool) -> None:
        super().__init__(config, server_state, {"connection": self})
        self._is_refused = refused
        self.access_log = False
        self.is_stale = False
        self._lost = asyncio.Event()

    @property
    def is_gone(self) -> bool:
        """Whether the client has hung up."""
        return self.transport.is_closing()

    async def wait_until_gone(self) -> None:
        """Wait until the client has hung up."""
        await self._lost.wait()

    def reset(self) -> None:
        """End the connection with a reset."""
        self._give_up()
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def close(self) -> None:
        """End the connection in the middle of a reply."""
        self._give_up()
        self.transport.close()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to listen to the client."""
        self.writer = _Transport(transport)
        super().connection_made(cast("asyncio.Transport", self.writer))
        if self._is_refused:
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the client has hung up."""
        super().connection_lost(exc)
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        """Take what the client sent; a stale connection is reset by it, unread."""
        if self.is_stale:
            self.reset()
        else:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Hang up on a client that does not speak HTTP."""
        self.close()

    def _give_up(self) -> None:
        # uvicorn asks this before it complains of a reply that is not whole.
        if self.cycle is not None:
            self.cycle.disconnected = True


class Server:
    """A listener on a running loop, which starts in a millisecond; ``uvicorn.Server`` takes 220."""

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._host = host
        self._config = Config(
            app,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
        )
        self._config.timeout_keep_alive = _KEPT_ALIVE
        self._state = ServerState()
        self._is_stopping = False

    async def start(self, port: int) -> int:
        """Listen, and return the port; raise ``OSError`` when the address cannot be used."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, self._host, port, backlog=_BACKLOG)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close all connections, and wait until nothing of them is left."""
        self._is_stopping = True
        loop = asyncio.get_running_loop()
        for listener in self._server.sockets:
            loop.remove_reader(listener.fileno())
        await asyncio.sleep(0)  # a server that is closed in the middle of an accept leaks the connection
        self._server.close()
        tasks = list(self._state.tasks)
        for connection in list(self._state.connections):
            cast("Connection", connection).reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close their sockets in the next round of the loop

    def _accept(self) -> asyncio.Protocol:
        return Connection(self._config, self._state, refused=self._is_stopping)


async def send_reply(
    reply: ServedReply, connection: Connection, send: Send, *, split: int, zipped: bool
) -> None:
    """Send a reply with the damage it is to have; ``split`` is the size of the pieces of a stream."""
    if reply.is_silent:
        connection.reset()
        return
    headers = [("Content-Type", reply.content_type), *reply.headers.items()]
    whole = None if reply.chunks is not None else reply.body()
    if whole is not None:
        if zipped and len(whole) > _GZIP_FROM and reply.cut_after is None:
            whole = gzip.compress(whole, 1)
            headers.append(("Content-Encoding", "gzip"))
        if not reply.without_length:
            headers.append(("Content-Length", str(len(whole))))
        if reply.cut_after is not None:
            whole = whole[: min(reply.cut_after, max(0, len(whole) - 1))]
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    start = {"type": "http.response.start", "status": reply.status, "headers": raw}
    if whole is not None and reply.ending == "end" and not reply.drip_bytes:
        with connection.writer.held():
            await send(start)
            await send({"type": "http.response.body", "body": whole})
    else:
        await send(start)
        pieces = _pieces(reply, whole, split)
        await _send_pieces(pieces, reply, connection, send, paced=bool(reply.drip_bytes or split))
    connection.is_stale = reply.stale_after


async def _send_pieces(
    pieces: AsyncIterator[bytes], reply: ServedReply, connection: Connection, send: Send, *, paced: bool
) -> None:
    async for piece in pieces:
        if connection.is_gone:
            return
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if paced:  # it is to leave before the next one is written
            await asyncio.sleep(reply.drip_seconds)
    if reply.ending == "end":
        await send({"type": "http.response.body", "body": b""})
    elif reply.ending == "hang":
        await connection.wait_until_gone()
    elif reply.ending == "cut":
        connection.close()
    else:
        connection.reset()


async def _pieces(reply: ServedReply, whole: bytes | None, split: int) -> AsyncIterator[bytes]:
    size = reply.drip_bytes or (split if whole is None else 0)
    left: float = math.inf if reply.cut_after is None else reply.cut_after
    async for chunk in _once(whole) if reply.chunks is None else reply.chunks:
        part = chunk if len(chunk) <= left else chunk[: int(left)]
        for start in range(0, len(part), size or max(1, len(part))):
            yield part[start : start + size] if size else part
        left -= len(chunk)
        if left <= 0:
            return


async def _once(whole: bytes | None) -> AsyncIterator[bytes]:
    yield whole or b""
