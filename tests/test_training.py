"""Whether training is done. Unknown is never success."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.training import (
    Outcome,
    PollFailures,
    judge_agent,
    judge_sources,
    name_sources,
    poll_training,
)

STATES_OF_TOMORROW = ["brand_new", "", None, 7, True, "TRAINED", " trained", "Trained", ["trained"]]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("trained", Outcome.TRAINED),
        ("failed", Outcome.FAILED),
        ("training", Outcome.WAITING),
        ("untrained", Outcome.WAITING),
        ("updated", Outcome.WAITING),
    ],
)
def test_agents(status, outcome):
    verdict = judge_agent({"id": "a1", "status": status})
    assert verdict.outcome is outcome
    assert verdict.reason == f"Agent a1 is {status}."


@pytest.mark.parametrize("status", STATES_OF_TOMORROW, ids=repr)
def test_an_unknown_state_of_an_agent_is_waited_for_and_named(status):
    verdict = judge_agent({"id": "a1", "status": status})
    assert verdict.outcome is Outcome.WAITING
    assert verdict.reason == f"Agent a1 is {status}, a state unknown to this provider."


def test_an_agent_without_a_state_is_not_trained():
    assert judge_agent({"id": "a1"}).outcome is Outcome.WAITING


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("trained", Outcome.TRAINED),
        ("failed", Outcome.FAILED),
        ("toBeDeleted", Outcome.FAILED),
        ("deleted", Outcome.FAILED),
        ("untrained", Outcome.WAITING),
        ("updated", Outcome.WAITING),
    ],
)
def test_sources(status, outcome):
    verdict = judge_sources([{"id": "s1", "name": "Hours", "status": status}])
    assert verdict.outcome is outcome


@pytest.mark.parametrize("status", STATES_OF_TOMORROW, ids=repr)
def test_an_unknown_state_of_a_source_is_waited_for_and_named(status):
    verdict = judge_sources([{"id": "s1", "name": "Hours", "status": status}])
    assert verdict.outcome is Outcome.WAITING
    assert f"'Hours' (s1) is {status}, a state unknown to this provider" in verdict.reason


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (["trained", "trained"], Outcome.TRAINED),
        (["trained", "untrained"], Outcome.WAITING),
        (["trained", "brand_new"], Outcome.WAITING),
        (["untrained", "failed"], Outcome.FAILED),
        (["failed", "trained"], Outcome.FAILED),
        (["trained", "toBeDeleted"], Outcome.FAILED),
        ([], Outcome.TRAINED),
    ],
    ids=str,
)
def test_sources_together(statuses, outcome):
    sources = [{"id": f"s{at}", "status": status} for at, status in enumerate(statuses)]
    assert judge_sources(sources).outcome is outcome


def test_the_reason_names_the_failed_sources_and_no_other():
    sources = [
        {"id": "s1", "name": "Hours", "status": "trained"},
        {"id": "s2", "name": "Prices", "status": "failed"},
        {"id": "s3", "name": None, "status": "failed"},
    ]
    reason = judge_sources(sources).reason
    assert reason == "2 sources failed to train: 'Prices' (s2) is failed, None (s3) is failed."


def test_the_reason_says_what_is_still_to_go():
    sources = [{"id": "s1", "name": "A", "status": "updated"}, {"id": "s2", "name": "B", "status": "trained"}]
    assert judge_sources(sources).reason == "Waiting for 1 of 2 sources: 'A' (s1) is updated."


def test_only_some_of_many_sources_are_named():
    sources = [{"id": f"s{n}", "name": "N", "status": "failed"} for n in range(12)]
    named = name_sources(sources)
    assert named.count("is failed") == 10
    assert named.endswith("and 2 more")


class Chatbase:
    """Answers the steps' requests from a table by path."""

    def __init__(self, **replies) -> None:
        self.replies = replies
        self.asked: list[str] = []

    def run(self, steps):
        try:
            request = next(steps)
            while True:
                name = request.path.rsplit("/", 1)[-1]
                self.asked.append(f"{request.method} {name}")
                reply = self.replies[name]
                request = steps.throw(reply) if isinstance(reply, Exception) else steps.send(reply)
        except StopIteration as end:
            return end.value


def agent(status: str) -> dict:
    return {"id": "a1", "status": status}


def test_an_agent_is_asked_for_once():
    chatbase = Chatbase(a1=agent("training"))
    assert chatbase.run(poll_training("a1", None)).outcome is Outcome.WAITING
    assert chatbase.asked == ["GET a1"]


def test_a_failed_agent_is_asked_for_the_sources_that_failed():
    sources = [{"id": "s1", "name": "A", "status": "trained"}, {"id": "s2", "name": "B", "status": "failed"}]
    chatbase = Chatbase(a1=agent("failed"), sources=Page(sources, None, 2))
    verdict = chatbase.run(poll_training("a1", None))
    assert verdict.outcome is Outcome.FAILED
    assert verdict.reason == "Agent a1 is failed. Failed: 'B' (s2) is failed."


def test_a_failed_agent_whose_sources_recovered_meanwhile_has_still_failed():
    chatbase = Chatbase(a1=agent("failed"), sources=Page([], None, 0))
    verdict = chatbase.run(poll_training("a1", None))
    assert verdict.outcome is Outcome.FAILED
    assert "no source says so" in verdict.reason


def test_of_sources_only_they_are_asked_for_and_not_the_agent():
    chatbase = Chatbase(
        s1={"id": "s1", "name": "A", "status": "trained"}, s2={"id": "s2", "name": "B", "status": "trained"}
    )
    assert chatbase.run(poll_training("a1", ["s1", "s2"])).outcome is Outcome.TRAINED
    assert chatbase.asked == ["GET s1", "GET s2"]


def test_of_no_source_nothing_is_asked():
    chatbase = Chatbase()
    assert chatbase.run(poll_training("a1", [])).outcome is Outcome.TRAINED
    assert chatbase.asked == []


def test_an_error_of_a_poll_comes_through():
    chatbase = Chatbase(s1=errors.ChatbaseNotFoundError("There is no such source."))
    with pytest.raises(errors.ChatbaseNotFoundError):
        chatbase.run(poll_training("a1", ["s1"]))


BLIP = errors.ChatbaseServerError("It failed.")


def test_blips_are_tolerated_up_to_a_number_in_a_row():
    failures = PollFailures(2)
    for _ in range(2):
        assert "trying again: It failed." in failures.tolerate(BLIP)
    with pytest.raises(ChatbaseError) as raised:
        failures.tolerate(BLIP)
    assert raised.value is BLIP


def test_a_poll_that_works_begins_the_count_anew():
    failures = PollFailures(1)
    for _ in range(5):
        failures.tolerate(BLIP)
        failures.clear()


def test_none_is_tolerated_where_none_may():
    with pytest.raises(errors.ChatbaseServerError):
        PollFailures(0).tolerate(BLIP)


@pytest.mark.parametrize(
    "error",
    [errors.ChatbaseConflictError("x"), errors.ChatbaseReplyError("x"), errors.ChatbaseNotFoundError("x")],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_cannot_mend_is_not_tolerated(error):
    with pytest.raises(type(error)):
        PollFailures(9).tolerate(error)
