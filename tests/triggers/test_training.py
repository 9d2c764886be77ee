"""The trigger: reads only, never holds up the event loop that it shares, and says one thing in the end."""

from __future__ import annotations

import asyncio
import json
import logging
import time

import pytest

from airflow_provider_chatbase.client import AsyncChatbaseClient, RetryPolicy
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.triggers.training import ChatbaseTrainingTrigger
from tests.triggers.conftest import old_objects_left_alone


def trigger(**arguments) -> ChatbaseTrainingTrigger:
    defaults = {
        "chatbase_conn_id": "chatbase_default",
        "agent_id": None,
        "source_ids": None,
        "poll_interval": 0.02,
        "deadline": time.time() + 20,
        "max_poll_failures": 3,
    }
    return ChatbaseTrainingTrigger(**{**defaults, **arguments})


async def events_of(trigger: ChatbaseTrainingTrigger) -> list:
    return [event.payload async for event in trigger.run()]


def only_event(trigger: ChatbaseTrainingTrigger) -> dict:
    [event] = asyncio.run(events_of(trigger))
    assert json.loads(json.dumps(event)) == event
    return event


@pytest.fixture
def simulator(start_simulator, connect):
    simulator = start_simulator()
    connect(simulator)
    return simulator


def test_is_the_same_after_a_round_trip_through_the_database():
    first = trigger(agent_id="a1", source_ids=["s1", "s2"])
    path, arguments = json.loads(json.dumps(first.serialize()))
    assert path == "airflow_provider_chatbase.triggers.training.ChatbaseTrainingTrigger"
    assert ChatbaseTrainingTrigger(**arguments).serialize() == first.serialize()


def test_says_trained(simulator):
    assert only_event(trigger()) == {
        "outcome": "trained",
        "reason": f"Agent {simulator.agent_id} is trained.",
    }


def test_the_agent_of_the_task_goes_before_the_connection_s(simulator):
    event = only_event(trigger(agent_id="nobody"))
    assert event["outcome"] == "error"
    assert event["permanent"] is True
    assert "AGENT_NOT_FOUND" in event["reason"]


def test_says_failed_and_what(start_simulator, connect):
    simulator = start_simulator(training_seconds=0)
    connect(simulator)
    with ChatbaseHook() as hook:
        source = hook.create_text_source("Prices", "sim:fail-training")["id"]
    assert only_event(trigger(source_ids=[source])) == {
        "outcome": "failed",
        "reason": f"1 source failed to train: 'Prices' ({source}) is failed.",
    }


def test_says_what_it_saw_last_when_the_time_is_up(start_simulator, connect):
    connect(start_simulator(training_seconds=600))
    with ChatbaseHook() as hook:
        source = hook.create_text_source("Prices", "From 3 euros.")["id"]
    event = only_event(trigger(source_ids=[source], deadline=time.time() + 0.2))
    assert event["outcome"] == "timeout"
    assert f"'Prices' ({source}) is untrained" in event["reason"]


@pytest.mark.parametrize("poll_interval", [0.02, 60.0])
def test_a_deadline_that_passed_while_the_triggerer_was_down_is_the_end(simulator, poll_interval):
    event = only_event(trigger(deadline=time.time() - 5, poll_interval=poll_interval))
    assert event["outcome"] == "timeout"


def test_the_deadline_holds_during_a_poll_too(simulator):
    simulator.faults.add(Fault(kind="slow", seconds=30))
    began = time.monotonic()
    assert only_event(trigger(deadline=time.time() + 0.3))["outcome"] == "timeout"
    assert time.monotonic() - began < 10


def test_the_connection_s_timeout_holds_for_a_poll(simulator, connect):
    connect(simulator, extra={"timeout": 0.1})
    simulator.faults.add(Fault(kind="slow", seconds=1, times=1))
    assert only_event(trigger())["outcome"] == "trained"
    assert len(simulator.requests_for("getAgent")) == 2


