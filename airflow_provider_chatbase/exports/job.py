"""An export from its first request to its manifest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseNotFoundError, ChatbasePagingError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.transport import quiet_logs
from airflow_provider_chatbase.exports import readers
from airflow_provider_chatbase.exports.assembly import assemble
from airflow_provider_chatbase.exports.changed import changed_since
from airflow_provider_chatbase.exports.directory import ExportDirectory
from airflow_provider_chatbase.exports.errors import (
    ChatbaseIncompleteExportError,
    ChatbaseReplacedExportError,
    storage_errors,
)
from airflow_provider_chatbase.exports.formats import Format
from airflow_provider_chatbase.exports.manifest import ONE, UPDATED, Commit, ExportedFile, Manifest
from airflow_provider_chatbase.exports.parallel import ParallelReader
from airflow_provider_chatbase.exports.publishing import base_manifest, publish
from airflow_provider_chatbase.exports.readers import ConversationsV2, Reader
from airflow_provider_chatbase.exports.rows import created_at, user_of
from airflow_provider_chatbase.exports.spec import ExportSpec
from airflow_provider_chatbase.exports.splitting import (
    FIRST_PIECES,
    MOST_IN_PART,
    TOLERANCE,
    part_size,
    split_evenly,
)
from airflow_provider_chatbase.exports.staging import FinishedPart, PartFile, Staging
from airflow_provider_chatbase.exports.walk import (
    Encoded,
    PartRows,
    identity_of,
    newest_first,
)
from airflow_provider_chatbase.exports.window import Window, read_moment, read_window, whole_second

log = logging.getLogger(__name__)

IDS_IN_PART = 25

SECONDS_BETWEEN_REPORTS = 10.0

OpenClient = Callable[[], Awaitable[AsyncChatbaseClient]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    A finished export.

    :param commit: what it brought.
    :param files: its files.
    :param manifest: the directory's manifest, with this export in it.
    """

    commit: Commit
    files: tuple[ExportedFile, ...]
    manifest: Manifest


def export(open_client: OpenClient, directory: ExportDirectory, spec: ExportSpec) -> Outcome:
    """Export: parts first, then the files, the manifest last."""

    async def run() -> Outcome:
        async with await open_client() as client:
            return await Export(client, directory, spec).run()

    with storage_errors(directory.url), quiet_logs(["httpx"], logging.WARNING):
        return asyncio.run(run())


