"""Writes the checkpoint's lines from an event loop: many wait for one write, which makes them all durable."""

from __future__ import annotations

import asyncio
from typing import Any

from airflow_provider_chatbase.batch.checkpoint import Checkpoint, encode
from airflow_provider_chatbase.batch.segments import SegmentLog
from airflow_provider_chatbase.client.errors import ChatbaseError


class Journal:
    """Collects lines while a write is going on, and hands them to the next one."""

    def __init__(self, segments: SegmentLog, checkpoint: Checkpoint) -> None:
        self._segments = segments
        self._checkpoint = checkpoint
        self._pending: list[dict[str, Any]] = []
        self._written: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._broken: BaseException | None = None

    def add(self, line: dict[str, Any]) -> asyncio.Future[None]:
        """Have a line written soon."""
        if self._broken is not None:
            raise self._broken
        self._pending.append(line)
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            self._written.add_done_callback(_retrieved)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return self._written

    async def flush(self) -> None:
        """Wait until all lines are durable."""
        if self._writer is not None:
            await self._writer
        if self._broken is not None:
            raise self._broken

    async def _write(self) -> None:
        while self._pending:
            lines, written = self._pending, self._written
            self._pending, self._written = [], None
            try:
                await asyncio.to_thread(self._append, lines)
            except ChatbaseError as error:
                self._broken = error
                if written is not None and not written.done():
                    written.set_exception(error)
                if self._written is not None and not self._written.done():
                    self._written.set_exception(error)
                return
            if written is not None and not written.done():
                written.set_result(None)

    def _append(self, lines: list[dict[str, Any]]) -> None:
        encoded = [encode(line) for line in lines]
        segment, begin = self._segments.append(b"".join(encoded))
        for line, data in zip(lines, encoded, strict=True):
            self._checkpoint.note(line, (segment, begin))
            begin += len(data)


def _retrieved(future: asyncio.Future[None]) -> None:
    """Keep asyncio from reporting an error that nobody waited for: the writer's task has it, too."""
    if not future.cancelled():
        future.exception()
