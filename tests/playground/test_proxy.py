"""What reaches the service, what comes back, and who is let in: over raw HTTP."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import pytest

from airflow_provider_chatbase.simulator import Simulator

from .conftest import KEY, ask, playground_before, service

Handler = BaseHTTPRequestHandler


def reply(handler: Handler, body: bytes = b"{}", status: int = 200, **headers: str) -> None:
    handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def error_of(body: bytes) -> tuple[str, str]:
    error = json.loads(body)["error"]
    return error["code"], error["message"]


Asked = tuple[str, list[tuple[str, http.client.HTTPMessage]]]


@pytest.fixture(scope="module")
def recorded() -> Iterator[Asked]:
    seen: list[tuple[str, http.client.HTTPMessage]] = []

    def answer(handler: Handler) -> None:
        seen.append((f"{handler.command} {handler.path}", handler.headers))
        reply(handler)

    with service(answer) as host, playground_before(host) as url:
        yield url, seen


@pytest.fixture
def asked(recorded: Asked) -> Asked:
    """Return the URL of a playground, and the list of what reaches the service behind it."""
    recorded[1].clear()
    return recorded


# --- Who is let in


@pytest.mark.parametrize(
    "foreign",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1:1"},
        {"host": "127.0.0.1"},
        {"host": None},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/", "/playground/setup.json", "/api/v2/agents"])
def test_other_hosts_pages_are_refused(asked: Asked, path: str, foreign: Any) -> None:
    url, seen = asked
    status, headers, body = ask(url, path, **foreign)
    if foreign == {"host": None}:  # the server itself refuses HTTP/1.1 without a host
        assert status == 400
    else:
        assert (status, error_of(body)[0]) == (403, "PLAYGROUND_FOREIGN_PAGE")
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert not seen


def test_a_request_of_http_1_0_without_a_host_is_refused(asked: Asked) -> None:
    with socket.create_connection(("127.0.0.1", urlsplit(asked[0]).port or 0)) as connection:
        connection.sendall(b"GET /api/v2/agents HTTP/1.0\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"403"
    assert not asked[1]


def test_the_page_itself_is_let_in(asked: Asked) -> None:
    url, seen = asked
    for name in ("127.0.0.1", "localhost"):
        own = f"{name}:{urlsplit(url).port}"
        status, _, _ = ask(
            url, "/api/v2/agents", "POST", b"{}", own, Origin=f"http://{own}", Sec_Fetch_Site="same-origin"
        )
        assert status == 200
    assert len(seen) == 2
    status, _, _ = ask(url, "/", Sec_Fetch_Site="none")
    assert status == 200


def test_nobody_is_told_that_other_origins_may_ask(asked: Asked) -> None:
    url, seen = asked
    status, headers, _ = ask(url, "/api/v2/agents", "OPTIONS", Access_Control_Request_Method="POST")
    assert status == 405
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert not seen


# --- What reaches the service


def test_the_key_is_added_and_what_a_browser_keeps_for_others_is_not(asked: Asked) -> None:
    url, seen = asked
    sent = {
        "Authorization": "Bearer stolen",
        "Cookie": "a=b",
        "X_Api_Key": "x",
        "Connection": "close, X-Hop",
        "X_Hop": "1",
    }
    status, _, _ = ask(
        url, "/api/v2/agents?limit=5&q=a%20b", "POST", b'{"a": 1}', **sent, Content_Type="application/json"
    )
    assert status == 200
    ((line, headers),) = seen
    assert line == "POST /api/v2/agents?limit=5&q=a%20b"
    assert headers.get_all("Authorization") == [f"Bearer {KEY}"]
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("airflow-provider-chatbase/")
    assert not {"cookie", "x-api-key", "x-hop", "origin", "referer"} & {name.lower() for name in headers}


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2/../../admin",
        "/api/v2/agents/../../../admin",
        "/api/v2/%2e%2e/admin",
        "/api/v2/.%2E/admin",
        "/api/v2/agents/.",
        "/api/v2/agents%2f..%2fadmin",
        "/api/v2/agents%5c..%5cadmin",
        "/api/v2/agents%252f..%252fadmin",
        "/api/v2//evil.example/x",
        "/api/v2/agents\\x",
        "/api/v2/a%00b",
        "/api/v2/a%0d%0aHost:evil",
        "/api/v2/a%3fb",
        "/api/v2",
        "/api/v2/",
        "/api/v3/agents",
        "/api/v22/agents",
        "/api/admin",
        "/api//v2/agents",
        "//evil.example/api/v2/agents",
        "http://evil.example/api/v2/agents",
        "/API/v2/agents",
        "/api/v2@evil.example/x",
        "/_simulator/state",
    ],
)  # fmt: skip
def test_nothing_but_paths_of_the_api_is_forwarded(asked: Asked, path: str) -> None:
    url, seen = asked
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode())
        assert connection.makefile("rb").readline().split()[1] in (b"404", b"400")
    assert not seen


def test_ids_with_odd_characters_arrive_as_they_were_written(asked: Asked) -> None:
    url, seen = asked
    ask(url, "/api/v1/chatbots/a%20b/contacts/x@y.z,%C3%A9")
    assert seen[0][0] == "GET /api/v1/chatbots/a%20b/contacts/x@y.z,%C3%A9"


def test_files_go_to_the_host_for_files(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    seen: list[str] = []

    def named(name: str) -> Callable[[Handler], None]:
        return lambda handler: (seen.append(f"{name} {handler.command} {handler.path}"), reply(handler))[1]

    main, files = serve_service(named("main")), serve_service(named("files"))
    url = open_playground(main, files_host=files)
    form = {"Content_Type": "multipart/form-data; boundary=x"}
    ask(url, "/api/v2/agents/a/sources", "POST", b"--x--", **form)
    ask(url, "/api/v2/agents/a/sources/s", "PUT", b"--x--", **form)
    ask(url, "/api/v2/agents/a/sources", "POST", b"{}", Content_Type="application/json")
    ask(url, "/api/v1/upload-chatbot-icon", "POST", b"--x--", **form)
    assert seen == [
        "files POST /api/v2/agents/a/sources",
        "files PUT /api/v2/agents/a/sources/s",
        "main POST /api/v2/agents/a/sources",
        "main POST /api/v1/upload-chatbot-icon",
    ]


def test_a_file_source_is_made_through_the_playground(
    simulator: Simulator, open_playground: Callable[..., str]
) -> None:
    url = open_playground(simulator.url, api_key=simulator.api_key)
    part = 'Content-Disposition: form-data; name="{}"'
    body = (
        f"--x\r\n{part.format('name')}\r\n\r\nManual\r\n"
        f'--x\r\n{part.format("file")}; filename="m.txt"\r\n\r\nPress it.\r\n--x--\r\n'
    ).encode()
    path = f"/api/v2/agents/{simulator.agent_id}/sources"
    status, _, reply_body = ask(url, path, "POST", body, Content_Type="multipart/form-data; boundary=x")
    assert (status, json.loads(reply_body)["name"]) == (201, "Manual")


def test_a_header_may_hold_any_letters(asked: Asked) -> None:
    url, seen = asked
    with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0)) as connection:
        head = f"GET /api/v2/x HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nAccept: text/\u00e9\r\n\r\n"
        connection.sendall(head.encode("latin-1"))
        assert connection.makefile("rb").readline().split()[1] == b"200"
    assert seen[0][1]["Accept"] == "text/\u00e9"


# --- Streams


def test_a_reply_is_passed_on_as_it_comes(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    read_first = threading.Event()

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"data: one\n\n")
        assert read_first.wait(30)
        handler.wfile.write(b"data: two\n\n")
        handler.close_connection = True

    url = open_playground(serve_service(answer))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", "/api/v2/x")
    response = connection.getresponse()
    assert response.read1() == b"data: one\n\n"
    read_first.set()
    assert response.read() == b"data: two\n\n"
    connection.close()


def test_a_request_is_passed_on_as_it_comes(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    came_first = threading.Event()

    def answer(handler: Handler) -> None:
        first = handler.rfile.read(5)
        came_first.set()
        reply_to = first + handler.rfile.read(5)
        handler.headers.replace_header("Content-Length", "0")
        reply(handler, reply_to)

    url = open_playground(serve_service(answer))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.putrequest("POST", "/api/v2/x")
    connection.putheader("Content-Length", "10")
    connection.endheaders(b"first")
    assert came_first.wait(30)
    connection.send(b"after")
    assert connection.getresponse().read() == b"firstafter"
    connection.close()


def test_a_stream_that_breaks_off_does_not_look_whole(
    serve_service: Callable[..., str], open_playground: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"5\r\nfirst\r\n")
        handler.close_connection = True

    url = open_playground(serve_service(answer))
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(url, "/api/v2/x")
    assert caught.value.partial == b"first"
    assert "The reply of 127.0.0.1 broke off" in caplog.text


def test_the_service_learns_that_the_browser_has_hung_up(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    hung_up = threading.Event()

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.connection.settimeout(30)
        if handler.connection.recv(1) == b"":
            hung_up.set()

    url = open_playground(serve_service(answer))
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.request("GET", "/api/v2/x")
    connection.getresponse().read1()
    connection.close()
    assert hung_up.wait(30)


# --- What comes back


@pytest.mark.parametrize("cut", [0, 7, len(KEY) - 1])
@pytest.mark.parametrize("packed", [False, True])
def test_a_service_that_says_the_key_is_not_quoted(
    serve_service: Callable[..., str], open_playground: Callable[..., str], cut: int, packed: bool
) -> None:
    said = f'{{"message": "Unknown key {KEY}", "end": "{KEY[:9]}"}}{KEY[:cut]}'.encode()
    extra = {"Content_Encoding": "gzip"} if packed else {}

    def answer(handler: Handler) -> None:
        body = gzip.compress(said) if packed else said
        reply(handler, body, 401, X_Request_Id=f"\u00e9-{KEY}", Set_Cookie=f"k={KEY}", **extra)

    status, headers, body = ask(open_playground(serve_service(answer)), "/api/v2/agents")
    assert status == 401
    assert body == said.replace(KEY.encode(), b"*" * len(KEY))
    assert headers["X-Request-Id"] == "\u00e9-" + "*" * len(KEY)
    assert "Set-Cookie" not in headers
    assert KEY not in str(headers)


def test_a_key_that_comes_in_pieces_is_not_quoted(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    read_first = threading.Event()

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(f"key: {KEY[:10]}".encode())
        assert read_first.wait(30)
        handler.wfile.write(f"{KEY[10:]}; half: {KEY[:-1]}!".encode())
        handler.close_connection = True

    connection = http.client.HTTPConnection(
        urlsplit(open_playground(serve_service(answer))).netloc, timeout=30
    )
    connection.request("GET", "/api/v2/agents")
    response = connection.getresponse()
    assert response.read1() == b"key: "
    read_first.set()
    assert response.read().decode() == f"{'*' * len(KEY)}; half: {KEY[:-1]}!"
    connection.close()


def test_a_page_that_the_service_sends_is_no_page_of_ours(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    url = open_playground(
        serve_service(lambda handler: reply(handler, b"<script>", Content_Type="text/html"))
    )
    _, headers, _ = ask(url, "/api/v2/agents")
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["X-Content-Type-Options"] == "nosniff"


# --- Failures


def test_a_redirect_is_not_followed(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    seen: list[str] = []
    other = serve_service(lambda handler: (seen.append(handler.path), reply(handler)))
    url = open_playground(serve_service(lambda handler: reply(handler, b"", 307, Location=f"{other}/x")))
    status, headers, body = ask(url, "/api/v2/agents")
    assert status == 502
    assert error_of(body)[0] == "PLAYGROUND_REDIRECT"
    assert "correct the connection's host" in error_of(body)[1]
    assert "Location" not in headers
    assert not seen


def test_an_unreachable_service_is_named(open_playground: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    status, _, body = ask(open_playground(f"http://127.0.0.1:{port}"), "/api/v2/agents")
    assert (status, error_of(body)[0]) == (502, "PLAYGROUND_UNREACHABLE")
    assert "nothing was sent" in error_of(body)[1]


def test_a_service_that_is_silent_or_hangs_up_is_named(
    serve_service: Callable[..., str], open_playground: Callable[..., str]
) -> None:
    over = threading.Event()
    silent = open_playground(serve_service(lambda handler: over.wait(30)), timeout=0.3)
    status, _, body = ask(silent, "/api/v2/agents/a/chat", "POST", b"{}")
    over.set()
    assert (status, error_of(body)[0]) == (504, "PLAYGROUND_TIMEOUT")
    hangs_up = open_playground(serve_service(lambda handler: handler.connection.shutdown(socket.SHUT_RDWR)))
    status, _, body = ask(hangs_up, "/api/v2/agents/a/chat", "POST", b"{}")
    assert (status, error_of(body)[0]) == (502, "PLAYGROUND_CONNECTION_LOST")
    assert "look before you send it again" in error_of(body)[1]


def test_what_the_service_refuses_comes_back_as_it_is(
    simulator: Simulator, open_playground: Callable[..., str]
) -> None:
    status, _, body = ask(open_playground(simulator.url), "/api/v2/agents")
    assert (status, error_of(body)[0]) == (401, "AUTH_INVALID_API_KEY")
