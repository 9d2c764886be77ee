"""Where an export is written before it is published, and where a later attempt goes on."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any, cast

from airflow_provider_chatbase.exports.directory import ExportDirectory

log = logging.getLogger(__name__)

PREFIX = "_staging-"
PLAN, COMMIT = "plan.json", "commit.json"
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after its beginning from which on an attempt on another machine counts as dead."""

ATTEMPTS_TO_REMOVE = 3

KEPT_IN_MEMORY = 4 * 1024 * 1024

_active: set[tuple[str, str]] = set()
"""The staging directories that this process is working in."""

Segment = tuple[str | None, int, int]
"""A stretch of a part's file: the day of its rows where the export is cut by day, rows, bytes."""


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """
    A part that was read to its end.

    :param key: which one; keys sort like the parts.
    :param rows: how many objects of the API it brought.
    :param api_total: how many the API counted; ``None`` where it does not say.
    :param excluded: how many were left out on purpose.
    :param files: for each table the staged file and its segments.
    """

    key: str
    rows: int
    api_total: int | None
    excluded: int
    files: dict[str, tuple[str, list[Segment]]]

    def as_bytes(self) -> bytes:
        """Return the content of its done-file."""
        return json.dumps(
            {
                "key": self.key,
                "rows": self.rows,
                "api_total": self.api_total,
                "excluded": self.excluded,
                "files": self.files,
            }
        ).encode()


class PartFile:
    """The pieces of one table in one part, small ones in memory."""

    def __init__(self) -> None:
        self.stream = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=KEPT_IN_MEMORY))  # noqa: SIM115
        self.segments: list[Segment] = []

    def add(self, day: str | None, rows: int, piece: bytes) -> None:
        """Add a piece."""
        self.stream.write(piece)
        self.segments.append((day, rows, len(piece)))


class Staging:
    """The staging directory of one export, the same one for every attempt at it."""

    def __init__(self, directory: ExportDirectory, fingerprint: str) -> None:
        self._directory = directory
        self.name = f"{PREFIX}{fingerprint}"
        self._attempt = uuid.uuid4().hex[:8]

    def plan(self) -> dict[str, Any] | None:
        """Return the plan of an earlier attempt, or ``None`` where there is none."""
        plan = _read_json(self._directory, self.path(PLAN))
        return plan if isinstance(plan, dict) else None

    def begin(self, plan: dict[str, Any]) -> None:
        """Take the directory over for this attempt."""
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "begun": time.time()}
        _active.add((self._directory.url, self.name))
        self._directory.put(self.path(PLAN), json.dumps({**plan, **owner}).encode())

    def leave(self) -> None:
        """Say that this attempt no longer works in the directory."""
        _active.discard((self._directory.url, self.name))

    def finished_parts(self) -> list[FinishedPart]:
        """Return what was read already, by this attempt or by earlier ones."""
        found = []
        for name in self._directory.names(self.name):
            if name.startswith("done-") and name.endswith(".json"):
                content = json.loads(self._directory.read(self.path(name)))
                files = {
                    table: (file, [(day, rows, size) for day, rows, size in segments])
                    for table, (file, segments) in content.pop("files").items()
                }
                found.append(FinishedPart(files=files, **content))
        return sorted(found, key=lambda part: part.key)

    def finish_part(
        self, key: str, counts: tuple[int, int | None, int], tables: dict[str, PartFile]
    ) -> FinishedPart:
        """
        Write a part: its files first, its done-file last.

        The files are named by attempt, so that two attempts at the same part do not meet.
        """
        files = {}
        for table, part in tables.items():
            name = f"part-{key}-{self._attempt}-{table}"
            with part.stream as pieces:
                if part.segments:
                    pieces.seek(0)
                    with self._directory.open(self.path(name), "wb") as target:
                        shutil.copyfileobj(pieces, target)
            files[table] = (name, part.segments)
        finished = FinishedPart(key, *counts, files=files)
        self._directory.put(self.path(f"done-{key}.json"), finished.as_bytes())
        return finished

    def read_part(self, part: FinishedPart, table: str) -> Iterable[tuple[str | None, int, bytes]]:
        """Read a part's pieces of one table."""
        name, segments = part.files[table]
        if not segments:
            return
        with self._directory.open(self.path(name)) as stream:
            for day, rows, size in segments:
                yield day, rows, stream.read(size)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for writing, under a name of this attempt's own."""
        return self._directory.open(self.output(name), "wb")

    def output(self, name: str) -> str:
        """Return the path of a file that :meth:`open` wrote."""
        return self.path(f"out-{self._attempt}/{name}")

    def note_commit(self, paths: Iterable[str]) -> None:
        """Note the files that are about to appear or to go, for whoever clears up if we cannot."""
        self._directory.put(self.path(COMMIT), json.dumps(sorted(paths)).encode())

    def path(self, name: str) -> str:
        """Return a staged file's path, relative to the export's directory."""
        return f"{self.name}/{name}"

    def noted_commit(self) -> set[str]:
        """Return what an earlier attempt noted with :meth:`note_commit`."""
        noted = _read_json(self._directory, self.path(COMMIT))
        return {str(path) for path in noted} if isinstance(noted, list) else set()

    def remove(self) -> None:
        """Remove everything that was staged; what another attempt is just writing is left to it."""
        for _ in range(ATTEMPTS_TO_REMOVE):
            try:
                self._directory.remove(self.name)
            except OSError as error:
                log.info("%s is not removed yet: %s", self.path(""), error)
            else:
                return


def clear_leftovers(directory: ExportDirectory, own: str) -> None:
    """Remove what dead attempts left behind. What is alive, on this machine or another, stays."""
    for name in directory.names():
        if not name.startswith(PREFIX) or name == own or _alive(directory, name):
            continue
        log.info("Removing what a dead attempt left behind: %s/%s", directory.url, name)
        noted = _read_json(directory, f"{name}/{COMMIT}")
        published = directory.published()
        for path in noted if isinstance(noted, list) else ():
            if path not in published:
                directory.remove_file_and_empty_parents(path)
        directory.remove(name)


def _alive(directory: ExportDirectory, name: str) -> bool:
    plan = _read_json(directory, f"{name}/{PLAN}")
    if not isinstance(plan, dict):
        return False
    if plan.get("host") != socket.gethostname():
        begun = plan.get("begun")
        return isinstance(begun, int | float) and time.time() - begun < ABANDONED_AFTER
    if plan.get("pid") == os.getpid():
        return (directory.url, name) in _active
    return process_runs(plan.get("pid"))


def process_runs(pid: Any) -> bool:
    """Say whether a process of this machine is alive."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_json(directory: ExportDirectory, name: str) -> Any:
    content = directory.read_if_there(name)
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
