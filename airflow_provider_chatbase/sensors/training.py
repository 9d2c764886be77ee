"""Waiting for training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, conf
from airflow.sdk import BaseSensorOperator

from airflow_provider_chatbase.exceptions import (
    ChatbaseError,
    ChatbasePermanentError,
    ChatbaseTrainingError,
)
from airflow_provider_chatbase.training import POLL_POLICY, Outcome, PollFailures, Verdict, poll_training

if TYPE_CHECKING:
    from airflow.sdk import Context

SLACK = timedelta(seconds=60)
"""Airflow's own limit on the deferral comes after ours, whose message says what was seen last."""


class ChatbaseTrainingSensor(BaseSensorOperator):
    """
    Waits until an agent or some sources are trained: ``getAgent``, ``getSource``; on v1 ``getChatbots``.

    With ``source_ids`` it waits for just these, so the state from before they were written never passes for
    theirs. Trained succeeds; failed fails at once and names the sources; any other state, also one that is
    not known yet, waits until ``timeout``. ``soft_fail`` skips on a timeout and on failed training, never on
    a wrong connection or an unknown id. All of this is the same with ``deferrable``, which waits in the
    triggerer.

    :param agent_id: the agent; by default the connection's.
    :param source_ids: the sources to wait for, a list or one id; by default the agent as a whole. Of an empty
        list there is nothing to wait for.
    :param deferrable: wait in the triggerer; by default as Airflow's ``[operators] default_deferrable`` says.
    :param max_poll_failures: how many polls in a row may fail on the network or the server. With
        ``mode="reschedule"`` each poll is a process of its own that knows of no other, so there they may
        fail until ``timeout``.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = ("agent_id", "source_ids", "chatbase_conn_id")

    def __init__(
        self,
        *,
        agent_id: str | None = None,
        source_ids: list[str] | str | None = None,
        deferrable: bool | None = None,
        max_poll_failures: int = 10,
        chatbase_conn_id: str = "chatbase_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.source_ids = source_ids
        self.deferrable = deferrable
        self.max_poll_failures = max_poll_failures
        self.chatbase_conn_id = chatbase_conn_id
        self._failures: PollFailures | None = None
        self._seen = "nothing yet"

    def execute(self, context: Context) -> Any:
        """
        Wait, here or in the triggerer.

        :param context: the task's context.
        :raises ChatbaseTrainingError: when training failed.
        """
        if not self._defers():
            return self._wait_here(context)
        deadline = time.time() + self.timeout
        if self._poke_once(context):
            return None
        from airflow_provider_chatbase.triggers.training import ChatbaseTrainingTrigger

        return self.defer(
            trigger=ChatbaseTrainingTrigger(
                chatbase_conn_id=self.chatbase_conn_id,
                agent_id=self.agent_id or None,
                source_ids=self._source_ids(),
                poll_interval=float(self.poke_interval),
                deadline=deadline,
                max_poll_failures=self.max_poll_failures,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=self.timeout) + SLACK,
        )

    def _poke_once(self, context: Context) -> bool:
        """Poke as Airflow does it in the other modes, where it knows soft_fail."""
        try:
            return self.poke(context)
        except ChatbaseTrainingError as error:
            if self.soft_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _wait_here(self, context: Context) -> Any:
        try:
            return super().execute(context)
        except AirflowSensorTimeout as timeout:
            raise AirflowSensorTimeout(self._too_late(self._seen)) from timeout

    def poke(self, context: Context) -> bool:
        """
        Ask once.

        :param context: the task's context.
        :return: whether training is done.
        :raises ChatbaseTrainingError: when it failed.
        """
        if self._failures is None:
            self._failures = PollFailures(self.max_poll_failures)
        try:
            verdict = self._ask()
        except ChatbaseError as error:
            return self._tolerate(self._failures, error)
        self._failures.clear()
        self._seen = verdict.reason
        self.log.info(verdict.reason)
        return self._conclude(verdict.outcome.value, verdict.reason)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, **_: Any) -> None:
        """
        Go by what the trigger found.

        :param context: the task's context.
        :param event: the trigger's event.
        :raises ChatbaseTrainingError: when training failed.
        """
        if not isinstance(event, dict):
            raise ChatbaseError("The trigger ended without saying how training went; run the task again.")
        reason = str(event.get("reason"))
        if event.get("outcome") == "error":
            error = ChatbaseError(reason)
            raise self._unskippable(error) if event.get("permanent") else error
        if event.get("outcome") == "timeout":
            raise AirflowSensorTimeout(self._too_late(reason))
        if not self._conclude(str(event.get("outcome")), reason):
            raise ChatbaseError(f"The trigger ended before training did: {event}. Run the task again.")
        self.log.info(reason)

    def _too_late(self, seen: str) -> str:
        return f"Not trained within {self.timeout:g} s. Last seen: {seen}"

    def _conclude(self, outcome: str, reason: str) -> bool:
        if outcome == Outcome.FAILED.value:
            raise ChatbaseTrainingError(
                f"Training failed. {reason} Mend the sources, then clear the task that writes them."
            )
        return outcome == Outcome.TRAINED.value

    def _ask(self) -> Verdict:
        from airflow_provider_chatbase.client import ChatbaseClient
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        hook = ChatbaseHook(self.chatbase_conn_id)
        agent_id = hook.agent_or_default(self.agent_id)
        with ChatbaseClient(hook.connection.settings, POLL_POLICY) as client:
            return client.run(poll_training(agent_id, self._source_ids(), client.settings.api_version))

    def _tolerate(self, failures: PollFailures, error: ChatbaseError) -> bool:
        if error.permanent:
            raise self._unskippable(error) from error
        self.log.warning(failures.tolerate(error))
        return False

    def _unskippable(self, error: ChatbaseError) -> ChatbaseError:
        """Airflow's soft_fail turns its own fail-now errors into skips; a wrong connection must fail."""
        return error if self.soft_fail else ChatbasePermanentError(error)

    def _source_ids(self) -> list[str] | None:
        if self.source_ids is None:
            return None
        return [self.source_ids] if isinstance(self.source_ids, str) else list(self.source_ids)

    def _defers(self) -> bool:
        if self.deferrable is None:
            return bool(conf.getboolean("operators", "default_deferrable", fallback=False))
        return self.deferrable
