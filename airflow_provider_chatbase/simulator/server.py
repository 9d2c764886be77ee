"""HTTP/1.1 on the wire, with full control over how a reply breaks."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import math
import socket
import struct
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl

import h11

from airflow_provider_chatbase.simulator.app import App
from airflow_provider_chatbase.simulator.exchange import Reply, Request

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_GZIP_FROM = 1024


class Connection:
    """
    One client connection, kept alive over many requests.

    :param app: what answers.
    :param reader: stream from the client.
    :param writer: stream to the client.
    """

    def __init__(self, app: App, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._app = app
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        """Answer requests until the client or a fault ends the connection."""
        try:
            while (request := await self._receive()) is not None:
                reply = await self._app.handle(request, self._is_gone)
                if self._is_gone() or not await self._send(request, reply):
                    break
                self._h11.start_next_cycle()
        except (ConnectionError, h11.RemoteProtocolError):
            pass  # the client broke the connection or does not speak HTTP; there is nobody to tell
        finally:
            with contextlib.suppress(ConnectionError):
                self._writer.close()

    def _is_gone(self) -> bool:
        return self._writer.is_closing() or self._reader.at_eof()

    async def _receive(self) -> Request | None:
        head: h11.Request | None = None
        body: list[bytes] = []
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
                self._h11.receive_data(await self._reader.read(65_536))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return self._request(head, b"".join(body))
            else:
                return None

    def _request(self, head: h11.Request, body: bytes) -> Request:
        path, _, query = head.target.decode("ascii", "replace").partition("?")
        return Request(
            method=head.method.decode(),
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
            body=body,
            at=self._app.world.clock.monotonic(),
        )

    async def _send(self, request: Request, reply: Reply) -> bool:
        """Send a reply; return whether the connection can go on."""
        if reply.is_silent:
            self._reset()
            return False
        if reply.chunks is not None:
            return await self._send_stream(reply, reply.chunks)
        if reply.cut_after is not None:
            await self._send_cut(reply, reply.cut_after)
            return False
        return await self._send_whole(request, reply)

    async def _send_whole(self, request: Request, reply: Reply) -> bool:
        body, headers = reply.body(), self._headers(reply)
        accepted = "gzip" in request.headers.get("accept-encoding", "")
        if self._app.world.settings.gzip and accepted and len(body) > _GZIP_FROM:
            body = gzip.compress(body, 1)
            headers.append(("Content-Encoding", "gzip"))
        headers.append(("Content-Length", str(len(body))))
        head = h11.Response(status_code=reply.status, headers=headers)
        if reply.drip_bytes:
            self._write(head)
            for part in _pieces(body, reply.drip_bytes):
                await self._send_piece(part, reply.drip_seconds, alone=True)
            self._write(h11.EndOfMessage())
        else:
            self._write(head, h11.Data(body), h11.EndOfMessage())
        await self._writer.drain()
        if reply.stale_after:
            await self._reader.read(1)
            self._reset()
            return False
        return self._h11.our_state is not h11.MUST_CLOSE

    async def _send_cut(self, reply: Reply, length: int) -> None:
        body, headers = reply.body(), self._headers(reply)
        if not reply.without_length:
            headers.append(("Content-Length", str(len(body))))
        self._write(h11.Response(status_code=reply.status, headers=headers))
        if length:
            self._write(h11.Data(body[: min(length, max(0, len(body) - 1))]))
        await self._writer.drain()
        if reply.reset:
            self._reset()

    async def _send_stream(self, reply: Reply, chunks: AsyncIterator[bytes]) -> bool:
        self._write(h11.Response(status_code=reply.status, headers=self._headers(reply)))
        piece = reply.drip_bytes or self._app.world.settings.split_stream
        left = math.inf if reply.cut_after is None else reply.cut_after
        async for chunk in chunks:
            for part in _pieces(chunk if len(chunk) <= left else chunk[: int(left)], piece):
                await self._send_piece(part, reply.drip_seconds, alone=bool(piece))
            left -= len(chunk)
            if left <= 0:
                break
        if reply.reset:
            self._reset()
        if reply.reset or reply.cut_after is not None:
            return False
        self._write(h11.EndOfMessage())
        await self._writer.drain()
        return self._h11.our_state is not h11.MUST_CLOSE

    async def _send_piece(self, part: bytes, pause: float, *, alone: bool) -> None:
        """Send a piece of a body; ``alone`` lets it leave before the next one is written."""
        if self._is_gone():
            raise ConnectionResetError
        self._write(h11.Data(part))
        await self._writer.drain()
        if alone:
            await asyncio.sleep(pause)

    def _headers(self, reply: Reply) -> list[tuple[str, str]]:
        return [("Content-Type", reply.content_type), *reply.headers.items()]

    def _write(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._h11.send(event) or b"" for event in events))

    def _reset(self) -> None:
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()


def _pieces(data: bytes, size: int) -> list[bytes]:
    if not size:
        return [data]
    return [data[start : start + size] for start in range(0, len(data), size)]
