"""Waiting for training without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.training import POLL_POLICY, Outcome, PollFailures, Verdict, poll_training


class ChatbaseTrainingTrigger(BaseTrigger):
    """
    Polls until an agent or its sources are trained, have failed, or the time is up.

    It only reads, so running it again after a triggerer's restart is harmless.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    :param agent_id: the agent; ``None`` means the connection's.
    :param source_ids: wait for these sources; ``None`` waits for the agent as a whole.
    :param poll_interval: seconds between polls; the first poll comes after the first interval.
    :param deadline: when to give up, in seconds since the epoch.
    :param max_poll_failures: how many polls in a row may fail before the wait does.
    """

    def __init__(
        self,
        chatbase_conn_id: str,
        agent_id: str | None,
        source_ids: list[str] | None,
        poll_interval: float,
        deadline: float,
        max_poll_failures: int,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.chatbase_conn_id = chatbase_conn_id
        self.agent_id = agent_id
        self.source_ids = source_ids
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.max_poll_failures = max_poll_failures
        self._seen = "not polled yet"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, as plain JSON without secrets."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "chatbase_conn_id": self.chatbase_conn_id,
                "agent_id": self.agent_id,
                "source_ids": self.source_ids,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "max_poll_failures": self.max_poll_failures,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Poll until there is something to say, and say it in one event.

        The event holds ``outcome`` (``trained``, ``failed``, ``timeout`` or ``error``), ``reason``, and for
        an error whether it is ``permanent``.
        """
        try:
            async with asyncio.timeout(max(self.deadline - time.time(), 0.0)):
                verdict = await self._wait()
        except TimeoutError:
            yield TriggerEvent({"outcome": "timeout", "reason": self._seen})
        except ChatbaseError as error:
            yield TriggerEvent({"outcome": "error", "reason": str(error), "permanent": error.permanent})
        else:
            yield TriggerEvent({"outcome": verdict.outcome.value, "reason": verdict.reason})

    async def _wait(self) -> Verdict:
        hook = ChatbaseHook(self.chatbase_conn_id)
        failures = PollFailures(self.max_poll_failures)
        async with await hook.open_async_client(POLL_POLICY) as client:
            agent_id = hook.agent_or_default(self.agent_id)
            while True:
                await asyncio.sleep(self.poll_interval)
                verdict = await self._poll(client, agent_id, failures)
                if verdict is not None and verdict.outcome is not Outcome.WAITING:
                    return verdict

    async def _poll(
        self, client: AsyncChatbaseClient, agent_id: str, failures: PollFailures
    ) -> Verdict | None:
        try:
            verdict = await client.run(poll_training(agent_id, self.source_ids))
        except ChatbaseError as error:
            self.log.warning(failures.tolerate(error))
            return None
        failures.clear()
        if verdict.reason != self._seen:
            self.log.info(verdict.reason)
        self._seen = verdict.reason
        return verdict
