"""The files of a folder as sources, on any file system that fsspec knows."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsspec.utils import glob_translate

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.v2.sources import FILE_SIZE, FILE_SUFFIXES, check_file
from airflow_provider_chatbase.sync.declaration import Declaration, DeclaredSource, Problem
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.html_text import html_to_text
from airflow_provider_chatbase.sync.payloads import FilePayload, TextPayload

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

TEXT_SUFFIXES = (".md", ".markdown", ".html", ".htm")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Folder:
    """
    A folder and what of it is meant.

    :param fs: the file system.
    :param root: the folder's path on it.
    :param url: the folder as the user wrote it, for messages.
    :param globs: patterns of the files that are meant; ``**`` stands for any folders.
    :param exclude: patterns of files that are not.
    """

    fs: AbstractFileSystem
    root: str
    url: str
    globs: Sequence[str] = ("**/*",)
    exclude: Sequence[str] = ()


def read_folder(folder: Folder) -> Declaration:
    """
    Declare the files of a folder: .pdf, .doc, .docx and .txt as files, .md and .html as texts.

    Hidden files and folders are passed over. The key is the path below the folder.
    """
    meant = [(key, path) for key, path in sorted(_files(folder)) if _is_meant(folder, key)]
    sources: list[DeclaredSource] = []
    problems: list[Problem] = []
    unread = 0
    for key, path in meant:
        if not key.lower().endswith(FILE_SUFFIXES + TEXT_SUFFIXES):
            continue
        try:
            sources.append(_declare(folder.fs, key, path))
        except ChatbaseInputError as error:
            problems.append(Problem(key, str(error)))
        except OSError as error:
            unread += 1
            reason = f"The file cannot be read: {error.strerror or error}."
            problems.append(Problem(key, reason))
    skipped = [key for key, _ in meant if not key.lower().endswith(FILE_SUFFIXES + TEXT_SUFFIXES)]
    return Declaration(tuple(sources), tuple(problems), complete=not unread, skipped=tuple(skipped))


def _files(folder: Folder) -> Iterator[tuple[str, str]]:
    fs, root = folder.fs, folder.root.rstrip("/")
    try:
        fs.invalidate_cache()
        if not fs.isdir(folder.root):
            raise ChatbaseDeclarationError(f"{folder.url} is no folder. Nothing was sent.")
        for path in _walk(fs, folder.root):
            yield path.removeprefix(root).lstrip("/"), path
    except OSError as error:
        raise ChatbaseDeclarationError(
            f"The folder {folder.url} cannot be listed: {error.strerror or error}. Nothing was sent."
        ) from error


def _walk(fs: AbstractFileSystem, path: str) -> Iterator[str]:
    """Walk over all files; fsspec's own walk takes a folder that it cannot list for an empty one."""
    for found in fs.ls(path, detail=True):
        name = found["name"].rstrip("/")
        if name == path.rstrip("/"):
            continue  # in a bucket, a folder may be an object of its own
        if found["type"] != "directory":
            yield name
        elif not name.rsplit("/", 1)[-1].startswith("."):
            yield from _walk(fs, name)


def _is_meant(folder: Folder, key: str) -> bool:
    if any(part.startswith(".") for part in key.split("/")):
        return False
    return _matches(folder.globs, key) and not _matches(folder.exclude, key)


def _matches(patterns: Sequence[str], key: str) -> bool:
    return any(re.match(glob_translate(pattern), key) for pattern in patterns)


def _declare(fs: AbstractFileSystem, key: str, path: str) -> DeclaredSource:
    if key.lower().endswith(FILE_SUFFIXES):
        return _declare_file(fs, key, path)
    text = _read_text(fs, key, path)
    text.check()
    return DeclaredSource("text", key, text.digest, lambda: _read_text(fs, key, path))


def _declare_file(fs: AbstractFileSystem, key: str, path: str) -> DeclaredSource:
    digest, size = hashlib.sha256(), 0
    with fs.open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size > FILE_SIZE:
                break
    filename = posixpath.basename(key)
    check_file(filename, size)
    return DeclaredSource(
        "file", key, digest.hexdigest(), lambda: FilePayload(filename, bytes(fs.cat_file(path)))
    )


def _read_text(fs: AbstractFileSystem, key: str, path: str) -> TextPayload:
    try:
        text = bytes(fs.cat_file(path)).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ChatbaseInputError(f"{key} is no UTF-8 text ({error.reason} at byte {error.start}).") from error
    return TextPayload(html_to_text(text) if key.lower().endswith((".html", ".htm")) else text)
