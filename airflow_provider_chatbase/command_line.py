"""The hook of a command that a person runs: connections are found where Airflow's own commands find them."""

from __future__ import annotations

from typing import Any

from airflow.models.connection import Connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook


class CannotStartError(Exception):
    """Why a command does not start, in one sentence."""


class CommandLineHook(ChatbaseHook):
    """Finds connections as Airflow's own commands do: in its database too, not only where tasks look."""

    @classmethod
    def get_connection(cls, conn_id: str) -> Any:
        """Look a connection up, outside of any task."""
        try:
            found = Connection.get_connection_from_secrets(conn_id)
        except AirflowNotFoundException:
            raise CannotStartError(
                f"There is no Airflow connection {conn_id!r}: `airflow connections list` shows those that "
                f"there are, and AIRFLOW_CONN_{conn_id.upper()} in the environment makes one."
            ) from None
        if found.conn_type != cls.conn_type:  # its password may be no API key, and would be sent
            raise CannotStartError(
                f"The Airflow connection {conn_id!r} is of the type {found.conn_type!r}: "
                f"name one of the type {cls.conn_type!r}."
            )
        return found
