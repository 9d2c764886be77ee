"""An export, from its first request until its target has all of it."""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import (
    ChatbaseError,
    ChatbaseNotFoundError,
    ChatbasePagingError,
    counted,
)
from airflow_provider_chatbase.client.loop_thread import run_in_thread
from airflow_provider_chatbase.client.rate_limiter import shared_limiter
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.transport import HTTP_LOGGER, quiet_logs
from airflow_provider_chatbase.exports import ChatbaseIncompleteExportError, reading
from airflow_provider_chatbase.exports.analytics import days
from airflow_provider_chatbase.exports.manifest import CREATED, ONE, UPDATED, ExportedFile
from airflow_provider_chatbase.exports.parallel import ParallelReader, newest_first
from airflow_provider_chatbase.exports.reading import Listing, all_of
from airflow_provider_chatbase.exports.redaction import Redaction
from airflow_provider_chatbase.exports.rows import created_at, identity_of, user_of
from airflow_provider_chatbase.exports.staging import Encoded, FinishedPart, PartRows
from airflow_provider_chatbase.exports.tickets import tickets
from airflow_provider_chatbase.exports.window import Window, read_moment, read_window, whole_second

log = logging.getLogger(__name__)

IDS_IN_PART = 25
SECONDS_BETWEEN_REPORTS = 10.0

VERSION_OF = {"leads": "v1", "contacts": "v1", "tickets": "v2", "analytics": "v2"}
"""What only one version of the API has."""

Result = TypeVar("Result")
OpenClient = Callable[[], Awaitable[AsyncChatbaseClient]]


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is exported, whatever it is written as."""

    kind: str  # by which :data:`~airflow_provider_chatbase.exports.rows.TABLES_OF` knows it
    agent_id: str
    window: Window | None  # ``None`` for a single conversation
    by: str = CREATED  # what the window speaks of: ``created``, ``updated``, or ``conversation``
    conversation_id: str | None = None
    api_version: str = "v2"
    channels: tuple[str, ...] = ()  # only these; all when empty
    summary: bool = False  # leave the messages out
    exclude_user_prefix: str | None = None
    redaction: Redaction = field(default_factory=lambda: Redaction({}))
    concurrency: int = 32  # how many parts are read at the same time
    attempt: str = ""  # the task instance, the same for all of its attempts
    ends_now: bool = False  # the window ends at the present, so a retry takes that of the attempt before it
    margin: timedelta = timedelta()  # how much later than it was created a conversation may show

    def contents(self) -> dict[str, Any]:
        """Return what all exports into one output have in common, as plain JSON."""
        return {
            "kind": self.kind,
            "agent_id": self.agent_id,
            "scope": "single conversations" if self.by == ONE else "windows",
            "api_version": VERSION_OF.get(self.kind, self.api_version),
            "channels": sorted(self.channels) or None,
            "include": "summary" if self.summary else "messages",
            "exclude_user_prefix": self.exclude_user_prefix,
            **self.redaction.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export."""

    window: Window | None
    rows: int  # how many objects of the API it brought
    api_total: int | None  # how many the API counted; ``None`` where it does not say
    excluded: int  # how many of them were left out on purpose
    files: tuple[ExportedFile, ...]
    watermark: datetime | None  # where the next export of the output goes on
    manifests: tuple[str, ...] = ()  # relative to the output
    tables: Mapping[str, int] | None = None  # rows by table, where they are not in files of the export's own
    removed: int = 0  # objects taken out that Chatbase no longer lists


class Target(Protocol):
    """Where an export goes, such as files. What was read and encoded is handed to it part by part."""

    def earlier_plan(self) -> Mapping[str, Any] | None:
        """Return the plan of an attempt before this one, or ``None`` where there was none."""

    def begin(self, settings: ExportSettings, plan: Mapping[str, Any]) -> list[FinishedPart]:
        """Refuse what cannot be written, before anything is read; return what an earlier attempt read."""

    def encode(self, item: JsonObject, at: datetime | None, identity: str) -> Encoded:
        """Encode an object of the API."""

    def keep(self, key: str, rows: PartRows) -> FinishedPart:
        """Take a part that was read to its end. It runs in a thread, several at a time."""

    def publish(
        self, settings: ExportSettings, parts: list[FinishedPart], until: datetime | None
    ) -> Exported:
        """Let readers see it: all of it or nothing."""

    def give_up(self, *, keep_parts: bool) -> None:
        """Clear up after a failure; finished parts may be of use to a retry."""

    def close(self) -> None:
        """Let go of what is on the local disk."""


