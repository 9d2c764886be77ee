"""
Files of what one export brought. A run owns the partitions of its window, and meets no other run.

Files come first, then the manifest of each partition, and what it replaces goes last. Files are named by
their content and appear whole, so nothing in a bucket is ever moved or written over.

Two runs of one window at the same moment end in one whole result. Each says in its staging that it publishes,
before its files appear, and takes that back when its manifests are there. Whoever clears up leaves everything
alone as long as another says so; so the last one clears up after both, and goes by the manifests that won.
"""

from __future__ import annotations

import hashlib
import logging
import os
import posixpath
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports import ChatbaseReplacedExportError
from airflow_provider_chatbase.exports.export import Exported, ExportSettings
from airflow_provider_chatbase.exports.manifest import (
    DELTA_LOG,
    MANIFESTS,
    ExportedFile,
    Manifest,
    OutputState,
    Partition,
    advance_watermark,
    exported_file,
    partitions_of,
    read_manifest,
    read_state,
    read_watermark,
)
from airflow_provider_chatbase.exports.rows import choose_tables, rows_of
from airflow_provider_chatbase.exports.staging import Encoded, FinishedPart, PartRows, Staging, remove_attempt
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory, os_errors, temporary_told
from airflow_provider_chatbase.files.formats import CsvStyle, open_format

log = logging.getLogger(__name__)

AT_ONCE = 16
"""How many files are written, read or removed at the same time."""

ATTEMPTS_TO_STAY = 5
"""How often the files are brought back that another try of the same task may have removed."""

MANIFESTS_READ_ONE_BY_ONE = 40
"""From so many partitions on the manifests are listed first: most days of a long first export have none."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How the files of an export look."""

    file_format: str = "jsonl"
    compression: str | None = None
    tables: tuple[str, ...] | None = None  # all when ``None``
    partition_by: str | None = None  # ``day``
    csv_style: CsvStyle = field(default_factory=CsvStyle)


