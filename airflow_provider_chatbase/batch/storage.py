"""The directory that a batch writes to, on any file system that fsspec knows."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_chatbase.batch.errors import ChatbaseBatchStorageError
from airflow_provider_chatbase.exports.directory import protocols
from airflow_provider_chatbase.exports.errors import ChatbaseOutputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TEMPORARY = ".tmp-"

_UNUSABLE = (PermissionError, NotADirectoryError, FileExistsError, IsADirectoryError)


@dataclass(frozen=True, slots=True)
class Storage:
    """
    A directory.

    :param fs: the file system.
    :param root: the directory's path on it.
    :param url: the directory as the user wrote it, for messages.
    """

    fs: AbstractFileSystem
    root: str
    url: str

    @property
    def local(self) -> bool:
        """Whether files can be appended to and made durable there."""
        return "file" in protocols(self.fs)

    def path(self, name: str) -> str:
        """Return a path on the file system."""
        return f"{self.root.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or ``None`` when there is no such file."""
        with self.errors(f"{name} cannot be read"):
            try:
                content: bytes = self.fs.cat_file(self.path(name))
            except FileNotFoundError:
                return None
        return content

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a file's JSON object, or ``None`` when there is none."""
        try:
            found = json.loads(self.read(name) or b"null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def names(self, folder: str) -> list[str]:
        """Return the names of the files and folders in a folder, sorted."""
        with self.errors(f"{folder} cannot be listed"):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(self.path(folder), detail=False)
            except FileNotFoundError:
                return []
        return sorted(name for path in found if (name := path.rstrip("/").rsplit("/", 1)[-1]))

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it, in one step and durably."""
        with self.replacing(name) as stream:
            stream.write(content)

    @contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """Write a file of any size, which appears at the end of the block, whole."""
        folder = self.make_folder(name)
        with (
            self.errors(f"{name} cannot be written"),
            tempfile.TemporaryDirectory(
                dir=folder, prefix=TEMPORARY if folder else "chatbase-batch-"
            ) as directory,
        ):
            temporary = Path(directory) / uuid.uuid4().hex
            with temporary.open("wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if self.local:
                temporary.replace(self.path(name))
            else:
                self.fs.put_file(str(temporary), self.path(name))

    def make_folder(self, name: str) -> str | None:
        """Make the folder of a file, where folders are things of their own."""
        if not self.local:
            return None
        folder = Path(self.path(name)).parent
        with self.errors("it cannot be written"):
            folder.mkdir(parents=True, exist_ok=True)
        return str(folder)

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless it is there; where the storage cannot tell, it is replaced."""
        if not self.local:
            self.write(name, content)
            return True
        folder = self.make_folder(name)
        with (
            self.errors("it cannot be written"),
            tempfile.NamedTemporaryFile(dir=folder, prefix=TEMPORARY) as file,
        ):
            file.write(content)
            file.flush()
            try:
                os.link(file.name, self.path(name))  # whole, or not at all
            except FileExistsError:
                return False
            except OSError:  # a file system without links
                return self._create_empty_first(name, content)
        return True

    def _create_empty_first(self, name: str, content: bytes) -> bool:
        try:
            with Path(self.path(name)).open("xb") as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def remove_leftovers(self, folder: str) -> None:
        """Remove what a process that was killed was about to write."""
        for name in self.names(folder):
            if name.startswith(TEMPORARY):
                self.remove(f"{folder}/{name}")

    def remove(self, name: str) -> None:
        """Remove a file or a folder with all that is in it, if it is there."""
        with self.errors(f"{name} cannot be removed"), suppress(FileNotFoundError):
            if self.local and Path(self.path(name)).is_dir():
                shutil.rmtree(self.path(name))
            else:
                self.fs.rm(self.path(name), recursive=True)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn the storage's errors into ours."""
        try:
            yield
        except _UNUSABLE as error:
            raise ChatbaseOutputError(
                f"The output path {self.url} cannot be used: {what}: {error.strerror or error}."
            ) from error
        except OSError as error:
            raise ChatbaseBatchStorageError(
                f"The storage of {self.url} failed: {what}: {error.strerror or error}. What was answered so "
                "far is kept; run the task again."
            ) from error
