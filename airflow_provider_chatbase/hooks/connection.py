"""An Airflow connection becomes a client: its fields, its form, its test."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.log import mask_secret
from asgiref.sync import sync_to_async

from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient, Request, RetryPolicy
from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.errors import (
    SHORTEST_SECRET,
    ChatbaseConfigurationError,
    ChatbaseError,
    ChatbaseInputError,
    counted,
)
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.settings import (
    DEFAULT_FILES_HOST,
    DEFAULT_HOST,
    DEFAULT_MAX_ATTEMPTS,
    ClientSettings,
    base_url,
    proxy_secrets,
    proxy_url,
)
from airflow_provider_chatbase.client.transport import load_async_backend
from airflow_provider_chatbase.hooks.metrics import AirflowMetrics

Rest = ParamSpec("Rest")
Result = TypeVar("Result")
Number = TypeVar("Number", int, float)


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
        """The client's settings and the default agent."""
        return _masked(_read_quietly([self.get_connection(self.chatbase_conn_id)]))

    @cached_property
    def client(self) -> ChatbaseClient:
        """The client, for calls that this hook has no method for."""
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
            connection = _read_quietly([await get_async_connection(self.chatbase_conn_id, hook=self)])
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

    def _send(
        self,
        operation: Callable[Concatenate[str, Rest], Request[Result]],
        agent_id: str | None,
        *args: Rest.args,
        **kwargs: Rest.kwargs,
    ) -> Result:
        return self.client.send(operation(self.agent_or_default(agent_id), *args, **kwargs))

    def _items(
        self,
        listing: Callable[Concatenate[str, Rest], Request[Page]],
        agent_id: str | None,
        *args: Rest.args,
        **kwargs: Rest.kwargs,
    ) -> Iterator[JsonObject]:
        return self.client.items(listing(self.agent_or_default(agent_id), *args, **kwargs))

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

    def test_connection(self) -> tuple[bool, str]:
        """
        Try the connection with a call that needs the key and costs nothing: ``listAgents``.

        :return: whether it works, and what to tell the user.
        """
        policy = RetryPolicy(max_attempts=2, deadline=20.0)
        try:
            with ChatbaseClient(self.connection.settings, policy) as client:
                return True, _try(client, self.connection.agent_id)
        except ChatbaseError as error:
            return False, str(error)


class AirflowConnection(Protocol):
    """The part of an Airflow connection that is read here."""

    conn_id: str
    host: str | None
    port: int | None
    schema: str | None
    password: str | None
    extra: str | None


@dataclass(frozen=True, slots=True)
class ChatbaseConnection:
    """A checked connection."""

    settings: ClientSettings = field(repr=False)
    agent_id: str | None  # for calls that name none
    dashboard_url: str  # of the workspace; ends with /dashboard where it does not name one


def _read_quietly(given: list[AirflowConnection]) -> ChatbaseConnection:
    """Read a connection; the traceback of what is wrong with it has no frame that holds a secret."""
    try:
        return read_connection(given.pop())
    except ChatbaseConfigurationError as error:
        wrong = error
    wrong.__context__ = None
    raise wrong.with_traceback(None)


def read_connection(connection: AirflowConnection) -> ChatbaseConnection:
    """
    Check a connection, and read it.

    Airflow's own way to its extra would hand all of it to the masker, which warns of what is too short.
    """
    extra = _extra(connection)
    host = _host(connection)
    files_host = _text(extra, "files_host")
    return ChatbaseConnection(
        settings=ClientSettings(
            api_key=_api_key(connection),
            host=base_url("base URL (host)", host or DEFAULT_HOST),
            files_host=base_url("files_host", files_host or host or DEFAULT_FILES_HOST),
            api_version=_api_version(extra),
            timeout=_positive(extra, "timeout", float, "a number of seconds above 0"),
            total_timeout=_positive(extra, "total_timeout", float, "a number of seconds above 0"),
            max_attempts=_positive(extra, "max_attempts", _whole, "a whole number from 1")
            or DEFAULT_MAX_ATTEMPTS,
            proxy=None if (proxy := _text(extra, "proxy")) is None else proxy_url(proxy),
            ca_bundle=_text(extra, "ca_bundle"),
            observer=AirflowMetrics(connection.conn_id),
        ),
        agent_id=_text(extra, "agent_id"),
        dashboard_url=_dashboard_url(_text(extra, "dashboard_url"), host),
    )


