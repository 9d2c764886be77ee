"""An S3 server in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

SERVER = """
import functools
import threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.server import ThreadedMotoServer
# It looks through its own folders with each request, which costs as much as the request.
found = functools.cache(DomainDispatcherApplication.get_backend_for_host)
DomainDispatcherApplication.get_backend_for_host = found
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """Start the server, and stop it when all tests are through."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as url:
        yield url


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server, give its URL, and stop it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def s3_fs(url: str, bucket: str, *, new: bool = True) -> Any:
    """Connect to the server, and make a bucket."""
    import s3fs

    fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=url, skip_instance_cache=True)
    if new:
        fs.mkdir(bucket)
    return fs


@contextmanager
def without_deleting(url: str) -> Iterator[tuple[str, list[str]]]:
    """Stand in front of a server as a policy that denies deleting; give the URL, and what was asked for."""
    asked: list[str] = []

    class Policy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.pass_on
            raise AttributeError(name)

        def pass_on(self) -> None:
            asked.append(f"{self.command} {self.path}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command == "DELETE" or "?delete" in self.path:
                self.answer(403, {}, b"<Error><Code>AccessDenied</Code><Message>Denied</Message></Error>")
                return
            target = HTTPConnection(url.removeprefix("http://"))
            target.request(self.command, self.path, body, dict(self.headers))
            reply = target.getresponse()
            content = reply.read()
            target.close()
            self.answer(reply.status, dict(reply.getheaders()), content)

        def answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", length or str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Policy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
