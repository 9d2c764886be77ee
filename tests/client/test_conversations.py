"""The request for an export of conversations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.v2.conversations import export_conversations


def query(**arguments) -> dict:
    asked = export_conversations("a1", **arguments).query
    return {name: value for name, value in asked.items() if value is not None}


def test_request():
    request = export_conversations("a/1")
    assert (request.operation, request.method) == ("exportConversations", "GET")
    assert request.path == "/agents/a%2F1/conversations/export"
    assert request.body is None
    assert request.repeatable
    assert query() == {"limit": 20}


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))), "2026-01-01T22:00:00Z"),
    ],
)
def test_times_are_sent_in_utc(at, expected):
    assert query(start=at, end=at) == {"limit": 20, "startDate": expected, "endDate": expected}


@pytest.mark.parametrize("bound", ["start", "end"])
def test_a_time_without_a_zone_is_refused(bound):
    with pytest.raises(ChatbaseInputError, match=f"{bound} has no time zone"):
        export_conversations("a1", **{bound: datetime(2026, 1, 2)})  # noqa: DTZ001


def test_the_end_never_cuts_off_a_part_of_its_millisecond():
    end = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    assert query(end=end)["endDate"] == "2026-01-02T03:04:05.679Z"
    start = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    assert query(start=start)["startDate"] == "2026-01-02T03:04:05.678Z"


def test_filters():
    assert query(conversation_id="c1", sources=["API", "Widget or Iframe"], summary=True, limit=5) == {
        "limit": 5,
        "conversationId": "c1",
        "source": "API,Widget or Iframe",
        "include": "summary",
    }


@pytest.mark.parametrize("limit", [0, 21, 100])
def test_limit_of_a_page(limit):
    with pytest.raises(ChatbaseInputError, match="from 1 to 20"):
        export_conversations("a1", limit=limit)


def test_no_agent():
    with pytest.raises(ChatbaseInputError, match="agent_id"):
        export_conversations("")