def _dashboard_url(given: str | None, host: str | None) -> str:
    """Read the workspace's address, which may have been copied from any page of the dashboard."""
    url = base_url("dashboard_url", (given or f"{host or DEFAULT_HOST}/dashboard").partition("?")[0])
    return url.partition("/chatbot")[0]


def _extra(connection: AirflowConnection) -> Mapping[str, Any]:
    try:
        found = decode_json(connection.extra or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ChatbaseConfigurationError(
            f"The extra of the connection {connection.conn_id!r} is no JSON object. Correct it in its form."
        )
    return found


def _api_key(connection: AirflowConnection) -> str:
    api_key = (connection.password or "").strip()
    if not api_key:
        raise ChatbaseConfigurationError(
            f"The connection {connection.conn_id!r} has no API key. Put it into the password field; "
            "it comes from Chatbase, Workspace settings, API keys."
        )
    if not re.fullmatch(r"[!-~]+", api_key):  # the HTTP library would show it in its own error
        raise ChatbaseConfigurationError(
            f"The password of the connection {connection.conn_id!r} is no API key: it holds a space, a line "
            "end or a character outside ASCII. Copy the key again, without anything around it."
        )
    return api_key


def _host(connection: AirflowConnection) -> str | None:
    """Return the base URL; a connection given as a URI keeps its scheme and port in fields of their own."""
    host = (connection.host or "").strip()
    if not host:
        return None
    scheme, separator, rest = host.rpartition("://")
    if not separator:
        scheme = connection.schema if connection.schema in ("http", "https") else "https"
    authority, slash, path = rest.partition("/")
    if connection.port and not re.search(r":\d+$", authority):
        authority = f"{authority}:{connection.port}"
    return f"{scheme}://{authority}{slash}{path}"


def _text(extra: Mapping[str, Any], name: str) -> str | None:
    value = extra.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise _wrong(name, "a value of another kind", "text")
    return value.strip() or None


def _api_version(extra: Mapping[str, Any]) -> Any:
    version = _text(extra, "api_version") or "v2"
    if version not in ("v1", "v2"):
        raise _wrong("api_version", version, "v2 or v1")
    return version


def _positive(
    extra: Mapping[str, Any], name: str, read: Callable[[Any], Number], wanted: str
) -> Number | None:
    value = extra.get(name)
    if value is None or value == "":
        return None
    try:
        number = read(value)
    except (TypeError, ValueError):
        raise _wrong(name, value, wanted) from None
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise _wrong(name, value, wanted)
    return number


def _whole(value: Any) -> int:
    return int(str(value))  # 2.5 is none


def _wrong(name: str, value: Any, wanted: str) -> ChatbaseConfigurationError:
    return ChatbaseConfigurationError(f"The connection's extra field {name} must be {wanted}, not {value!r}.")


def _open_async_client(settings: ClientSettings, policy: RetryPolicy | None) -> AsyncChatbaseClient:
    load_async_backend()
    return AsyncChatbaseClient(settings, policy)


def _masked(connection: ChatbaseConnection) -> ChatbaseConnection:
    """Tell Airflow's logs what to hide; ``dag.test()`` does not do so by itself."""
    settings = connection.settings
    for secret in (settings.api_key, *(proxy_secrets(settings.proxy) if settings.proxy else ())):
        if len(secret) >= SHORTEST_SECRET:
            mask_secret(str(secret))
    return connection


def _try(client: ChatbaseClient, agent_id: str | None) -> str:
    """Make an authenticated call that costs nothing, look for the default agent, and say what works."""
    page = client.send(client.api.list_agents(limit=1))
    name = client.send(client.api.get_agent(agent_id)).get("name") if agent_id else None
    agents = page.total if page.total is not None else len(page.items)
    default_agent = f" The default agent is {name!r}." if name else ""
    version = client.settings.api_version
    seen = f"the key sees {counted(agents, 'agent')}"
    return f"Connected to {client.settings.host} (API {version}): {seen}.{default_agent}"
