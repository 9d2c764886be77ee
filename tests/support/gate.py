"""A door before a server, for what is cut off, or far away."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any, Self
from urllib.parse import urlsplit


class Gate:
    """
    Passes on what is sent to a server, until it is shut; a context manager.

    :param url: of the server.
    :param delay: seconds that each piece of a request takes on its way.
    """

    def __init__(self, url: str, delay: float = 0.0) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self.delay = delay
        self._own_port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._own_port}"

    def open(self) -> None:
        """Let through, at the same address as before."""
        self._run(self._listen())

    def shut(self) -> None:
        """Cut all connections, and take no more."""
        self._run(self._end())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        ends = {writer, far_writer}
        self._open |= ends
        with contextlib.suppress(OSError):
            await asyncio.gather(
                self._copy(reader, far_writer, self.delay), self._copy(far_reader, writer, 0.0)
            )
        self._open -= ends

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        while piece := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(piece)
            await writer.drain()
        writer.close()
