"""Reading files, and taking prompts in."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.batch.prompts import take_in
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.records import read_record_file


def _read(path: Path) -> list[Any]:
    directory = Directory(LocalFileSystem(), str(path.parent), f"file://{path.parent}")
    given = read_record_file(directory, path.name, argument="prompts_path", needed="message")
    with take_in(given) as intake:
        return list(intake)


def test_jsonl_with_a_bom_empty_lines_and_a_broken_one(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "message": "x"}\n\n{"message": \n"plain text"\n')
    a, broken, plain = _read(path)
    assert (a.id, a.message, a.problem) == ("a", "x", None)
    assert "line 3: it is no JSON" in broken.problem
    assert (plain.message, plain.index) == ("plain text", 2)


def test_gzip_is_unpacked(tmp_path: Path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"message": "x"}\n'))
    assert [p.message for p in _read(path)] == ["x"]


def test_csv(tmp_path: Path):
    path = tmp_path / "p.csv"
    path.write_text(
        'id,message,user_id,team,contains\na,"two\nlines",,blue,x\nb,m,u1,red,\nc,m,u,red,x,more\n'
    )
    a, b, c = _read(path)
    assert (a.message, a.user_id, a.metadata, a.expect.contains) == (
        "two\nlines",
        None,
        {"team": "blue"},
        ("x",),
    )
    assert (b.user_id, bool(b.expect)) == ("u1", False)
    assert "more fields" in c.problem


def test_parquet(tmp_path: Path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "p.parquet"
    rows = [{"id": n, "message": f"m{n}", "tags": ["t"]} for n in range(1200)]
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    found = _read(path)
    assert [(p.id, p.message, p.metadata) for p in found] == [
        (str(n), f"m{n}", {"tags": ["t"]}) for n in range(1200)
    ]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("p.txt", b"x", "must end in"),
        ("p", b"x", "must end in"),
        ("p.csv", b"question\nx\n", "no column 'message'"),
    ],
)
def test_a_file_that_is_no_input_is_refused(tmp_path: Path, name: str, content: bytes, why: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ChatbaseInputError, match=why):
        _read(path)


def test_an_id_twice_is_refused():
    with pytest.raises(ChatbaseInputError, match=r"the id 'a'; the second is number 3"):
        take_in([{"id": "a", "message": "x"}, "y", {"id": "a", "message": "z"}])


def test_the_key_is_of_what_is_asked_only():
    def keys(*given: Any) -> list[str]:
        with take_in(given) as intake:
            return [prompt.key for prompt in intake]

    assert keys({"message": "x", "team": 1}) == keys({"message": "x", "team": 2, "contains": "y"})
    assert keys("x", "y") == keys("y", "x")[::-1]
    assert keys("x") != keys({"message": "x", "user_id": "u"})
    a, b = {"id": 1, "message": "x"}, {"id": 0, "message": "y"}
    assert keys(a, b) == keys(b, a)[::-1]
    assert keys("x", "x")[0] == keys("x")[0]
    assert len(set(keys("x", "x", "x"))) == 3


def test_duplicates_and_queues():
    given = ["a", "b", "a", {"message": "a", "user_id": "u"}, {"message": "a", "user_id": "u"}, ""]
    given.append({"message": "a", "conversation_id": "c"})
    with take_in(given) as intake:
        prompts = list(intake)
        assert [intake.first_like(p)[0] for p in prompts] == [0, 1, 0, 3, 3, 5, 6]
        assert [intake.shares_queue(p) for p in prompts] == [False, False, False, True, True, False, False]
        assert (intake.count, intake.invalid, intake.duplicates) == (7, 1, 2)


def test_what_is_no_json_becomes_text(tmp_path: Path):
    with take_in([{"message": "x", "path": tmp_path}]) as intake:
        assert next(iter(intake)).metadata == {"path": str(tmp_path)}


@pytest.mark.long
def test_memory_does_not_grow_with_the_prompts():
    def peak(count: int) -> int:
        tracemalloc.start()
        with take_in({"id": f"id-{n}", "message": "m" * 200 + str(n)} for n in range(count)) as intake:
            assert sum(1 for _ in intake) == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(10)
    assert peak(10_000) < peak(500) + 200_000


def test_jsonl_rows_are_streamed(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(f"q{n}") + "\n" for n in range(5)))
    directory = Directory(LocalFileSystem(), str(tmp_path), "u")
    stream = read_record_file(directory, path.name, argument="prompts_path")
    assert next(iter(stream)) == "q0"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "message\nGrüße\n".encode("latin-1")),
        ("p.csv.gz", gzip.compress(b"message\nx\n" * 9999)[:-20]),
        ("p.jsonl.gz", b"not packed"),
        ("p.parquet", b"PAR1 cut"),
    ],
)
def test_a_file_that_is_cut_or_in_another_encoding_is_refused(tmp_path: Path, name: str, content: bytes):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ChatbaseInputError, match=f"prompts_path file://{tmp_path}/{name} cannot be read: "):
        _read(tmp_path / name)
