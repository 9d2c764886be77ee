"""A directory on a local disk or an object store. Names are names: nothing in them is a pattern."""

from __future__ import annotations

import io
import json
import logging
import os
import posixpath
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.lasting import is_lasting
from airflow_provider_chatbase.files import (
    ChatbaseDamagedFileError,
    ChatbaseOutputError,
    ChatbaseStorageError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

MANIFEST = "_manifest.json"
"""The file that is written last: where it is, what lies beside it is whole."""

TEMPORARY = ".tmp-"
"""What the names begin with under which files are written before they take their place."""

_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "adl", "az", "oss", "ocifs", "memory"})
_AZURE = frozenset({"abfs", "abfss", "adl"})
_AZURE_LOG = "azure.core.pipeline.policies.http_logging_policy"
"""It has thirty lines for each request, a thousand for an export. Airflow's own hook keeps it quiet, too."""
_CHUNK = 1 << 20
_TRIES = 10
"""How often a folder is made: another process may remove its parent, as long as that is empty."""


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory. Names are relative to it, with ``/`` between folders."""

    fs: AbstractFileSystem
    root: str
    url: str  # as the user wrote it, for messages

    @property
    def local(self) -> bool:
        """Whether files can be appended to and made durable there."""
        return "file" in self._protocols

    @property
    def has_folders(self) -> bool:
        """Whether folders are things of their own; in a bucket they are not, and must not be made."""
        return not self._protocols & _OBJECT_STORES

    def path(self, name: str) -> str:
        """Return a path on the file system."""
        return f"{self.root.rstrip('/')}/{name}" if name else self.root

    # -- reading

    def read(self, name: str) -> bytes | None:
        """Return a file's content; ``None`` only when there is no such file."""
        with self.errors("read", name):
            try:
                return bytes(self.fs.cat_file(self.path(name)))
            except FileNotFoundError:
                return None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Return a file's JSON object; ``None`` only when there is no such file. A damaged one is refused."""
        content = self.read(name)
        if content is None:
            return None
        try:
            found = decode_json(content)
        except ValueError as error:
            raise self.damaged(name, str(error)) from error
        if not isinstance(found, dict):
            raise self.damaged(name, "it is no JSON object")
        return found

    def damaged(self, name: str, why: str) -> ChatbaseDamagedFileError:
        """Say that a file is not what was written."""
        return ChatbaseDamagedFileError(
            f"{name} in {self.url} is damaged: {why}. It is neither used nor replaced: restore it, or remove "
            "it to begin without it."
        )

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Read a file as a stream."""
        with self.errors("read", name):
            stream = self.fs.open(self.path(name), "rb")
        with stream:
            yield io.BufferedReader(_Reading(self, name, stream), _CHUNK)

    def names(self, folder: str = "") -> list[str]:
        """Return the names of the files and folders in a folder, sorted; none when it is not there."""
        return sorted(name.rsplit("/", 1)[-1] for name, _ in self._list(folder))

    def files(self, folder: str = "", *, left_out: list[str] | None = None) -> Iterator[str]:
        """
        Iterate over all files below a folder. One that cannot be listed is an error, not an empty one.

        With ``left_out``, hidden files and folders are left out, and their names added to it.
        """
        for name, is_folder in self._list(folder):
            if left_out is not None and name.rsplit("/", 1)[-1].startswith("."):
                left_out.append(name)
            elif is_folder:
                yield from self.files(name, left_out=left_out)
            else:
                yield name

    def is_folder(self) -> bool:
        """Say whether the directory is there."""
        with self.errors("listed"):
            self.fs.invalidate_cache()
            return bool(self.fs.isdir(self.root))

    # -- writing

    def write(self, name: str, content: bytes) -> None:
        """Write a file, or replace it: in one step, durably."""
        if self.has_folders:
            with self.replacing(name) as stream:
                stream.write(content)
            return
        with self.errors("written", name):
            self.fs.pipe_file(self.path(name), content)

    def write_json(self, name: str, value: Any) -> None:
        """Write a file of JSON."""
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    @contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """Write a file of any size, which appears at the end of the block, whole."""
        self.make_folder(name)
        folder = posixpath.dirname(self.path(name)) if self.local else temporary_directory()
        temporary = Path(folder, f"{TEMPORARY}{uuid.uuid4().hex}")
        errors = partial(self._told, done="written", name=name) if self.local else temporary_told
        try:
            with os_errors(errors), temporary.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            with self.errors("written", name):
                self._bring_in(temporary, name)
        finally:
            with suppress(OSError):
                temporary.unlink()

    def move(self, name: str, to: str) -> None:
        """Move a file; on an object store it is copied first, and there whole or not at all."""
        self.make_folder(to)
        with self.errors("written", to):
            if self.local:
                Path(self.path(name)).replace(self.path(to))
            elif self.has_folders:
                self.fs.mv(self.path(name), self.path(to))
            else:
                self.fs.cp_file(self.path(name), self.path(to))
                self.fs.rm_file(self.path(name))

    def make_folder(self, name: str) -> None:
        """Make the folder of a file, where folders are things of their own."""
        if not self.has_folders:
            return
        folder = posixpath.dirname(self.path(name))
        with self.errors("written", name):
            for tries_left in reversed(range(_TRIES)):
                try:
                    self.fs.makedirs(folder, exist_ok=True)
                    break
                except FileNotFoundError:
                    if not tries_left:
                        raise

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self.errors("removed", name), suppress(FileNotFoundError):
            self.fs.rm_file(self.path(name))

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        if self.local:
            with self.errors("removed", name), suppress(FileNotFoundError):
                shutil.rmtree(self.path(name))
            return
        for file in list(self.files(name)):
            self.remove(file)

    def remove_leftovers(self, folder: str = "", *, older_than: float = 0.0) -> None:
        """Remove what a process that was killed was about to write; what is young may be another's."""
        for name in self.names(folder):
            if not name.startswith(TEMPORARY):
                continue
            path = posixpath.join(folder, name)
            with self.errors("read", path), suppress(FileNotFoundError):
                age = time.time() - self.fs.modified(self.path(path)).timestamp()
                if age >= older_than:
                    self.remove(path)

    # -- errors

    @contextmanager
    def errors(self, done: str, name: str = "") -> Iterator[None]:
        """Turn whatever the storage raises into ours; wrap nothing in it but calls of the storage."""
        try:
            yield
        except (ChatbaseError, TypeError, AttributeError, NameError):  # ours, or a mistake in the program
            raise
        except Exception as error:
            raise self._told(error, done, name) from error

    def _told(self, error: Exception, done: str, name: str) -> ChatbaseStorageError:
        is_nowhere = done == "written" and isinstance(error, FileNotFoundError)  # a bucket that is not there
        if is_nowhere or is_lasting(error):
            place = self.url if done in ("written", "listed") else posixpath.join(self.url, name)
            kind = "output path" if done == "written" else "path"
            return ChatbaseOutputError(f"The {kind} {place} cannot be {done}: {reason_of(error)}.")
        what = f"{name} cannot" if name else "it cannot"
        return ChatbaseStorageError(
            f"The storage of {self.url} failed: {what} be {done}: {reason_of(error)}. "
            "Run the task again; it goes on from what is there."
        )

    # -- the file system

    @property
    def _protocols(self) -> set[str]:
        return {self.fs.protocol} if isinstance(self.fs.protocol, str) else set(self.fs.protocol)

    def _list(self, folder: str) -> list[tuple[str, bool]]:
        """List a folder; fsspec's own walk takes one that it cannot list for an empty one."""
        path = self.path(folder).rstrip("/")
        with self.errors("listed", folder):
            self.fs.invalidate_cache()
            try:
                found = self.fs.ls(path, detail=True)
            except FileNotFoundError:
                return []
        entries = [(entry["name"].rstrip("/"), entry["type"] == "directory") for entry in found]
        # In a bucket, a folder may be an object of its own.
        named = [(path_.rsplit("/", 1)[-1], is_folder) for path_, is_folder in entries if path_ != path]
        return sorted((posixpath.join(folder, name), is_folder) for name, is_folder in named)

    def _bring_in(self, temporary: Path, name: str) -> None:
        if self.local:
            temporary.replace(self.path(name))
        elif self.has_folders:  # such as SFTP: what is sent may be seen while it arrives
            beside = posixpath.join(posixpath.dirname(self.path(name)), temporary.name)
            self.fs.put_file(str(temporary), beside)
            self.fs.mv(beside, self.path(name))
        else:
            self.fs.put_file(str(temporary), self.path(name))


