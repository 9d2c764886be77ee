"""Finished parts become the files of an export, the same bytes however the export was cut."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from typing import IO, Any

from airflow_provider_chatbase.exports.formats import Format
from airflow_provider_chatbase.exports.manifest import CREATED, ExportedFile, subject_name
from airflow_provider_chatbase.exports.spec import ExportSpec
from airflow_provider_chatbase.exports.staging import FinishedPart, Staging
from airflow_provider_chatbase.exports.window import Window

Piece = tuple[str | None, int, bytes]
PARTITION = {"conversations": "conversation_date", "leads": "lead_date", "contacts": "contact_date"}


class HashingStream:
    """A stream that sums up what goes through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, content: Any) -> int:
        """Write bytes."""
        self._stream.write(content)
        self._digest.update(content)
        size = len(memoryview(content).cast("B"))
        self.size += size
        return size

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def flush(self) -> None:
        """Do nothing: the stream behind knows when."""

    def close(self) -> None:
        """Do nothing: whoever opened the stream closes it."""

    def writable(self) -> bool:
        """Return that it can be written."""
        return True

    def readable(self) -> bool:
        """Return that it cannot be read."""
        return False

    def seekable(self) -> bool:
        """Return that it only goes forward."""
        return False

    @property
    def sha256(self) -> str:
        """The checksum."""
        return self._digest.hexdigest()


def assemble(
    spec: ExportSpec, files: Format, staging: Staging, parts: Sequence[FinishedPart]
) -> dict[str, ExportedFile]:
    """Put the parts together."""
    outputs = {}
    for table in spec.layout.tables:
        for day, pieces in _by_file(spec, staging, parts, table):
            staged = f"{table}-{day}" if day else table
            file = _write(spec, files, staging, staged, table, day, pieces)
            outputs[staging.output(staged)] = file
    return outputs


def _by_file(
    spec: ExportSpec, staging: Staging, parts: Sequence[FinishedPart], table: str
) -> Iterator[tuple[str | None, Iterable[Piece]]]:
    pieces = (piece for part in parts for piece in staging.read_part(part, table))
    if spec.layout.partition_by is None:
        yield None, pieces
        return
    yield from groupby(pieces, key=lambda piece: piece[0])


def _write(
    spec: ExportSpec,
    files: Format,
    staging: Staging,
    staged: str,
    table: str,
    day: str | None,
    pieces: Iterable[Piece],
) -> ExportedFile:
    rows = 0
    with staging.open(staged) as stream:
        target = HashingStream(stream)
        with files.writer(table, target) as writer:  # type: ignore[arg-type]
            for _, count, piece in pieces:
                writer.write(piece)
                rows += count
    return ExportedFile(
        path=_path(spec, table, day, target.sha256, files.suffix),
        table=table,
        rows=rows,
        size=target.size,
        sha256=target.sha256,
        window=_window_of(spec.window, day) if spec.by == CREATED else spec.window,
        by=spec.by,
    )


def _path(spec: ExportSpec, table: str, day: str | None, sha256: str, suffix: str) -> str:
    """Name a file by its content: one that a reader may have open is never written over."""
    name = subject_name(spec.commit(0, None, 0))
    if day is None:
        return f"{table}/{name}-{sha256[:12]}{suffix}"
    prefix = "" if spec.by == CREATED else f"{name}-"
    return f"{table}/{PARTITION[spec.layout.kind]}={day}/{prefix}{sha256[:12]}{suffix}"


def _window_of(window: Window | None, day: str | None) -> Window | None:
    if window is None or day is None:
        return window
    midnight = datetime.combine(date.fromisoformat(day), time.min, tzinfo=UTC)
    return Window(max(window.start, midnight), min(window.end, midnight + timedelta(days=1)))
