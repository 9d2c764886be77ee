"""Records are read strictly: nothing swallowed, nothing guessed, and the others go on."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from itertools import pairwise

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.records import UnreadableRecord, read_record_file, rows_of


@pytest.fixture
def read(tmp_path):
    def read(name, content, **how):
        (tmp_path / name).write_bytes(content)
        directory = Directory(LocalFileSystem(), str(tmp_path), "s3://bucket")
        return list(read_record_file(directory, name, argument="sources", **how))

    return read


TABLE = "key,content\r\na,Größe\r\n"
TWO = [{"key": "a", "content": "Größe"}]


@pytest.mark.parametrize(
    ("content", "how"),
    [
        (TABLE.encode(), {}),
        (TABLE.encode("utf-8-sig"), {}),
        (TABLE.encode("utf-8-sig"), {"encoding": "utf-8"}),
        (TABLE.encode("utf-16"), {}),
        (b"\xfe\xff" + TABLE.encode("utf-16-be"), {}),
        (TABLE.encode("utf-16-le"), {"encoding": "utf-16-le"}),
        (TABLE.encode("cp1252"), {"encoding": "cp1252"}),
        (TABLE.replace(",", ";").encode(), {"delimiter": ";"}),
        (TABLE.replace("\r\n", "\r").encode(), {}),
    ],
    ids=repr,
)
def test_a_table_is_read_in_its_encoding(read, content, how):
    assert read("a.csv", content, **how) == TWO


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json", "a.yaml"])
@pytest.mark.parametrize(
    ("encoding", "words"), [("cp1252", "name its encoding"), ("utf-16-le", "its encoding|no utf-8")]
)
def test_another_encoding_is_refused_not_replaced(read, name, encoding, words):
    with pytest.raises(ChatbaseInputError, match=rf"sources s3://bucket/{name} cannot be read.*({words})"):
        read(name, '[{"key": "a", "content": "Größe"}]\n'.encode(encoding))


@pytest.mark.parametrize(
    ("name", "content", "how", "words"),
    [
        ("a.csv", b'q,a\nA?,"yes\nB?,no\n', {}, "no CSV up to line 3.*A quote may be missing"),
        ("a.csv", b'q,a\nA?,"yes\nB?,no\nC?,"no"\n', {}, "A quote may be missing"),
        ("a.csv", b'q,a\nA?,"yes" or no\n', {}, "A quote may be missing"),
        ("a.csv", b"q,a,a\nA?,yes,no\n", {}, "two of its columns are named 'a'"),
        ("a.csv", b"q;a\nA?;yes\n", {}, "say delimiter=';'"),
        ("a.csv", b"q;a\nA?;yes\n", {"delimiter": "; "}, "no single character"),
        ("a.csv", b"q,a\n", {"needed": "message"}, "no column 'message'"),
        ("a.csv", b"q,a\n", {"encoding": "utf-99"}, "encoding 'utf-99' is unknown"),
        ("a.json", b"{", {}, "it is no JSON"),
        ("a.json", b"{}", {}, "no list of records"),
        ("a.json", b"[" * 100_000, {}, "nested too deeply"),
        ("a.yaml", b"a: [", {}, "it is no YAML"),
        ("a.yaml", b"[" * 5_000, {}, "nested too deeply"),
        ("a.yaml", b"- !!python/object:os.system x", {}, "could not determine a constructor"),
        ("a.yaml", b"- 2026-13-45", {}, "month must be in"),
        ("a.yaml", b"- !!bool maybe", {}, "a value does not go with its tag"),
        ("a.yaml", b'- !!float ""', {}, "a value does not go with its tag"),
        ("a.yaml", b"- !!timestamp x", {}, "a value does not go with its tag"),
        ("a.txt", b"x", {}, "must end in"),
        ("a", b"x", {}, "must end in"),
        ("a.parquet", b"x", {}, "no Parquet file"),
    ],
)
def test_a_file_that_is_damaged_or_unclear_is_refused_as_a_whole(read, name, content, how, words):
    with pytest.raises(ChatbaseInputError, match=words):
        read(name, content, **how)


def test_a_record_that_cannot_be_read_leaves_the_others(read):
    table = b"q,a\nA?,Yes, we do\nB?,no\n\nC?\nD?,no,\n"
    assert read("a.csv", table) == [
        UnreadableRecord("line 2 has more fields than the first line: A?, Yes,  we do"),
        {"q": "B?", "a": "no"},
        {"q": "C?"},
        UnreadableRecord("line 6 has more fields than the first line: D?, no, "),
    ]
    lines = b'{"a": 1}\n\n{"a": 1, "a": 2}\n{"a": NaN}\n{x\n"text"\n{"a": 1e999}\n' + b"[" * 100_000 + b"\n"
    one, twice, nan, broken, text, infinite, deep = read("a.jsonl", lines)
    assert (one, text) == ({"a": 1}, "text")
    assert twice.why == "line 3: a stands in it twice"
    assert "line 4: a is nan, which JSON does not have" in nan.why
    assert "line 5: it is no JSON" in broken.why
    assert "line 7: a is inf" in infinite.why
    assert deep.why == "line 8: it is no JSON: it is nested too deeply"


def test_what_yaml_makes_of_a_text_is_told_and_not_guessed(read):
    text = (
        b"- a: 2026-01-02\n- a: .nan\n- {a: x, a: y}\n- a: ok\n- 1: x\n- &loop [*loop]\n- a: {b: x, b: y}\n"
    )
    found = read("a.yaml", text)
    assert found[3] == {"a": "ok"}
    assert [each.why for each in found if isinstance(each, UnreadableRecord)] == [
        "number 1: a is datetime.date(2026, 1, 2), which JSON does not have; a text needs quotes",
        "number 2: a is nan, which JSON does not have; a text needs quotes",
        "number 3: a stands in it twice",
        "number 5: it is {1: 'x'}, which JSON does not have; a text needs quotes",
        "number 6: it is nested too deeply",
        "number 7: b stands in it twice",
    ]


def test_aliases_that_multiply_are_not_followed_for_ever(read):
    names = "abcdefghi"
    bomb = "- a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"  {name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in pairwise(names)
    )
    assert read("a.yaml", bomb.encode()) == [UnreadableRecord("number 1: it is too large")]


def zipped(*names):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        for name in names:
            members.writestr(name, '{"a": 1}\n')
    return archive.getvalue()


def test_packed_files_are_unpacked_to_their_end(read):
    zstandard = pytest.importorskip("zstandard")
    lines = b'{"a": 1}\n' * 50_000
    packed = {
        "gz": gzip.compress(lines),
        "bz2": bz2.compress(lines),
        "xz": lzma.compress(lines),
        "zst": zstandard.compress(lines[:90_000]) + zstandard.compress(lines[90_000:]),
    }
    for ending, content in packed.items():
        assert len(read(f"a.jsonl.{ending}", content)) == 50_000
        with pytest.raises(ChatbaseInputError, match="end"):
            read(f"a.jsonl.{ending}", content[:-10])
    assert read("a.jsonl.zip", zipped("a.jsonl", "__MACOSX/._a.jsonl")) == [{"a": 1}]
    with pytest.raises(ChatbaseInputError, match="2 files are in it"):
        read("a.jsonl.zip", zipped("a.jsonl", "b.jsonl"))


class Frame:
    """As much of a pandas DataFrame as is used."""

    def __init__(self, **columns):
        self.columns = list(columns)
        self._rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __iter__(self):
        return iter(self.columns)

    def to_dict(self, orient):
        assert orient == "records"
        return self._rows


NAType = type("NAType", (), {})  # what pandas has for nothing; it has no truth value


def test_tables_of_a_program_are_rows():
    arrow = pytest.importorskip("pyarrow")
    rows = [{"message": "a", "n": 1.0}, {"message": None, "n": None}]
    assert list(rows_of(arrow.table({"message": ["a", None], "n": [1.0, float("nan")]}), "prompts")) == rows
    assert list(rows_of(arrow.array(["a", "b"]), "prompts")) == ["a", "b"]
    assert list(rows_of(Frame(message=["a", NAType()], n=[1.0, float("nan")]), "prompts")) == rows
    assert list(rows_of(iter(["a"]), "prompts")) == ["a"]


@pytest.mark.parametrize(
    "given", ["text", b"text", {"a": "b"}, {"a"}, 7, None, Frame()], ids=lambda given: type(given).__name__
)
def test_what_has_no_order_or_no_names_is_refused(given):
    if isinstance(given, Frame):
        given.columns = [0, 1]
    with pytest.raises(ChatbaseInputError, match=r"prompts.*Nothing was sent"):
        rows_of(given, "prompts")
