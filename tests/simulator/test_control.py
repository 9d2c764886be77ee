from __future__ import annotations

import asyncio
import socket
import time

import httpx
import pytest

from airflow_provider_chatbase.simulator import Fault, Settings, Simulator

pytest_plugins = ["airflow_provider_chatbase.simulator.pytest_plugin"]


@pytest.fixture
def control(simulator):
    with httpx.Client(base_url=f"{simulator.url}/_simulator") as client:
        yield client


def test_faults_over_http(control, v2):
    fault = {"kind": "status", "status": 429, "operation": "listAgents", "times": 1, "retry_after": 3}
    assert control.post("/faults", json=fault).json() == {"active": 1}
    assert control.post("/faults", json=[{"kind": "reset_before", "operation": "getAgent"}]).json() == {
        "active": 2
    }
    assert v2.get("/agents").headers["Retry-After"] == "3"
    with pytest.raises(httpx.TransportError):
        v2.get("/agents/x")
    assert control.delete("/faults").json() == {"active": 0}
    assert v2.get("/agents/x").status_code == 404


@pytest.mark.parametrize("body", [{"kind": "explode"}, {}, {"kind": "status", "colour": 1}, "status"])
def test_bad_faults_are_refused(control, body):
    reply = control.post("/faults", json=body)
    assert reply.status_code == 400
    assert reply.json()["message"]


def test_state_conversations_and_reset(simulator, control, v2, agent):
    v2.post(f"{agent}/chat", json={"message": "x", "stream": False})
    v2.get("/agents/none")
    made = control.post("/conversations", json={"count": 3, "at": 1_700_000_000, "source": "Email"}).json()
    assert len(made["ids"]) == 3
    state = control.get("/state").json()
    assert state["requests"] == {"chatWithAgent": {"200": 1}, "getAgent": {"404": 1}}
    assert (state["prompts_charged"], state["credits_charged"]) == (1, 1)
    assert state["agents"][0]["conversations"] == 64
    assert control.post("/reset").json() == {"reset": True}
    assert control.get("/state").json()["requests"] == {}
    assert simulator.prompts_charged == 0


def test_keys_time_balance_and_requests_over_http(control, v2, agent):
    control.post("/keys", json={"value": "poor", "plan": "no-api"})
    assert v2.get("/agents", headers={"Authorization": "Bearer poor"}).status_code == 403
    control.post("/balance", json={"credits": 0})
    assert v2.post(f"{agent}/chat", json={"message": "x"}).status_code == 402
    v2.post(f"{agent}/sources", json={"type": "text", "name": "n", "content": "c"})
    assert v2.get(agent).json()["status"] == "training"
    control.post("/advance", json={"seconds": 5})
    assert v2.get(agent).json()["status"] == "trained"
    asked = control.get("/requests").json()
    assert [each["operation"] for each in asked][:2] == ["listAgents", "chatWithAgent"]
    assert (asked[1]["json"], asked[1]["status"]) == ({"message": "x"}, 402)
    assert control.post("/keys", json={"value": "k", "plan": "golden"}).status_code == 400


def test_unknown_control_says_what_there_is(control):
    reply = control.get("/nothing")
    assert reply.status_code == 404
    assert "POST /_simulator/faults" in reply.json()["message"]


def test_record_of_requests(simulator, v2, agent):
    v2.post(f"{agent}/chat?x=1", json={"message": "hello", "stream": False})
    [request] = simulator.requests_for("chatWithAgent")
    assert (request.method, request.path) == ("POST", f"/api/v2{agent}/chat")
    assert (request.query, request.status) == ({"x": "1"}, 200)
    assert request.json == {"message": "hello", "stream": False}
    assert request.headers["authorization"] == "Bearer simulator-key"
    assert request.request_id.startswith("req_")
    simulator.reset_log()
    assert (simulator.requests, simulator.prompts_charged) == ([], 0)


def test_record_can_be_limited(start, connect):
    simulator = start(record_limit=5)
    client = connect(simulator)
    for _ in range(40):
        client.get("/agents")
    assert 5 <= len(simulator.requests) <= 10


def test_hook_on_requests(simulator, v2):
    seen = []
    simulator.on_request = lambda request: seen.append((request.operation, request.status))
    v2.get("/agents")
    assert seen == [("listAgents", None)]


def test_hook_may_change_the_state_while_a_request_is_served(simulator, v2, agent):
    simulator.on_request = lambda request: simulator.create_conversations(source="Email")
    assert v2.get(f"{agent}/conversations/export").json()["pagination"]["total"] == 61


