"""Which version answers a verb, and how: the same call on both."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError, ChatbaseUnsupportedError
from airflow_provider_chatbase.client.question import Question


@pytest.fixture(params=["v2", "v1"])
def client(request, simulator):
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url, api_version=request.param)
    with ChatbaseClient(settings) as opened:
        yield opened


def test_agents_are_listed_and_read_alike(simulator, client):
    [listed] = client.items(client.api.list_agents())
    agent = client.send(client.api.get_agent(simulator.agent_id))
    assert (listed["id"], agent["id"]) == (simulator.agent_id, simulator.agent_id)
    assert agent["initialMessages"] == simulator.store.agents[simulator.agent_id].fields["initialMessages"]


def test_an_agent_that_is_not_there(client):
    with pytest.raises(ChatbaseNotFoundError, match="Check agent_id"):
        client.send(client.api.get_agent("nobody"))


def test_the_life_of_an_agent(simulator, client):
    agent_id = client.send(client.api.create_agent("Second", {}))["id"]
    for request in client.api.update_agent(agent_id, {"temp": 0.5, "styles": {}}):
        client.send(request)
    assert simulator.store.agents[agent_id].fields["temp"] == 0.5
    client.send(client.api.delete_agent(agent_id))
    assert agent_id not in simulator.store.agents


def test_conversations_of_a_time_are_listed(simulator, client):
    newest = max(each.created_at for each in simulator.store.conversations(simulator.agent_id))
    start, end = (datetime.fromtimestamp(newest + shift, UTC) for shift in (-90 * 86_400, 1))
    listed = {
        item["id"] for item in client.items(client.api.list_conversations(simulator.agent_id, start, end))
    }
    wanted = {
        each.id
        for each in simulator.store.conversations(simulator.agent_id)
        if start.timestamp() <= each.created_at <= end.timestamp()
    }
    assert wanted <= listed


def test_a_question_is_answered(simulator, client):
    answer = client.send(client.api.send_message(Question(simulator.agent_id, "Hello?", tag="airflow-1")))
    assert answer.text
    assert (answer.conversation_id is not None) == client.api.keeps_messages
    assert (answer.history is None) == client.api.keeps_messages


@pytest.mark.parametrize(
    ("version", "call", "words"),
    [
        (
            "v1",
            lambda api: api.create_agent("Second", {}, url="https://shop.example"),
            "cannot create an agent from",
        ),
        ("v1", lambda api: api.create_agent("Second", {"creditLimit": 5}), "API v1 cannot set creditLimit"),
        ("v1", lambda api: api.update_agent("a1", {"temp": None}), r"API v1 cannot set temp \(reset\)"),
        (
            "v2",
            lambda api: api.create_agent("Second", {}, source_text="All."),
            "source_text is a way of API v1",
        ),
        ("v2", lambda api: next(api.replace_text("a1", "All.")), "source_text is a way of API v1"),
        ("v2", lambda api: api.send_message(Question("a1", "Hi", model="gpt-5")), "API v2 takes no model"),
    ],
)
def test_what_a_version_cannot_do_is_said_before_anything_is_sent(version, call, words):
    with pytest.raises(ChatbaseUnsupportedError, match=words) as raised:
        call(Api(version))
    assert "Nothing was sent" in str(raised.value)
