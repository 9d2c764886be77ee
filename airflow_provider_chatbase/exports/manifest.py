"""
What an output holds: a manifest for each partition, written last; what it is for; and the watermark.

A partition is a day, or the window of a run. The run that writes it owns it; its manifest names its files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from airflow_provider_chatbase.exports.window import (
    Window,
    compact,
    in_utc,
    named_window,
    read_moment,
    read_window,
)
from airflow_provider_chatbase.files import ChatbaseOutputError
from airflow_provider_chatbase.files.directory import Directory

VERSION = 2

MANIFESTS = "_manifests"
STATE = "_output.json"
WATERMARKS = "_watermark"
AHEAD = "ahead-"
OLD_MANIFEST = "_manifest.json"
"""The table of contents that versions before 2 kept for a whole output."""

DELTA_LOG = "_delta_log"
"""The folder in a Delta table that says what is in it."""

CREATED, UPDATED, ONE = "created", "updated", "conversation"
"""What a window speaks of: when conversations were created, when they last changed; or it is just one."""

LONGEST_NAME = 128

Write = Callable[[str, bytes], None]

DAY_COLUMN = {
    "conversations": "conversation_date",
    "leads": "lead_date",
    "contacts": "contact_date",
    "tickets": "ticket_date",
    "analytics": "analytics_date",
}


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of an export; its path is relative to the output."""

    path: str
    table: str
    rows: int
    size: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "path": self.path,
            "table": self.table,
            "rows": self.rows,
            "bytes": self.size,
            "sha256": self.sha256,
        }


def exported_file(local: Path, folder: str, suffix: str, table: str, rows: int) -> ExportedFile:
    """Describe a file that was written to the local disk; it will be named by its content."""
    with local.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return ExportedFile(f"{folder}/{sha256[:12]}{suffix}", table, rows, local.stat().st_size, sha256)


@dataclass(frozen=True, slots=True)
class Partition:
    """What a run owns as a whole: the folder of this name in every table, and the manifest of this name."""

    name: str
    window: Window | None
    day: str | None = None

    @property
    def manifest(self) -> str:
        """The manifest's path, beside the tables' folders: these hold nothing but rows."""
        return f"{MANIFESTS}/{self.name}.json"


def partitions_of(
    window: Window | None, kind: str, by: str, subject: str | None, days: bool
) -> list[Partition]:
    """Return what an export of a window owns; the subject is the id of a single conversation."""
    if window is None:
        name = quote(str(subject), safe="")
        if len(name) > LONGEST_NAME:  # of a file on a disk, with what stands around it
            name = hashlib.sha256(name.encode()).hexdigest()
        return [Partition(f"conversation-{name}", None)]
    if not days:
        return [Partition(window.name if by == CREATED else f"{by}-{window.name}", window)]
    found, start = [], window.start
    while start < window.end:
        day = f"{start:%Y-%m-%d}"
        found.append(Partition(f"{DAY_COLUMN[kind]}={day}", Window(start, start + timedelta(days=1)), day))
        start += timedelta(days=1)
    return found


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    The table of contents of a partition.

    It holds no time of writing, so the same rows give the same bytes.
    """

    contents: Mapping[str, Any]  # what all exports into the output have in common
    by: str
    window: Window | None
    rows: int | None  # how many objects of the API; ``None`` where their table is not exported
    files: tuple[ExportedFile, ...]
    api_total: int | None = None  # how many the API counted, where it says so of this partition
    excluded: int | None = None  # how many were left out on purpose, where it is known of this partition
    subject: str | None = None  # the id of a single conversation

    @property
    def paths(self) -> set[str]:
        """The places of its files."""
        return {file.path for file in self.files}

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "version": VERSION,
            **self.contents,
            "by": self.by,
            "window": self.window.as_json() if self.window else None,
            **({"conversation_id": self.subject} if self.subject is not None else {}),
            "rows": self.rows,
            "api_total": self.api_total,
            "excluded": self.excluded,
            "bytes": sum(file.size for file in self.files),
            "files": [file.as_json() for file in self.files],
        }

    def as_bytes(self) -> bytes:
        """Return the manifest file's content."""
        return _json(self.as_json())


def read_manifest(directory: Directory, name: str) -> Manifest | None:
    """Read a manifest; ``None`` only where there is none. One that cannot be read is refused."""
    found = _read(directory, name)
    if found is None:
        return None
    own = ("version", "by", "window", "conversation_id", "rows", "api_total", "excluded", "bytes", "files")
    try:
        files = tuple(
            ExportedFile(each["path"], each["table"], each["rows"], each["bytes"], each["sha256"])
            for each in found["files"]
        )
        return Manifest(
            {key: value for key, value in found.items() if key not in own},
            found["by"],
            read_window(found["window"]),
            found["rows"],
            files,
            found["api_total"],
            found["excluded"],
            found.get("conversation_id"),
        )
    except (KeyError, TypeError) as error:
        raise directory.damaged(name, f"{error!r} is missing or no manifest's") from error