def export(open_client: OpenClient, target: Target, settings: ExportSettings) -> Exported:
    """Export: parts first, then all of them become visible."""

    async def run() -> Exported:
        async with await open_client() as client:
            return await _ExportRun(client, target, settings).run()

    try:
        with quiet_logs([HTTP_LOGGER], logging.WARNING):
            return run_in_thread(run())
    finally:
        target.close()


class _ExportRun:
    """One attempt at an export."""

    def __init__(self, client: AsyncChatbaseClient, target: Target, settings: ExportSettings) -> None:
        self._client = client
        self._target = target
        self._settings = settings
        self._finished: dict[str, FinishedPart] = {}
        self._reported = time.monotonic()

    async def run(self) -> Exported:
        plan = self._target.earlier_plan() or {}
        if self._settings.ends_now and (planned := read_window(plan.get("window"))) is not None:
            self._settings = replace(self._settings, window=planned)
        log.info("Exporting %s of agent %s, %s.", self._settings.kind, self._settings.agent_id, self._what())
        try:
            await self._read(plan)
            parts = _in_order(self._finished.values())
            return await _to_its_end(self._target.publish, self._settings, parts, self._until())
        except BaseException as error:
            hopeless = isinstance(error, ChatbaseError) and error.permanent
            doubtful = isinstance(error, ChatbaseIncompleteExportError | ChatbasePagingError)
            keep_parts = bool(self._finished) and not hopeless and not doubtful
            await asyncio.to_thread(self._target.give_up, keep_parts=keep_parts)
            raise

    def _what(self) -> str:
        window = self._settings.window
        if window is None:
            return f"conversation {self._settings.conversation_id}"
        return f"{self._settings.by} from {window.as_json()['start']} to {window.as_json()['end']}"

    def _begin(self, **found: Any) -> None:
        window = self._settings.window
        plan = {"window": window.as_json() if window else None, **found}
        there = self._target.begin(self._settings, plan)
        self._finished = {part.key: part for part in _without_overlap(there)}
        if self._finished:
            log.info("Going on after %s that an earlier attempt read.", counted(len(self._finished), "part"))

    def _until(self) -> datetime | None:
        """Return until when everything was exported: not what lies in the future, or may not show yet."""
        window = self._settings.window
        if window is None:
            return None
        now = shared_limiter(self._client.settings, "main").server_now()
        return window.end if window.end <= now else whole_second(now - self._settings.margin)

    # -- reading

    async def _read(self, plan: Mapping[str, Any]) -> None:
        settings = self._settings
        if settings.window is None:
            await self._read_one(str(settings.conversation_id))
        elif settings.by == UPDATED and settings.kind == "conversations":
            await self._read_changed(settings.window, plan)
        else:
            await self._read_window(settings.window)

    async def _read_one(self, conversation_id: str) -> None:
        self._begin()
        items = await self._read_conversation(conversation_id)
        if not items:
            raise ChatbaseNotFoundError(
                f"There is no conversation {conversation_id!r} of agent {self._settings.agent_id}. "
                "Check conversation_id and agent_id. Nothing was exported.",
                operation="exportConversations",
            )
        await self._finish("one", PartRows([self._encode(item) for item in items], len(items)))

    async def _read_changed(self, window: Window, plan: Mapping[str, Any]) -> None:
        found = plan.get("changed")
        if found is None:
            found = await reading.changed_since(
                self._client, self._settings.agent_id, window, self._settings.channels
            )
        self._begin(changed=found)
        slots = asyncio.Semaphore(max(self._settings.concurrency, 1))

        async def one(conversation_id: str) -> list[Encoded]:
            async with slots:
                return [self._encode(item) for item in await self._read_conversation(conversation_id)]

        async def batch(key: str, ids: list[str]) -> None:
            read = await all_of(one(each) for each in ids)
            items = [item for items in read for item in items]
            if len(items) < len(ids):
                gone = counted(len(ids) - len(items), "conversation")
                log.info("Deleted between search and reading: %s.", gone)
            await self._finish(key, PartRows(newest_first(items), len(items)))

        batches = [found[start : start + IDS_IN_PART] for start in range(0, len(found), IDS_IN_PART)]
        keyed = [(f"batch-{number:06}", ids) for number, ids in enumerate(batches)]
        await all_of(batch(key, ids) for key, ids in keyed if key not in self._finished)

    async def _read_window(self, window: Window) -> None:
        self._begin()
        listing, settings = self._listing(), self._settings
        missing = [window]
        for part in self._finished.values():
            done = part.window
            missing = [rest for each in missing for rest in (each.without(done) if done else [each])]
        firsts = [each for rest in missing for each in listing.first_parts(rest, settings.concurrency)]
        reader = ParallelReader(listing, self._encode, self._finish, settings.concurrency)
        await reader.read(firsts)
        await self._read_missed(reader)

    async def _read_missed(self, reader: ParallelReader) -> None:
        """Read parts again that, with what was given away of them, hold less than the API counted there."""
        starts: list[datetime] = []
        sums = [0]
        for key in sorted(self._finished):  # the oldest first: what was given away comes before who gave it
            part = self._finished[key]
            window, count = part.window, part.count
            if window is None:
                return
            if count is not None:
                given = sums[-1] - sums[bisect_left(starts, count.start)]
                if given + part.objects < count.total:
                    await reader.read_again(window)
            starts.append(window.start)
            sums.append(sums[-1] + self._finished[key].objects)

    def _listing(self) -> Listing:
        settings = self._settings
        if settings.kind == "leads":
            return reading.leads(self._client, settings.agent_id)
        if settings.kind == "contacts":
            return reading.contacts(self._client, settings.agent_id)
        if settings.kind == "tickets":
            summary, at_once = settings.summary, settings.concurrency
            return tickets(self._client, settings.agent_id, summary=summary, at_once=at_once)
        if settings.kind == "analytics":
            return days(self._client, settings.agent_id)
        if settings.api_version == "v1":
            return reading.conversations_v1(self._client, settings.agent_id, settings.channels)
        return reading.conversations_v2(self._client, settings.agent_id, settings.channels, settings.summary)

    async def _read_conversation(self, conversation_id: str) -> list[JsonObject]:
        settings = self._settings
        return await reading.read_one(
            self._client, settings.agent_id, conversation_id, settings.channels, settings.summary
        )

    def _encode(self, item: JsonObject) -> Encoded:
        at, identity = read_moment(created_at(item)), identity_of(item)
        prefix = self._settings.exclude_user_prefix
        if prefix and (user_of(item) or "").startswith(prefix):
            return Encoded(at, identity, None)
        return self._target.encode(self._settings.redaction.apply(item), at, identity)

    async def _finish(self, key: str, part: PartRows) -> None:
        self._finished[key] = await _to_its_end(self._target.keep, key, part)
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._reported = time.monotonic()
            log.info("%d %s read.", sum(each.rows for each in self._finished.values()), self._settings.kind)


async def _to_its_end(work: Callable[..., Result], *given: Any) -> Result:
    """Do something in a thread, where nothing stops it: interruptions wait until it has ended."""
    in_context = partial(copy_context().run, work, *given)
    # It is no task: an interruption that has waited for long ends its loop, which cancels all tasks.
    doing = asyncio.get_running_loop().run_in_executor(None, in_context)
    try:
        return await asyncio.shield(doing)
    except asyncio.CancelledError:
        while not doing.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((doing,))
        raise


def _without_overlap(found: list[FinishedPart]) -> list[FinishedPart]:
    """Leave out parts that overlap: two attempts may have cut the window in different ways."""
    fitting: list[FinishedPart] = []
    taken: list[Window] = []
    for part in found:
        window = part.window
        if window is None or not any(window.meets(each) for each in taken):
            fitting.append(part)
            taken += [window] if window else []
    return fitting


def _in_order(parts: Collection[FinishedPart]) -> list[FinishedPart]:
    """Sort parts, so that the newest conversation comes first."""
    by_time = not any(part.key.startswith("batch-") for part in parts)
    return sorted(parts, key=lambda part: part.key, reverse=by_time)
