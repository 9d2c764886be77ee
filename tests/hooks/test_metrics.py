"""What the hook's client does, as Airflow's metrics; that a real StatsD gets them is in tests/system."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_provider_chatbase.hooks import metrics
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator import Fault


class Recorder:
    """Stands in Airflow's ``Stats``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, str]]] = []

    def incr(self, name, count=1, *, tags):
        self.seen.append((name, count, tags))

    def timing(self, name, milliseconds, *, tags):
        self.seen.append((name, milliseconds, tags))

    def named(self, name):
        return [(value, tags) for seen, value, tags in self.seen if seen == f"chatbase.{name}"]


@pytest.fixture
def stats(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(metrics, "Stats", recorder)
    return recorder


@pytest.fixture
def hook(simulator, connect):
    connect(simulator)
    with ChatbaseHook() as hook:
        yield hook


def test_a_request_that_had_to_wait(simulator, hook, stats):
    simulator.faults.add(Fault(kind="status", status=429, code="RATE_LIMIT_EXCEEDED", retry_after=0, times=1))
    hook.get_agent()
    tags = {"connection": "chatbase_default", "operation": "getAgent", "agent": simulator.agent_id}
    assert stats.named("requests") == [
        (1, {**tags, "outcome": "ChatbaseRateLimitError"}),
        (1, {**tags, "outcome": "ok"}),
    ]
    assert stats.named("rate_limited") == [(1, tags)]
    waits = stats.named("waited")
    assert waits
    assert all(each == tags for _, each in waits)
    assert 200 < sum(milliseconds for milliseconds, _ in waits) < 60_000


@pytest.mark.parametrize("stream", [False, True])
def test_what_an_answer_costs(simulator, hook, stats, stream):
    answer = hook.send_message("How long does a refund take?", stream=stream)
    tags = {"connection": "chatbase_default", "operation": "chatWithAgent", "agent": simulator.agent_id}
    assert stats.named("credits") == [(answer["credits"], tags)]


def test_the_agent_of_api_v1(simulator, connect, stats):
    connect(simulator, extra={"api_version": "v1"})
    with ChatbaseHook() as hook:
        hook.send_message("How long does a refund take?")
    assert {tags["agent"] for _, tags in stats.named("requests")} == {simulator.agent_id}
    assert stats.named("credits") == [], "v1 does not tell"


def test_on_an_event_loop_too(simulator, hook, stats):
    async def ask() -> None:
        async with await hook.open_async_client() as client:
            await client.send(client.api.get_agent(simulator.agent_id))

    asyncio.run(ask())
    assert [tags["operation"] for _, tags in stats.named("requests")] == ["getAgent"]


def test_metrics_that_fail_cost_no_work(hook, monkeypatch, caplog):
    class Broken:
        def incr(self, *_, **__):
            raise OSError("no such statsd")

        timing = incr

    monkeypatch.setattr(metrics, "Stats", Broken())
    with caplog.at_level(logging.WARNING):
        assert hook.send_message("How long does a refund take?")["text"]
        assert hook.get_agent()["id"]
    assert caplog.text.count("no such statsd") == 1
