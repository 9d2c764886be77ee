"""Watchers of conversations against the simulator, on one event loop."""

from __future__ import annotations

import asyncio
import json
import os
import re
from contextlib import aclosing, asynccontextmanager

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.simulator import Fault

QUICK = 1.0  # the shortest interval there is
PATIENT = 60


class Stored:
    """What Airflow gives a trigger to keep state in, as far as a trigger uses it."""

    def __init__(self, fail=0):
        self.values, self.fail = {}, fail

    async def aget(self, key):
        return json.loads(self.values[key]) if key in self.values else None

    async def aset(self, key, value):
        if self.fail:
            self.fail -= 1
            raise RuntimeError("the store is away")
        self.values[key] = json.dumps(value)


def watcher(when, store=None, **changes):
    from airflow_provider_chatbase.triggers.conversations import ChatbaseConversationTrigger

    trigger = ChatbaseConversationTrigger(when, **{"poll_interval": QUICK, **changes})
    again = type(trigger)(**trigger.serialize()[1])
    assert again.serialize() == trigger.serialize()
    again.asset_state_store = store or Stored()
    return again


class Watching:
    """Watchers that run, and what they have told."""

    def __init__(self, simulator, watchers):
        self.simulator = simulator
        self.told = {name: [] for name in watchers}
        self._watchers = watchers

    async def run(self, name):
        async with aclosing(self._watchers[name].run()) as events:
            async for event in events:
                self.told[name].append(json.loads(json.dumps(event.payload)))

    async def polls(self, number):
        """Wait for so many polls that begin from now on, and for what they tell."""
        before = len(self.simulator.requests_for("searchConversations"))
        while len(self.simulator.requests_for("searchConversations")) < before + number + 1:
            await asyncio.sleep(0.05)

    def ids(self, name):
        return [each["conversation_id"] for payload in self.told[name] for each in payload["conversations"]]


@asynccontextmanager
async def watching(simulator, **watchers):
    found = Watching(simulator, watchers)
    async with asyncio.timeout(PATIENT):
        tasks = [asyncio.create_task(found.run(name)) for name in watchers]
        await found.polls(1)
        yield found
        for task in tasks:
            assert not task.done(), task.exception()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition):
    async with asyncio.timeout(PATIENT):
        while not condition():
            await asyncio.sleep(0.05)


@pytest.fixture
def chatbase(start):
    return start(conversations=20)


def add_rated(simulator, score=None, feedback=None):
    [conversation] = simulator.create_conversations(source="WhatsApp")
    answer = conversation.messages[-1]
    answer.score, answer.feedback = score, feedback
    return conversation.id, answer.id


def call_tool(simulator, conversation_id, tool):
    message = simulator.add_message(conversation_id, "Here you are.", role="assistant")
    message.parts.append({"type": "tool-call", "toolCallId": "1", "toolName": tool, "input": {}})


def test_each_occasion_is_told_to_who_watches_for_it(chatbase):
    names = ("new", "changed", "ended", "handed_over", "negative_feedback", "low_confidence", "lead")

    async def run():
        watchers = {name: watcher(name) for name in names}
        async with watching(chatbase, **watchers, phone=watcher("new", channels=["Phone"])) as found:
            [calm] = chatbase.create_conversations(source="Phone")
            [ended] = chatbase.create_conversations()
            [handed] = chatbase.create_conversations()
            [lead] = chatbase.create_conversations()
            call_tool(chatbase, lead.id, "collect_leads")
            for each, status in ((ended, "ended"), (handed, "taken_over")):
                each.status = status
            bad, bad_message = add_rated(chatbase, feedback="negative")
            low, low_message = add_rated(chatbase, score=0.2)
            everyone = {calm.id, ended.id, handed.id, lead.id, bad, low}
            await until(lambda: all(found.told.values()))
            await found.polls(16)
            assert set(found.ids("new")) == set(found.ids("changed")) == everyone
            assert len(found.ids("new")) == len(everyone)
            assert [found.ids(name) for name in names[2:]] == [
                [ended.id],
                [handed.id],
                [bad],
                [low],
                [lead.id],
            ]
            assert found.ids("phone") == [calm.id]
            messages = [found.told[name][0]["conversations"][0]["message_ids"] for name in names[4:6]]
            assert messages == [[bad_message], [low_message]]
            assert found.told["new"][0]["agent_id"] == chatbase.agent_id
            assert "order" not in json.dumps(found.told), "nothing that somebody wrote"

    asyncio.run(run())


