from __future__ import annotations

import json
import os

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
    assert found.skipped == (
        (".git", "hidden"),
        ("picture.png", "not a format for Chatbase"),
        ("sub/.hidden.md", "hidden"),
    )
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


def test_a_plain_file_in_another_encoding_is_refused_or_told(docs):
    docs.joinpath("a.txt").write_bytes("Grüße".encode("cp1252"))
    docs.joinpath("b.txt").write_bytes("\ufeffGrüße".encode())
    [problem] = read(docs, globs=["*.txt"]).problems
    assert (problem.key, "Save it as UTF-8, or name its encoding" in problem.reason) == ("a.txt", True)
    [a] = read(docs, globs=["a.txt"], encoding="cp1252").sources
    assert a.load().content == "Grüße".encode()
    [b] = read(docs, globs=["b.txt"]).sources
    assert b.load().content == "\ufeffGrüße".encode()


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


@pytest.fixture
def linked(docs):
    outside = docs.parent / f"{docs.name} outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (docs / "out.txt").symlink_to(outside / "secret.txt")
    (docs / "folder out").symlink_to(outside)
    (docs / "sub" / "round").symlink_to(docs)
    (docs / "gone.md").symlink_to(docs / "no such file.md")
    (docs / "also a.md").symlink_to("a.md")
    (docs / "also sub").symlink_to(docs / "sub" / "deep")
    return docs


def test_links_are_followed_only_inside_of_the_folder(linked):
    found = read(linked)
    assert keys(found) == ["a.md", "also a.md", "also sub/c.PDF", "sub/b.txt", "sub/deep/c.PDF"]
    assert {problem.key: problem.reason.split(". ")[0] for problem in found.problems} == {
        "folder out": "It is a link that leads out of the folder",
        "gone.md": "It is a link that leads nowhere.",
        "out.txt": "It is a link that leads out of the folder",
        "sub/round": "It is a link that leads back to a folder that it is in.",
    }
    assert keys(read(linked, exclude=["*out*", "sub/round", "gone.md"])) == keys(found)
    assert read(linked, exclude=["*out*", "sub/round", "gone.md"]).problems == ()


def test_a_folder_that_is_itself_a_link(docs):
    link = docs.parent / f"{docs.name} link"
    link.symlink_to(docs)
    assert keys(read(link)) == ["a.md", "sub/b.txt", "sub/deep/c.PDF"]


def test_links_that_lead_to_each_other_end(docs):
    (docs / "one").mkdir()
    (docs / "two").mkdir()
    (docs / "one" / "to two").symlink_to(docs / "two")
    (docs / "two" / "to one").symlink_to(docs / "one")
    (docs / "two" / "page.md").write_text("text")
    found = read(docs, globs=["one/**"])
    assert keys(found) == ["one/to two/page.md"]
    assert any("leads back" in problem.reason for problem in found.problems)


def test_a_mounted_config_map_is_read(docs):
    """Kubernetes mounts files as links through a hidden folder, which it replaces as a whole."""
    (docs / "..2026").mkdir()
    (docs / "..2026" / "faq.md").write_text("text")
    (docs / "..data").symlink_to("..2026")
    (docs / "faq.md").symlink_to("..data/faq.md")
    assert "faq.md" in keys(read(docs))


def test_a_pipe_is_not_waited_for(docs):
    os.mkfifo(docs / "pipe.txt")
    assert [problem.key for problem in read(docs).problems] == ["pipe.txt"]


def skipped(declaration):
    return {key: why for key, why in declaration.skipped if why != "hidden"}


@pytest.mark.parametrize(
    ("text", "is_draft"),
    [
        ("---\ntitle: x\ndraft: true\n---\nText", True),
        ("---\r\ndraft:  True # not yet\r\n---\r\nText", True),
        ('+++\ndraft = true\ntitle = "x"\n+++\nText', True),
        ('---\ndraft: "true"\n---\nText', True),
        ("---\ndraft: false\n---\nText", False),
        ("---\nnotdraft: true\n---\nText", False),
        ("---\ndraft: true\nwithout an end", False),
        ("Text\n---\ndraft: true\n---\n", False),
        ("---\ntitle: x\n---\ndraft: true\n---\n", False),
    ],
)
def test_drafts_are_left_out(tmp_path, text, is_draft):
    (tmp_path / "page.md").write_bytes(text.encode())
    found = read(tmp_path)
    assert keys(found) == ([] if is_draft else ["page.md"])
    assert skipped(found) == ({"page.md": "draft: true in its front matter"} if is_draft else {})
    assert found.complete


