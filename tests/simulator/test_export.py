from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.simulator.paging import ids, walk


@pytest.fixture
def path(agent):
    return f"{agent}/conversations/export"


def day_of(epoch):
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d")


def test_everything_newest_first_with_all_messages(simulator, v2, path):
    rows, totals = walk(v2, path, limit=7)
    truth = simulator.store.conversations(simulator.agent_id)
    assert ids(rows) == [each.id for each in truth]
    assert set(totals) == {60}
    assert len(walk(v2, path, limit=20)[1]) == 3
    for row, conversation in zip(rows, truth, strict=True):
        assert ids(row["messages"]) == [message.id for message in conversation.messages]
    assert [row["createdAt"] for row in rows] == sorted((row["createdAt"] for row in rows), reverse=True)


def test_summary_has_no_messages(v2, path):
    rows, _ = walk(v2, path, include="summary")
    assert len(rows) == 60
    assert not any("messages" in row for row in rows)


def test_days_are_whole_and_inclusive(simulator, v2, path):
    truth = simulator.store.conversations(simulator.agent_id)
    day = day_of(truth[20].created_at)
    rows, totals = walk(v2, path, startDate=day, endDate=day)
    assert ids(rows) == [each.id for each in truth if day_of(each.created_at) == day]
    assert totals[-1] == len(rows) > 0


def test_boundary_seconds(simulator, v2, path):
    midnight = 1_700_006_400
    inside = [
        simulator.create_conversations(at=at, source="Email")[0].id for at in (midnight, midnight + 86_399)
    ]
    outside = [
        simulator.create_conversations(at=at, source="Email")[0].id
        for at in (midnight - 1, midnight + 86_400)
    ]
    rows, _ = walk(v2, path, startDate="2023-11-15", endDate="2023-11-15")
    assert ids(rows) == inside[::-1]
    rows, _ = walk(v2, path, startDate="2023-11-15T00:00:01Z", endDate="2023-11-15T23:59:59+00:00")
    assert ids(rows) == [inside[1]]
    rows, _ = walk(v2, path, startDate="2023-11-14T23:59:59Z", endDate="2023-11-16T01:00:00+01:00")
    assert set(ids(rows)) == {*inside, *outside}


def test_many_in_one_second(simulator, v2, path):
    made = simulator.create_conversations(count=45, at=1_700_000_000)
    rows, totals = walk(v2, path, endDate="2023-12-01", limit=4)
    assert set(ids(rows)) == {each.id for each in made}
    assert len(rows) == 45
    assert set(totals) == {45}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"startDate": "2026-02-02", "endDate": "2026-02-01"}, "VALIDATION_INVALID_DATE_RANGE"),
        ({"startDate": "2026-2-1"}, "VALIDATION_INVALID_BODY"),
        ({"startDate": "2026-02-30"}, "VALIDATION_INVALID_BODY"),
        ({"endDate": "yesterday"}, "VALIDATION_INVALID_BODY"),
        ({"startDate": ""}, "VALIDATION_INVALID_BODY"),
        ({"startDate": "2026-02-01T00:00:00 02:00"}, "VALIDATION_INVALID_BODY"),
        ({"startDate": "1770000000"}, "VALIDATION_INVALID_BODY"),
        ({"include": "all"}, "VALIDATION_INVALID_BODY"),
        ({"limit": "21"}, "VALIDATION_INVALID_BODY"),
        ({"cursor": "bm90aGluZw"}, "VALIDATION_INVALID_BODY"),
        ({"cursor": "?"}, "VALIDATION_INVALID_BODY"),
    ],
)
def test_bad_queries(v2, path, query, code):
    reply = v2.get(path, params=query)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, code)


def test_a_day_without_zone_is_utc(simulator, v2, path):
    made = [simulator.create_conversations(at=at)[0].id for at in (9, 10, 86_399, 86_400)]
    rows, _ = walk(v2, path, startDate="1970-01-01T00:00:10", endDate="1970-01-01")
    assert ids(rows) == [made[2], made[1]]


def test_sources_by_exact_name(simulator, v2, path):
    truth = simulator.store.conversations(simulator.agent_id)
    rows, totals = walk(v2, path, source="Widget or Iframe,WhatsApp", limit=3)
    assert ids(rows) == [each.id for each in truth if each.source in {"Widget or Iframe", "WhatsApp"}]
    assert set(totals) == {len(rows)}
    assert walk(v2, path, source="whatsapp")[0] == []


