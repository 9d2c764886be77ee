"""The playground in this process, services for it to stand in front of, and a real Chromium."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.playground import PlaygroundPage
from airflow_provider_chatbase.playground.proxy import application

KEY = "sk-never-in-a-browser-0123456789"


@pytest.fixture
def open_playground() -> Iterator[Callable[..., str]]:
    """Return a function that serves the real service's page in front of a URL, and returns its own."""
    with contextlib.ExitStack() as stack:
        yield lambda host, **settings: stack.enter_context(playground_before(host, **settings))


@pytest.fixture
def serve_service() -> Iterator[Callable[..., str]]:
    """Return a function that starts a service which answers by the given function, and returns its URL."""
    with contextlib.ExitStack() as stack:
        yield lambda answer: stack.enter_context(service(answer))


@contextlib.contextmanager
def playground_before(host: str, sent: list[bytes] | None = None, **settings: Any) -> Iterator[str]:
    """Serve the real service's page in front of a URL; what it sends is added to ``sent``."""
    page = PlaygroundPage(
        is_real=True, address=host, agent_id=settings.pop("agent_id", None), connection="my_conn"
    )
    found = ClientSettings(**{"api_key": KEY, "host": host, "files_host": host} | settings)
    with served(lambda port: _recorded(application(page, found, port), sent)) as url:
        yield url


def _recorded(app: ASGIApp, sent: list[bytes] | None) -> ASGIApp:
    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        async def recorded(message: Message) -> None:
            pieces = [part for header in message.get("headers", ()) for part in (*header, b"\n")]
            (sent if sent is not None else []).extend([*pieces, message.get("body", b"")])
            await send(message)

        await app(scope, receive, recorded)

    return recording


@contextlib.contextmanager
def served(make: Callable[[int], Any]) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        make(port), lifespan="off", ws="none", http="h11", log_level="critical", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextlib.contextmanager
def service(answer: Callable[[BaseHTTPRequestHandler], Any]) -> Iterator[str]:
    members = {f"do_{method}": answer for method in ("GET", "POST", "PUT", "DELETE")}
    members |= {"log_message": lambda *_: None, "protocol_version": "HTTP/1.1"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), members))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # that we hung up is what is tested
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(
    url: str,
    path: str = "/",
    method: str = "GET",
    body: bytes | None = None,
    host: str | None = "",
    **headers: str,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send one request as no browser would: any path, any host or none; underscores in names are hyphens."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=host != "", skip_accept_encoding=True)
        if host:
            connection.putheader("Host", host)
        if body is not None:
            headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
