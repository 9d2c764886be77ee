"""Directories on a local disk and on object stores, over the real S3 protocol too."""

from __future__ import annotations

import errno
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files import (
    ChatbaseDamagedFileError,
    ChatbaseOutputError,
    ChatbaseStorageError,
)
from airflow_provider_chatbase.files.directory import Directory, open_directory, open_file
from tests.support.buckets import Bucket
from tests.support.s3 import s3_fs

STRANGE = ["a*b", "what?", "[1]", "a#b", "a b", "100%", "ü", "x;y", "a+b", "{c}"]


def test_what_is_written_is_read(directory: Directory):
    assert directory.read("deep/x") is None
    directory.write("deep/x", b"one")
    directory.write("deep/x", b"two")
    with directory.replacing("deep/y") as stream:
        stream.write(b"three")
    assert (directory.read("deep/x"), directory.read("deep/y")) == (b"two", b"three")
    with directory.open("deep/y") as stream:
        assert (stream.read(2), stream.seek(0), stream.read()) == (b"th", 0, b"three")
    assert directory.names("deep") == ["x", "y"]
    assert (directory.names(), directory.names("nowhere")) == (["deep"], [])
    directory.move("deep/y", "far/z")
    directory.remove("deep/x")
    directory.remove("deep/x")
    assert list(directory.files()) == ["far/z"]
    directory.remove_folder("far")
    directory.remove_folder("far")
    assert list(directory.files()) == []


def _check_strange_names(directory: Directory) -> None:
    """Each name is its own file, and removing one removes no other."""
    for name in STRANGE:
        directory.write(name, name.encode())
        directory.write(f"f{name}/{name}.txt", b"deep")
    for name in STRANGE:
        assert directory.read(name) == name.encode()
        assert name in directory.names()
    directory.write("axxb", b"bystander")
    directory.write("whatX", b"bystander")
    directory.write("1", b"bystander")
    for name in STRANGE:
        directory.move(name, f"moved {name}")
        assert directory.read(f"moved {name}") == name.encode()
        with directory.replacing(f"moved {name}") as stream:
            stream.write(b"again")
        directory.remove(f"moved {name}")
        directory.remove_folder(f"f{name}")
    assert list(directory.files()) == ["1", "axxb", "whatX"]


def test_names_are_no_patterns(directory: Directory):
    _check_strange_names(directory)


def test_names_are_no_patterns_in_s3(s3_url: str):
    _check_strange_names(
        Directory(s3_fs(s3_url, "strange-names"), "strange-names/deep", "s3://strange-names")
    )


def test_what_is_there_in_s3_is_seen_at_once_by_others(s3_url: str):
    one, two = (
        Directory(s3_fs(s3_url, "at-once", new=new), "at-once/out", "s3://at-once/out")
        for new in (True, False)
    )
    assert two.names() == []
    one.write("a", b"1")
    assert (two.names(), two.read("a")) == (["a"], b"1")
    one.write("a", b"22")
    assert two.read("a") == b"22"
    one.remove("a")
    assert (two.names(), two.read("a")) == ([], None)


def test_a_missing_bucket_cannot_be_written(s3_url: str):
    fs = s3_fs(s3_url, "some-bucket")
    with pytest.raises(ChatbaseOutputError, match="s3://nosuch/out cannot be written"):
        Directory(fs, "nosuch/out", "s3://nosuch/out").write("a", b"")


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]", b"null", b"\xff"])
def test_a_damaged_file_is_refused_and_named(directory: Directory, content: bytes):
    assert directory.read_json("state.json") is None
    directory.write("state.json", content)
    with pytest.raises(ChatbaseDamagedFileError, match=r"state\.json in .*/out is damaged") as raised:
        directory.read_json("state.json")
    assert raised.value.permanent


def test_a_write_that_fails_leaves_what_was_there(directory: Directory):
    directory.write("x", b"whole")

    def fail(stream: Any) -> None:
        stream.write(b"ha")
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError), directory.replacing("x") as stream:
        fail(stream)
    assert directory.read("x") == b"whole"
    assert directory.names() == ["x"]


def test_a_folder_is_made_while_another_process_removes_its_parent(tmp_path: Path, monkeypatch):
    made, real = [], os.mkdir

    def mkdir(path: str, *args: Any, **kwargs: Any) -> None:
        if str(path).endswith("/parent/folder") and not made:
            made.append(path)
            Path(path).parent.rmdir()
        real(path, *args, **kwargs)

    directory = open_directory(tmp_path.as_uri())
    monkeypatch.setattr(os, "mkdir", mkdir)
    directory.write("parent/folder/file", b"here")
    assert made
    assert directory.read("parent/folder/file") == b"here"


