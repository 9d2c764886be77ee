"""Whether training is done. Unknown is never success."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.training import (
    TrainingOutcome,
    TrainingWait,
    Verdict,
    judge_agent,
    judge_sources,
    name_sources,
    poll_training,
)

V2 = Api("v2")
STATES_OF_TOMORROW = ["brand_new", "", None, 7, True, "TRAINED", " trained", "Trained", ["trained"]]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("trained", TrainingOutcome.TRAINED),
        ("failed", TrainingOutcome.FAILED),
        ("training", TrainingOutcome.WAITING),
        ("untrained", TrainingOutcome.WAITING),
        ("updated", TrainingOutcome.WAITING),
    ],
)
def test_agents(status, outcome):
    verdict = judge_agent(V2, {"id": "a1", "status": status})
    assert verdict.outcome is outcome
    assert verdict.reason == f"Agent a1 is {status}."


@pytest.mark.parametrize("status", STATES_OF_TOMORROW, ids=repr)
def test_an_unknown_state_of_an_agent_is_waited_for_and_named(status):
    verdict = judge_agent(V2, {"id": "a1", "status": status})
    assert verdict.outcome is TrainingOutcome.WAITING
    assert verdict.reason == f"Agent a1 is {status}, a state unknown to this provider."


def test_an_agent_without_a_state_is_not_trained():
    assert judge_agent(V2, {"id": "a1"}).outcome is TrainingOutcome.WAITING


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("trained", TrainingOutcome.TRAINED),
        ("failed", TrainingOutcome.FAILED),
        ("toBeDeleted", TrainingOutcome.FAILED),
        ("deleted", TrainingOutcome.FAILED),
        ("untrained", TrainingOutcome.WAITING),
        ("updated", TrainingOutcome.WAITING),
    ],
)
def test_sources(status, outcome):
    verdict = judge_sources([{"id": "s1", "name": "Hours", "status": status}])
    assert verdict.outcome is outcome


@pytest.mark.parametrize("status", STATES_OF_TOMORROW, ids=repr)
def test_an_unknown_state_of_a_source_is_waited_for_and_named(status):
    verdict = judge_sources([{"id": "s1", "name": "Hours", "status": status}])
    assert verdict.outcome is TrainingOutcome.WAITING
    assert f"'Hours' (s1) is {status}, a state unknown to this provider" in verdict.reason


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        (["trained", "trained"], TrainingOutcome.TRAINED),
        (["trained", "untrained"], TrainingOutcome.WAITING),
        (["trained", "brand_new"], TrainingOutcome.WAITING),
        (["untrained", "failed"], TrainingOutcome.FAILED),
        (["failed", "trained"], TrainingOutcome.FAILED),
        (["trained", "toBeDeleted"], TrainingOutcome.FAILED),
        ([], TrainingOutcome.TRAINED),
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
    assert chatbase.run(poll_training(V2, "a1", None)).outcome is TrainingOutcome.WAITING
    assert chatbase.asked == ["GET a1"]


def test_a_failed_agent_is_asked_for_the_sources_that_failed():
    sources = [{"id": "s1", "name": "A", "status": "trained"}, {"id": "s2", "name": "B", "status": "failed"}]
    chatbase = Chatbase(a1=agent("failed"), sources=Page(sources, None, 2))
    verdict = chatbase.run(poll_training(V2, "a1", None))
    assert verdict.outcome is TrainingOutcome.FAILED
    assert verdict.reason == "Agent a1 is failed. Failed: 'B' (s2) is failed."


def test_a_failed_agent_whose_sources_recovered_meanwhile_has_still_failed():
    chatbase = Chatbase(a1=agent("failed"), sources=Page([], None, 0))
    verdict = chatbase.run(poll_training(V2, "a1", None))
    assert verdict.outcome is TrainingOutcome.FAILED
    assert "no source says so" in verdict.reason


def test_of_sources_only_they_are_asked_for_and_not_the_agent():
    chatbase = Chatbase(
        s1={"id": "s1", "name": "A", "status": "trained"}, s2={"id": "s2", "name": "B", "status": "trained"}
    )
    assert chatbase.run(poll_training(V2, "a1", ["s1", "s2"])).outcome is TrainingOutcome.TRAINED
    assert chatbase.asked == ["GET s1", "GET s2"]


def test_of_no_source_nothing_is_asked():
    chatbase = Chatbase()
    assert chatbase.run(poll_training(V2, "a1", [])).outcome is TrainingOutcome.TRAINED
    assert chatbase.asked == []


def test_an_error_of_a_poll_comes_through():
    chatbase = Chatbase(s1=errors.ChatbaseNotFoundError("There is no such source."))
    with pytest.raises(errors.ChatbaseNotFoundError):
        chatbase.run(poll_training(V2, "a1", ["s1"]))


BLIP = errors.ChatbaseServerError("It failed.")


def test_blips_are_tolerated_up_to_a_number_in_a_row():
    wait = TrainingWait(2)
    for _ in range(2):
        assert "trying again: It failed." in wait.tolerate(BLIP).reason
    with pytest.raises(ChatbaseError) as raised:
        wait.tolerate(BLIP)
    assert raised.value is BLIP


def test_a_poll_that_works_begins_the_count_anew():
    wait = TrainingWait(1)
    for _ in range(5):
        wait.tolerate(BLIP)
        wait.take(Verdict(TrainingOutcome.WAITING, "Not yet."), 0.0)


def test_none_is_tolerated_where_none_may():
    with pytest.raises(errors.ChatbaseServerError):
        TrainingWait(0).tolerate(BLIP)


@pytest.mark.parametrize(
    "error",
    [errors.ChatbaseConflictError("x"), errors.ChatbaseReplyError("x"), errors.ChatbaseNotFoundError("x")],
    ids=lambda error: type(error).__name__,
)
def test_what_waiting_cannot_mend_is_not_tolerated(error):
    with pytest.raises(type(error)):
        TrainingWait(9).tolerate(error)


def test_trained_counts_only_from_when_it_can_be_trusted():
    wait = TrainingWait(0, trust_from=10.0)
    trained = Verdict(TrainingOutcome.TRAINED, "Agent a1 is ready.")
    assert wait.take(trained, 9.0).outcome is TrainingOutcome.WAITING
    assert wait.take(trained, 10.0) is trained


def test_a_wait_that_ends_names_what_it_saw_and_why_it_saw_no_more():
    wait = TrainingWait(9, deadline=5.0)
    assert wait.left(3.0) == 2.0
    wait.tolerate(BLIP)
    assert wait.too_late().reason == "nothing yet. The last poll failed: It failed."
    wait.take(Verdict(TrainingOutcome.WAITING, "Agent a1 is training."), 1.0)
    assert wait.too_late().reason == "Agent a1 is training."
    wait.tolerate(BLIP)
    assert wait.too_late().reason == "Agent a1 is training. The last poll failed: It failed."


@pytest.mark.parametrize("outcome", [each for each in TrainingOutcome if each is not TrainingOutcome.WAITING])
@pytest.mark.parametrize("permanent", [False, True])
def test_an_event_brings_the_verdict_back(outcome, permanent):
    verdict = Verdict(outcome, "So.", permanent and outcome is TrainingOutcome.ERROR)
    assert Verdict.from_event(json.loads(json.dumps(verdict.as_event()))) == verdict