class Export:
    """One attempt at an export."""

    def __init__(self, client: AsyncChatbaseClient, directory: ExportDirectory, spec: ExportSpec) -> None:
        self._client = client
        self._directory = directory
        self._staging = Staging(directory, spec.fingerprint())
        self._plan = self._staging.plan() or {}
        if spec.attempt_of is not None and (planned := read_window(self._plan.get("window"))) is not None:
            spec = replace(spec, window=planned)
        self._spec = spec
        self._format: Format = spec.open_format()
        self._finished: list[FinishedPart] = []
        self._begun = False
        self._reported = time.monotonic()

    async def run(self) -> Outcome:
        """Read what is missing, then publish all of it."""
        base_manifest(
            self._directory, self._directory.read_manifest(), self._spec.layout, self._spec.commit(0, None, 0)
        )
        missing = self._directory.missing_directories()
        self._finished = self._parts_that_fit(self._staging.finished_parts()) if self._plan else []
        if self._finished:
            log.info("Going on after %d parts that an earlier attempt read.", len(self._finished))
        try:
            with self._another_may_be_faster():
                await self._read()
                return self._publish()
        except BaseException as error:
            self._clear_up(error, missing)
            raise
        finally:
            self._staging.leave()

    @contextmanager
    def _another_may_be_faster(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if not self._begun:
                raise
            raise ChatbaseReplacedExportError(
                f"What this run had staged in {self._directory.url} is gone: another run of the same export "
                "was faster and has cleared up. What it wrote is whole; run the task again if this run's "
                "export is wanted too."
            ) from error

    def _clear_up(self, error: BaseException, missing: list[str]) -> None:
        """Leave finished parts to a retry, unless none will come, or the listing is not to be trusted."""
        replaced = isinstance(error, ChatbaseReplacedExportError)
        hopeless = isinstance(error, ChatbaseError) and error.permanent
        doubtful = isinstance(error, ChatbaseIncompleteExportError | ChatbasePagingError)
        if hopeless or replaced or doubtful or not self._finished:
            self._staging.remove()
            self._directory.remove_empty(missing)

    # -- reading

    async def _read(self) -> None:
        if self._spec.by == ONE:
            await self._read_one(str(self._spec.conversation_id))
        elif self._spec.by == UPDATED and self._spec.layout.kind == "conversations":
            await self._read_changed(self._required_window())
        else:
            await self._read_window(self._required_window())

    def _required_window(self) -> Window:
        if self._spec.window is None:
            raise ValueError("an export of many needs a window")
        return self._spec.window

    async def _read_one(self, conversation_id: str) -> None:
        items = await self._conversations().one(conversation_id)
        if not items:
            raise ChatbaseNotFoundError(
                f"There is no conversation {conversation_id!r} of agent {self._spec.layout.agent_id}. "
                "Check conversation_id and agent_id. Nothing was exported.",
                operation="exportConversations",
            )
        self._begin()
        await self._finish("one", PartRows([self._encode(item) for item in items], len(items)))

    async def _read_changed(self, window: Window) -> None:
        found = self._plan.get("changed")
        if found is None:
            found = await changed_since(self._client, self._spec.layout.agent_id, window, self._spec.channels)
        self._begin(changed=found)
        reader = self._conversations()
        done = {part.key for part in self._finished}
        batches = [found[start : start + IDS_IN_PART] for start in range(0, len(found), IDS_IN_PART)]
        slots = asyncio.Semaphore(max(self._spec.concurrency, 1))

        async def one(conversation_id: str) -> list[JsonObject]:
            async with slots:
                return await reader.one(conversation_id)

        async def batch(key: str, ids: list[str]) -> None:
            read = await _all_of(one(each) for each in ids)
            items = [self._encode(item) for items in read for item in items]
            await self._finish(key, PartRows(newest_first(items), len(ids)))

        keyed = [(f"batch-{number:06}", ids) for number, ids in enumerate(batches)]
        await _all_of(batch(key, ids) for key, ids in keyed if key not in done)

    async def _read_window(self, window: Window) -> None:
        reader = self._reader()
        missing = [window]
        for part in self._finished:
            done = read_part_key(part.key)
            missing = [rest for each in missing for rest in (each.without(done) if done else [each])]
        size = MOST_IN_PART
        if isinstance(reader, ConversationsV2):
            probed = await reader.probe(window)
            size = part_size(probed.total or 0, self._spec.concurrency)
            log.info("Chatbase counts %s conversations.", probed.total)
            newest = read_moment(created_at(probed.items[0])) if probed.items else None
            if not self._finished and (probed.total or 0) > size * TOLERANCE:
                missing = split_evenly(window, probed.total or 0, size, newest, FIRST_PIECES)
        self._begin()
        firsts = [each for part in missing for each in reader.first_parts(part, self._spec.concurrency)]
        parallel = ParallelReader(reader, self._encode, self._finish, self._spec.concurrency, size)
        await parallel.read(firsts)

    def _reader(self) -> Reader:
        layout = self._spec.layout
        if layout.kind == "leads":
            return readers.leads(self._client, layout.agent_id)
        if layout.kind == "contacts":
            return readers.contacts(self._client, layout.agent_id)
        if self._spec.api_version == "v1":
            return readers.conversations_v1(self._client, layout.agent_id, self._spec.channels)
        return self._conversations()

    def _conversations(self) -> ConversationsV2:
        spec = self._spec
        return ConversationsV2(self._client, spec.layout.agent_id, spec.channels, spec.summary)

    def _begin(self, **plan: Any) -> None:
        window = self._spec.window
        self._staging.begin({**plan, "window": window.as_json() if window else None})
        self._begun = True

    def _encode(self, item: JsonObject) -> Encoded:
        at, identity = read_moment(created_at(item)), identity_of(item)
        prefix = self._spec.exclude_user_prefix
        if prefix and (user_of(item) or "").startswith(prefix):
            return Encoded(at, identity, None)
        return Encoded(at, identity, self._format.encode(self._spec.redaction.apply(item)))

    async def _finish(self, key: str, part: PartRows) -> None:
        kept = [each for each in part.items if each.rows is not None]
        tables = {table: PartFile() for table in self._spec.layout.tables}
        for day, items in groupby(kept, key=self._day_of):
            of_day = list(items)
            for table, file in tables.items():
                rows = [row for each in of_day for row in (each.rows or {})[table]]
                if rows:
                    file.add(day, len(rows), self._format.join(table, rows))
        counts = len(kept), part.api_total, len(part.items) - len(kept)
        self._finished.append(await asyncio.to_thread(self._staging.finish_part, key, counts, tables))
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._reported = time.monotonic()
            log.info("%d %s read.", sum(each.rows for each in self._finished), self._spec.layout.kind)

    def _day_of(self, item: Encoded) -> str | None:
        if self._spec.layout.partition_by is None:
            return None
        window = self._spec.window
        at = item.at or (window.start if window else datetime.now(tz=UTC))
        return at.date().isoformat()

    def _parts_that_fit(self, found: list[FinishedPart]) -> list[FinishedPart]:
        """Leave out parts that overlap: two attempts may have cut the window in different ways."""
        fitting: list[FinishedPart] = []
        taken: list[Window] = []
        for part in found:
            window = read_part_key(part.key)
            if window is None or not any(window.meets(each) for each in taken):
                fitting.append(part)
                taken += [window] if window else []
        return fitting

    # -- publishing

    def _publish(self) -> Outcome:
        newest_last = not any(part.key.startswith("batch-") for part in self._finished)
        parts = sorted(self._finished, key=lambda part: part.key, reverse=newest_last)
        outputs = assemble(self._spec, self._format, self._staging, parts)
        commit = self._spec.commit(
            sum(part.rows for part in parts), _total(parts), sum(part.excluded for part in parts)
        )
        manifest = publish(
            self._directory,
            self._staging,
            self._spec.layout,
            commit,
            outputs,
            self._watermark(),
            self._spec.facts(),
        )
        return Outcome(commit, tuple(outputs.values()), manifest)

    def _watermark(self) -> datetime | None:
        """Until when everything was exported: what lies in the future was not."""
        if self._spec.window is None or self._spec.by == ONE:
            return None
        return min(self._spec.window.end, whole_second(datetime.now(tz=UTC)))


def read_part_key(key: str) -> Window | None:
    """Read a part's key."""
    try:
        start, end = (
            datetime.strptime(each, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for each in key.split("-")
        )
    except ValueError:
        return None
    return Window(start, end)


def _total(parts: list[FinishedPart]) -> int | None:
    totals = [part.api_total for part in parts]
    return None if any(total is None for total in totals) else sum(total for total in totals if total)


async def _all_of(work: Iterable[Awaitable[Any]]) -> list[Any]:
    """Do several things at once; when one fails, stop the others and raise its error."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
