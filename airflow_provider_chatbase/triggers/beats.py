"""The beat of those who watch conversations: when all of them look, and when what they told is stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.triggers.poll_hub import PollHub, shared_polls

try:
    from airflow.triggers.shared_stream import SharedStreamProducer
except ImportError:  # before Airflow 3.3
    SharedStreamProducer = object  # type: ignore[assignment,misc]

log = logging.getLogger(__name__)

RESTS_AFTER_AN_ERROR = 60.0
"""Seconds until a connection that cannot be used is read again: somebody may have mended it."""


@dataclass(slots=True)
class Beat:
    """A time to look, for all watchers of an agent here; they note what to do when it is over."""

    hub: PollHub
    at: float
    afterwards: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def end(self, *, stored: bool = True) -> None:
        """Do what was noted for when the events of the beat are stored, if they are."""
        for each in self.afterwards if stored else ():
            await each()
        self.over.set()


async def beats(chatbase_conn_id: str, interval: float) -> AsyncGenerator[Beat]:
    """Beat for ever, one beat after the other; a connection that does not work is waited for."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with shared_polls(chatbase_conn_id) as hub:
                while True:
                    await hub.connect()
                    beat = Beat(hub, loop.time())
                    yield beat
                    await beat.over.wait()
                    await asyncio.sleep(interval)
        except (ChatbaseError, AirflowException) as error:
            log.error(  # noqa: TRY400 - a traceback every minute would hide the one line that helps
                "The connection %r cannot be used, trying again: %s", chatbase_conn_id, error
            )
            await asyncio.sleep(max(interval, RESTS_AFTER_AN_ERROR))


class SharedBeats(SharedStreamProducer):
    """The beats as Airflow's shared stream, which tells when the events of a beat are stored."""

    def __init__(self, chatbase_conn_id: str, interval: float) -> None:
        self._conn_id = chatbase_conn_id
        self._interval = interval

    async def open_stream(self) -> AsyncIterator[tuple[Beat, Beat]]:
        """See Airflow's base class."""
        async with aclosing(beats(self._conn_id, self._interval)) as stream:
            async for beat in stream:
                yield beat, beat

    async def advance(self, batch: Sequence[Any]) -> None:
        """See Airflow's base class."""
        for item in batch:
            await item.broker_payload.end(stored=not item.outcome.failed)