@dataclass(frozen=True, slots=True)
class OutputState:
    """What the output is for."""

    contents: Mapping[str, Any] = field(default_factory=dict)
    erasures: int = 0  # goes up when rows are erased, so that a run that had read them before notices

    def holding(self, directory: Directory, contents: Mapping[str, Any]) -> Self:
        """Return the state with what an export is about to write; refused where something else is there."""
        both = self.contents.keys() & contents.keys()
        differing = [name for name in contents if name in both and contents[name] != self.contents[name]]
        if not differing:
            return replace(self, contents={**self.contents, **contents})
        how = ", ".join(f"{name}: {self.contents[name]}, now {contents[name]}" for name in differing)
        advice = " for example with {agent_id} in output_path" if "agent_id" in differing else ""
        raise ChatbaseOutputError(
            f"{directory.url} holds exports with other settings ({how}). Rows of both would be mixed up "
            f"there: give this export an output_path of its own,{advice or ' or the same settings'}. "
            "Nothing was exported."
        )

    def write(self, write: Write) -> None:
        """Write the state."""
        state = {"version": VERSION, "erasures": self.erasures, "contents": dict(self.contents)}
        write(STATE, _json(state))


def read_state(directory: Directory) -> OutputState | None:
    """Read the state of an output; ``None`` where there is none. One that cannot be read is refused."""
    found = _read(directory, STATE)
    if found is None:
        if directory.read(OLD_MANIFEST) is not None:
            raise ChatbaseOutputError(
                f"{directory.url} holds exports of an earlier version of this provider ({OLD_MANIFEST}), or "
                "of something else. They are left alone: give an output_path of its own, or remove them. "
                "Nothing was exported."
            )
        return None
    contents, erasures = found.get("contents"), found.get("erasures")
    least = {"kind", "agent_id", "format", "compression", "tables"}
    if not (isinstance(contents, dict) and least <= contents.keys() and isinstance(erasures, int)):
        raise directory.damaged(STATE, "what it holds is no state of an output")
    return OutputState(contents, erasures)


def read_watermark(directory: Directory, by: str) -> datetime | None:
    """
    Return until when everything was exported, or ``None``. A watermark that cannot be read is refused.

    What changed is looked for since the first load, where it never was before.
    """
    names = _watermarks(directory, by)
    if not names:
        return read_watermark(directory, CREATED) if by == UPDATED else None
    name = f"{WATERMARKS}/{names[-1]}"
    content = _read(directory, name)
    if content is None and _watermarks(directory, by) != names:  # another run has moved it just now
        return read_watermark(directory, by)
    found = read_moment((content or {}).get("watermark"))
    if found is None or _watermark_name(by, found) != names[-1]:
        raise directory.damaged(name, "it is no watermark")
    return found


def advance_watermark(directory: Directory, write: Write, by: str, covered: Window) -> None:
    """
    Move the watermark to the end of what was exported, never back and never over a gap.

    Each is a file named by its moment, and the latest counts: of runs that end at the same time none takes
    back what another wrote. What lies beyond a gap is noted, and counts when another run has closed that.
    """
    while True:
        there, ahead = read_watermark(directory, by), _ahead(directory, by)
        if (
            there is not None
            and covered.start > there
            and not any(each.covers(covered) for each in ahead.values())
        ):
            _note_ahead(directory, write, by, covered, ahead)
            continue  # somebody may have closed the gap just now
        reached = covered.end if there is None else there
        for each in [covered, *ahead.values()]:
            reached = max(reached, each.end) if each.start <= reached else reached
        name = _watermark_name(by, reached)
        if name in (names := _watermarks(directory, by)):
            break
        write(f"{WATERMARKS}/{name}", _json({"version": VERSION, "watermark": in_utc(reached)}))
    for old in [*names[:-1], *(old for old, window in ahead.items() if window.end <= reached)]:
        directory.remove(f"{WATERMARKS}/{old}")


def _note_ahead(
    directory: Directory, write: Write, by: str, covered: Window, ahead: Mapping[str, Window]
) -> None:
    """Note what was exported beyond a gap, in one file with what it touches."""
    touched = {
        name: each for name, each in ahead.items() if each.start <= covered.end and covered.start <= each.end
    }
    whole = Window(
        min(each.start for each in (covered, *touched.values())),
        max(each.end for each in (covered, *touched.values())),
    )
    write(f"{WATERMARKS}/{AHEAD}{by}-{whole.name}.json", _json({"version": VERSION}))
    for name in touched:
        directory.remove(f"{WATERMARKS}/{name}")


def _ahead(directory: Directory, by: str) -> dict[str, Window]:
    """Return what was exported beyond a gap, the oldest first."""
    found: dict[str, Window] = {}
    for name in directory.names(WATERMARKS):
        if name.startswith(f"{AHEAD}{by}-"):
            window = named_window(name.removeprefix(f"{AHEAD}{by}-").removesuffix(".json"))
            if window is None:
                raise directory.damaged(f"{WATERMARKS}/{name}", "its name is no window's")
            found[name] = window
    return found


def _watermark_name(by: str, at: datetime) -> str:
    return f"{by}-{compact(at)}.json"


def _watermarks(directory: Directory, by: str) -> list[str]:
    return [name for name in directory.names(WATERMARKS) if name.startswith(f"{by}-")]


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _read(directory: Directory, name: str) -> dict[str, Any] | None:
    found = directory.read_json(name)
    if found is None:
        return None
    version = found.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ChatbaseOutputError(
            f"{name} in {directory.url} is of a newer version of this provider ({version}; this one reads "
            f"{VERSION}). It is neither used nor replaced: upgrade, or give another output_path."
        )
    if version != VERSION:
        raise directory.damaged(name, "it is not of this provider")
    return found
