"""The connection to the server: certificates, proxies, and what many clients of a process share."""

from __future__ import annotations

import asyncio
import datetime
import http.server
import importlib.util
import logging
import re
import socket
import ssl
import threading
from ipaddress import ip_address

import pytest

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings, errors, transport
from airflow_provider_chatbase.client.replies import identified
from airflow_provider_chatbase.client.request import Form, Request
from airflow_provider_chatbase.client.v2 import agents

AGENT = b'{"id": "a1", "name": "Behind TLS"}'


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(AGENT)))
        self.end_headers()
        self.wfile.write(AGENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        yield server
        server.shutdown()


def start(server: http.server.HTTPServer) -> int:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate for 127.0.0.1 that nobody trusts; return the file with it and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_url(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return f"https://127.0.0.1:{start(server)}"


ONE_ATTEMPT = {"api_key": "sk-secret", "max_attempts": 1}


def test_a_server_that_is_not_trusted_gets_no_request(server, tls_url, send):
    with pytest.raises(errors.ChatbaseUnreachableError, match=r"(?i)certificate verify failed"):
        send(agents.get_agent("a1"), host=tls_url)
    assert server.asked == []


def test_the_ca_bundle_says_whom_to_trust(tls_url, certificate, send):
    assert send(agents.get_agent("a1"), host=tls_url, ca_bundle=str(certificate))["name"] == "Behind TLS"


@pytest.mark.parametrize(
    "content", [None, b"", b"no certificate"], ids=["missing", "empty", "no certificate"]
)
def test_a_ca_bundle_that_cannot_be_read_is_a_wrong_setting(tmp_path, send, content):
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(errors.ChatbaseConfigurationError, match="ca_bundle cannot be used"):
        send(agents.get_agent("a1"), ca_bundle=str(bundle))


def test_requests_go_through_the_proxy(server, send):
    proxy = f"http://127.0.0.1:{start(server)}"
    assert send(agents.get_agent("a1"), host="http://localhost:9", proxy=proxy)["id"] == "a1"
    assert server.asked == ["http://localhost:9/api/v2/agents/a1"]


def test_a_proxy_that_is_not_there_is_said_to_be_looked_at(send):
    with pytest.raises(errors.ChatbaseUnreachableError, match="Check the connection's base URL and proxy"):
        send(agents.get_agent("a1"), host="http://localhost:9", proxy="http://127.0.0.1:9")


@pytest.mark.parametrize(
    "proxy",
    ["ftp://user:swordfish@proxy", "nonsense", "http://user:swordfish@[::1", "http://u:swordfish@p:x"],
)
def test_a_proxy_that_cannot_be_one_is_a_wrong_setting_and_its_password_not_shown(send, proxy):
    with pytest.raises(
        errors.ChatbaseConfigurationError, match="proxy or ca_bundle cannot be used"
    ) as raised:
        send(agents.get_agent("a1"), proxy=proxy)
    assert "swordfish" not in str(raised.value)


def test_many_clients_load_the_certificates_once(monkeypatch):
    loaded = []
    load = transport.httpx.create_ssl_context
    monkeypatch.setattr(transport.httpx, "create_ssl_context", lambda: loaded.append(1) or load())
    transport._usual_trust.cache_clear()

    async def open_many() -> None:
        for _ in range(20):
            await transport.Transport(ClientSettings(**ONE_ATTEMPT)).close()

    asyncio.run(open_many())
    assert len(loaded) == 1


def test_a_closed_client_has_closed_its_connections(simulator):
    with ChatbaseClient(ClientSettings(api_key=simulator.api_key, host=simulator.url)) as client:
        client.send(agents.get_agent(simulator.agent_id))
    assert all(each.is_closed for each in client._client._transport.pools.clients())


def test_httpx2_is_taken_where_it_is_installed():
    installed = importlib.util.find_spec("httpx2") is not None
    assert transport.httpx.__name__ == ("httpx2" if installed else "httpx")


@pytest.fixture
def wire():
    """A server that keeps what it was sent, byte by byte, and replies to each request with an agent."""
    got, listening = bytearray(), socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                length, before = None, len(got)
                while length is None or len(got) < before + length:
                    got.extend(connection.recv(65536))
                    head, end, _ = bytes(got[before:]).partition(b"\r\n\r\n")
                    found = re.search(rb"Content-Length: (\d+)", head)
                    length = len(head) + 4 + int(found[1] if found else 0) if end else None
                head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(AGENT)
                connection.sendall(head + AGENT)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", got
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


QUERY = {"name": "Zoë & co", "at": "a/b:c", "left": None, "on": True}
TEXT = {"text": "Grüße 🦊", "n": 1.5, "list": [None, True]}
FORM = Form({"name": "Zoë"}, 'a "b".txt', "Grüße".encode())
HEADERS = """\
Host: {host}
Accept: application/json, text/event-stream, text/plain
Accept-Encoding: gzip
Connection: keep-alive
User-Agent: {agent}
Authorization: Bearer sk-secret
"""
BODIES = {
    "GET /api/v2/x?name=Zo%C3%AB+%26+co&at=a%2Fb%3Ac&on=true": ({"query": QUERY}, ""),
    "GET /api/v2/x": ({"query": {"left": None}}, ""),
    "POST /api/v2/x": ({"body": TEXT}, '{"text":"Grüße 🦊","n":1.5,"list":[null,true]}'),
    "PATCH /api/v2/x": (
        {"form": FORM},
        """\
--*
Content-Disposition: form-data; name="name"

Zoë
--*
Content-Disposition: form-data; name="file"; filename="a %22b%22.txt"
Content-Type: text/plain

Grüße
--*--
""".replace("\n", "\r\n"),
    ),
}
BODY_HEADERS = {
    "POST": "Content-Length: {length}\nContent-Type: application/json\n",
    "PATCH": "Content-Length: {length}\nContent-Type: multipart/form-data; boundary=*\n",
}


@pytest.mark.parametrize("line", BODIES)
def test_the_bytes_of_a_request_are_these_with_either_library(wire, send, line):
    url, got = wire
    method, (given, body) = line.split()[0], BODIES[line]
    send(Request("x", method, "/x", identified, **given), **ONE_ATTEMPT, host=url)
    head, _, sent = got.decode().partition("\r\n\r\n")
    boundary = (re.findall(r"boundary=(\w+)", head) or ["*"])[0]
    first, *headers = head.replace(boundary, "*").split("\r\n")  # in whichever order
    length = len(body.replace("*", boundary).encode())
    told = HEADERS.format(host=url.removeprefix("http://"), agent=transport.USER_AGENT)
    told += BODY_HEADERS.get(method, "").format(length=length)
    assert first == f"{line} HTTP/1.1"
    assert sorted(headers) == sorted(told.splitlines())
    assert sent.replace(boundary, "*") == body


def test_no_log_shows_the_key(wire, send, caplog):
    caplog.set_level(logging.DEBUG)
    send(Request("x", "GET", "/x", identified, query=QUERY), **ONE_ATTEMPT, host=wire[0])
    assert transport.HTTP_LOGGER in {record.name for record in caplog.records}
    assert "sk-secret" not in caplog.text


def test_a_logger_speaks_again_after_blocks_that_overlapped():
    logger = logging.getLogger("chatbase-overlapping")
    logger.setLevel(logging.DEBUG)
    first, second = (transport.quiet_logs([logger.name], level) for level in (logging.WARNING, logging.ERROR))
    levels = []
    for step in (first.__enter__, second.__enter__, lambda: first.__exit__(None, None, None)):
        step()
        levels.append(logger.level)
    second.__exit__(None, None, None)
    assert [*levels, logger.level] == [logging.WARNING, logging.ERROR, logging.ERROR, logging.DEBUG]
