"""What an agent did, day by day, out of answers whose names nobody knows."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from airflow_provider_chatbase.client.replies import UnexpectedShapeError
from airflow_provider_chatbase.exports.analytics import days_of, kept_days, oldest
from airflow_provider_chatbase.exports.delta_table import TableKind, open_table
from airflow_provider_chatbase.exports.rows import TABLES_OF
from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files.delta_storage import find_storage
from airflow_provider_chatbase.operators.exports import ChatbaseAnalyticsOperator
from airflow_provider_chatbase.simulator import Fault

FIRST = date(2026, 11, 2)
TODAY = floor_day(datetime.now(UTC))
DAY = timedelta(days=1)


def counts(reply):
    return {each["id"]: (each["credits"], each["counts"]) for each in days_of(reply, FIRST)}


class TestShapes:
    def test_buckets_by_their_order_and_credits_by_their_date(self):
        buckets = [{"conversations": n, "ratings": {"positive": 10 * n}} for n in range(7)]
        credits_used = [{"day": "2026-11-03T00:00:00.000Z", "creditsUsed": 2.5}]
        found = counts({"data": {"series": buckets, "usage": credits_used, "hours": [1] * 24}})
        assert found["2026-11-02"] == (0, {"series.conversations": 0, "series.ratings.positive": 0})
        expected = {"series.conversations": 1, "series.ratings.positive": 10, "usage.creditsUsed": 2.5}
        assert found["2026-11-03"] == (2.5, expected)
        assert len(found) == 7

    def test_a_list_for_each_measure(self):
        found = counts({"messages": [5, 4, 3, 2, 1, 0, 9], "credits": {"2026-11-08": 4, "2026-11-09": 7}})
        assert found["2026-11-08"] == (4, {"messages": 9, "credits": 4})
        assert found["2026-11-02"] == (0, {"messages": 5})

    def test_no_credits_at_all_are_not_none_spent(self):
        assert counts({"messages": [1] * 7})["2026-11-02"] == (None, {"messages": 1})

    def test_no_entry_in_the_whole_week_is_none_spent(self):
        assert counts({"messages": [1] * 7, "creditsPerDay": []})["2026-11-02"][0] == 0

    @pytest.mark.parametrize("start", [1_795_000_000, "2026-06-01T00:00:00Z"])
    def test_buckets_of_other_days_are_told(self, start):
        with pytest.raises(UnexpectedShapeError, match="asked for"):
            days_of({"buckets": [{"start": start, "messages": 1}] * 7}, FIRST)

    @pytest.mark.parametrize("reply", [{}, {"data": {"sources": {"API": 3}}}, {"hours": [1] * 24}])
    def test_an_answer_without_days_is_told(self, reply):
        with pytest.raises(UnexpectedShapeError, match="none came"):
            days_of(reply, FIRST)


def test_the_oldest_day():
    assert oldest(datetime(2026, 11, 26, tzinfo=UTC)) == datetime(2025, 11, 1, tzinfo=UTC)
    assert oldest(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2025, 1, 1, tzinfo=UTC)
    first = oldest(datetime.now(UTC))
    assert kept_days(Window(first + DAY, TODAY), 7 * DAY).start == first


@pytest.fixture
def simulator(start_simulator, connect):
    simulator = start_simulator(conversations=300, months=14)
    connect(simulator)
    return simulator


def export(path, **how):
    how = {"file_format": "jsonl", **how}
    task = ChatbaseAnalyticsOperator(task_id="export", output_path=path.as_uri(), **how)
    return task.execute({})


def truth_of(simulator):
    """Count conversations by the day of their last activity, and credits by the day of an answer."""
    conversations, spent = Counter(), Counter()
    for each in simulator.store.conversations(simulator.agent_id):
        conversations[datetime.fromtimestamp(each.updated_at, UTC).date().isoformat()] += 1
        for message in each.messages:
            if message.role == "assistant" and message.created_at is not None:
                spent[datetime.fromtimestamp(message.created_at, UTC).date().isoformat()] += 1
    return conversations, spent


def test_twelve_months_of_days(simulator, tmp_path):
    result = export(tmp_path)
    days = (TODAY - oldest(datetime.now(UTC))).days
    assert result["rows"] == days
    assert len(simulator.requests_for("getAgentAnalytics")) == -(-days // 7)
    rows = [json.loads(line) for file in tmp_path.rglob("*.jsonl") for line in file.read_text().splitlines()]
    conversations, spent = truth_of(simulator)
    assert {row["id"]: row["counts"]["buckets.conversations"] for row in rows} == {
        row["id"]: conversations[row["id"]] for row in rows
    }
    assert {row["id"]: row["credits"] for row in rows} == {row["id"]: spent[row["id"]] for row in rows}
    assert len({row["id"] for row in rows}) == days
    assert sum(spent.values()) > 100


def test_delta_replaces_the_days_that_it_reads_again(simulator, tmp_path):
    def rows(at):
        kind = TableKind(TABLES_OF["analytics"][at], "analytics_date", None)
        return open_table(find_storage(tmp_path.as_uri()), kind)

    def conversations():
        found = rows(1).rows(["day", "path", "count"]).to_pylist()
        return {row["day"]: row["count"] for row in found if row["path"] == "buckets.conversations"}

    first = export(tmp_path, file_format="delta", start=TODAY - 40 * DAY, end=TODAY - DAY)
    assert first["tables"]["analytics"] == 39
    before = conversations()
    [moved, *_] = [
        each
        for each in simulator.store.conversations(simulator.agent_id)
        if TODAY - 20 * DAY < datetime.fromtimestamp(each.updated_at, UTC) < TODAY - 9 * DAY
    ]
    day = datetime.fromtimestamp(moved.updated_at, UTC).date().isoformat()
    simulator.add_message(moved.id, "One more thing")
    second = export(tmp_path, file_format="delta", lookback=25)
    assert second["tables"]["analytics"] == 26
    assert conversations()[day] == before[day] - 1
    assert len(conversations()) == 40
    assert rows(0).rows(["day"]).num_rows == 40


def test_days_too_old_are_refused_and_v1_has_none(simulator, connect, tmp_path):
    with pytest.raises(Exception, match=r"counts the last 12 months, since .* Give a later start"):
        export(tmp_path, start="2020-01-01", end="2020-02-01")
    connect(simulator, extra={"api_version": "v1"})
    with pytest.raises(Exception, match="getAgentAnalytics is an operation of API v2"):
        export(tmp_path, start=TODAY - 3 * DAY, end=TODAY)


def test_an_answer_of_other_days_writes_nothing(simulator, tmp_path):
    body = json.dumps({"data": {"buckets": [{"start": "2026-01-01", "messages": 1}] * 7}})
    simulator.faults.add(
        Fault(
            kind="status",
            status=200,
            operation="getAgentAnalytics",
            body=body,
            content_type="application/json",
        )
    )
    with pytest.raises(Exception, match="asked for"):
        export(tmp_path, start=TODAY - 3 * DAY, end=TODAY)
    assert list(tmp_path.rglob("*.jsonl")) == []
