"""An export's directory, on any file system that fsspec knows."""

from __future__ import annotations

import posixpath
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from airflow_provider_chatbase.exports.manifest import MANIFEST, Manifest, read_manifest

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss", "ocifs", "memory"})


def protocols(fs: AbstractFileSystem) -> set[str]:
    """Return the names under which a file system is known."""
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


@dataclass(frozen=True, slots=True)
class ExportDirectory:
    """
    A directory for exports. Names are relative to it.

    :param fs: the file system.
    :param root: the directory's path on it.
    :param url: the directory as the user wrote it, for messages.
    """

    fs: AbstractFileSystem
    root: str
    url: str

    def read_manifest(self) -> Manifest | None:
        """Return what the directory holds, or ``None`` where it has no manifest of ours."""
        content = self.read_if_there(MANIFEST)
        return None if content is None else read_manifest(content)

    def published(self) -> set[str]:
        """Return the files that the manifest names."""
        manifest = self.read_manifest()
        return manifest.paths if manifest else set()

    def read(self, name: str) -> bytes:
        """Return a file's content."""
        return cast("bytes", self.fs.cat_file(self._join(name)))

    def read_if_there(self, name: str) -> bytes | None:
        """Return a file's content, or ``None`` when it is not there."""
        try:
            return self.read(name)
        except FileNotFoundError:
            return None

    def open(self, name: str, mode: str = "rb") -> IO[bytes]:
        """Open a file. What is opened for writing must be a staged one: a failure may leave a part of it."""
        if mode == "wb":
            self._make_parent(name)
        return cast("IO[bytes]", self.fs.open(self._join(name), mode))

    def put(self, name: str, content: bytes) -> None:
        """Write a file, so that a reader sees the old one or the new one and nothing between."""
        if not self.has_directories:
            self.fs.pipe_file(self._join(name), content)
            return
        self._make_parent(name)
        # Only the owner of the lock writes outside of staging directories: what it leaves is used again.
        beside = self._join(f"{name}.{uuid.uuid4().hex}.tmp" if "/" in name else f"{name}.tmp")
        try:
            self.fs.pipe_file(beside, content)
            self.fs.mv(beside, self._join(name))
        except BaseException:
            with suppress(OSError):
                self.fs.rm_file(beside)
            raise

    def create(self, name: str, content: bytes) -> None:
        """Write a file that must not be there yet; of two that try at one moment, one succeeds."""
        self._make_parent(name)
        if "file" in protocols(self.fs):  # its pipe_file looks first and writes then: two could both succeed
            with self.fs.open(self._join(name), "xb") as file:
                file.write(content)
        else:
            self.fs.pipe_file(self._join(name), content, mode="create")

    def move(self, name: str, to: str) -> None:
        """Move a file."""
        self._make_parent(to)
        self.fs.mv(self._join(name), self._join(to))

    def names(self, name: str = "") -> list[str]:
        """List a directory."""
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(self._join(name) if name else self.root, detail=False)
        except FileNotFoundError:
            return []
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def remove(self, name: str) -> None:
        """Remove a file or a directory; nothing happens when it is not there."""
        path = self._join(name)
        self.fs.invalidate_cache()
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def remove_file_and_empty_parents(self, name: str) -> None:
        """Remove a file, and the directories in which nothing is left."""
        self.remove(name)
        parent = posixpath.dirname(name)
        while self.has_directories and parent and not self.names(parent):
            self.remove_empty([self._join(parent)])
            parent = posixpath.dirname(parent)

    def missing_directories(self) -> list[str]:
        """Return the paths of the directories that have to be made for this one, the deepest first."""
        missing: list[str] = []
        path = self.root.rstrip("/")
        while self.has_directories and path and not self.fs.exists(path):
            missing.append(path)
            path = posixpath.dirname(path)
        return missing

    def remove_empty(self, paths: list[str]) -> None:
        """Remove directories in which nothing is."""
        for path in paths:
            with suppress(OSError):  # never made, or somebody else writes there meanwhile
                self.fs.rmdir(path)

    @property
    def has_directories(self) -> bool:
        """Whether directories are things of their own; in a bucket they are not, and must not be made."""
        return not protocols(self.fs) & OBJECT_STORES

    def _make_parent(self, name: str) -> None:
        if self.has_directories:
            self.fs.makedirs(posixpath.dirname(self._join(name)), exist_ok=True)

    def _join(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"