def test_latency_holds_hundreds_of_requests_at_once(start):
    simulator = start(latency=0.4)
    headers = {"Authorization": f"Bearer {simulator.api_key}"}

    async def ask_at_once(count: int) -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=30) as client:
            replies = await asyncio.gather(
                *[client.get(f"{simulator.url}/api/v2/agents") for _ in range(count)]
            )
        return [reply.status_code for reply in replies]

    began = time.monotonic()
    assert asyncio.run(ask_at_once(200)) == [200] * 200
    assert time.monotonic() - began < 200 * 0.4 / 2


def test_gzip(start, connect):
    reply = connect(start(gzip=True)).get("/agents", params={"limit": 100})
    small = reply.headers.get("content-encoding")
    export = f"/agents/{reply.json()['data'][0]['id']}/conversations/export"
    large = connect(start(gzip=True)).get(export)
    assert (small, large.headers["content-encoding"]) == (None, "gzip")
    assert large.json()["data"]


def test_large_body_with_expect_continue(simulator, agent):
    body = b'{"type": "text", "name": "n", "content": "' + b"x" * 300_000 + b'"}'
    head = (
        f"POST /api/v2{agent}/sources HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {simulator.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    host, port = simulator.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 201")


def test_what_is_no_http_ends_the_connection_only(simulator, v2):
    host, port = simulator.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"hello\r\n\r\n")
        assert connection.recv(1000) == b""
    assert v2.get("/agents").status_code == 200


def test_port_in_use_is_an_error(simulator):
    port = int(simulator.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"):
        Simulator(port=port, conversations=1).start()


def answer_or_end(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1000)
    except ConnectionResetError:
        return b""


def test_stop_closes_open_connections_and_can_start_again():
    simulator = Simulator(conversations=3, latency=30)
    for _ in range(5):
        simulator.start()
        host, port = simulator.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(b"GET /api/v2/health HTTP/1.1\r\nHost: x\r\n\r\n")
            simulator.stop()
            assert answer_or_end(connection) == b""


def test_unkind_settings_still_work(connect):
    with Simulator(Settings.unkind(conversations=30, split_stream=3)) as simulator:
        client, agent = connect(simulator), f"/agents/{simulator.agent_id}"
        text = client.post(f"{agent}/chat", json={"message": "How long does a refund take?"}).text
        assert "event: finish" in text
        assert text.rstrip().endswith("data: [DONE]")
        assert simulator.credits_charged == 0.5


def test_fixture_for_users(chatbase_simulator):
    chatbase_simulator.faults.add(Fault(kind="status", times=1))
    url, key = chatbase_simulator.url, chatbase_simulator.api_key
    reply = httpx.get(f"{url}/api/v2/agents", headers={"Authorization": f"Bearer {key}"})
    assert reply.status_code == 500


def test_a_page_to_try_it_by_hand(simulator, v2):
    page = httpx.get(simulator.url)
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/html")
    setup = httpx.get(f"{simulator.url}/playground/setup.json").json()
    assert (setup["is_real"], setup["agent_id"], setup["api_key"]) == (
        False,
        simulator.agent_id,
        simulator.api_key,
    )
    assert simulator.requests == []


@pytest.mark.parametrize("path", ["/elsewhere", "/api", "/api/v2/nothing", "/api/v2/agents/x/y/z"])
def test_what_is_not_there(simulator, v2, path):
    assert httpx.get(f"{simulator.url}{path}").status_code == 401
    reply = v2.get(f"{simulator.url}{path}")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "RESOURCE_NOT_FOUND")
    assert v2.put(f"{simulator.url}/api/v2/health").status_code == 404


def test_control_from_elsewhere_needs_the_token():
    """On an address that others reach, all of them know the key: the control has a token."""
    with Simulator(host="0.0.0.0", conversations=1) as simulator:
        url = f"http://127.0.0.1:{simulator.port}"
        reset = f"{url}/_simulator/reset"
        for headers in ({}, {"Authorization": f"Bearer {simulator.api_key}"}, {"Authorization": "Bearer é"}):
            refused = httpx.post(reset, headers={name: value.encode() for name, value in headers.items()})
            assert refused.status_code == 403
            assert "token" in refused.json()["message"]
        allowed = httpx.post(reset, headers={"Authorization": f"Bearer {simulator.control_token}"})
        assert allowed.json() == {"reset": True}


def test_chosen_token_is_asked_for_on_loopback_too():
    with Simulator(control_token="chosen", conversations=1) as simulator:
        url = f"{simulator.url}/_simulator/state"
        assert httpx.get(url).status_code == 403
        assert httpx.get(url, headers={"Authorization": "Bearer chosen"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}, {"Host": "rebound.example"}],
)
def test_pages_of_others_cannot_control_what_listens_on_loopback(control, headers):
    assert control.post("/reset", headers=headers).status_code == 403
    assert control.post("/reset", headers={"Origin": str(control.base_url.copy_with(path="")).rstrip("/")})
