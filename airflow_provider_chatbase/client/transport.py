"""The one module that knows the HTTP library."""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypedDict

import httpx

from airflow_provider_chatbase import __version__
from airflow_provider_chatbase.client.errors import (
    ChatbaseConfigurationError,
    ChatbaseConnectionLostError,
    ChatbaseError,
    ChatbaseTimeoutError,
    ChatbaseUnreachableError,
)
from airflow_provider_chatbase.client.replies import Reply
from airflow_provider_chatbase.client.request import Form, Request
from airflow_provider_chatbase.client.settings import ClientSettings

USER_AGENT = f"airflow-provider-chatbase/{__version__}"

_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class _BearerAuth(httpx.Auth):
    """Adds the key while sending, so that no request object or traceback shows it."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


class _ClientArguments(TypedDict):
    auth: httpx.Auth
    headers: dict[str, str]
    proxy: str | None
    verify: ssl.SSLContext | bool
    follow_redirects: bool
    limits: httpx.Limits


def open_client(settings: ClientSettings) -> httpx.Client:
    """
    Open a pool of connections for sync use.

    :param settings: where and how.
    :raises ChatbaseConfigurationError: when the proxy or the CA bundle cannot be used.
    """
    with _bad_settings():
        return httpx.Client(**_client_arguments(settings))


def open_async_client(settings: ClientSettings) -> httpx.AsyncClient:
    """
    Open a pool of connections for async use.

    :param settings: where and how.
    :raises ChatbaseConfigurationError: when the proxy or the CA bundle cannot be used.
    """
    with _bad_settings():
        return httpx.AsyncClient(**_client_arguments(settings))


def send(client: httpx.Client, settings: ClientSettings, request: Request[Any]) -> Reply:
    """
    Send a request once.

    :param client: from :func:`open_client`.
    :param settings: where and how.
    :param request: what to send.
    :return: the reply, whatever its status.
    :raises ChatbaseConnectionError: when no whole reply came.
    """
    with _no_reply(settings, request):
        return _reply(client.send(_build(client, settings, request)))


async def send_async(client: httpx.AsyncClient, settings: ClientSettings, request: Request[Any]) -> Reply:
    """
    Send a request once.

    :param client: from :func:`open_async_client`.
    :param settings: where and how.
    :param request: what to send.
    :return: the reply, whatever its status.
    :raises ChatbaseConnectionError: when no whole reply came.
    """
    with _no_reply(settings, request):
        return _reply(await client.send(_build(client, settings, request)))


def _client_arguments(settings: ClientSettings) -> _ClientArguments:
    verify: ssl.SSLContext | bool = True
    if settings.ca_bundle:
        verify = ssl.create_default_context(cafile=settings.ca_bundle)
    return _ClientArguments(
        auth=_BearerAuth(settings.api_key),
        headers={"Accept": "application/json", "User-Agent": USER_AGENT},
        proxy=settings.proxy,
        verify=verify,
        follow_redirects=False,  # a redirect would carry the key to another host
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=5.0),
    )


def _build(
    client: httpx.Client | httpx.AsyncClient, settings: ClientSettings, request: Request[Any]
) -> httpx.Request:
    timeouts = settings.timeouts(request.patience)
    return client.build_request(
        request.method,
        settings.url(request.host, request.version, request.path),
        params={name: value for name, value in request.query.items() if value is not None},
        json=request.body,
        files=None if request.form is None else _parts(request.form),
        timeout=httpx.Timeout(
            connect=timeouts.connect, read=timeouts.read, write=timeouts.read, pool=timeouts.pool
        ),
    )


def _parts(form: Form) -> list[tuple[str, tuple[str | None, str | bytes]]]:
    """Make every field a part: httpx sends a form without a file as something else than multipart."""
    parts: list[tuple[str, tuple[str | None, str | bytes]]] = [
        (name, (None, value)) for name, value in form.fields.items()
    ]
    if form.filename is not None:
        parts.append(("file", (form.filename, form.content)))
    return parts


def _reply(response: httpx.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(status=response.status_code, headers=headers, content=response.content)


@contextmanager
def _no_reply(settings: ClientSettings, request: Request[Any]) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise _connection_error(settings, request, error) from error
    except httpx.InvalidURL as error:
        raise ChatbaseConfigurationError(f"The base URL cannot be used: {error}.") from error


def _connection_error(
    settings: ClientSettings, request: Request[Any], error: httpx.HTTPError
) -> ChatbaseError:
    base = settings.files_host if request.host == "files" else settings.host
    why = str(error) or type(error).__name__
    if isinstance(error, _NOT_SENT):
        return ChatbaseUnreachableError(
            f"{base} cannot be reached for {request.operation}: {why}. Nothing was sent. "
            "Check the connection's base URL and proxy, and the network of this machine.",
            operation=request.operation,
        )
    if isinstance(error, httpx.UnsupportedProtocol):
        return ChatbaseConfigurationError(f"The base URL {base!r} cannot be used: {why}.")
    may = "" if request.repeatable else " Chatbase may have done the work all the same."
    if isinstance(error, httpx.TimeoutException):
        seconds = settings.timeouts(request.patience).read
        return ChatbaseTimeoutError(
            f"{base} did not reply to {request.operation} within {seconds:g} s.{may} "
            "Raise the connection's timeout if this happens often.",
            operation=request.operation,
        )
    return ChatbaseConnectionLostError(
        f"The connection to {base} broke during {request.operation}: {why}.{may}",
        operation=request.operation,
    )


@contextmanager
def _bad_settings() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise ChatbaseConfigurationError(
            f"The connection's proxy or ca_bundle cannot be used: {error}."
        ) from error
