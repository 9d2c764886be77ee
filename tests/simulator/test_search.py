from __future__ import annotations

import time

import pytest

from tests.simulator.paging import ids, walk


@pytest.fixture
def path(agent):
    return f"{agent}/conversations/search"


def test_most_recently_active_first_and_no_total(simulator, v2, path):
    rows, totals = walk(v2, path, limit=9)
    truth = simulator.store.conversations(simulator.agent_id)
    truth.sort(key=lambda each: (each.updated_at, each.id), reverse=True)
    assert ids(rows) == [each.id for each in truth]
    assert set(totals) == {None}
    assert {row["snippet"] for row in rows} == {None}


def test_who_changed_since(simulator, v2, path):
    since = int(time.time())
    assert walk(v2, path, updatedAfter=iso(since))[0] == []
    old = simulator.store.conversations(simulator.agent_id)[-1]
    simulator.add_message(old.id, "I have one more question")
    [row] = walk(v2, path, updatedAfter=iso(since))[0]
    assert (row["id"], row["createdAt"]) == (old.id, old.created_at)
    assert row["updatedAt"] >= since
    assert len(walk(v2, path, updatedBefore=iso(since - 1))[0]) == 59


def iso(epoch):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def test_filters_join_by_and_lists_by_or(simulator, v2, path):
    truth = simulator.store.conversations(simulator.agent_id)
    rows, _ = walk(v2, path, source="WhatsApp,Widget or Iframe", activityState="ended")
    expected = {
        each.id
        for each in truth
        if each.source in {"WhatsApp", "Widget or Iframe"} and each.status == "ended"
    }
    assert set(ids(rows)) == expected != set()
    rows, _ = walk(v2, path, feedback="negative")
    assert set(ids(rows)) == {
        each.id for each in truth if "negative" in {message.feedback for message in each.messages}
    }
    rows, _ = walk(v2, path, tool="get_order_status")
    assert rows
    assert set(ids(walk(v2, path, escalated="true")[0])) == {
        each.id for each in truth if each.status == "taken_over"
    }


def test_every_word_must_match_and_is_marked(simulator, v2, path):
    [made] = simulator.create_conversations(message="Does the purple umbrella float?", source="Email")
    assert walk(v2, path, query="purple giraffe")[0] == []
    [row] = walk(v2, path, query="umbrella PURPLE")[0]
    assert row["id"] == made.id
    assert row["snippet"]["speaker"] == "user"
    highlights = row["snippet"]["highlights"]
    assert "".join(each["value"] for each in highlights) == "Does the purple umbrella float?"
    assert [each["value"] for each in highlights if each["isHit"]] == ["purple", "umbrella"]


def test_pages_can_be_short_while_more_follow(start, connect):
    simulator = start(conversations=450)
    client, path = connect(simulator), f"/agents/{simulator.agent_id}/conversations/search"
    oldest = simulator.store.conversations(simulator.agent_id)[-1]
    oldest.title = "needle"
    first = client.get(path, params={"query": "needle"}).json()
    assert (first["data"], first["pagination"]["hasMore"]) == ([], True)
    assert ids(walk(client, path, query="needle")[0]) == [oldest.id]


def test_query_must_not_change_under_a_cursor(v2, path):
    cursor = v2.get(path, params={"limit": 5}).json()["pagination"]["cursor"]
    assert v2.get(path, params={"limit": 7, "cursor": cursor}).status_code == 200
    reply = v2.get(path, params={"limit": 5, "cursor": cursor, "source": "API"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "VALIDATION_CURSOR_QUERY_MISMATCH")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "26"},
        {"escalated": "false"},
        {"hasVoice": "1"},
        {"updatedAfter": "soon"},
        {"startDate": "2019-01-01"},
        {"updatedBefore": "2019-01-01"},
    ],
)
def test_bad_queries(v2, path, query):
    reply = v2.get(path, params=query)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "VALIDATION_INVALID_BODY")


def test_only_the_last_twelve_months(simulator, v2, path):
    simulator.create_conversations(at=1_600_000_000)
    assert len(walk(v2, path)[0]) == 60


def test_search_can_lag(start, connect):
    simulator = start(search_delay=4, conversations=5)
    client, path = connect(simulator), f"/agents/{simulator.agent_id}/conversations/search"
    [made] = simulator.create_conversations()
    assert made.id not in ids(client.get(path).json()["data"])
    simulator.advance(5)
    assert made.id in ids(client.get(path).json()["data"])
