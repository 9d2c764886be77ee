"""
Whether training is done: one judgement for the sensor, its trigger and every operator that waits.

Unknown is never success.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_chatbase.client import RetryPolicy, Steps
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.paging import all_items
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject
from airflow_provider_chatbase.client.v1 import find_chatbot, list_chatbots
from airflow_provider_chatbase.client.v2.agents import get_agent
from airflow_provider_chatbase.client.v2.sources import get_source, list_sources

POLL_POLICY = RetryPolicy(max_attempts=3, max_wait=30.0, deadline=60.0)
"""A poll that fails is followed by the next one, so it is not itself repeated for long."""


class Outcome(StrEnum):
    """What a state means for a task that waits."""

    TRAINED = "trained"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    A judgement on an agent or on sources.

    :param outcome: what it means for a task that waits.
    :param reason: a sentence with ids and states.
    """

    outcome: Outcome
    reason: str


AGENT_OUTCOMES = {"trained": Outcome.TRAINED, "failed": Outcome.FAILED}
AGENT_WAITING = frozenset({"training", "untrained", "updated"})

CHATBOT_OUTCOMES = {"ready": Outcome.TRAINED, "failed": Outcome.FAILED}
CHATBOT_WAITING = frozenset({"training"})

SOURCE_OUTCOMES = {
    "trained": Outcome.TRAINED,
    "failed": Outcome.FAILED,
    "toBeDeleted": Outcome.FAILED,
    "deleted": Outcome.FAILED,
}
SOURCE_WAITING = frozenset({"untrained", "updated"})


class PollFailures:
    """
    Counts the polls that failed in a row.

    :param most: how many may.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0

    def clear(self) -> None:
        """Take note of a poll that worked."""
        self._count = 0

    def tolerate(self, error: ChatbaseError) -> str:
        """
        Take note of a poll that failed.

        :param error: how.
        :return: what to log.
        :raises ChatbaseError: the same error, when waiting cannot mend it or it has come too often.
        """
        self._count += 1
        if not error.transient or self._count > self._most:
            raise error
        return f"Poll failed ({self._count} of at most {self._most} in a row), trying again: {error}"


def poll_training(
    agent_id: str, source_ids: Sequence[str] | None, api_version: ApiVersion = "v2"
) -> Steps[Verdict]:
    """
    Ask once how far training is, as steps of a client: ``getAgent``, ``getSource``, on v1 ``getChatbots``.

    :param agent_id: the agent.
    :param source_ids: the sources to wait for; ``None`` waits for the agent as a whole.
    :param api_version: the API version that the connection speaks.
    :return: the judgement.
    """
    if api_version == "v1" and source_ids is None:
        return judge_chatbot(find_chatbot((yield list_chatbots()), agent_id))
    if source_ids is not None:
        written: list[JsonObject] = []
        for source_id in source_ids:
            source = yield get_source(agent_id, source_id)
            written.append(source)
        return judge_sources(written)
    verdict = judge_agent((yield get_agent(agent_id)))
    if verdict.outcome is not Outcome.FAILED:
        return verdict
    return (yield from name_failed(agent_id, verdict))


def name_failed(agent_id: str, verdict: Verdict) -> Steps[Verdict]:
    """
    Add the names of the failed sources to a judgement, as steps of a client: ``listSources``.

    :param agent_id: the agent.
    :param verdict: that it failed.
    """
    sources = yield from all_items(list_sources(agent_id))
    failed = [source for source in sources if source.get("status") == "failed"]
    return Verdict(Outcome.FAILED, f"{verdict.reason} Failed: {name_sources(failed) or 'no source says so'}.")


def judge_agent(agent: JsonObject) -> Verdict:
    """
    Judge an agent by its status.

    :param agent: the agent, as the API gave it.
    """
    status = str(agent.get("status"))
    outcome = AGENT_OUTCOMES.get(status, Outcome.WAITING)
    note = "" if status in AGENT_OUTCOMES or status in AGENT_WAITING else ", a state unknown to this provider"
    return Verdict(outcome, f"Agent {agent.get('id')} is {status}{note}.")


def judge_chatbot(chatbot: JsonObject) -> Verdict:
    """
    Judge an agent by its status on API v1.

    :param chatbot: the agent, as v1 gave it.
    """
    status = str(chatbot.get("status"))
    outcome = CHATBOT_OUTCOMES.get(status, Outcome.WAITING)
    known = status in CHATBOT_OUTCOMES or status in CHATBOT_WAITING
    note = "" if known else ", a state unknown to this provider"
    return Verdict(outcome, f"Agent {chatbot.get('id')} is {status}{note}.")


def judge_sources(sources: Sequence[JsonObject]) -> Verdict:
    """
    Judge sources together: failed if one failed, trained when all are.

    :param sources: the sources, as the API gave them.
    """
    outcomes = [SOURCE_OUTCOMES.get(str(source.get("status")), Outcome.WAITING) for source in sources]
    if Outcome.FAILED in outcomes:
        failed = [s for s, outcome in zip(sources, outcomes, strict=True) if outcome is Outcome.FAILED]
        return Verdict(Outcome.FAILED, f"{_count(failed)} failed to train: {name_sources(failed)}.")
    waiting = [s for s, outcome in zip(sources, outcomes, strict=True) if outcome is Outcome.WAITING]
    if waiting:
        return Verdict(
            Outcome.WAITING, f"Waiting for {len(waiting)} of {_count(sources)}: {name_sources(waiting)}."
        )
    return Verdict(
        Outcome.TRAINED, f"{_count(sources)} trained." if sources else "There is no source to wait for."
    )


def name_sources(sources: Iterable[JsonObject], most: int = 10) -> str:
    """
    Name sources with their states.

    :param sources: the sources.
    :param most: how many to name.
    """
    found = list(sources)
    names = [f"{_label(source)} is {_state(source)}" for source in found[:most]]
    if len(found) > most:
        names.append(f"and {len(found) - most} more")
    return ", ".join(names)


def _label(source: JsonObject) -> str:
    return f"{source.get('name')!r} ({source.get('id')})"


def _state(source: JsonObject) -> str:
    status = str(source.get("status"))
    known = status in SOURCE_OUTCOMES or status in SOURCE_WAITING
    return status if known else f"{status}, a state unknown to this provider"


def _count(sources: Sequence[JsonObject]) -> str:
    return "1 source" if len(sources) == 1 else f"{len(sources)} sources"
