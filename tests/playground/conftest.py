"""The playground in this process, services for it to stand in front of, and a real Chromium."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.playground import PlaygroundPage
from airflow_provider_chatbase.playground.proxy import application

KEY = "sk-never-in-a-browser-0123456789"

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,1000"
)


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a headless Chromium that keeps a record of all it receives."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.fail(
            "Chromium is needed: apt-get install chromium chromium-driver, or run scripts/test as root."
        )
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in _FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver, log_output=str(Path(options.arguments[-1][16:]) / "driver.log"))
    found = webdriver.Chrome(options=options, service=service)
    found.set_page_load_timeout(60)
    yield found
    found.quit()