def test_lock_files_of_office_programs_are_left_out_and_named(tmp_path):
    for name in ("~$manual.docx", ".~lock.manual.docx#", "manual.docx"):
        (tmp_path / name).write_text("x")
    found = read(tmp_path)
    assert keys(found) == ["manual.docx"]
    assert [key for key, _ in found.skipped] == [".~lock.manual.docx#", "~$manual.docx"]


def test_further_files_are_texts_when_told_so(tmp_path):
    for name in ("a.mdx", "b.RST", "c.adoc", "d.md"):
        (tmp_path / name).write_text(name)
    assert list(skipped(read(tmp_path))) == ["a.mdx", "b.RST", "c.adoc"]
    found = read(tmp_path, text_suffixes=[".mdx", ".rst", ".adoc"])
    assert keys(found) == ["a.mdx", "b.RST", "c.adoc", "d.md"]
    assert {source.kind for source in found.sources} == {"text"}
    assert all(found.inputs[0].may_own("text", key) for key in keys(found))


@pytest.mark.parametrize("exclude", ["sub", "sub/", "s*", "**/sub", "sub/**"])
def test_a_folder_s_name_excludes_the_folder(docs, exclude):
    found = read(docs, exclude=[exclude])
    assert keys(found) == ["a.md"]
    assert found.unmatched == ()
    assert [key for key, _ in found.skipped] == [".git", "picture.png"]


def test_a_pattern_that_matches_nothing_is_told(docs):
    found = read(docs, globs=["*.md", "never/*.md"], exclude=["drafts", "sub"])
    assert found.unmatched == ("never/*.md", "drafts")
    assert read(docs, globs=["*.png"]).unmatched == (), "it matches, though Chatbase takes no pictures"


def test_names_and_patterns_are_compared_in_one_form(tmp_path):
    (tmp_path / "Gro\u0308\u00dfe.md").write_text("x")
    assert len(keys(read(tmp_path, globs=["Gr\u00f6\u00dfe*"]))) == 1
    assert keys(read(tmp_path, exclude=["Gr\u00f6\u00dfe.md"])) == []


def test_a_pattern_that_is_none_is_refused(docs):
    with pytest.raises(ChatbaseDeclarationError, match=r"'\*\*x' is no pattern"):
        read(docs, globs=["**x"])


def test_texts_are_read_in_their_encoding(tmp_path):
    texts = {"a.md": "Größe".encode(), "b.md": "Größe".encode("utf-8-sig"), "c.md": "Größe".encode("utf-16")}
    for name, content in {**texts, "d.md": "Größe".encode("cp1252")}.items():
        (tmp_path / name).write_bytes(content)
    found = read(tmp_path)
    assert [source.load().content for source in found.sources] == ["Größe"] * 3
    assert [problem.key for problem in found.problems] == ["d.md"]
    assert found.complete
    assert [each.load().content for each in read(tmp_path, globs=["d.md"], encoding="cp1252").sources] == [
        "Größe"
    ]


def test_a_name_that_is_no_utf_8_is_that_file_s_problem(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.md")).write_text("x")
    (tmp_path / "a.md").write_text("x")
    found = read(tmp_path)
    assert keys(found) == ["a.md"]
    assert [problem.reason for problem in found.problems] == ["Its name is no UTF-8."]


def test_a_page_that_is_nested_without_end_is_that_file_s_problem(tmp_path):
    (tmp_path / "deep.html").write_text("<div>" * 50_000)
    (tmp_path / "a.html").write_text("<p>x")
    found = read(tmp_path)
    assert keys(found) == ["a.html"]
    assert [problem.key for problem in found.problems] == ["deep.html"]


def test_other_line_ends_of_a_text_file_are_the_same_file(tmp_path):
    digests = set()
    for content in (b"a\nb\n", b"a\r\nb\r\n"):
        (tmp_path / "a.txt").write_bytes(content)
        (found,) = read(tmp_path).sources
        assert found.load().content == content
        digests.add(found.digest)
    assert len(digests) == 1


def test_a_name_that_is_no_utf_8_does_not_spoil_the_report(desk):
    desk = desk()
    desk.write(os.fsdecode(b"caf\xe9.md"), "x")
    desk.write(os.fsdecode(b"caf\xe9.png"), "x")
    desk.write("line\nbreak.md", "")
    report = desk.sync()
    for text in (json.dumps(report.summary(), ensure_ascii=False), report.in_words(), report.as_text()):
        assert "caf\\" in text
        assert text.encode()
    assert "line%0Abreak.md: content is empty" in report.failures()