class _Reading(io.RawIOBase):
    """A stream whose errors are ours."""

    def __init__(self, directory: Directory, name: str, stream: IO[bytes]) -> None:
        self._directory = directory
        self._name = name
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def readinto(self, buffer: Any) -> int:
        with self._directory.errors("read", self._name):
            content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._directory.errors("read", self._name):
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def open_directory(path: str, conn_id: str | None = None, *, argument: str = "output_path") -> Directory:
    """Open a directory on any storage that Airflow knows; the connection may stand in the URL, too."""
    from airflow.sdk import ObjectStoragePath

    url = str(path or "").strip()
    url = url.rstrip("/") or url[:1]
    if not url or url.endswith(":"):
        raise ChatbaseOutputError(
            f"{argument} {path!r} names no directory. Give a URL such as file:///data/export or "
            "s3://bucket/export. Nothing was done."
        )
    scheme, _, rest = url.rpartition("://")
    if scheme not in ("", "file"):
        require_connection(conn_id or rest.partition("/")[0].rpartition("@")[0])
    try:
        # Airflow 3.0 takes a conn_id of None for an answer, and then does not look into the URL.
        found = ObjectStoragePath(url, conn_id=conn_id) if conn_id else ObjectStoragePath(url)
        if scheme in _AZURE:
            logging.getLogger(_AZURE_LOG).setLevel(logging.WARNING)
        return Directory(found.fs, found.path, url)
    except (ImportError, ValueError, OSError) as error:
        raise ChatbaseOutputError(
            f"{argument} {url} cannot be used: {error}. Its storage may need a provider, such as "
            "apache-airflow-providers-amazon[s3fs] for s3://. Nothing was done."
        ) from error


