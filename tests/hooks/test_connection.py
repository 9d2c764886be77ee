"""From an Airflow connection to the client's settings, in each form in which Airflow keeps one."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseConfigurationError
from airflow_provider_chatbase.hooks.connection import ChatbaseConnection, read_connection

KEY = "sk-very-secret-key"


@pytest.fixture
def read(monkeypatch):
    """Read a connection the way a task does: from the environment, as JSON or as a URI."""

    def read(value: str | dict) -> ChatbaseConnection:
        from airflow.providers.common.compat.sdk import BaseHook

        text = value if isinstance(value, str) else json.dumps({"conn_type": "chatbase", **value})
        monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_TEST", text)
        connection = BaseHook.get_connection("chatbase_test")
        return read_connection(connection)

    return read


def test_a_key_is_enough(read):
    connection = read({"password": KEY})
    settings = connection.settings
    assert connection.agent_id is None
    assert settings.api_key == KEY
    assert (settings.host, settings.files_host) == ("https://www.chatbase.co", "https://files.chatbase.co")
    assert (settings.api_version, settings.timeout, settings.max_attempts) == ("v2", None, 8)
    assert (settings.proxy, settings.ca_bundle) == (None, None)


EXTRA = {
    "agent_id": "a1",
    "api_version": "v1",
    "files_host": "https://files.example",
    "timeout": 12.5,
    "total_timeout": 99.5,
    "max_attempts": 3,
    "proxy": "http://proxy.example:3128",
    "ca_bundle": "/etc/ca.pem",
}


def all_fields(connection: ChatbaseConnection) -> dict:
    settings = connection.settings
    return {
        "agent_id": connection.agent_id,
        **{name: getattr(settings, name) for name in EXTRA if name != "agent_id"},
    }


def test_every_field_from_json(read):
    connection = read({"password": KEY, "host": "https://a.example", "extra": EXTRA})
    assert all_fields(connection) == EXTRA
    assert connection.settings.host == "https://a.example"


def test_every_field_from_json_whose_extra_is_a_text(read):
    assert all_fields(read({"password": KEY, "extra": json.dumps(EXTRA)})) == EXTRA


def test_every_field_from_a_uri(read):
    uri = (
        f"chatbase://:{KEY}@a.example?agent_id=a1&api_version=v1&files_host=https%3A%2F%2Ffiles.example"
        "&timeout=12.5&total_timeout=99.5&max_attempts=3&proxy=http%3A%2F%2Fproxy.example%3A3128&ca_bundle=%2Fetc%2Fca.pem"
    )
    assert all_fields(read(uri)) == EXTRA


@pytest.mark.parametrize(
    ("value", "host"),
    [
        pytest.param(f"chatbase://:{KEY}@", "https://www.chatbase.co", id="URI without a host"),
        pytest.param(f"chatbase://:{KEY}@a.example", "https://a.example", id="URI"),
        pytest.param(f"chatbase://:{KEY}@a.example:8443", "https://a.example:8443", id="URI with a port"),
        pytest.param(
            f"chatbase://:{KEY}@127.0.0.1:8756/http", "http://127.0.0.1:8756", id="URI with its scheme"
        ),
        pytest.param(
            f"chatbase://:{KEY}@http%3A%2F%2F127.0.0.1%3A8756%2Fapi%2Fv2",
            "http://127.0.0.1:8756",
            id="URI with a quoted URL",
        ),
        pytest.param(
            f"chatbase://:{KEY}@http%3A%2F%2F127.0.0.1:8756",
            "http://127.0.0.1:8756",
            id="a port beside a URL",
        ),
        pytest.param({"password": KEY, "host": ""}, "https://www.chatbase.co", id="JSON without a host"),
        pytest.param(
            {"password": KEY, "host": " http://localhost:8756/ "}, "http://localhost:8756", id="JSON"
        ),
        pytest.param(
            {"password": KEY, "host": "127.0.0.1", "schema": "http", "port": 8756},
            "http://127.0.0.1:8756",
            id="JSON in parts",
        ),
        pytest.param(
            {"password": KEY, "host": "https://gateway.example/chatbase", "port": 8443},
            "https://gateway.example:8443/chatbase",
            id="a port beside a URL with a path",
        ),
        pytest.param(
            {"password": KEY, "host": "http://127.0.0.1:8756", "port": 8756},
            "http://127.0.0.1:8756",
            id="a port twice",
        ),
    ],
)
def test_base_url(read, value, host):
    assert read(value).settings.host == host


@pytest.mark.parametrize(
    "host", ["https://a.example", "http://127.0.0.1:8756", "https://gateway.example/chatbase", "a.example"]
)
def test_what_airflow_itself_writes_as_a_uri_is_read_back(read, host):
    from airflow.sdk import Connection

    fields = {"host": host, "password": "sk-a/b@c:d", "extra": json.dumps({"agent_id": "a1", "timeout": 7})}
    connection = read(Connection(conn_id="x", conn_type="chatbase", **fields).get_uri())
    assert connection.settings.host == (host if "://" in host else f"https://{host}")
    assert (connection.settings.api_key, connection.agent_id) == ("sk-a/b@c:d", "a1")
    assert connection.settings.timeout == 7


def test_files_go_to_the_given_host_too(read):
    assert read({"password": KEY, "host": "https://a.example/api/v2"}).settings.files_host == (
        "https://a.example"
    )


def test_a_key_with_odd_characters_survives_a_uri(read):
    assert read("chatbase://:sk%2Fa%3Ab%40c%25d@a.example").settings.api_key == "sk/a:b@c%d"


def test_spaces_around_the_key_are_not_part_of_it(read):
    assert read({"password": f"  {KEY}\n"}).settings.api_key == KEY


@pytest.mark.parametrize("password", [None, "", "  "], ids=repr)
def test_no_key(read, password):
    with pytest.raises(ChatbaseConfigurationError, match="'chatbase_test' has no API key"):
        read({"password": password})


@pytest.mark.parametrize(
    "key", ["sk-two\nlines", "sk with space", "sk-schlüssel", "sk-nul\x00", "Bearer sk-key"], ids=ascii
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(read, key):
    with pytest.raises(ChatbaseConfigurationError, match="API key") as raised:
        read({"password": key})
    assert key not in str(raised.value)
    assert repr(key)[1:-1] not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", "12.5"),
        ("timeout", 12.5),
        ("max_attempts", "3"),
        ("max_attempts", 3),
    ],
)
def test_numbers_may_be_text_since_a_uri_holds_nothing_else(read, name, value):
    settings = read({"password": KEY, "extra": {name: value}}).settings
    assert getattr(settings, name) == float(value)


@pytest.mark.parametrize("name", list(EXTRA))
@pytest.mark.parametrize("nothing", [None, ""], ids=repr)
def test_an_empty_field_of_the_form_means_the_default(read, name, nothing):
    assert all_fields(read({"password": KEY, "extra": {name: nothing}})) == all_fields(
        read({"password": KEY})
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("timeout", wrong) for wrong in (0, -1, "soon", "nan", "inf", True, [], {})),
        *(("max_attempts", wrong) for wrong in (0, -1, 1.5, "1.5", "many", True, [])),
        *(("api_version", wrong) for wrong in ("v3", "2", 2, ["v2"])),
        *(("agent_id", wrong) for wrong in (7, [], {"id": 1})),
        *(("files_host", wrong) for wrong in (7, "http://files.example", "ftp://x")),
        *(("proxy", wrong) for wrong in (7, [])),
        *(("ca_bundle", wrong) for wrong in (7, True)),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(read, name, value):
    with pytest.raises(ChatbaseConfigurationError, match=name):
        read({"password": KEY, "extra": {name: value}})


def test_plain_http_to_another_machine_is_refused(read):
    with pytest.raises(ChatbaseConfigurationError, match="plain http"):
        read(f"chatbase://:{KEY}@a.example/http")


def test_fields_of_others_in_the_extra_are_passed_over(read):
    assert read({"password": KEY, "extra": {"brand_new": 1}}).settings.api_key == KEY


def test_secrets_are_not_shown(read):
    connection = read({"password": KEY, "extra": {"proxy": "http://user:swordfish@proxy.example"}})
    for shown in (repr(connection), str(connection), repr(connection.settings)):
        assert KEY not in shown
        assert "swordfish" not in shown


@pytest.mark.parametrize("extra", ["{", "[1]", '"text"', '{"timeout": NaN}'])
def test_an_extra_that_is_no_json_object_is_told(monkeypatch, extra):
    from types import SimpleNamespace

    connection = SimpleNamespace(conn_id="c", host=None, port=None, schema=None, password=KEY, extra=extra)
    with pytest.raises(ChatbaseConfigurationError, match="no JSON object"):
        read_connection(connection)


@pytest.mark.parametrize(
    "proxy",
    [
        "user:swordfish@proxy:3128",
        "http://user:sword/fish@proxy:3128",
        "http://user:swordfish@proxy:x",
        "http://user:sword fish@proxy",
        "ftp://user:swordfish@proxy",
    ],
)
def test_a_wrong_proxy_is_told_and_its_password_is_not(read, proxy):
    with pytest.raises(ChatbaseConfigurationError, match="%2F for a slash") as raised:
        read({"password": KEY, "extra": {"proxy": proxy}})
    assert "fish" not in str(raised.value)
