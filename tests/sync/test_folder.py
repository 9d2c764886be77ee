from __future__ import annotations

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.sync.declaration import read_folder
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError


def read(root, fs=None, **patterns):
    return read_folder(Directory(fs or LocalFileSystem(), str(root), f"file://{root}"), **patterns)


def keys(declaration):
    return [source.key for source in declaration.sources]


@pytest.fixture
def docs(tmp_path):
    for name in ("a.md", "sub/b.txt", "sub/deep/c.PDF", ".git/config.md", "sub/.hidden.md", "picture.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_files_of_all_levels_but_hidden_ones(docs):
    found = read(docs)
    assert keys(found) == ["a.md", "sub/b.txt", "sub/deep/c.PDF"]
    assert [source.kind for source in found.sources] == ["text", "file", "file"]
    assert found.skipped == ("picture.png",)
    assert found.complete


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"globs": ["*.md"]}, ["a.md"]),
        ({"globs": ["sub/**"]}, ["sub/b.txt", "sub/deep/c.PDF"]),
        ({"globs": ["**/*.md", "sub/*"]}, ["a.md", "sub/b.txt"]),
        ({"exclude": ["sub/deep/**"]}, ["a.md", "sub/b.txt"]),
    ],
)
def test_patterns(docs, patterns, expected):
    assert keys(read(docs, **patterns)) == expected


class BrokenFileSystem(LocalFileSystem):
    """Fails for paths that contain a word."""

    cachable = False

    def __init__(self, word, **kwargs):
        super().__init__(**kwargs)
        self.word = word

    def ls(self, path, **kwargs):
        if self.word == "list" and path.endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return super().ls(path, **kwargs)

    def open(self, path, *args, **kwargs):
        if self.word == "read" and path.endswith("b.txt"):
            raise PermissionError(13, "Permission denied", path)
        return super().open(path, *args, **kwargs)


def test_a_folder_below_that_cannot_be_listed_is_not_taken_for_empty(docs):
    with pytest.raises(ChatbaseDeclarationError, match="Permission denied"):
        read(docs, BrokenFileSystem("list"))


def test_a_file_that_cannot_be_read_makes_the_declaration_incomplete(docs):
    found = read(docs, BrokenFileSystem("read"))
    assert keys(found) == ["a.md", "sub/deep/c.PDF"]
    assert [problem.key for problem in found.problems] == ["sub/b.txt"]
    assert not found.complete


def test_a_file_that_is_too_big_is_a_problem_of_its_own(docs):
    (docs / "big.txt").write_bytes(b"x" * (20 * 1024 * 1024 + 1))
    found = read(docs)
    assert [problem.key for problem in found.problems] == ["big.txt"]
    assert found.complete


def test_what_is_loaded_is_what_is_there_then(docs):
    found = read(docs)
    (docs / "a.md").write_text("newer")
    payload = found.sources[0].load()
    assert payload.content == "newer"
    assert payload.digest != found.sources[0].digest
