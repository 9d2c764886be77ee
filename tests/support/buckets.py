"""An object store in memory that can be slow and can fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem


class Bucket(MemoryFileSystem):
    """An object store that takes its time, and fails when it is told to."""

    cachable = False

    def __init__(self, put: float = 0.0, fails: Callable[[str, str], Exception | None] | None = None) -> None:
        super().__init__()
        self.put = put
        self.fails = fails or (lambda _call, _path: None)

    def _meet(self, call: str, path: str) -> None:
        if (error := self.fails(call, path)) is not None:
            raise error

    def pipe_file(self, path, value, mode="overwrite", **kwargs):
        self._meet("put", path)
        time.sleep(self.put)  # it is seen when it has arrived
        super().pipe_file(path, value, mode=mode, **kwargs)

    def put_file(self, lpath, rpath, **kwargs):
        self.pipe_file(rpath, Path(lpath).read_bytes())

    def cat_file(self, path, start=None, end=None, **kwargs):
        self._meet("get", path)
        return super().cat_file(path, start, end, **kwargs)

    def ls(self, path, detail=True, **kwargs):
        self._meet("list", path)
        return super().ls(path, detail=detail, **kwargs)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    fs = Bucket()
    fs.store.clear()
    yield fs
    fs.store.clear()
