"""The requests about sources."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.v2 import sources

TEXT = sources.create_text_source("a1", "Hours", "From 8 to 18.")
QNA = sources.create_qna_source("a1", "Returns", ["May I?", "Can I?"], "Yes.")
LINK = sources.create_link_source("a1", "https://shop.example")
CRAWL = sources.create_link_source(
    "a1",
    "https://shop.example",
    "crawl",
    exclude_paths=("/blog/*",),
    include_only_paths=("/help/*",),
    slow_scraping=True,
)

REQUESTS = [
    pytest.param(sources.list_sources("a1"), "listSources", "GET", "", None, True, id="list"),
    pytest.param(sources.get_source("a1", "s/1"), "getSource", "GET", "/s%2F1", None, True, id="get"),
    pytest.param(
        TEXT,
        "createSource",
        "POST",
        "",
        {"type": "text", "name": "Hours", "content": "From 8 to 18."},
        False,
        id="text",
    ),
    pytest.param(
        QNA,
        "createSource",
        "POST",
        "",
        {"type": "qna", "name": "Returns", "questions": ["May I?", "Can I?"], "answer": "Yes."},
        False,
        id="qna",
    ),
    pytest.param(
        LINK,
        "createSource",
        "POST",
        "",
        {"type": "link", "url": "https://shop.example", "linkType": "individual"},
        False,
        id="link",
    ),
    pytest.param(
        CRAWL,
        "createSource",
        "POST",
        "",
        {
            "type": "link",
            "url": "https://shop.example",
            "linkType": "crawl",
            "excludePaths": ["/blog/*"],
            "includeOnlyPaths": ["/help/*"],
            "slowScraping": True,
        },
        False,
        id="crawl",
    ),
    pytest.param(
        sources.update_source("a1", "s1", {"content": "New."}),
        "updateSource",
        "PUT",
        "/s1",
        {"content": "New."},
        True,
        id="update",
    ),
    pytest.param(sources.delete_source("a1", "s1"), "deleteSource", "DELETE", "/s1", None, True, id="delete"),
]


@pytest.mark.parametrize(("request_", "operation", "method", "path", "body", "repeatable"), REQUESTS)
def test_request(request_, operation, method, path, body, repeatable):
    assert (request_.operation, request_.method) == (operation, method)
    assert request_.path == f"/agents/a1/sources{path}"
    assert request_.body == body
    assert request_.repeatable is repeatable
    assert (request_.version, request_.host) == ("v2", "main")


def test_filters_of_the_listing():
    asked = sources.list_sources("a1", types=["text", "qna"], name="hours", limit=5)
    assert asked.query == {"limit": 5, "type": "text,qna", "name": "hours"}
    assert sources.list_sources("a1").query == {"limit": 100, "type": None, "name": None}


@pytest.mark.parametrize("limit", [0, 101])
def test_limit_of_a_page(limit):
    with pytest.raises(ChatbaseInputError, match="from 1 to 100"):
        sources.list_sources("a1", limit=limit)


@pytest.mark.parametrize(
    "build",
    [
        lambda a, s: sources.list_sources(a),
        lambda a, s: sources.create_text_source(a, "n", "c"),
        lambda a, s: sources.get_source(a, "s1"),
        lambda a, s: sources.get_source("a1", s),
        lambda a, s: sources.update_source("a1", s, {"name": "n"}),
        lambda a, s: sources.delete_source("a1", s),
    ],
    ids=["list", "create", "get by no agent", "get", "update", "delete"],
)
@pytest.mark.parametrize("nothing", ["", None, "."], ids=repr)
def test_no_id(build, nothing):
    with pytest.raises(ChatbaseInputError, match="must be the id as text"):
        build(nothing, nothing)


@pytest.mark.parametrize(
    ("name", "content"),
    [("n" * 100, "c"), ("n", "c" * 1_048_576), ("n", "🎈" * 1_048_576)],
    ids=["longest name", "longest text", "counted in characters"],
)
def test_longest_text(name, content):
    assert sources.create_text_source("a1", name, content).body["content"] == content


@pytest.mark.parametrize(
    ("name", "content"),
    [("", "c"), ("n", ""), ("n", " \n"), ("n" * 101, "c"), ("n", "c" * 1_048_577), (None, "c"), ("n", b"c")],
    ids=["no name", "no text", "blank", "long name", "long text", "null name", "bytes"],
)
def test_a_text_that_is_refused(name, content):
    with pytest.raises(ChatbaseInputError):
        sources.create_text_source("a1", name, content)


@pytest.mark.parametrize("questions", [["q"], ["q"] * 50, ("q",)], ids=["one", "fifty", "a tuple"])
def test_questions(questions):
    assert sources.create_qna_source("a1", "n", questions, "a").body["questions"] == list(questions)


@pytest.mark.parametrize(
    ("questions", "answer"),
    [([], "a"), (["q"] * 51, "a"), ("q", "a"), (["q", ""], "a"), (["q"], ""), ([7], "a")],
    ids=["none", "51", "a text", "an empty one", "no answer", "a number"],
)
def test_questions_that_are_refused(questions, answer):
    with pytest.raises(ChatbaseInputError):
        sources.create_qna_source("a1", "n", questions, answer)


@pytest.mark.parametrize(("url", "link_type"), [("", "individual"), (None, "individual"), ("https://x", "x")])
def test_a_link_that_is_refused(url, link_type):
    with pytest.raises(ChatbaseInputError):
        sources.create_link_source("a1", url, link_type)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        None,
        {"name": ""},
        {"content": ""},
        {"content": "c" * 1_048_577},
        {"questions": []},
        {"questions": "q"},
    ],
    ids=["none", "null", "empty name", "empty text", "long text", "no question", "a text"],
)
def test_a_change_that_is_refused(changes):
    with pytest.raises(ChatbaseInputError):
        sources.update_source("a1", "s1", changes)


def test_a_change_of_tomorrow_passes_through():
    assert sources.update_source("a1", "s1", {"brandNew": 1}).body == {"brandNew": 1}


def test_what_a_refused_delete_means():
    delete = sources.delete_source("a1", "s1")
    assert delete.means_done == {"SOURCE_ALREADY_PENDING_DELETION": {"id": "s1", "status": "toBeDeleted"}}
    assert delete.means_done_on_repeat["SOURCE_NOT_FOUND"] == {"id": "s1", "status": "deleted"}
