"""An Airflow path becomes a place to write."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports.errors import ChatbaseOutputError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

    from airflow_provider_chatbase.exports.directory import ExportDirectory


@dataclass(frozen=True, slots=True)
class Location:
    """
    A place on a file system.

    :param fs: the file system.
    :param path: the path on it.
    :param url: the path as the user wrote it, for messages.
    """

    fs: AbstractFileSystem
    path: str
    url: str

    def read(self) -> bytes:
        """
        Return the file's bytes.

        :raises ChatbaseInputError: when it cannot be read.
        """
        try:
            return bytes(self.fs.cat_file(self.path))
        except OSError as error:
            raise ChatbaseInputError(f"{self.url} cannot be read: {error.strerror or error}.") from error

    def write(self, content: bytes) -> None:
        """
        Write the file, and the folders above it.

        :param content: its bytes.
        :raises ChatbaseInputError: when it cannot be written.
        """
        try:
            self.fs.makedirs(posixpath.dirname(self.path), exist_ok=True)
            self.fs.pipe_file(self.path, content)
        except OSError as error:
            raise ChatbaseInputError(f"{self.url} cannot be written: {error.strerror or error}.") from error


def locate(argument: str, path: str, conn_id: str | None = None) -> Location:
    """
    Find a path on any storage that Airflow knows.

    :param argument: the argument's name, for the error.
    :param path: a URL, or a local path.
    :param conn_id: the storage's Airflow connection; it may stand in the URL too.
    :return: the place; nothing is read or written yet.
    :raises ChatbaseInputError: when the path is empty or its storage is not installed.
    """
    from airflow.sdk import ObjectStoragePath

    url = str(path or "").strip()
    if not url or url.endswith(":"):
        raise ChatbaseInputError(f"{argument} {path!r} names no file or folder. Nothing was sent.")
    try:
        found = ObjectStoragePath(url, conn_id=conn_id)
        return Location(found.fs, found.path, url)
    except (ImportError, ValueError, OSError) as error:
        raise ChatbaseInputError(
            f"{argument} {url} cannot be used: {error}. Its storage may need a provider, such as "
            "apache-airflow-providers-amazon[s3fs] for s3://. Nothing was sent."
        ) from error


def open_directory(path: str, conn_id: str | None = None) -> ExportDirectory:
    """
    Open a directory on any storage that Airflow knows.

    :param path: URL of the directory: ``file://``, ``s3://``, ``gs://``, …, or a local path.
    :param conn_id: the storage's Airflow connection; it may stand in the URL too (``s3://conn@bucket/key``).
    :return: the directory.
    :raises ChatbaseOutputError: when the path is empty or its storage is not installed.
    """
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_chatbase.exports.directory import ExportDirectory

    url = str(path or "").strip().rstrip("/")
    if not url or url.endswith(":"):
        raise ChatbaseOutputError(
            f"output_path {path!r} names no directory. Give a URL such as file:///data/export or "
            "s3://bucket/export. Nothing was exported."
        )
    try:
        # Airflow 3.0 takes a conn_id of None for an answer, and then does not look into the URL.
        directory = ObjectStoragePath(url, conn_id=conn_id) if conn_id else ObjectStoragePath(url)
        return ExportDirectory(fs=directory.fs, root=directory.path, url=url)
    except (ImportError, ValueError, OSError) as error:
        raise ChatbaseOutputError(
            f"The output path {url} cannot be used: {error}. Its storage may need a provider, such as "
            "apache-airflow-providers-amazon[s3fs] for s3://. Nothing was exported."
        ) from error
