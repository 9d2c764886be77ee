"""What nobody may read: in messages that a server echoes, in tracebacks with locals, in pickles."""

from __future__ import annotations

import pickle
import socket
import threading
import traceback
from urllib.parse import quote

import pytest

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings, RetryPolicy, errors
from airflow_provider_chatbase.client.answer import EventStreamReader
from airflow_provider_chatbase.client.errors import quoted
from airflow_provider_chatbase.client.v2 import agents
from airflow_provider_chatbase.simulator import Fault

KEY = "sk-nobody/may+read-this"


@pytest.fixture
def settings(simulator) -> ClientSettings:
    simulator.add_key(KEY)
    return ClientSettings(api_key=KEY, host=simulator.url, proxy=None)


ECHOES = {
    "a message": '{"error": {"code": "AUTH_INVALID_API_KEY", "message": "No such key: %s"}}',
    "details": '{"error": {"code": "VALIDATION_X", "message": "no", "details": {"authorization": "%s"}}}',
    "below": '{"error": {"code": "VALIDATION_X", "message": "no", "details": {"a": ["%s"], "%s": 1}}}',
    "a code": '{"error": {"code": "%s", "message": "no"}}',
}


@pytest.mark.parametrize("body", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("written", [KEY, quote(KEY, safe="")], ids=["plain", "in a URL"])
def test_a_key_that_is_echoed_is_in_no_error(simulator, settings, body, written):
    headers = {"X-Request-Id": f"req-{KEY}", "Location": f"https://login.example/?key={written}"}
    simulator.faults.add(Fault(kind="status", status=400, body=body.replace("%s", written), headers=headers))
    with ChatbaseClient(settings) as client, pytest.raises(errors.ChatbaseApiError) as raised:
        client.send(agents.list_agents())
    shown = f"{raised.value} {vars(raised.value)}"
    assert "***" in shown
    assert KEY not in shown
    assert written not in shown


def test_a_key_in_a_stream_s_error_is_in_no_message(settings):
    with pytest.raises(errors.ChatbaseAnswerError) as raised:
        EventStreamReader().take('{"type": "error", "errorText": "bad header: Bearer ' + KEY + '"}')
    assert KEY not in str(raised.value)
    assert "bad header: Bearer ***" in str(raised.value)


def locals_of(error: BaseException) -> str:
    """Show all that a traceback with locals shows, of an error and of what it came of."""
    shown, left, seen = "", [error], []
    while left:
        each = left.pop()
        if each is None or each in seen:
            continue
        seen.append(each)
        lines = traceback.TracebackException.from_exception(each, capture_locals=True)
        shown += "".join(lines.format())
        left += [each.__cause__, each.__context__]
    return shown


def hang_up(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        connection.recv(65536)
        connection.close()


def ask(host: str, proxy: str | None) -> None:
    settings = ClientSettings(KEY, host, proxy=proxy)
    del proxy
    ChatbaseClient(settings, RetryPolicy(max_attempts=2, first_wait=0.01)).send(agents.list_agents())


@pytest.mark.parametrize("case", ["refused", "broken", "a 500", "a wrong proxy"])
def test_no_traceback_with_locals_holds_the_key(simulator, case):
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=hang_up, args=(listening,), daemon=True).start()
    host = {
        "refused": "http://127.0.0.1:9",
        "broken": f"http://127.0.0.1:{listening.getsockname()[1]}",
    }.get(case, simulator.url)
    proxy = "ftp://user:swordfish@proxy" if case == "a wrong proxy" else None
    simulator.faults.add(Fault(kind="status", status=500))
    with pytest.raises(errors.ChatbaseError) as raised:
        ChatbaseClient(
            ClientSettings(KEY, host, proxy=proxy), RetryPolicy(max_attempts=2, first_wait=0.01)
        ).send(agents.list_agents())
    listening.close()
    ours = (
        locals_of(raised.value)
        .replace(f"KEY = {KEY!r}", "")
        .replace("proxy = 'ftp://user:swordfish@proxy'", "")
    )
    assert KEY not in ours
    assert "swordfish" not in ours


def test_no_pickle_holds_the_key(settings):
    settings = ClientSettings(api_key=KEY, proxy="http://user:swordfish@proxy:3128")
    held = pickle.dumps(settings)
    assert KEY.encode() not in held
    assert b"swordfish" not in held
    with pytest.raises(errors.ChatbaseConfigurationError, match="pickle"):
        ChatbaseClient(pickle.loads(held))


def test_settings_are_what_they_were_given(settings):
    assert settings.api_key == KEY
    assert f"Bearer {settings.api_key}" == f"Bearer {KEY}"
    assert settings == ClientSettings(api_key=KEY, host=settings.host)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain text", "plain text"),
        ("two\nlines\r\n", "two\\nlines\\r\\n"),
        ("\x1b[31mred\x1b[0m \x07", "\\x1b[31mred\\x1b[0m \\x07"),
        ("Grüße 🦊", "Grüße 🦊"),
        ("\u202eevil", "\\u202eevil"),
        ("x" * 501, "x" * 500 + "… (501 characters)"),
    ],
)
def test_what_others_say_is_quoted(said, shown):
    assert quoted(said) == shown


def test_a_refusal_is_one_line_of_bounded_length(simulator, settings):
    body = '{"error": {"code": "VALIDATION_X", "message": "a\\nFAKE LOG LINE' + "x" * 100_000 + '"}}'
    simulator.faults.add(Fault(kind="status", status=400, body=body))
    with ChatbaseClient(settings) as client, pytest.raises(errors.ChatbaseValidationError) as raised:
        client.send(agents.list_agents())
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000
