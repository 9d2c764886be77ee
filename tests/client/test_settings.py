"""Where and how to reach Chatbase."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseConfigurationError, ChatbaseUnsupportedError
from airflow_provider_chatbase.client.request import Request
from airflow_provider_chatbase.client.settings import ClientSettings, base_url, is_loopback


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://www.chatbase.co", "https://www.chatbase.co"),
        ("https://www.chatbase.co/", "https://www.chatbase.co"),
        ("  https://www.chatbase.co  ", "https://www.chatbase.co"),
        ("www.chatbase.co", "https://www.chatbase.co"),
        ("www.chatbase.co:8443", "https://www.chatbase.co:8443"),
        ("HTTPS://www.chatbase.co", "https://www.chatbase.co"),
        ("https://www.chatbase.co/api", "https://www.chatbase.co"),
        ("https://www.chatbase.co/api/v2", "https://www.chatbase.co"),
        ("https://www.chatbase.co/api/v2/", "https://www.chatbase.co"),
        ("https://www.chatbase.co/api/v1", "https://www.chatbase.co"),
        ("https://gateway.example/chatbase/api/v2", "https://gateway.example/chatbase"),
        ("https://gateway.example/v2", "https://gateway.example/v2"),
        ("https://gateway.example/chatbase/", "https://gateway.example/chatbase"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://127.0.0.1:8756", "http://127.0.0.1:8756"),
        ("http://127.8.9.10", "http://127.8.9.10"),
        ("http://localhost:8756/api/v2", "http://localhost:8756"),
        ("http://LOCALHOST:8756", "http://LOCALHOST:8756"),
        ("http://chatbase.localhost", "http://chatbase.localhost"),
        ("http://[::1]:8756", "http://[::1]:8756"),
    ],
)
def test_base_url(value, expected):
    assert base_url("host", value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "http://www.chatbase.co",
        "http://10.0.0.7:8756",
        "http://0.0.0.0:8756",
        "http://localhost.example.com",
        "http://127.0.0.1.example.com",
        "http://127.0.0.1@example.com",
        "http://[2001:db8::1]",
    ],
)
def test_plain_http_to_another_machine_is_refused(value):
    with pytest.raises(ChatbaseConfigurationError) as raised:
        base_url("base URL (host)", value)
    assert "base URL (host)" in str(raised.value)


def test_the_refusal_of_plain_http_says_why():
    with pytest.raises(ChatbaseConfigurationError, match=r"would send the API key in clear\. Use https"):
        base_url("host", "http://www.chatbase.co")


@pytest.mark.parametrize(
    "value",
    [
        "ftp://www.chatbase.co",
        "file:///etc/passwd",
        "https://",
        "https:///api/v2",
        "://x",
        "https://www.chatbase.co?key=1",
        "https://www.chatbase.co#top",
        "https://[::1",
        "https://www.chatbase.co:port",
        "https://www.chatbase.co:99999",
        "https://www chatbase co",
    ],
)
def test_what_is_no_base_url_is_refused_in_one_sentence(value):
    with pytest.raises(ChatbaseConfigurationError, match="is no base URL"):
        base_url("host", value)


@pytest.mark.parametrize(
    "value",
    [
        "https://user@www.chatbase.co",
        "https://user:swordfish@www.chatbase.co",
        "https://:swordfish@www.chatbase.co",
        "https://user:swordfish@www.chatbase.co?x=1",
        "ftp://user:swordfish@www.chatbase.co",
        "http://user:swordfish@127.0.0.1",
        "user:swordfish@www.chatbase.co",
    ],
)
def test_user_names_and_passwords_are_refused_and_not_shown(value):
    with pytest.raises(ChatbaseConfigurationError, match="holds a user name or a password") as raised:
        base_url("host", value)
    assert "swordfish" not in str(raised.value)


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("localhost", True),
        ("x.localhost", True),
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("notlocalhost", False),
        ("localhost.", False),
        ("", False),
    ],
)
def test_is_loopback(hostname, expected):
    assert is_loopback(hostname) is expected


SETTINGS = ClientSettings(api_key="sk-secret", host="https://a.example", files_host="https://files.example")


@pytest.mark.parametrize(
    ("host", "version", "expected"),
    [
        ("main", "v2", "https://a.example/api/v2/agents"),
        ("main", "v1", "https://a.example/api/v1/agents"),
        ("files", "v2", "https://files.example/api/v2/agents"),
    ],
)
def test_url(host, version, expected):
    assert SETTINGS.url(host, version, "/agents") == expected


def test_by_default_it_is_chatbase():
    settings = ClientSettings(api_key="k")
    assert settings.url("main", "v2", "/x") == "https://www.chatbase.co/api/v2/x"
    assert settings.url("files", "v2", "/x") == "https://files.chatbase.co/api/v2/x"


@pytest.mark.parametrize(
    ("timeout", "patience", "connect", "read"),
    [
        pytest.param(None, None, 10.0, 30.0, id="by default"),
        pytest.param(None, 180.0, 10.0, 180.0, id="a slow operation"),
        pytest.param(5.0, None, 5.0, 5.0, id="set by the connection"),
        pytest.param(5.0, 180.0, 5.0, 5.0, id="the connection goes before the operation"),
        pytest.param(300.0, None, 10.0, 300.0, id="a long one leaves connecting short"),
    ],
)
def test_timeouts(timeout, patience, connect, read):
    timeouts = ClientSettings(api_key="k", timeout=timeout).timeouts(patience)
    assert (timeouts.connect, timeouts.read) == (connect, read)
    assert timeouts.pool > 0


def test_secrets_are_not_shown():
    settings = ClientSettings(api_key="sk-secret", proxy="http://user:swordfish@proxy")
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "sk-secret" not in text
        assert "swordfish" not in text


def test_a_connection_for_v1_refuses_v2_before_sending():
    request = Request(operation="cloneAgent", method="POST", path="/x", read=lambda reply: reply)
    with pytest.raises(ChatbaseUnsupportedError, match="cloneAgent is an operation of API v2") as raised:
        Api("v1").require(request)
    assert raised.value.operation == "cloneAgent"


@pytest.mark.parametrize(
    ("connection", "operation"), [("v1", "v1"), ("v2", "v2"), ("v2", "v1")], ids=lambda version: version
)
def test_other_versions_go_through(connection, operation):
    request = Request(operation="x", method="GET", path="/x", read=lambda reply: reply, version=operation)
    Api(connection).require(request)
