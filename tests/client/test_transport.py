"""The connection to the server: certificates, proxies, and what many clients of a process share."""

from __future__ import annotations

import asyncio
import datetime
import http.server
import ssl
import threading
from ipaddress import ip_address

import httpx
import pytest

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings, errors, transport
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
    load = httpx.create_ssl_context
    monkeypatch.setattr(httpx, "create_ssl_context", lambda: loaded.append(1) or load())
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
