"""A message is paid once whatever the worker's clock says: here the server's is elsewhere."""

from __future__ import annotations

import time

import pytest

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings
from airflow_provider_chatbase.client.asking import Rules, ask
from airflow_provider_chatbase.client.errors import ChatbaseAmbiguousError
from airflow_provider_chatbase.client.question import Question, look
from airflow_provider_chatbase.client.rate_limiter import RateLimiter, asked_wait
from airflow_provider_chatbase.simulator import Fault

QUICK = Rules(patience=0.0, patience_after_timeout=0.0)
TEXT = "How long does a refund take?"
SKEWS = [-86_400, -3600, -120, -90, 90, 120, 3600, 86_400]


@pytest.fixture
def lose_one(start_simulator):
    """Return a function that asks with one lost reply, and returns the simulator and the answer."""

    def lose_one(skew: float, **question):
        simulator = start_simulator(now=time.time() - skew)
        simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", times=1))
        with ChatbaseClient(ClientSettings(simulator.api_key, simulator.url)) as client:
            asked = Question(simulator.agent_id, TEXT, **question)
            return simulator, client.run(ask(client.api, asked, QUICK))

    return lose_one


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("by", [{"tag": "airflow-1"}, {"user_id": "ann"}], ids=["our tag", "a user's id"])
def test_a_lost_reply_is_found_and_not_paid_again(lose_one, skew, by):
    simulator, answer = lose_one(skew, **by)
    assert answer.recovered
    assert simulator.prompts_charged == 1


@pytest.mark.parametrize("skew", [-3600, 0, 3600])
def test_an_equal_message_of_before_is_another_one(start_simulator, skew):
    simulator = start_simulator(now=time.time() - skew)
    with ChatbaseClient(ClientSettings(simulator.api_key, simulator.url)) as client:
        client.run(ask(client.api, Question(simulator.agent_id, TEXT, user_id="ann"), QUICK))
        simulator.advance(600)
        later = Question(simulator.agent_id, TEXT, user_id="ann")
        assert client.run(look(later)) is None


def test_in_doubt_nothing_is_sent(start_simulator, monkeypatch):
    """No reply tells the server's time, and the message is said to be an hour old."""
    simulator = start_simulator(now=time.time() - 3600)
    monkeypatch.setattr(RateLimiter, "server_time", lambda _: None)
    simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", times=1))
    asked = Question(simulator.agent_id, TEXT, user_id="ann")
    with (
        ChatbaseClient(ClientSettings(simulator.api_key, simulator.url)) as client,
        pytest.raises(ChatbaseAmbiguousError, match="the clocks do not tell"),
    ):
        client.run(ask(client.api, asked, QUICK))
    assert simulator.prompts_charged == 1


@pytest.mark.parametrize("ahead", [120, 600, 86_400])
def test_an_earlier_try_on_a_machine_whose_clock_is_ahead_is_not_paid_again(simulator, ahead):
    with ChatbaseClient(ClientSettings(simulator.api_key, simulator.url)) as client:
        client.run(ask(client.api, Question(simulator.agent_id, TEXT, user_id="ann"), QUICK))
        began = time.time() + ahead
        again = Question(simulator.agent_id, TEXT, user_id="ann", earlier_try_began=began)
        with pytest.raises(ChatbaseAmbiguousError, match="the clocks do not tell"):
            client.run(ask(client.api, again, QUICK))
    assert simulator.prompts_charged == 1


@pytest.mark.parametrize("unit", ["date", "reset"])
def test_a_time_to_wait_until_is_by_the_clock_of_who_says_it(unit):
    headers = {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    until = {
        "date": {"retry-after": "Fri, 15 Jan 2027 08:00:07 GMT"},
        "reset": {"x-ratelimit-reset": "1800000007"},
    }
    for now in (1_800_000_000.0, 1_799_990_000.0, 1_800_090_000.0):
        assert asked_wait({**headers, **until[unit]}, now, rate_limited=True) == 7.0
