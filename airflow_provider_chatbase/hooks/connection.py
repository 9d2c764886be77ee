"""From an Airflow connection to the client's settings. Pure: the same for sync and async."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_provider_chatbase.client.errors import ChatbaseConfigurationError
from airflow_provider_chatbase.client.settings import (
    DEFAULT_FILES_HOST,
    DEFAULT_HOST,
    DEFAULT_MAX_ATTEMPTS,
    ClientSettings,
    base_url,
)


class AirflowConnection(Protocol):
    """The part of an Airflow connection that is read here."""

    conn_id: str
    host: str | None
    port: int | None
    schema: str | None
    password: str | None


@dataclass(frozen=True, slots=True)
class ChatbaseConnection:
    """
    A checked connection.

    :param settings: what the client needs.
    :param agent_id: the agent for calls that name none.
    """

    settings: ClientSettings = field(repr=False)
    agent_id: str | None


def read_connection(connection: AirflowConnection, extra: Mapping[str, Any]) -> ChatbaseConnection:
    """
    Check a connection and read it.

    :param connection: the Airflow connection.
    :param extra: its decoded extra.
    :return: the settings and the default agent.
    :raises ChatbaseConfigurationError: when a field is missing or wrong; the message names it.
    """
    host = _host(connection)
    files_host = _text(extra, "files_host")
    return ChatbaseConnection(
        settings=ClientSettings(
            api_key=_api_key(connection),
            host=base_url("base URL (host)", host or DEFAULT_HOST),
            files_host=base_url("files_host", files_host or host or DEFAULT_FILES_HOST),
            api_version=_api_version(extra),
            timeout=_number(extra, "timeout"),
            max_attempts=_whole_number(extra, "max_attempts") or DEFAULT_MAX_ATTEMPTS,
            proxy=_text(extra, "proxy"),
            ca_bundle=_text(extra, "ca_bundle"),
        ),
        agent_id=_text(extra, "agent_id"),
    )


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


def _number(extra: Mapping[str, Any], name: str) -> float | None:
    value = extra.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _wrong(name, value, "a number of seconds above 0") from None
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise _wrong(name, value, "a number of seconds above 0")
    return number


def _whole_number(extra: Mapping[str, Any], name: str) -> int | None:
    value = extra.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(str(value))
    except ValueError:
        raise _wrong(name, value, "a whole number from 1") from None
    if number < 1:
        raise _wrong(name, value, "a whole number from 1")
    return number


def _wrong(name: str, value: Any, wanted: str) -> ChatbaseConfigurationError:
    return ChatbaseConfigurationError(f"The connection's extra field {name} must be {wanted}, not {value!r}.")
