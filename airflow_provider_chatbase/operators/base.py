"""What all operators have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_chatbase.exceptions import fail_at_once

if TYPE_CHECKING:
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook


class ChatbaseOperator(BaseOperator):
    """
    An operator with a connection to Chatbase and an agent.

    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = ("agent_id", "chatbase_conn_id")

    def __init__(
        self, *, agent_id: str | None = None, chatbase_conn_id: str = "chatbase_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.agent_id = agent_id
        self.chatbase_conn_id = chatbase_conn_id

    @contextmanager
    def hook(self) -> Iterator[ChatbaseHook]:
        """
        Open a hook for a block, and close it at its end.

        :raises ChatbasePermanentError: in place of an error that a retry of the task cannot mend.
        """
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        with fail_at_once(), ChatbaseHook(self.chatbase_conn_id) as hook:
            yield hook