def test_one_conversation(simulator, v2, path):
    wanted = simulator.store.conversations(simulator.agent_id)[3]
    rows, totals = walk(v2, path, conversationId=wanted.id)
    assert (ids(rows), totals) == ([wanted.id], [1])
    assert walk(v2, path, conversationId="none") == ([], [0])


def test_keyset_cursors_survive_new_conversations(start, connect):
    simulator = start(create_while_exporting=3)
    truth = [each.id for each in simulator.store.conversations(simulator.agent_id)]
    rows, totals = walk(connect(simulator), f"/agents/{simulator.agent_id}/conversations/export")
    seen = ids(rows)
    assert len(seen) == len(set(seen))
    assert set(truth) <= set(seen)
    assert totals == [63, 66, 69, 72]


def test_offset_cursors_repeat_when_conversations_are_added(start, connect):
    simulator = start(create_while_exporting=3, cursor_mode="offset")
    rows, _ = walk(connect(simulator), f"/agents/{simulator.agent_id}/conversations/export")
    assert len(ids(rows)) > len(set(ids(rows)))


def test_offset_cursors_over_several_sources(start, connect):
    simulator = start(cursor_mode="offset")
    truth = simulator.store.conversations(simulator.agent_id)
    path = f"/agents/{simulator.agent_id}/conversations/export"
    rows, _ = walk(connect(simulator), path, source="API,WhatsApp,Widget or Iframe", limit=4)
    assert ids(rows) == [each.id for each in truth if each.source in {"API", "WhatsApp", "Widget or Iframe"}]


def test_conversations_grow_while_exporting(start, connect):
    simulator = start(grow_while_exporting=5, conversations=30)
    client, path = connect(simulator), f"/agents/{simulator.agent_id}/conversations/export"
    before = {each.id: len(each.messages) for each in simulator.store.conversations(simulator.agent_id)}
    walk(client, path)
    after = {each.id: len(each.messages) for each in simulator.store.conversations(simulator.agent_id)}
    assert set(after) == set(before)
    assert sum(after.values()) == sum(before.values()) + 10


def test_new_conversations_can_be_late_in_lists(start, connect):
    simulator = start(visibility_delay=5, conversations=3)
    client, agent = connect(simulator), f"/agents/{simulator.agent_id}"
    answered = client.post(f"{agent}/chat", json={"message": "x", "stream": False, "userId": "u"}).json()
    conversation_id = answered["data"]["metadata"]["conversationId"]

    def listed():
        paths = ("conversations/export", "conversations", "users/u/conversations", "conversations/search")
        return [conversation_id in ids(client.get(f"{agent}/{path}").json()["data"]) for path in paths]

    assert listed() == [False] * 4
    assert client.get(f"{agent}/conversations/{conversation_id}").status_code == 200
    simulator.advance(6)
    assert listed() == [True] * 4


def test_last_page_can_be_empty(start, connect):
    simulator = start(trailing_empty_page=True, conversations=40)
    client, path = connect(simulator), f"/agents/{simulator.agent_id}/conversations/export"
    rows, totals = walk(client, path)
    assert (len(rows), len(totals)) == (40, 3)


def test_list_holds_only_api_conversations(simulator, v2, agent):
    truth = [each for each in simulator.store.conversations(simulator.agent_id) if each.created_by_v2]
    rows, totals = walk(v2, f"{agent}/conversations", limit=3)
    assert ids(rows) == [each.id for each in truth]
    assert set(totals) == {len(truth)}
    assert "source" not in rows[0]


def test_user_conversations_by_last_activity(simulator, v2, agent):
    first, second = (
        simulator.create_conversations(user_id="u", at=at)[0] for at in (1_700_000_000, 1_700_000_100)
    )
    simulator.create_conversations(user_id="u", source="Email")
    assert ids(walk(v2, f"{agent}/users/u/conversations")[0]) == [second.id, first.id]
    simulator.add_message(first.id, "still there?")
    assert ids(walk(v2, f"{agent}/users/u/conversations", limit=1)[0]) == [first.id, second.id]
