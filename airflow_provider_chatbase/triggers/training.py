"""Waiting for training without a worker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.training import TrainingOutcome, TrainingWait, Verdict
from airflow_provider_chatbase.triggers.poll_hub import shared_polls


class ChatbaseTrainingTrigger(BaseTrigger):
    """
    Polls until an agent or its sources are trained, have failed, or the time is up.

    All triggers of a connection in one triggerer share their requests, see
    :mod:`~airflow_provider_chatbase.triggers.poll_hub`; each has its own deadline and its own count of
    failures. It only reads, so running it again after a triggerer's restart is harmless.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    :param agent_id: the agent; ``None`` means the connection's.
    :param source_ids: wait for these sources; ``None`` waits for the agent as a whole.
    :param poll_interval: seconds between polls; the first poll comes after the first interval.
    :param deadline: when to give up, in seconds since the epoch.
    :param max_poll_failures: how many polls in a row may fail before the wait does.
    :param carry: plain JSON that comes back in the event, such as the result of the task that waits.
    :param trust_from: seconds since the epoch before which "trained" may be the state from before a write.
    """

    def __init__(
        self,
        chatbase_conn_id: str,
        agent_id: str | None,
        source_ids: list[str] | None,
        poll_interval: float,
        deadline: float,
        max_poll_failures: int,
        carry: dict[str, Any] | None = None,
        trust_from: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.chatbase_conn_id = chatbase_conn_id
        self.agent_id = agent_id
        self.source_ids = source_ids
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.max_poll_failures = max_poll_failures
        self.carry = carry
        self.trust_from = trust_from

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and its arguments, as plain JSON without secrets."""
        optional = {"carry": self.carry, "trust_from": self.trust_from}
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "chatbase_conn_id": self.chatbase_conn_id,
                "agent_id": self.agent_id,
                "source_ids": self.source_ids,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "max_poll_failures": self.max_poll_failures,
                **{name: value for name, value in optional.items() if value is not None},
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Poll until there is something to say, and say it in one event.

        The event holds ``outcome`` (``trained``, ``failed``, ``timeout`` or ``error``), ``reason``, and for
        an error whether it is ``permanent``; and ``carry``, when there is any.
        """
        carried = {} if self.carry is None else {"carry": self.carry}
        yield TriggerEvent({**(await self._find_out()).as_event(), **carried})

    async def _find_out(self) -> Verdict:
        wait = TrainingWait(self.max_poll_failures, self.deadline, self.trust_from)
        try:
            async with asyncio.timeout(wait.left(time.time())):
                return await self._poll_until_known(wait)
        except TimeoutError:
            return wait.too_late()
        except ChatbaseError as error:
            return Verdict(TrainingOutcome.ERROR, str(error), error.permanent)
        except AirflowException as error:  # no such connection; soft_fail would skip a trigger that breaks
            return Verdict(TrainingOutcome.ERROR, str(error))

    async def _poll_until_known(self, wait: TrainingWait) -> Verdict:
        loop = asyncio.get_running_loop()
        logged = ""
        async with shared_polls(self.chatbase_conn_id) as polls:
            agent_id = polls.hook.agent_or_default(self.agent_id)
            began = loop.time()
            with polls.watching(agent_id, self.source_ids):
                while True:
                    rested_from = loop.time()
                    await asyncio.sleep(self.poll_interval)
                    # What another task read a moment ago will do, but not what was read before this wait
                    # began: that may be the state from before the sources were written.
                    not_before = max(began, (rested_from + loop.time()) / 2)
                    try:
                        found = await polls.poll(agent_id, self.source_ids, not_before)
                        verdict, level = wait.take(found, time.time()), logging.INFO
                    except ChatbaseError as error:
                        verdict, level = wait.tolerate(error), logging.WARNING
                    except asyncio.CancelledError:  # the time is up, perhaps between two attempts of a poll
                        wait.note(polls.client.last_error)
                        raise
                    if verdict.reason != logged:
                        self.log.log(level, verdict.reason)
                    logged = verdict.reason
                    if verdict.outcome is not TrainingOutcome.WAITING:
                        return verdict