def test_a_missing_default_agent_is_an_error(simulator, connect):
    connect(simulator, extra={"agent_id": None})
    event = only_event(trigger())
    assert (event["outcome"], event["permanent"]) == ("error", True)
    assert "No agent was named" in event["reason"]


def test_a_connection_that_is_not_there_is_an_error(airflow_db):
    event = only_event(trigger(chatbase_conn_id="nowhere"))
    assert (event["outcome"], event["permanent"]) == ("error", False)
    assert "nowhere" in event["reason"]


def test_waits_before_it_polls_since_the_worker_has_just_polled(simulator):
    began = time.monotonic()
    only_event(trigger(poll_interval=0.3))
    assert time.monotonic() - began >= 0.3
    assert len(simulator.requests) == 1


def test_a_cancelled_trigger_closes_its_connections(simulator, monkeypatch):
    closed = []

    class Watched(AsyncChatbaseClient):
        async def close(self) -> None:
            await super().close()
            closed.append(all(client.is_closed for client in self._transport.pools.clients()))

    monkeypatch.setattr("airflow_provider_chatbase.hooks.connection.AsyncChatbaseClient", Watched)
    simulator.faults.add(Fault(kind="slow", seconds=30))

    async def cancel() -> None:
        task = asyncio.create_task(events_of(trigger()))
        async with asyncio.timeout(20):
            while not simulator.requests:
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert closed == [True]


def held_up(records: list[logging.LogRecord]) -> list[str]:
    return [record.getMessage() for record in records if "took" in record.getMessage()]


def watched_loop(limit: float) -> asyncio.Runner:
    runner = asyncio.Runner(debug=True)
    runner.get_loop().slow_callback_duration = limit
    return runner


def test_many_at_once_never_hold_up_the_event_loop(start_simulator, connect, caplog):
    """
    The server takes longer for each reply than the loop may be held up, so a wait on the loop shows.

    It takes so long that a busy machine, which may stand still for a second, is not taken for a wait.
    """
    simulator = start_simulator(latency=2.5, training_seconds=600)
    connect(simulator)
    with ChatbaseHook() as hook:
        source = hook.create_text_source("Prices", "From 3 euros.")["id"]
    simulator.reset_log()
    hundred = [trigger(source_ids=[source], poll_interval=0.05) for _ in range(100)]

    async def run_all() -> list[list]:
        running = asyncio.gather(*(events_of(each) for each in hundred))
        async with asyncio.timeout(20):
            while not simulator.requests:
                await asyncio.sleep(0.05)
        simulator.advance(600)
        return await running

    watched = caplog.at_level(logging.WARNING, logger="asyncio")
    with old_objects_left_alone(), watched, watched_loop(limit=1.8) as runner:
        outcomes = [event["outcome"] for [event] in runner.run(run_all())]
    assert outcomes == ["trained"] * 100
    assert held_up(caplog.records) == []


def test_the_watch_over_the_event_loop_sees_a_wait_on_it(simulator, caplog):
    async def wait_on_the_loop() -> None:
        time.sleep(0.4)

    with caplog.at_level(logging.WARNING, logger="asyncio"), watched_loop(limit=0.3) as runner:
        runner.run(wait_on_the_loop())
    assert len(held_up(caplog.records)) == 1


def test_the_key_is_in_no_log_even_where_airflow_masks_nothing(simulator, shown):
    simulator.faults.add(Fault(kind="status", status=500, times=1), Fault(kind="reset_before", times=1))
    only_event(trigger())
    assert "Poll failed" in shown() or "trying again" in shown()
    assert simulator.api_key not in shown()


def test_a_poll_is_repeated_a_few_times_at_most():
    from airflow_provider_chatbase.training import POLL_POLICY

    assert isinstance(POLL_POLICY, RetryPolicy)
    assert POLL_POLICY.max_attempts <= 3
    assert POLL_POLICY.deadline <= 60
    assert ClientSettings(api_key="k").max_attempts > POLL_POLICY.max_attempts
