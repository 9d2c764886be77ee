from __future__ import annotations

import json
from collections import Counter

import pytest

from airflow_provider_chatbase.simulator import Simulator

NOW = 1_790_000_000.0


def exported(simulator, connect):
    path = f"/agents/{simulator.agent_id}/conversations/export"
    client, rows, cursor = connect(simulator), [], None
    while True:
        page = client.get(path, params={"cursor": cursor} if cursor else {}).json()
        rows += page["data"]
        cursor = page["pagination"]["cursor"]
        if cursor is None:
            return rows


def test_same_seed_and_time_give_the_same_data(start, connect):
    first, second, other = (start(now=NOW, seed=seed) for seed in (5, 5, 6))
    assert exported(first, connect) == exported(second, connect)
    assert exported(first, connect) != exported(other, connect)
    assert first.agent_id == second.agent_id
    assert first.store.leads(first.agent_id) == second.store.leads(second.agent_id)


def test_reading_twice_gives_the_same_messages(simulator, connect):
    assert exported(simulator, connect) == exported(simulator, connect)


def test_data_is_spread_over_months_and_channels(start, connect):
    simulator = start(now=NOW, conversations=1500)
    rows = exported(simulator, connect)
    assert all(NOW - 181 * 86_400 < row["createdAt"] <= NOW for row in rows)
    assert len({row["createdAt"] // 86_400 for row in rows}) > 150
    channels = Counter(row["source"] for row in rows)
    assert channels.most_common(1)[0][0] == "Widget or Iframe"
    assert len(channels) > 10
    assert {"API", "WhatsApp", "Telegram", None} <= set(channels)
    assert {row["status"] for row in rows} >= {"ongoing", "ended", "taken_over", "paused", "escalated"}
    seconds = Counter(row["createdAt"] for row in rows)
    assert max(seconds.values()) >= 2
    assert {each % 86_400 for each in seconds} >= {0, 86_399}


def test_data_holds_what_clients_must_cope_with(start, connect):
    rows = exported(start(now=NOW, conversations=1500), connect)
    messages = [message for row in rows for message in row["messages"]]
    parts = [part for message in messages for part in message["parts"]]
    assert {part["type"] for part in parts} == {"text", "tool-call", "tool-result", "reasoning"}
    assert {message["role"] for message in messages} == {"user", "assistant", "human"}
    assert {message.get("feedback") for message in messages} == {None, "positive", "negative"}
    assert any("createdAt" not in message for message in messages)
    assert any(message.get("metadata", {}).get("score", 0) is None for message in messages)
    assert any(row["title"] is None for row in rows)
    assert {row["userId"] is None for row in rows} == {True, False}
    text = json.dumps(rows, ensure_ascii=False)
    for odd in ("=HYPERLINK", "\u0623\u064a\u0646", "\u2028", "👨‍👩‍👧‍👦", "\\r\\n", "\\\\N"):
        assert odd in text
    assert "\x00" not in text
    assert "internalToken" not in text
    assert not any("input" in part for part in parts if part["type"] == "tool-call")


def test_messages_lie_within_their_conversation(simulator):
    for conversation in simulator.store.conversations(simulator.agent_id):
        times = [message.created_at for message in conversation.messages if message.created_at is not None]
        assert times == sorted(times)
        assert conversation.created_at <= times[0]
        assert times[-1] == conversation.updated_at


def test_plain_data_on_request(start, connect):
    simulator = start(odd_data=False, unknown_fields=False, conversations=400)
    rows = exported(simulator, connect)
    assert {message["role"] for row in rows for message in row["messages"]} == {"user", "assistant"}
    documented = {"id", "title", "createdAt", "updatedAt", "userId", "status", "source", "messages"}
    assert {name for row in rows for name in row} == documented
    assert "Telegram" not in {row["source"] for row in rows}


def test_empty_service(start, connect):
    simulator = start(conversations=0, leads=0, contacts=0, seed_sources=False)
    assert exported(simulator, connect) == []
    shown = connect(simulator).get(f"/agents/{simulator.agent_id}").json()
    assert (shown["status"], shown["lastMessageAt"], shown["lastTrainedAt"]) == ("untrained", None, None)


def test_large_data_is_cheap(start, connect):
    simulator = start(conversations=20_000)
    page = connect(simulator).get(f"/agents/{simulator.agent_id}/conversations/export").json()
    assert page["pagination"]["total"] == 20_000
    kept = [each for each in simulator.store.conversations(simulator.agent_id) if each.stored is not None]
    assert kept == []


def test_misspelt_switches_are_refused():
    with pytest.raises(TypeError, match="conversatoins"):
        Simulator(conversatoins=3)