def test_one_event_tells_of_all_and_many_watchers_share_each_search(chatbase):
    async def run():
        async with watching(
            chatbase, **{f"w{n}": watcher("changed", channels=["API"]) for n in range(30)}
        ) as found:
            made = {each.id for each in chatbase.create_conversations(count=30)}
            chatbase.reset_log()
            await until(lambda: all(found.told.values()))
            assert all(set(found.ids(name)) == made and len(found.told[name]) == 1 for name in found.told)
            # One page of 25 and one of 5, a few times at most while the watchers' beats drift together.
            assert len(chatbase.requests_for("searchConversations")) < 30

    asyncio.run(run())


def test_a_restart_neither_repeats_nor_loses(chatbase):
    async def run():
        store = Stored()
        async with watching(chatbase, first=watcher("new", store)) as found:
            [one] = chatbase.create_conversations()
            await until(lambda: found.told["first"])
            await found.polls(3)
        [missed] = chatbase.create_conversations()
        async with watching(chatbase, second=watcher("new", store)) as found:
            await until(lambda: found.told["second"])
            await found.polls(2)
            assert found.ids("second") == [missed.id]
            assert one.id != missed.id

    asyncio.run(run())


def test_what_could_not_be_stored_is_stored_after_the_next_poll(chatbase, shown):
    async def run():
        store = Stored()
        async with watching(chatbase, w=watcher("new", store)) as found:
            await until(lambda: store.values)
            before, store.fail = dict(store.values), 1
            chatbase.create_conversations()
            await until(lambda: store.values != before)
            assert len(found.told["w"]) == 1

    asyncio.run(run())
    assert "could not be stored" in shown()


def test_failures_are_waited_out_and_nothing_is_lost(chatbase, shown):
    async def run():
        async with watching(chatbase, w=watcher("low_confidence")) as found:
            chatbase.faults.add(Fault(kind="status", status=500, times=4))
            chatbase.faults.add(Fault(kind="not_json", operation="exportConversations", times=2))
            made = {add_rated(chatbase, score=0.1)[0] for _ in range(3)}
            await until(lambda: set(found.ids("w")) == made)

    asyncio.run(run())
    assert "trying again" in shown()


def test_a_connection_that_is_wrong_is_told_once_and_waited_for(chatbase, monkeypatch, shown):
    from airflow_provider_chatbase.triggers import beats, poll_hub

    monkeypatch.setattr(beats, "RESTS_AFTER_AN_ERROR", 0.1)
    monkeypatch.setattr(poll_hub, "CONNECTION_AGE", 0.0)
    right = chatbase.api_key
    variable = "AIRFLOW_CONN_CHATBASE_DEFAULT"
    connection = json.loads(os.environ[variable])

    def give(**fields):
        monkeypatch.setenv(variable, json.dumps({**connection, **fields}))

    async def run():
        give(password="wrong")
        async with watching(chatbase, w=watcher("new")) as found:
            await found.polls(3)
            said = re.findall(r"AUTH_INVALID_API_KEY, HTTP 401, request (\w+)", shown())
            assert len(set(said)) == 1, "each poll has a request of its own"
            give(password=right)
            await found.polls(2)
            [made] = chatbase.create_conversations()
            await until(lambda: found.ids("w") == [made.id])

    asyncio.run(run())


def test_a_dag_with_wrong_arguments_is_refused_and_the_triggerer_is_not_harmed():
    from airflow_provider_chatbase.triggers.conversations import ChatbaseConversationTrigger

    for wrong in ({"when": "never"}, {"poll_interval": 0}, {"overlap": "x"}, {"channels": "API"}):
        trigger = ChatbaseConversationTrigger(**wrong)
        with pytest.raises(ChatbaseInputError):
            trigger.serialize()
