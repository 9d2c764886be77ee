"""Many waiting triggers share their requests, and none is harmed by another."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.simulator import agents as simulated
from tests.triggers.conftest import old_objects_left_alone, run_all, trigger


def add_agents(simulator, count, training=0.0, content="text"):
    def add():
        agents = []
        for number in range(count):
            agent = simulated.create_agent(simulator._world, f"agent {number}")
            source = simulated.add_source(simulator._world, agent, "text", "s", content)
            source.ready_at += training
            agents.append(agent.id)
        return agents

    return simulator.run(add)


def reads(simulator):
    return [request.operation for request in simulator.requests]


def test_three_hundred_agents_take_a_handful_of_requests(start):
    simulator = start()
    agents = add_agents(simulator, 300, training=1.0)

    # So long that all have come before the first polls: alone, an agent is asked for by itself.
    events = run_all(*(trigger(agent_id, poll_interval=1.0) for agent_id in agents))

    assert [event["outcome"] for event in events] == ["trained"] * 300
    assert set(reads(simulator)) == {"listAgents"}
    assert len(reads(simulator)) <= 4 * 16, "four pages a round, and a round at most every half interval"


def test_the_sources_of_an_agent_are_read_together(start):
    simulator = start(training_seconds=0.5)

    def add():
        agent = simulator.store.agents[simulator.agent_id]
        return [simulated.add_source(simulator._world, agent, "text", f"{n}", "x").id for n in range(150)]

    ids = simulator.run(add)
    events = run_all(*(trigger(source_ids=[each]) for each in ids), trigger(source_ids=ids))
    assert {event["outcome"] for event in events} == {"trained"}
    assert set(reads(simulator)) == {"listSources"}
    assert len(reads(simulator)) <= 20


@pytest.mark.parametrize("count", [2, 60])
def test_a_bad_agent_harms_no_other(start, count):
    simulator = start(latency={"getAgent": 0.1})
    agents = add_agents(simulator, count)
    (failing,) = add_agents(simulator, 1, content="sim:fail-training")
    simulator.faults.add(Fault(kind="slow", seconds=3.0, where=lambda r: r.path.endswith("/hanging")))
    begun = time.monotonic()

    events = run_all(
        trigger("gone"),
        trigger("hanging", deadline=time.time() + 2),
        trigger(failing),
        *(trigger(agent_id) for agent_id in agents),
    )

    assert events[0]["outcome"] == "error"
    assert events[0]["permanent"]
    assert events[1]["outcome"] == "timeout"
    assert events[2]["outcome"] == "failed"
    assert "'s' (" in events[2]["reason"]
    assert [event["outcome"] for event in events[3:]] == ["trained"] * count
    assert time.monotonic() - begun < 6


def test_each_has_its_own_deadline_and_interval(start):
    simulator = start()
    slow, quick = add_agents(simulator, 1, training=30)[0], add_agents(simulator, 5)
    begun = time.time()
    events = run_all(
        trigger(slow, deadline=begun + 0.7),
        trigger(slow, deadline=begun + 0.3),
        *(trigger(agent_id, poll_interval=0.1 * number) for number, agent_id in enumerate(quick, 1)),
    )
    assert [event["outcome"] for event in events] == ["timeout"] * 2 + ["trained"] * 5


def test_each_counts_its_own_failures(start):
    simulator = start()
    agents = add_agents(simulator, 5, training=1.0)
    simulator.faults.add(Fault(kind="status", operation="listAgents", times=6))
    events = run_all(trigger(agents[0], max_poll_failures=0), *(trigger(agent_id) for agent_id in agents[1:]))
    assert events[0]["outcome"] == "error"
    assert "listAgents" in events[0]["reason"]
    assert [event["outcome"] for event in events[1:]] == ["trained"] * 4


def test_a_listing_that_is_refused_is_done_without(start):
    simulator = start()
    agents = add_agents(simulator, 6)
    simulator.faults.add(
        Fault(kind="status", operation="listAgents", status=403, code="AUTH_INSUFFICIENT_PERMISSIONS")
    )
    events = run_all(*(trigger(agent_id) for agent_id in agents))
    assert [event["outcome"] for event in events] == ["trained"] * 6


def test_what_was_read_before_a_wait_began_does_not_count(start):
    simulator = start()
    agents = add_agents(simulator, 6, training=0.0)
    source = next(iter(simulator.store.agents[agents[0]].sources.values()))

    async def run():
        from airflow_provider_chatbase.triggers.poll_hub import shared_polls

        loop = asyncio.get_running_loop()
        async with shared_polls("chatbase_default") as polls:
            with polls.watching(agents[0], None):
                old = await polls.poll(agents[0], None, loop.time())
                simulator.run(lambda: source.begin_training(simulator._world.clock.time(), 60))
                new = await polls.poll(agents[0], None, loop.time())
                return old.outcome, new.outcome

    assert asyncio.run(run()) == ("trained", "waiting")


def test_a_changed_key_is_seen_by_those_who_come_later(start, monkeypatch):
    from airflow_provider_chatbase.triggers import poll_hub

    simulator = start()
    monkeypatch.setattr(poll_hub, "CONNECTION_AGE", 0.0)
    connection = {"conn_type": "chatbase", "host": simulator.url, "password": "wrong"}

    async def run():
        async with poll_hub.shared_polls("chatbase_default") as polls:
            first = polls.client
            monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(connection))
            async with poll_hub.shared_polls("chatbase_default") as again:
                assert again is polls
                return first.settings.api_key, again.client.settings.api_key

    assert asyncio.run(run()) == ("simulator-key", "wrong")


def test_nothing_is_left_when_all_are_done(start):
    from airflow_provider_chatbase.triggers import poll_hub

    simulator = start()
    (agent_id,) = add_agents(simulator, 1)

    async def run():
        async for _ in trigger(agent_id).run():
            pass
        return dict(poll_hub._HUBS[asyncio.get_running_loop()]), len(asyncio.all_tasks())

    assert asyncio.run(run()) == ({}, 1)


def test_v1_waits_by_the_status_of_the_list(start):
    simulator = start(api_version="v1")
    agents = add_agents(simulator, 3, training=0.5)
    (failing,) = add_agents(simulator, 1, content="sim:fail-training")
    events = run_all(*(trigger(agent_id) for agent_id in agents), trigger(failing), trigger("gone"))
    assert [event["outcome"] for event in events] == ["trained"] * 3 + ["failed", "error"]
    assert events[4]["permanent"]
    assert set(reads(simulator)) == {"getChatbots"}
    assert len(reads(simulator)) < 15


def test_a_state_is_not_trusted_too_early(start):
    simulator = start(api_version="v1")
    (agent_id,) = add_agents(simulator, 1)
    begun = time.time()
    (event,) = run_all(trigger(agent_id, trust_from=begun + 0.7))
    assert event["outcome"] == "trained"
    assert time.time() - begun >= 0.7


def test_the_serialized_form_is_plain_and_leads_back():
    plain = trigger("a", ["b"], deadline=5.0)
    path, arguments = plain.serialize()
    assert path == "airflow_provider_chatbase.triggers.training.ChatbaseTrainingTrigger"
    assert set(arguments) == {
        "chatbase_conn_id",
        "agent_id",
        "source_ids",
        "poll_interval",
        "deadline",
        "max_poll_failures",
    }
    carrying = trigger("a", None, deadline=5.0, carry={"created": 1}, trust_from=2.0)
    again = type(carrying)(**json.loads(json.dumps(carrying.serialize()[1])))
    assert again.serialize() == carrying.serialize()


def test_the_event_brings_back_what_was_given(start):
    simulator = start()
    (agent_id,) = add_agents(simulator, 1)
    (event,) = run_all(trigger(agent_id, carry={"created": 3}))
    assert event["carry"] == {"created": 3}


def longest_hold_of_the_event_loop(agents):
    """Seconds of work of this thread, so that the simulator's thread does not count."""
    gaps = []

    async def measure():
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.005)
            gaps.append(time.thread_time() - before)

    async def first_event(each):
        return (await anext(each.run())).payload["outcome"]

    async def run():
        probe = asyncio.create_task(measure())
        outcomes = await asyncio.gather(*(first_event(trigger(agent_id)) for agent_id in agents))
        probe.cancel()
        return outcomes

    with old_objects_left_alone():
        assert set(asyncio.run(run())) == {"trained"}
    return max(gaps)


@pytest.mark.long
def test_the_event_loop_is_never_held_up_for_long(start):
    simulator = start()
    # What holds the loop up does so every time; a processor that others slow down does not.
    holds = [longest_hold_of_the_event_loop(add_agents(simulator, 400, training=1.5)) for _ in range(3)]
    assert min(holds) < 0.05, holds