def require_connection(conn_id: str | None) -> None:
    """
    Make sure that the connection of a storage is there, as some hooks go on without one that is not.

    Amazon's then writes with whatever credentials the machine has. Airflow's own names (``aws_default``) are
    left to it, since that is how they are used.
    """
    from airflow.providers.common.compat.sdk import BaseHook

    if conn_id and not conn_id.endswith("_default"):
        BaseHook.get_connection(conn_id)


def open_file(path: str, conn_id: str | None = None, *, argument: str) -> tuple[Directory, str]:
    """Return the directory of a file on any storage that Airflow knows, and the file's name in it."""
    file = open_directory(path, conn_id, argument=argument)
    root, _, name = file.root.rpartition("/")
    return Directory(file.fs, root or "/", file.url.rpartition("/")[0] or "/"), name


# -- what a storage raises


@contextmanager
def os_errors(told: Callable[[OSError], ChatbaseStorageError]) -> Iterator[None]:
    """Turn errors of the local disk into ours; also a decorator."""
    try:
        yield
    except OSError as error:
        raise told(error) from error


def temporary_directory() -> str:
    """Return where a worker may write what nobody else needs."""
    with os_errors(temporary_told):
        return tempfile.gettempdir()


def temporary_told(error: OSError) -> ChatbaseStorageError:
    """Say that the worker's own disk is at fault, and not the storage."""
    place = tempfile.tempdir or os.environ.get("TMPDIR", "/tmp")  # noqa: S108
    cls = ChatbaseOutputError if is_lasting(error) else ChatbaseStorageError
    return cls(
        f"The worker's temporary directory {place} cannot be used: {reason_of(error)}. What is read waits "
        "there until it is written. Make room there or let TMPDIR name another, and run the task again."
    )


def reason_of(error: Exception) -> str:
    """Return a storage's error in a few words."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
