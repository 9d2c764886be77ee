"""
Whether training is done: one judgement, and one account of when waiting for it ends.

The sensor, its trigger and every operator that waits go by both. Unknown is never success.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_provider_chatbase.client import ChatbaseClient, RetryPolicy, Steps
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseError, counted
from airflow_provider_chatbase.client.replies import all_items
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject
from airflow_provider_chatbase.client.v2.sources import get_source, list_sources

POLL_POLICY = RetryPolicy(max_attempts=3, max_wait=30.0, deadline=60.0)
"""A poll that fails is followed by the next one, so it is not itself repeated for long."""


class TrainingOutcome(StrEnum):
    """What a poll, or a wait at its end, says of training."""

    TRAINED = "trained"
    FAILED = "failed"
    WAITING = "waiting"
    TIMEOUT = "timeout"
    ERROR = "error"


TRAINED, FAILED, WAITING = TrainingOutcome.TRAINED, TrainingOutcome.FAILED, TrainingOutcome.WAITING

AGENT_STATES: Mapping[ApiVersion, Mapping[str, TrainingOutcome]] = {
    "v2": {
        "trained": TRAINED,
        "failed": FAILED,
        "training": WAITING,
        "untrained": WAITING,
        "updated": WAITING,
    },
    "v1": {"ready": TRAINED, "failed": FAILED, "training": WAITING},
}

SOURCE_STATES = {
    "trained": TRAINED,
    "failed": FAILED,
    "toBeDeleted": FAILED,
    "deleted": FAILED,
    "untrained": WAITING,
    "updated": WAITING,
}

UNKNOWN = ", a state unknown to this provider"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement on an agent or on sources, or on a wait at its end; a trigger's event is one as JSON."""

    outcome: TrainingOutcome
    reason: str  # a sentence with ids and states
    permanent: bool = False  # whether a retry of the task could not mend an error

    def as_event(self) -> JsonObject:
        """Return it as plain JSON."""
        event: JsonObject = {"outcome": self.outcome.value, "reason": self.reason}
        return {**event, "permanent": self.permanent} if self.outcome is TrainingOutcome.ERROR else event

    @classmethod
    def from_event(cls, event: Any) -> Verdict:
        """Read what a trigger said, which may be of another version of this provider."""
        try:
            found = cls(TrainingOutcome(event["outcome"]), str(event["reason"]), bool(event.get("permanent")))
        except (TypeError, KeyError, ValueError, AttributeError):
            found = cls(WAITING, "")
        if found.outcome is WAITING:
            raise ChatbaseError(
                f"The trigger ended without saying how training went ({event!r}); run the task again."
            )
        return found


class TrainingWait:
    """Decides whether to go on waiting, by what polls bring and by the clock. It does not poll, nor sleep."""

    def __init__(
        self, max_poll_failures: int, deadline: float = float("inf"), trust_from: float | None = None
    ) -> None:
        self._most = max_poll_failures
        self._deadline = deadline
        self._trust_from = trust_from or 0.0  # before it, "trained" may be the state from before a write
        self._failed_in_a_row = 0
        self._seen = "nothing yet."
        self._last_failure = ""

    def take(self, verdict: Verdict, now: float) -> Verdict:
        """Take note of a poll that worked, and say what it means for the wait."""
        self._failed_in_a_row, self._last_failure = 0, ""
        if verdict.outcome is TRAINED and now < self._trust_from:
            return Verdict(WAITING, f"{verdict.reason} That may be the state from before the write.")
        self._seen = verdict.reason
        return verdict

    def tolerate(self, error: ChatbaseError) -> Verdict:
        """Take note of a poll that failed; raise what waiting cannot mend, and what comes too often."""
        self._failed_in_a_row += 1
        if not error.transient or self._failed_in_a_row > self._most:
            raise error
        self.note(error)
        count = f"{self._failed_in_a_row} of at most {self._most} in a row"
        return Verdict(WAITING, f"Poll failed ({count}), trying again: {error}")

    def note(self, error: ChatbaseError | None) -> None:
        """Take note of what a poll met that is still being tried."""
        if error is not None:
            self._last_failure = f" The last poll failed: {error}"

    def left(self, now: float) -> float:
        """Return the seconds until the deadline."""
        return max(self._deadline - now, 0.0)

    def too_late(self) -> Verdict:
        """Return how the wait ends when its time is up."""
        return Verdict(TrainingOutcome.TIMEOUT, self._seen + self._last_failure)


