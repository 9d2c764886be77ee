"""Waiting for the training of what a task wrote, here or in the triggerer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_chatbase.exceptions import (
    ChatbaseError,
    ChatbasePermanentError,
    ChatbaseTrainingError,
    ChatbaseTrainingTimeoutError,
)
from airflow_provider_chatbase.operators.base import ChatbaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.client import ChatbaseClient

SLACK = timedelta(seconds=60)
"""Airflow's own limit on the deferral comes after ours, whose message says what was seen last."""

V1_SETTLES_AFTER = 10.0
"""Seconds after a write during which v1, which has no status of a source, may show the state before it."""


class TrainingTask(ChatbaseOperator):
    """
    An operator that writes what an agent learns, and may wait until it has.

    It waits for the sources that it wrote, so the state from before never passes for theirs.

    :param wait_for_training: whether to wait.
    :param deferrable: wait in the triggerer; by default as Airflow's ``[operators] default_deferrable`` says.
    :param poll_interval: seconds between polls.
    :param training_timeout: seconds after which the task gives up waiting and fails.
    :param max_poll_failures: how many polls in a row may fail on the network or the server.
    """

    def __init__(
        self,
        *,
        wait_for_training: bool = False,
        deferrable: bool | None = None,
        poll_interval: float = 15.0,
        training_timeout: float = 3600.0,
        max_poll_failures: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_for_training = wait_for_training
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.training_timeout = training_timeout
        self.max_poll_failures = max_poll_failures

    def await_training(
        self, client: ChatbaseClient, agent_id: str, source_ids: Sequence[str] | None, result: dict[str, Any]
    ) -> dict[str, Any]:
        """
        Wait until sources are trained, and return the task's result then.

        :param client: the client.
        :param agent_id: the agent.
        :param source_ids: the sources; ``None`` waits for the agent as a whole, as v1 must.
        :param result: the task's result, plain JSON.
        :return: the result, unless the wait goes on in the triggerer.
        :raises ChatbaseTrainingError: when training failed.
        :raises ChatbaseTrainingTimeoutError: when it took too long.
        """
        from airflow_provider_chatbase.training import Outcome, PollFailures, poll_training

        deadline = time.time() + self.training_timeout
        trust_from = time.time() + V1_SETTLES_AFTER if source_ids is None else 0.0
        failures = PollFailures(self.max_poll_failures)
        version = client.settings.api_version
        seen = "nothing yet"
        while True:
            try:
                verdict = client.run(poll_training(agent_id, source_ids, version))
            except ChatbaseError as error:
                self.log.warning(failures.tolerate(error))
            else:
                failures.clear()
                seen = verdict.reason
                self.log.info(seen)
                too_early = verdict.outcome is Outcome.TRAINED and time.time() < trust_from
                if verdict.outcome is not Outcome.WAITING and not too_early:
                    return self._conclude(verdict.outcome.value, seen, result)
            if self._defers():
                self._defer_wait(agent_id, source_ids, result, deadline, trust_from or None)
            if time.time() >= deadline:
                return self._conclude("timeout", seen, result)
            time.sleep(min(self.poll_interval, max(deadline - time.time(), 0.0)))

    def execute_complete(
        self, context: Context, event: dict[str, Any] | None = None, **_: Any
    ) -> dict[str, Any]:
        """
        Go by what the trigger found.

        :param context: the task's context.
        :param event: the trigger's event.
        :return: the task's result, from before the wait.
        :raises ChatbaseTrainingError: when training failed.
        """
        if not isinstance(event, dict) or not isinstance(event.get("carry"), dict):
            raise ChatbaseError("The trigger ended without saying how training went; run the task again.")
        outcome, reason = str(event.get("outcome")), str(event.get("reason"))
        if outcome == "error":
            error = ChatbaseError(reason)
            raise ChatbasePermanentError(error) if event.get("permanent") else error
        self.log.info(reason)
        return self._conclude(outcome, reason, event["carry"])

    def _defer_wait(
        self,
        agent_id: str,
        source_ids: Sequence[str] | None,
        result: dict[str, Any],
        deadline: float,
        trust_from: float | None,
    ) -> None:
        from airflow_provider_chatbase.triggers.training import ChatbaseTrainingTrigger

        self.defer(
            trigger=ChatbaseTrainingTrigger(
                chatbase_conn_id=self.chatbase_conn_id,
                agent_id=agent_id,
                source_ids=None if source_ids is None else list(source_ids),
                poll_interval=float(self.poll_interval),
                deadline=deadline,
                max_poll_failures=self.max_poll_failures,
                carry=result,
                trust_from=trust_from,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.training_timeout) + SLACK,
        )

    def _conclude(self, outcome: str, reason: str, result: dict[str, Any]) -> dict[str, Any]:
        if outcome == "trained":
            return result
        if outcome == "failed":
            raise ChatbaseTrainingError(
                f"Training failed. {reason} Mend the sources and run this task again."
            )
        if outcome == "timeout":
            raise ChatbaseTrainingTimeoutError(
                f"Not trained within {self.training_timeout:g} s. Last seen: {reason} Everything is written; "
                "run the task again to go on waiting."
            )
        raise ChatbaseError(f"The wait ended before training did: {outcome}. Run the task again.")

    def _defers(self) -> bool:
        if self.deferrable is None:
            return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
        return self.deferrable
