"""A call as a value."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import Request, segment


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("abc-123_X", "abc-123_X"),
        ("a/b", "a%2Fb"),
        ("../agents", "..%2Fagents"),
        ("a?b#c", "a%3Fb%23c"),
        ("a b", "a%20b"),
        ("ä", "%C3%A4"),
        ("%2e%2e", "%252e%252e"),
        ("a\r\nX: y", "a%0D%0AX%3A%20y"),
    ],
)
def test_segment(value, expected):
    assert segment("agent_id", value) == expected


@pytest.mark.parametrize("value", ["", "  ", ".", "..", None, 7, ["x"]], ids=repr)
def test_segment_that_would_change_the_path(value):
    with pytest.raises(ChatbaseInputError, match="agent_id must be the id as text"):
        segment("agent_id", value)


def test_with_query_adds_and_replaces():
    first = Request(operation="x", method="GET", path="/x", read=lambda reply: reply, query={"limit": 1})
    assert first.with_query(limit=2, cursor="c").query == {"limit": 2, "cursor": "c"}
    assert first.query == {"limit": 1}


def test_what_is_sent_is_not_shown():
    request = Request(operation="x", method="POST", path="/x", read=str, body={"message": "my diagnosis"})
    assert "diagnosis" not in repr(request)
