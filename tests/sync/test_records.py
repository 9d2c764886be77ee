from __future__ import annotations

import pytest

from airflow_provider_chatbase.sync.declaration import parse_records, read_records
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.html_text import html_to_text


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


def test_files_of_records():
    jsonl = b'{"key": "a", "content": "x"}\n\n{"broken\n'
    assert parse_records(jsonl, "s3://b/list.jsonl") == [{"key": "a", "content": "x"}, '{"broken']
    table = 'questions,answer,url\r\n"[""A?"", ""B?""]",yes,\r\n"C?\nD?",no,\r\n'.encode("utf-8-sig")
    found = read_records(parse_records(table, "list.csv"))
    assert [source.load().questions for source in found.sources] == [("A?", "B?"), ("C?", "D?")]


@pytest.mark.parametrize(
    ("content", "name"), [(b"\xff", "a.jsonl"), (b"{", "a.json"), (b"{}", "a.json"), (b"", "a.txt")]
)
def test_files_that_cannot_be_read(content, name):
    with pytest.raises(ChatbaseDeclarationError):
        parse_records(content, name)


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<title>T</title><h2>A &amp; B</h2><p>one<br>two</p>", "# T\n\n## A & B\n\none\ntwo"),
        (
            "<head><script>x()</script><title>T</title></head><body><ul><li>a</li><li>b</li></ul>",
            "# T\n\n- a\n\n- b",
        ),
        ("<p>a<svg><title>no</title></svg>b</p><style>p{}</style>", "ab"),
        ("<head><meta charset=utf-8><p>no body tag", "no body tag"),
        ("plain", "plain"),
    ],
)
def test_pages_as_text(page, text):
    assert html_to_text(page) == text


@pytest.mark.parametrize(
    "table",
    [
        'question,answer\nA?,"yes\nB?,no\nC?,no\n',
        'question,answer\nA?,"yes\nB?,no\nC?,"no"\n',
        'question,answer\nA?,"yes" or no\n',
    ],
)
def test_a_quote_that_is_not_closed_does_not_swallow_what_follows(table):
    with pytest.raises(ChatbaseDeclarationError, match=r"list\.csv is no CSV up to line"):
        parse_records(table.encode(), "list.csv")


def test_a_row_of_too_many_fields_is_a_problem_of_its_own():
    found = read_records(parse_records(b"question,answer\nA?,Yes, we do\nB?,no\n", "list.csv"))
    assert [source.key for source in found.sources] == ["B?"]
    assert "more fields than the header names" in found.problems[0].reason
    assert not found.complete


def test_a_long_cell_is_read():
    table = f"key,content\na,{'x' * 200_000}\nb,{'x' * 1_048_577}\n".encode()
    found = read_records(parse_records(table, "list.csv"))
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
