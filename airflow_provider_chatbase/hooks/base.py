"""An Airflow connection becomes a client."""

from __future__ import annotations

import asyncio
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.log import mask_secret
from asgiref.sync import sync_to_async

from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient, Request, RetryPolicy
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import load_async_backend
from airflow_provider_chatbase.hooks.connection import ChatbaseConnection, read_connection

JsonObject = dict[str, Any]


class ConnectedHook(BaseHook):
    """
    Reads an Airflow connection once, and keeps a client for it.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    conn_name_attr = "chatbase_conn_id"
    default_conn_name = "chatbase_default"
    conn_type = "chatbase"
    hook_name = "Chatbase"

    def __init__(self, chatbase_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.chatbase_conn_id = chatbase_conn_id

    @cached_property
    def connection(self) -> ChatbaseConnection:
        """
        Read the Airflow connection.

        :return: the client's settings and the default agent.
        :raises ChatbaseConfigurationError: when a field is missing or wrong.
        """
        found = self.get_connection(self.chatbase_conn_id)
        return _masked(read_connection(found, found.extra_dejson))

    @cached_property
    def client(self) -> ChatbaseClient:
        """Return the client, for calls that this hook has no method for."""
        return ChatbaseClient(self.connection.settings)

    def get_conn(self) -> ChatbaseClient:
        """Return the client, under the name that Airflow gives it."""
        return self.client

    async def open_async_client(self, policy: RetryPolicy | None = None) -> AsyncChatbaseClient:
        """
        Return a new async client, for triggers and other code on an event loop; the caller closes it.

        :param policy: when to repeat a request; by default as the connection says.
        """
        if "connection" not in self.__dict__:
            found = await get_async_connection(self.chatbase_conn_id, hook=self)
            connection = read_connection(found, await get_async_extra_dejson(found))
            # The triggerer of Airflow 3.0 waits in mask_secret for its event loop, so it must not run there.
            self.__dict__["connection"] = await sync_to_async(_masked)(connection)
        # Certificates and modules take long to load; no event loop should stand still meanwhile.
        return await asyncio.to_thread(_open_async_client, self.connection.settings, policy)

    def agent_or_default(self, agent_id: str | None) -> str:
        """
        Return the agent that a call is for.

        :param agent_id: what the caller gave; ``None`` or empty means the connection's default agent.
        :raises ChatbaseInputError: when there is neither.
        """
        chosen = agent_id or self.connection.agent_id
        if not chosen:
            raise ChatbaseInputError(
                "No agent was named. Give agent_id, or set agent_id in the extra of the connection "
                f"{self.chatbase_conn_id!r}. Nothing was sent."
            )
        return chosen

    def request(
        self,
        method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"],
        path: str,
        query: dict[str, str | int] | None = None,
        body: Any = None,
        api_version: Literal["v2", "v1"] | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        """
        Call any operation, with the same key, retries and errors as the methods.

        :param method: the HTTP method.
        :param path: the path below the version, such as ``/agents/abc/sources/summary``.
        :param query: query parameters.
        :param body: the JSON body.
        :param api_version: ``v2`` or ``v1``; by default the connection's.
        :param repeatable: whether doing it twice is the same as doing it once; by default every method
            but POST and PATCH.
        :return: the decoded JSON; ``None`` where the reply has no content.
        """
        if not path.startswith("/"):
            raise ChatbaseInputError(f"path must begin with a slash, not {path!r}. Nothing was sent.")
        return self.client.send(
            Request(
                operation=f"{method} {path}",
                method=method,
                path=path,
                query=query or {},
                body=body,
                version=api_version or self.connection.settings.api_version,
                read=lambda reply: reply,
                repeatable=method in ("GET", "PUT", "DELETE") if repeatable is None else repeatable,
            )
        )

    def close(self) -> None:
        """Close the HTTP connections."""
        if "client" in self.__dict__:
            self.client.close()
            del self.__dict__["client"]

    def __enter__(self) -> Self:
        """Return the hook, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the HTTP connections."""
        self.close()


def _open_async_client(settings: ClientSettings, policy: RetryPolicy | None) -> AsyncChatbaseClient:
    load_async_backend()
    return AsyncChatbaseClient(settings, policy)


def _masked(connection: ChatbaseConnection) -> ChatbaseConnection:
    """Tell Airflow's logs what to hide; ``dag.test()`` does not do so by itself."""
    mask_secret(connection.settings.api_key)
    if connection.settings.proxy and (password := urlsplit(connection.settings.proxy).password):
        mask_secret(password)
    return connection
