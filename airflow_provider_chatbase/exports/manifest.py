"""What an export consists of. It is written last: what it names is whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from airflow_provider_chatbase.exports.window import Window, in_utc, read_moment, read_window

MANIFEST = "_manifest.json"
VERSION = 1

CREATED, UPDATED, ONE = "created", "updated", "conversation"
"""What a window speaks of: when conversations were created, when they last changed; or it is just one."""


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """
    A file of an export.

    :param path: relative to the export's directory.
    :param table: whose rows it holds.
    :param rows: how many rows it has.
    :param size: its bytes.
    :param sha256: the checksum of its bytes.
    :param window: which window its rows are all of; ``None`` where there is none.
    :param by: ``created``, ``updated`` or ``conversation``.
    """

    path: str
    table: str
    rows: int
    size: int
    sha256: str
    window: Window | None = None
    by: str = CREATED

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "path": self.path,
            "table": self.table,
            "rows": self.rows,
            "bytes": self.size,
            "sha256": self.sha256,
            "by": self.by,
            "window": self.window.as_json() if self.window else None,
        }


@dataclass(frozen=True, slots=True)
class Commit:
    """
    One export that went into the directory.

    :param window: what it covers; ``None`` for a single conversation.
    :param rows: how many objects of the API it brought; ``None`` where a later one replaced a part of it.
    :param api_total: how many the API counted; ``None`` where it does not say.
    :param excluded: how many of them were left out on purpose.
    :param by: ``created``, ``updated`` or ``conversation``.
    :param subject: the id of a single conversation.
    """

    window: Window | None
    rows: int | None
    api_total: int | None
    excluded: int = 0
    by: str = CREATED
    subject: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "by": self.by,
            **(self.window.as_json() if self.window else {"conversation_id": self.subject}),
            "rows": self.rows,
            "api_total": self.api_total,
            "excluded": self.excluded,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """
    What all exports into one directory have in common.

    :param kind: ``conversations``, ``leads`` or ``contacts``.
    :param agent_id: whose.
    :param file_format: ``jsonl``, ``csv`` or ``parquet``.
    :param compression: ``gzip``, ``zstd`` or ``None``.
    :param tables: the tables' names.
    :param partition_by: ``day`` or ``None``.
    """

    kind: str
    agent_id: str
    file_format: str = "jsonl"
    compression: str | None = None
    tables: tuple[str, ...] = ("conversations",)
    partition_by: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "kind": self.kind,
            "agent_id": self.agent_id,
            "format": self.file_format,
            "compression": self.compression,
            "tables": list(self.tables),
            "partition_by": self.partition_by,
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    A directory's table of contents. It holds no time of writing, so the same rows give the same bytes.

    :param layout: what the exports have in common.
    :param commits: the exports.
    :param files: all their files.
    :param watermark: until when conversations were exported.
    """

    layout: Layout
    commits: tuple[Commit, ...] = ()
    files: tuple[ExportedFile, ...] = ()
    watermark: datetime | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def with_export(self, commit: Commit, files: Iterable[ExportedFile], watermark: datetime | None) -> Self:
        """Return the manifest after one more export, which replaces what its window covers."""
        kept_files = [each for each in self.files if not _replaces(commit, each)]
        kept = [rest for each in self.commits for rest in _rest_of(each, commit, kept_files)]
        moments = [each for each in (self.watermark, watermark) if each is not None]
        return replace(
            self,
            commits=tuple(sorted([*kept, commit], key=_commit_order)),
            files=tuple(sorted([*kept_files, *files], key=lambda file: file.path)),
            watermark=max(moments, default=None),
        )

    @property
    def paths(self) -> set[str]:
        """The places of its files."""
        return {file.path for file in self.files}

    @property
    def rows(self) -> int | None:
        """How many objects of the API there are in all."""
        return _sum(each.rows for each in self.commits)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        windows = [each.window for each in self.commits if each.window is not None]
        start = min((each.start for each in windows), default=None)
        end = max((each.end for each in windows), default=None)
        return {
            "version": VERSION,
            **self.layout.as_json(),
            **self.extra,
            "window": Window(start, end).as_json() if start and end else None,
            "watermark": in_utc(self.watermark) if self.watermark else None,
            "rows": self.rows,
            "bytes": sum(file.size for file in self.files),
            "api_total": _sum(each.api_total for each in self.commits),
            "exports": [each.as_json() for each in self.commits],
            "files": [file.as_json() for file in self.files],
        }

    def as_bytes(self) -> bytes:
        """Return the manifest file's content."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def read_manifest(content: bytes) -> Manifest | None:
    """Read a manifest file."""
    try:
        found = json.loads(content)
        if found["version"] != VERSION:
            return None
        return Manifest(
            layout=Layout(
                found["kind"],
                found["agent_id"],
                found["format"],
                found["compression"],
                tuple(found["tables"]),
                found["partition_by"],
            ),
            commits=tuple(_read_commit(each) for each in found["exports"]),
            files=tuple(_read_file(each) for each in found["files"]),
            watermark=read_moment(found["watermark"]),
            extra={name: found[name] for name in ("redacted",) if name in found},
        )
    except (ValueError, KeyError, TypeError):
        return None


def _read_commit(found: dict[str, Any]) -> Commit:
    return Commit(
        read_window(found),
        found["rows"],
        found["api_total"],
        found["excluded"],
        found["by"],
        found.get("conversation_id"),
    )


def _read_file(found: dict[str, Any]) -> ExportedFile:
    return ExportedFile(
        found["path"],
        found["table"],
        found["rows"],
        found["bytes"],
        found["sha256"],
        read_window(found["window"]),
        found["by"],
    )


def _replaces(commit: Commit, file: ExportedFile) -> bool:
    if commit.by != file.by:
        return False
    if commit.window is None or file.window is None:
        return commit.window is None and file.path.rsplit("/", 1)[-1].startswith(f"{subject_name(commit)}-")
    return commit.window.covers(file.window)


def subject_name(commit: Commit) -> str:
    """Return the name that the files of an export begin with."""
    if commit.window is None:
        safe = "".join(each if each.isalnum() or each in "._" else "_" for each in str(commit.subject))
        return f"conversation-{safe}"
    return commit.window.name if commit.by == CREATED else f"{commit.by}-{commit.window.name}"


def _rest_of(old: Commit, new: Commit, kept_files: Iterable[ExportedFile]) -> Iterable[Commit]:
    """Return what remains of an export, of which a later one has replaced whole days."""
    if old.by != new.by or old.window is None or new.window is None or not old.window.meets(new.window):
        same = old.window is None and new.window is None and old.subject == new.subject
        return [] if same and old.by == new.by else [old]
    if new.by != CREATED and not new.window.covers(old.window):
        return [old]  # both are kept: a conversation that changed twice is in both
    return [
        replace(old, window=rest, rows=_rows_within(rest, old.by, kept_files), api_total=None)
        for rest in old.window.without(new.window)
    ]


def _rows_within(window: Window, by: str, files: Iterable[ExportedFile]) -> int | None:
    main = [file for file in files if file.by == by and file.table in _MAIN]
    return sum(file.rows for file in main if file.window and window.covers(file.window)) if main else None


_MAIN = frozenset(("conversations", "leads", "contacts"))


def _commit_order(commit: Commit) -> tuple[str, str, str]:
    window = commit.window.as_json() if commit.window else {"start": "", "end": str(commit.subject)}
    return commit.by, window["start"], window["end"]


def _sum(numbers: Iterable[int | None]) -> int | None:
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total
