"""
An append-only log on any storage, as a row of segments.

On a local disk a segment is a file that is appended to. Elsewhere it is a row of small parts, which become
one object when the segment is full.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from airflow_provider_chatbase.batch.storage import Storage

SEGMENT_BYTES = 1 << 20
MOST_PARTS = 200
KEPT_SEGMENTS = 8


class SegmentLog:
    """The log of a batch. Each process begins a segment of its own, never after a torn end."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._found = _segments(storage.names(folder))
        self._number = max(self._found, default=0) + 1
        self._file: IO[bytes] | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def append(self, data: bytes) -> tuple[int, int]:
        """Append lines; when this returns they are durable."""
        place = (self._number, self._size)
        if self._storage.local:
            self._append_to_file(data)
        else:
            self._storage.write(f"{self._folder}/{self._number:06d}-{len(self._parts):04d}.jsonl", data)
            self._parts.append(data)
        self._size += len(data)
        if self._size >= SEGMENT_BYTES or len(self._parts) >= MOST_PARTS:
            self.finish_segment()
        return place

    def finish_segment(self) -> None:
        """Begin a new segment with the next line, and make one object of the parts of this one."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._parts:
            self._storage.write(f"{self._folder}/{self._number:06d}.jsonl", b"".join(self._parts))
            for part in range(len(self._parts)):
                self._storage.remove(f"{self._folder}/{self._number:06d}-{part:04d}.jsonl")
            self._parts = []
        if self._size:
            self._found[self._number] = [f"{self._number:06d}.jsonl"]
            self._number += 1
            self._size = 0

    def lines(self) -> Iterator[tuple[int, int, bytes, bool]]:
        """Iterate over what earlier processes wrote."""
        for number in sorted(self._found):
            content = self._content(number)
            begin = 0
            while begin < len(content):
                end = content.find(b"\n", begin) + 1 or len(content)
                yield number, begin, content[begin:end], end == len(content)
                begin = end

    def line(self, segment: int, begin: int) -> bytes:
        """Return one line."""
        if self._storage.local:
            with (
                self._storage.errors("the checkpoint cannot be read"),
                Path(self._storage.path(f"{self._folder}/{segment:06d}.jsonl")).open("rb") as file,
            ):
                file.seek(begin)
                return file.readline()
        if segment not in self._kept:
            self._kept[segment] = self._content(segment)
            while len(self._kept) > KEPT_SEGMENTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(segment)
        content = self._kept[segment]
        return content[begin : content.find(b"\n", begin)]

    def forget_kept(self) -> None:
        """Free the memory of the segments that were read."""
        self._kept.clear()

    def _append_to_file(self, data: bytes) -> None:
        name = f"{self._folder}/{self._number:06d}.jsonl"
        if self._file is None:
            self._storage.make_folder(name)
        with self._storage.errors("the checkpoint cannot be written"):
            if self._file is None:
                self._file = open(self._storage.path(name), "xb")  # noqa: PTH123, SIM115 - kept open
                _make_entry_durable(self._storage.path(self._folder))
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())

    def _content(self, number: int) -> bytes:
        return b"".join(self._storage.read(f"{self._folder}/{name}") or b"" for name in self._found[number])


def _segments(names: list[str]) -> dict[int, list[str]]:
    """Return the files of each segment; parts that were already made one object are passed over."""
    found: dict[int, list[str]] = {}
    for name in sorted(names):
        number, _, part = name.removesuffix(".jsonl").partition("-")
        if not name.endswith(".jsonl") or not number.isdigit():
            continue
        if not part:
            found[int(number)] = [name]
        elif [f"{number}.jsonl"] != found.get(int(number)):
            found.setdefault(int(number), []).append(name)
    return found


def _make_entry_durable(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