def poll_once(
    wait: TrainingWait, client: ChatbaseClient, agent_id: str, source_ids: Sequence[str] | None, log: Any
) -> Verdict:
    """Poll for a task that waits in its worker, and log what it brings."""
    try:
        verdict = client.run(poll_training(client.api, agent_id, source_ids))
    except ChatbaseError as error:
        verdict = wait.tolerate(error)
        log.warning(verdict.reason)
    else:
        verdict = wait.take(verdict, time.time())
        log.info(verdict.reason)
    return verdict


def poll_training(api: Api, agent_id: str, source_ids: Sequence[str] | None) -> Steps[Verdict]:
    """Ask once how far training is, as steps of a client."""
    if source_ids is not None:
        written: list[JsonObject] = []
        for source_id in source_ids:
            source = yield get_source(agent_id, source_id)
            written.append(source)
        return judge_sources(written)
    agent: JsonObject = yield api.get_agent(agent_id)
    return (yield from judge_and_name(api, agent))


def judge_and_name(api: Api, agent: JsonObject) -> Steps[Verdict]:
    """Judge an agent, and where it has failed name the sources that did, as steps of a client."""
    verdict = judge_agent(api, agent)
    if verdict.outcome is not FAILED or not api.has_sources:
        return verdict
    sources = yield from all_items(list_sources(str(agent.get("id"))))
    failed = [source for source in sources if source.get("status") == "failed"]
    return Verdict(FAILED, f"{verdict.reason} Failed: {name_sources(failed) or 'no source says so'}.")


def judge_agent(api: Api, agent: JsonObject) -> Verdict:
    """Judge an agent by its status."""
    status = str(agent.get("status"))
    states = AGENT_STATES[api.version]
    note = "" if status in states else UNKNOWN
    return Verdict(states.get(status, WAITING), f"Agent {agent.get('id')} is {status}{note}.")


def judge_sources(sources: Sequence[JsonObject]) -> Verdict:
    """Judge sources together: failed if one failed, trained when all are."""
    by_outcome: dict[TrainingOutcome, list[JsonObject]] = {FAILED: [], WAITING: [], TRAINED: []}
    for source in sources:
        by_outcome[SOURCE_STATES.get(str(source.get("status")), WAITING)].append(source)
    if failed := by_outcome[FAILED]:
        return Verdict(FAILED, f"{_count(failed)} failed to train: {name_sources(failed)}.")
    if waiting := by_outcome[WAITING]:
        reason = f"Waiting for {len(waiting)} of {_count(sources)}: {name_sources(waiting)}."
        return Verdict(WAITING, reason)
    return Verdict(TRAINED, f"{_count(sources)} trained." if sources else "There is no source to wait for.")


def name_sources(sources: Iterable[JsonObject], most: int = 10) -> str:
    """Name sources with their states."""
    found = list(sources)
    names = [
        f"{source.get('name')!r} ({source.get('id')}) is {_state(source.get('status'))}"
        for source in found[:most]
    ]
    if len(found) > most:
        names.append(f"and {len(found) - most} more")
    return ", ".join(names)


def _state(status: Any) -> str:
    return str(status) if str(status) in SOURCE_STATES else f"{status}{UNKNOWN}"


def _count(sources: Sequence[JsonObject]) -> str:
    return counted(len(sources), "source")
