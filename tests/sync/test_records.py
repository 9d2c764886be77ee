from __future__ import annotations

import sys

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client.errors import ChatbaseConfigurationError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.records import UnreadableRecord, read_record_file
from airflow_provider_chatbase.sync.declaration import html_to_markdown, read_records


def test_kinds_are_told_by_their_fields():
    found = read_records(
        [
            {"key": 7, "content": "text"},
            {"question": "Why?", "answer": "Because."},
            {"url": "https://a.example/", "linkType": "crawl", "slow_scraping": "true"},
        ]
    )
    assert [(s.kind, s.key) for s in found.sources] == [
        ("text", "7"),
        ("qna", "Why?"),
        ("link", "crawl https://a.example"),
    ]
    assert found.sources[2].load().options == {"slowScraping": True}
    assert found.complete


@pytest.mark.parametrize(
    "record",
    [
        "{broken",
        None,
        {},
        {"content": "no key"},
        {"type": "notion", "key": "a"},
        {"type": ["text"]},
        {"answer": "a"},
    ],
)
def test_a_record_that_nobody_can_name_makes_the_list_incomplete(record):
    found = read_records([record, {"key": "a", "content": "text"}])
    assert len(found.sources) == 1
    assert len(found.problems) == 1
    assert not found.complete


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"key": "a", "content": ""}, "a"),
        ({"key": "a", "content": "x" * 1_048_577}, "a"),
        ({"key": "q", "questions": [], "answer": "x", "type": "qna"}, "q"),
        ({"key": "q", "questions": ["?"] * 51, "answer": "x"}, "q"),
        ({"url": "ftp://a.example"}, "individual ftp://a.example"),
        ({"url": "https://a.example", "link_type": "page"}, "page https://a.example"),
    ],
)
def test_a_record_that_chatbase_would_refuse_is_a_problem_under_its_key(record, key):
    found = read_records([record])
    assert [problem.key for problem in found.problems] == [key]
    assert found.complete


@pytest.fixture
def read(tmp_path):
    def read(content, name="list.csv", **how):
        (tmp_path / name).write_bytes(content)
        directory = Directory(LocalFileSystem(), str(tmp_path), "s3://bucket")
        return read_records(read_record_file(directory, name, argument="sources", **how))

    return read


def test_files_of_records(read):
    lines = read(b'{"key": "a", "content": "x"}\n\n{"broken\n', "list.jsonl")
    assert [source.key for source in lines.sources] == ["a"]
    assert "line 3: it is no JSON" in lines.problems[0].reason
    assert not lines.complete
    table = 'questions,answer,url\r\n"[""A?"", ""B?""]",yes,\r\n"C?\nD?",no,\r\n'.encode("utf-8-sig")
    assert [source.load().questions for source in read(table).sources] == [("A?", "B?"), ("C?", "D?")]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<title>T</title><h2>A &amp; B</h2><p>one<br>two</p>", "# T\n\n## A & B\n\none  \ntwo"),
        (
            "<head><script>x()</script><title>T</title></head><body><ul><li>a</li><li>b</li></ul>",
            "# T\n\n- a\n- b",
        ),
        ("<ol><li>a<li>b</ol><p>one<p>two", "1. a\n2. b\n\none\n\ntwo"),
        ("<p>a<svg><title>no</title></svg>b</p><style>p{}</style>", "ab"),
        ("<head><meta charset=utf-8><p>no body tag", "no body tag"),
        ("plain snake_case * 2", "plain snake_case * 2"),
        ("<pre>one\n  two\n\nthree</pre>", "```\none\n  two\n\nthree\n```"),
        ("see <a href='https://a.example/b?c=1&amp;d=2'>here</a>", "see [here](https://a.example/b?c=1&d=2)"),
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td></td></tr></table>",
            "| A | B |\n| --- | --- |\n| 1 |  |",
        ),
        ("<img src='data:image/png;base64,AAAA' alt='a cat'><img src='/b.png' alt='b'>", "a cat![b](/b.png)"),
    ],
)
def test_pages_as_markdown(page, text):
    assert html_to_markdown(page) == text


def test_a_page_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "markdownify", None)
    with pytest.raises(ChatbaseConfigurationError, match=r"airflow-provider-chatbase\[html\]"):
        html_to_markdown("<p>text")


def test_a_row_of_too_many_fields_is_a_problem_of_its_own(read):
    found = read(b"question,answer\nA?,Yes, we do\nB?,no\n")
    assert [source.key for source in found.sources] == ["B?"]
    assert "more fields than the first line" in found.problems[0].reason
    assert not found.complete


def test_a_long_cell_is_read(read):
    table = f"key,content\na,{'x' * 200_000}\nb,{'x' * 1_048_577}\n".encode()
    found = read(table)
    assert [source.key for source in found.sources] == ["a"]
    assert "Chatbase takes at most" in found.problems[0].reason


@pytest.mark.parametrize("value", [float("nan"), 7, True, {"a": 1}, ["a"]], ids=repr)
@pytest.mark.parametrize("field", ["content", "answer", "questions", "exclude_paths", "link_type"])
def test_what_is_no_text_is_not_published_as_python_writes_it(field, value):
    record = {
        "content": {"key": "a", "content": value},
        "answer": {"question": "A?", "answer": value},
        "questions": {"questions": ["A?", value], "answer": "yes", "key": "a"},
        "exclude_paths": {"url": "https://a.example", "exclude_paths": [value]},
        "link_type": {"url": "https://a.example", "link_type": value},
    }[field]
    found = read_records([record])
    assert found.sources == ()
    assert "must be text, not" in found.problems[0].reason


@pytest.mark.parametrize("record", [{"slow_scraping": "maybe"}, {"exclude_paths": 7}], ids=str)
def test_options_of_a_link_that_are_none(record):
    found = read_records([{"url": "https://a.example", **record}])
    assert (found.sources, len(found.problems)) == ((), 1)


@pytest.mark.parametrize(
    "record",
    [
        {"questions": 7, "answer": "x"},
        {"questions": {"a": "b"}, "answer": "x"},
        {"question": float("nan"), "answer": "x"},
        {"url": "https://[half", "key": "a"},
        {"key": "\ud800", "content": "x"},
        {"key": "a", "content": "\ud800"},
        {"url": "https://a.example/\ud800"},
        {"questions": ["\ud800"], "answer": "x"},
        {"key": "a" * 200 + "\ud800", "content": "x"},
        {"type": {}, "key": []},
        UnreadableRecord("line 3 is no JSON"),
        7,
    ],
    ids=repr,
)
def test_one_bad_record_is_its_own_problem(record):
    found = read_records([{"key": "a", "content": "x"}, record, {"key": "b", "content": "x"}])
    assert [source.key for source in found.sources] == ["a", "b"]
    assert len(found.problems) == 1


def test_a_bad_answer_is_told_under_the_question():
    found = read_records([{"question": "When?", "answer": 8}])
    assert [(problem.key, problem.reason) for problem in found.problems] == [
        ("When?", "answer must be text, not int '8'.")
    ]
    assert found.complete