class FilesTarget:
    """Writes an export as files."""

    def __init__(self, directory: Directory, settings: ExportSettings, look: FileSettings) -> None:
        self._directory = directory
        self._look = look
        self._by = settings.by
        tables = choose_tables(look.file_format, settings.kind, look.tables)
        self._tables = {table.name: table for table in tables}
        self._format = open_format(look.file_format, look.compression, csv_style=look.csv_style)
        self._kind, self._agent_id = settings.kind, settings.agent_id
        self._contents = self._contents_of(settings)
        self._state = OutputState()
        self._staging = Staging(directory, self._staging_key(settings))
        self._owned: dict[Partition, Manifest | None] = {}
        self._ends: list[Partition] = []  # the first and the last of them
        self._publishing: list[Partition] = []
        self._missing = self._missing_folders()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="export-files")

    def _contents_of(self, settings: ExportSettings) -> dict[str, Any]:
        look = self._look
        contents = {
            **settings.contents(),
            "format": look.file_format,
            "compression": look.compression,
            "tables": list(self._tables),
        }
        if settings.by == "created":
            contents["partition_by"] = look.partition_by
        if look.file_format == "csv":
            contents["csv"] = asdict(look.csv_style)
        return contents

    def _staging_key(self, settings: ExportSettings) -> str:
        window = None if settings.ends_now or settings.window is None else settings.window.as_json()
        facts = [settings.attempt, settings.by, settings.conversation_id, window, self._contents]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    # -- before anything is read

    def earlier_plan(self) -> Mapping[str, Any] | None:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.earlier_plan`."""
        state = read_state(self._directory)
        if state is None:
            self._require_no_tables()
        self._state = (state or OutputState()).holding(self._directory, self._contents)
        return self._staging.plan()

    def _require_no_tables(self) -> None:
        """Stay out of Delta tables: their vacuum removes what is not theirs, and erasing passes it over."""
        for name in self._tables:
            if self._directory.names(f"{name}/{DELTA_LOG}"):
                raise ChatbaseOutputError(
                    f"{self._directory.url}/{name} is a Delta table. Give these files an output_path of "
                    "their own, or export with file_format='delta'. Nothing was exported."
                )

    def begin(self, settings: ExportSettings, plan: Mapping[str, Any]) -> list[FinishedPart]:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.begin`."""
        owned = partitions_of(
            settings.window,
            settings.kind,
            settings.by,
            settings.conversation_id,
            self._look.partition_by == "day",
        )
        self._owned = self._manifests_of(owned)
        self._ends = [owned[0], owned[-1]]
        for manifest in self._owned.values():
            if manifest is not None:
                OutputState(manifest.contents).holding(self._directory, self._contents)
        if self._staging.plan() is None:
            self._staging.remove()  # rows were erased from it
        parts = self._staging.earlier_parts(self._together)
        self._staging.begin(dict(plan))
        return parts

    def _manifests_of(self, owned: list[Partition]) -> dict[Partition, Manifest | None]:
        there = owned
        if len(owned) > MANIFESTS_READ_ONE_BY_ONE:
            names = set(self._directory.names(MANIFESTS))
            there = [each for each in owned if posixpath.basename(each.manifest) in names]
        read = self._together(lambda each: read_manifest(self._directory, each.manifest), there)
        return {**dict.fromkeys(owned), **dict(zip(there, read, strict=True))}

    # -- parts

    def encode(self, item: JsonObject, at: datetime | None, identity: str) -> Encoded:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.encode`."""
        found: Mapping[str, list[Any]] = (
            {self._kind: [item]}
            if self._look.file_format == "jsonl"
            else rows_of(self._kind, item, self._agent_id)
        )
        rows = {
            name: [self._format.encode(table, row) for row in found[name]]
            for name, table in self._tables.items()
        }
        size = sum(_size_of(row) for of_table in rows.values() for row in of_table)
        return Encoded(at, identity, self._staging.rows.keep(rows, size), size)

    def keep(self, key: str, rows: PartRows) -> FinishedPart:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.keep`."""
        return self._staging.finish_part(
            key,
            rows,
            self._day_of,
            lambda name, rows: self._format.join(self._tables[name], rows),
        )

    def _day_of(self, item: Encoded) -> str | None:
        """Return the day of an object; what says another than those of the run is in the nearest of them."""
        days = [each.day for each in self._ends if each.day is not None]
        if not days:
            return None
        day = days[0] if item.at is None else f"{item.at.astimezone(UTC):%Y-%m-%d}"
        return min(max(day, days[0]), days[-1])

    # -- publishing

    def publish(
        self, settings: ExportSettings, parts: list[FinishedPart], until: datetime | None
    ) -> Exported:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.publish`."""
        self._require_unchanged()
        self._staging.announce(settings.window)
        manifests = self._write_files(settings, parts)
        self._stay_announced(settings.window, manifests)
        self._require_unchanged()
        self._together(lambda each: self._staging.write(each.manifest, manifests[each].as_bytes()), manifests)
        self._staging.withdraw()
        self._clear_up(manifests)
        self._publishing = []
        if settings.window is not None and until is not None and until > settings.window.start:
            covered = Window(settings.window.start, until)
            advance_watermark(self._directory, self._staging.write, settings.by, covered)
        self._remove_other_attempts(settings.window)
        self._staging.remove()
        return Exported(
            settings.window,
            sum(part.rows for part in parts),
            _total(parts),
            sum(part.excluded for part in parts),
            tuple(file for each in manifests.values() for file in each.files),
            read_watermark(self._directory, settings.by) if until else None,
            tuple(each.manifest for each in manifests),
        )

    def _require_unchanged(self) -> None:
        """Refuse what another task has put here meanwhile, or rows that were erased after they were read."""
        now = read_state(self._directory)
        if now is None:
            self._state.write(self._staging.write)
            return
        now.holding(self._directory, self._contents)
        if now.erasures != self._state.erasures:
            self._staging.remove()
            raise ChatbaseReplacedExportError(
                f"Rows were erased from {self._directory.url} after this run had read its own. "
                "Nothing was published; run the task again, and it reads anew."
            )

    def _write_files(self, settings: ExportSettings, parts: list[FinishedPart]) -> dict[Partition, Manifest]:
        uploads = []
        self._publishing = self._partitions_with_files(parts)
        whole = len(self._owned) == 1
        manifests = {}
        for each in self._publishing:
            files = tuple(self._write_file(parts, each, table) for table in self._tables)
            there = self._owned[each]
            missing = [file for file in files if there is None or file not in there.files]
            uploads += [self._pool.submit(self._upload, each, file) for file in missing]
            main = [file.rows for file in files if file.table == settings.kind]
            manifests[each] = Manifest(
                self._contents,
                settings.by,
                each.window,
                sum(part.rows for part in parts) if whole else (main[0] if main else None),
                files,
                _total(parts) if whole else None,
                sum(part.excluded for part in parts) if whole else None,
                settings.conversation_id,
            )
        for upload in uploads:
            upload.result()
        return manifests

    def _stay_announced(self, window: Window | None, manifests: Mapping[Partition, Manifest]) -> None:
        """Bring back the files where another try has taken this one to be dead, and may have removed them."""
        for _ in range(ATTEMPTS_TO_STAY):
            if self._staging.is_announced():
                return
            self._staging.announce(window)
            files = [(each, file) for each, manifest in manifests.items() for file in manifest.files]
            self._together(lambda each: self._upload(*each), files)

    def _partitions_with_files(self, parts: list[FinishedPart]) -> list[Partition]:
        """Leave out the empty days before the first that has rows or a manifest, and those to come."""
        filled = {segment.day for part in parts for segment in part.segments}
        tomorrow = datetime.fromtimestamp(time.time(), UTC) + timedelta(days=1)
        # This worker's clock has no say in whether a day that has rows is written.
        needed = [each.day in filled or there is not None for each, there in self._owned.items()]
        first = needed.index(True) if True in needed else len(needed) - 1
        return [
            each
            for number, (each, is_needed) in enumerate(zip(self._owned, needed, strict=True))
            if is_needed or (number >= first and (each.window is None or each.window.start < tomorrow))
        ]

    @os_errors(temporary_told)
    def _write_file(self, parts: list[FinishedPart], partition: Partition, table: str) -> ExportedFile:
        """Write a file to the local disk; it is named by its content."""
        rows, local = 0, self._local(partition, table)
        with local.open("wb") as stream, self._format.writer(self._tables[table], stream) as writer:
            for part in parts:
                for count, piece in part.pieces(table, partition.day):
                    writer.write(piece)
                    rows += count
        return exported_file(local, f"{table}/{partition.name}", self._format.suffix, table, rows)

    def _upload(self, partition: Partition, file: ExportedFile) -> None:
        self._staging.write(file.path, self._local(partition, file.table))

    def _local(self, partition: Partition, table: str) -> Path:
        return self._staging.local / f"out-{table}-{partition.name}"

    def _clear_up(self, manifests: Mapping[Partition, Manifest | None]) -> None:
        """
        Remove what no manifest names any more, unless another run is just about to name it.

        The order makes it safe: a file that is listed was announced before it came, and its manifest was
        there before the announcement was taken back.
        """
        folders = [(each, f"{table}/{each.name}") for each in manifests for table in self._tables]
        names = self._together(lambda each: self._directory.names(each[1]), folders)
        windows = [each.window for each in manifests]
        others = {key for window in windows[:1] + windows[-1:] for key in self._staging.others(window)}
        busy = any(self._staging.publishes(key) for key in [*others, self._staging.key])
        read = self._together(lambda each: read_manifest(self._directory, each.manifest), manifests)
        now = dict(zip(manifests, read, strict=True))
        there = {
            f"{folder}/{name}": each
            for (each, folder), found in zip(folders, names, strict=True)
            for name in found
        }
        lost = [
            (each, file)
            for each, manifest in manifests.items()
            if manifest is not None and now[each] == manifest
            for file in manifest.files
            if file.path not in there
        ]
        self._together(lambda each: self._upload(*each), lost)
        if not busy:
            named = {path for each in now.values() if each is not None for path in each.paths}
            removed = {each for each, own in manifests.items() if own is not None and now[each] is None}
            unnamed = [path for path, each in there.items() if path not in named and each not in removed]
            self._together(self._directory.remove, unnamed)

    def _remove_other_attempts(self, window: Window | None) -> None:
        for key in self._staging.others(window):
            if not self._staging.publishes(key):
                log.info("Removing what another attempt at this window has staged: %s.", key)
                try:
                    remove_attempt(self._directory, key)
                except ChatbaseStorageError as error:
                    log.warning("It is alive, and removes it by itself: %s", error)

    # -- afterwards

    def give_up(self, *, keep_parts: bool) -> None:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.give_up`."""
        try:
            if self._publishing:
                self._staging.withdraw()
                self._clear_up(dict.fromkeys(self._publishing))
            if not keep_parts:
                self._staging.remove()
                self._remove_empty_folders()
        except ChatbaseStorageError as error:
            log.warning("What is not needed any more stays in %s: %s", self._directory.url, error)

    def close(self) -> None:
        """See :meth:`~airflow_provider_chatbase.exports.export.Target.close`."""
        self._pool.shutdown(cancel_futures=True)
        self._staging.close()

    def _missing_folders(self) -> list[str]:
        """Return the folders that have to be made for the output, the deepest first."""
        missing: list[str] = []
        path = self._directory.root.rstrip("/")
        while self._directory.local and path and not os.path.exists(path):  # noqa: PTH110 - a path may be too long
            missing.append(path)
            path = posixpath.dirname(path)
        return missing

    def _remove_empty_folders(self) -> None:
        folders = [f"{table}/{each.name}" for each in self._owned for table in self._tables]
        for name in [*folders, *self._tables, MANIFESTS]:
            if self._directory.local:
                _remove_if_empty(self._directory.path(name))
        for path in self._missing:
            _remove_if_empty(path)

    def _together(self, work: Callable[[T], R], each: Iterable[T]) -> list[R]:
        return list(self._pool.map(work, each))


def _size_of(row: Any) -> int:
    if isinstance(row, bytes):
        return len(row)
    return sum(len(value) for value in row if isinstance(value, str)) + 8 * len(row)


def _total(parts: list[FinishedPart]) -> int | None:
    totals = [part.api_total for part in parts]
    return None if None in totals else sum(total for total in totals if total)


def _remove_if_empty(path: str) -> None:
    with suppress(OSError):  # never made, or somebody else writes there
        Path(path).rmdir()
