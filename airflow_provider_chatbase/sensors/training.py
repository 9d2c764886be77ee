"""Waiting for training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException
from airflow.sdk import BaseSensorOperator

from airflow_provider_chatbase.client.alarm import alarm_kept
from airflow_provider_chatbase.exceptions import ChatbaseError, ChatbaseTrainingError, fail_at_once, wrap
from airflow_provider_chatbase.links import ChatbaseAgentLink
from airflow_provider_chatbase.operators._task import (
    defers,
    require_promised,
    require_time_to_run,
    require_trained,
    wait_in_triggerer,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_chatbase.training import TrainingWait, Verdict


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
    operator_extra_links = (ChatbaseAgentLink(),)
    linked_agent_id: str | None = None

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
        self._wait: TrainingWait | None = None

    def _do_render_template_fields(
        self, parent: Any, template_fields: Any, context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        with require_promised(parent):
            super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def execute(self, context: Context) -> Any:
        """
        Wait, here or in the triggerer.

        :param context: the task's context.
        :raises ChatbaseTrainingError: when training failed.
        """
        with alarm_kept():
            if not defers(self.deferrable):
                return self._wait_here(context)
            deadline = time.time() + self.timeout
            if self._poke_once(context):
                return None
            return wait_in_triggerer(
                self,
                self.agent_id,
                self._source_ids(),
                deadline=deadline,
                context=context,
                poll_interval=float(self.poke_interval),
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
        from airflow_provider_chatbase.training import TrainingWait

        self._wait = TrainingWait(self.max_poll_failures)
        try:
            return super().execute(context)
        except AirflowSensorTimeout:
            raise self._too_late(self._wait.too_late()) from None

    def poke(self, context: Context) -> bool:
        """
        Ask once.

        :param context: the task's context.
        :return: whether training is done.
        :raises ChatbaseTrainingError: when it failed.
        """
        from airflow_provider_chatbase.client import ChatbaseClient
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
        from airflow_provider_chatbase.training import POLL_POLICY, TrainingOutcome, TrainingWait, poll_once

        if self._wait is None:
            self._wait = TrainingWait(self.max_poll_failures)
        with self._failing():
            hook = ChatbaseHook(self.chatbase_conn_id)
            agent_id = hook.agent_or_default(self.agent_id)
            with ChatbaseClient(hook.connection.settings, POLL_POLICY) as client:
                verdict = poll_once(self._wait, client, agent_id, self._source_ids(), self.log)
        return verdict.outcome is not TrainingOutcome.WAITING and self._conclude(verdict)

    def execute_complete(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        time_was_over: bool = False,
        **_: Any,
    ) -> None:
        """
        Go by what the trigger found.

        :param context: the task's context.
        :param event: the trigger's event.
        :param time_was_over: whether a wait that ended without a result ended by ``execution_timeout``.
        :raises ChatbaseTrainingError: when training failed.
        """
        with alarm_kept():
            from airflow_provider_chatbase.training import TrainingOutcome, Verdict

            verdict = Verdict.from_event(event)
            if verdict.outcome is TrainingOutcome.TIMEOUT:
                require_time_to_run(self, time_was_over, verdict.reason)
                raise self._too_late(verdict)
            self._conclude(verdict)
            self.log.info(verdict.reason)

    def _conclude(self, verdict: Verdict) -> bool:
        from airflow_provider_chatbase.training import TrainingOutcome

        if verdict.outcome is TrainingOutcome.ERROR and self.soft_fail:
            raise ChatbaseError(verdict.reason)
        with self._failing():
            require_trained(verdict, "Mend the sources, then clear the task that writes them.")
        return True

    def _failing(self) -> AbstractContextManager[None]:
        # Airflow's soft_fail turns its own fail-now errors into skips; a wrong connection must fail.
        return nullcontext() if self.soft_fail else fail_at_once()

    def _too_late(self, verdict: Verdict) -> AirflowSensorTimeout:
        reason = f"Not trained within {self.timeout:g} s. Last seen: {verdict.reason}"
        if not self.soft_fail:
            self.log.error("%s", wrap(reason))
        return AirflowSensorTimeout(reason)

    def _source_ids(self) -> list[str] | None:
        if self.source_ids is None:
            return None
        return [self.source_ids] if isinstance(self.source_ids, str) else list(self.source_ids)
