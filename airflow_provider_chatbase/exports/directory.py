"""A directory that shows a whole export or none, on any file system that fsspec knows."""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_chatbase.exports.errors import ChatbaseOutputError
from airflow_provider_chatbase.exports.manifest import MANIFEST, ExportedFile, Manifest

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

log = logging.getLogger(__name__)

STAGING_PREFIX = "_staging-"
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss", "ocifs", "memory"})


class RowFile:
    """
    A file being written, which counts and sums up what goes into it.

    :param path: its path in the finished export.
    :param stream: where the bytes go.
    """

    def __init__(self, path: str, stream: IO[bytes]) -> None:
        self._path = path
        self._stream = stream
        self._digest = hashlib.sha256()
        self._rows = 0
        self._size = 0

    def write_row(self, row: bytes) -> None:
        """
        Write a row.

        :param row: its bytes, with the line end.
        """
        self._stream.write(row)
        self._digest.update(row)
        self._size += len(row)
        self._rows += 1

    def summary(self) -> ExportedFile:
        """Return what was written so far."""
        return ExportedFile(self._path, self._rows, self._size, self._digest.hexdigest())


@dataclass(frozen=True, slots=True)
class ExportDirectory:
    """
    A directory for one export.

    :param fs: the file system.
    :param root: the directory's path on it.
    :param url: the directory as the user wrote it, for messages.
    """

    fs: AbstractFileSystem
    root: str
    url: str

    @contextmanager
    def staging(self) -> Iterator[Staging]:
        """
        Begin an export; unless it is published, the directory stays as it was.

        :return: where to write it.
        :raises ChatbaseOutputError: when the directory cannot be written.
        """
        staging = Staging(self, self._join(f"{STAGING_PREFIX}{uuid.uuid4().hex}"))
        made = self._missing_directories()
        try:
            with self._writable():
                self._make_directory(self.root)
                self._clear_leftovers()
                self._make_directory(staging.path)
                yield staging
        finally:
            self._remove(staging.path)
            if not staging.published:
                self._remove_empty(made)

    def read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest of the export that is there, or ``None``."""
        try:
            found = json.loads(self.fs.cat_file(self._join(MANIFEST)))
        except (FileNotFoundError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def publish(self, staging: Staging, manifest: Manifest) -> None:
        """
        Put a staged export in the place of the one that is there.

        Without a manifest there is no export: the old one goes first, the new one comes last.

        :param staging: from :meth:`staging`.
        :param manifest: names the staged files.
        """
        old = self.read_manifest()
        with staging.open(MANIFEST) as file:
            file.write_row(manifest.as_bytes())
        if old is not None:
            self._report_replaced(old, manifest)
            self.fs.rm_file(self._join(MANIFEST))
        new_paths = [file.path for file in manifest.files]
        for path in new_paths:
            self.fs.mv(f"{staging.path}/{path}", self._join(path))
        for path in _paths_of(old):
            if path not in new_paths:
                self._remove(self._join(path))
        self.fs.mv(f"{staging.path}/{MANIFEST}", self._join(MANIFEST))
        staging.published = True

    def _report_replaced(self, old: dict[str, Any], new: Manifest) -> None:
        coming = new.as_json()
        if (old.get("agent_id"), old.get("window")) != (coming["agent_id"], coming["window"]):
            log.warning(
                "%s held another export (agent %s, window %s); it is replaced. "
                "Give each window a path of its own to keep both.",
                self.url,
                old.get("agent_id"),
                old.get("window"),
            )

    @property
    def _has_directories(self) -> bool:
        """Whether directories are things of their own; in a bucket they are not, and must not be made."""
        protocols = {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)
        return not protocols & OBJECT_STORES

    def _make_directory(self, path: str) -> None:
        if self._has_directories:
            self.fs.makedirs(path, exist_ok=True)

    def _missing_directories(self) -> list[str]:
        """Return the directories that have to be made, the deepest first."""
        missing: list[str] = []
        path = self.root.rstrip("/")
        while self._has_directories and path and not self.fs.exists(path):
            missing.append(path)
            path = posixpath.dirname(path)
        return missing

    def _remove_empty(self, directories: list[str]) -> None:
        for path in directories:
            with suppress(OSError):  # never made, or somebody else writes there meanwhile
                self.fs.rmdir(path)

    def _clear_leftovers(self) -> None:
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(self.root, detail=False)
        except FileNotFoundError:
            return
        for path in found:
            if path.rstrip("/").rsplit("/", 1)[-1].startswith(STAGING_PREFIX):
                log.info("Removing what a dead attempt left behind: %s", path)
                self._remove(path)

    def _remove(self, path: str) -> None:
        if self.fs.exists(path):
            self.fs.rm(path, recursive=True)

    def _join(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ChatbaseOutputError(
                f"The output path {self.url} cannot be written: {error.strerror or error}. "
                "Nothing was exported."
            ) from error


class Staging:
    """
    Where an export is written before it is published.

    :param directory: the export's directory.
    :param path: the staging directory's path on its file system.
    """

    def __init__(self, directory: ExportDirectory, path: str) -> None:
        self._directory = directory
        self.path = path
        self.published = False

    @contextmanager
    def open(self, path: str) -> Iterator[RowFile]:
        """
        Open a file for writing; one of the same name is written anew.

        :param path: its path in the finished export.
        """
        with self._directory.fs.open(f"{self.path}/{path}", "wb") as stream:
            yield RowFile(path, stream)


def _paths_of(manifest: dict[str, Any] | None) -> list[str]:
    files = manifest.get("files") if manifest else None
    if not isinstance(files, list):
        return []
    return [file["path"] for file in files if isinstance(file, dict) and isinstance(file.get("path"), str)]