def test_leftovers_of_a_killed_process_are_removed(directory: Directory):
    directory.write(".tmp-1", b"ha")
    directory.write("x", b"")
    directory.write("f/.tmp-2", b"ha")
    directory.remove_leftovers()
    directory.remove_leftovers("f")
    assert list(directory.files()) == ["x"]


def test_hidden_folders_are_passed_over_when_asked(directory: Directory):
    for name in ("a", ".git/x", "b/.hidden", "b/c"):
        directory.write(name, b"")
    left_out: list[str] = []
    assert list(directory.files(left_out=left_out)) == ["a", "b/c"]


class HttpError(Exception):
    """As gcsfs raises it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{code}: Cloud says no")
        self.code = code


class ClientError(Exception):
    """As botocore raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"An error occurred ({status})")
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class EndpointConnectionError(Exception):
    """As botocore raises it: no OSError."""


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (PermissionError(errno.EACCES, "Forbidden"), True),
        (OSError(errno.EROFS, "Read-only file system"), True),
        (OSError(errno.EBUSY, "Slow down"), False),
        (OSError(errno.EIO, "I/O error"), False),
        (TimeoutError("too late"), False),
        (HttpError(403), True),
        (HttpError(503), False),
        (HttpError(429), False),
        (ClientError(403), True),
        (ClientError(500), False),
        (EndpointConnectionError("no route"), False),
        (NotImplementedError("no such call"), True),
    ],
)
def test_every_error_of_a_storage_is_ours(bucket: Bucket, error: Exception, lasting: bool):
    directory = Directory(bucket, "/bucket/out", "memory://bucket/out")
    directory.write("x", b"")
    bucket.fails = lambda _call, _path: error
    calls: list[Any] = [
        lambda: directory.write("x", b""),
        lambda: directory.read("x"),
        lambda: directory.names(),
        lambda: directory.read_json("x"),
        lambda: list(directory.files()),
    ]
    for call in calls:
        with pytest.raises(ChatbaseStorageError, match="memory://bucket/out") as raised:
            call()
        assert raised.value.permanent is lasting
        assert isinstance(raised.value, ChatbaseOutputError) is lasting


def test_a_stream_that_breaks_is_ours_too(bucket: Bucket):
    class Breaking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise EndpointConnectionError("gone")

    bucket.open = lambda *_args, **_kwargs: Breaking()  # type: ignore[method-assign]
    directory = Directory(bucket, "/bucket/out", "memory://bucket/out")
    with pytest.raises(ChatbaseStorageError, match="gone"), directory.open("x") as stream:
        stream.readline()


def test_what_ends_a_process_passes(bucket: Bucket):
    bucket.fails = lambda _call, _path: KeyboardInterrupt()  # type: ignore[return-value]
    with pytest.raises(KeyboardInterrupt):
        Directory(bucket, "/bucket/out", "u").read("x")


@pytest.mark.parametrize(
    "path", ["{tmp}/file/below", "/dev/null/x", "/proc/chatbase/x", "{tmp}/" + "x" * 300]
)
def test_a_path_that_cannot_be_written_is_lasting(tmp_path: Path, path: str):
    (tmp_path / "file").write_text("mine")
    path = path.format(tmp=tmp_path)
    with pytest.raises(ChatbaseOutputError, match=f"file://{path} cannot be written: "):
        Directory(LocalFileSystem(), path, f"file://{path}").write("x", b"")


def test_readers_see_the_old_or_the_new_file(directory: Directory):
    old, new = b"o" * 300_000, b"n" * 200_000
    directory.write("x", old)
    seen: set[bytes | None] = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(directory.read("x"))

    thread = threading.Thread(target=read)
    thread.start()
    for content in (new, old) * 20:
        directory.write("x", content)
    done.set()
    thread.join()
    assert seen <= {old, new}


def test_an_airflow_path_becomes_a_directory(tmp_path: Path):
    directory = open_directory(f"file://{tmp_path}/a#b?c/")
    directory.write("x", b"1")
    assert (tmp_path / "a#b?c" / "x").read_bytes() == b"1"
    folder, name = open_file(f"file://{tmp_path}/a#b?c/x", argument="path")
    assert (folder.read(name), folder.url) == (b"1", f"file://{tmp_path}/a#b?c")
    folder, name = open_file(str(tmp_path / "y.json"), None, argument="path")
    assert (folder.root, name) == (str(tmp_path), "y.json")


@pytest.mark.parametrize("path", ["", "  ", "s3:", "nowhere://bucket/x", None])
def test_a_path_to_nowhere_is_refused(path: Any):
    with pytest.raises(ChatbaseInputError, match="output_path"):
        open_directory(path)
