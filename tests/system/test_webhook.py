"""The receiver of Chatbase's webhook in a real API server, called and attacked over HTTP."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count

import httpx
import pytest

from tests.system.conftest import WEBHOOK_SECRET

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]

PATIENT = 300
EMAIL = "somebody.who.trusts.us@example.com"
numbers = count()


def lead(agent_id="agent-1", **changes):
    payload = {"conversationId": f"conv-{next(numbers)}", "customerEmail": EMAIL}
    payload |= {"customerName": "Zoë", "customerPhone": None}
    body = {"eventType": "leads.submit", "chatbotId": agent_id, "payload": payload, **changes}
    return json.dumps(body, ensure_ascii=False).encode()


def sign(body, secret=WEBHOOK_SECRET, algorithm=hashlib.sha1):
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


@pytest.fixture(scope="module")
def call(airflow, api):
    with httpx.Client(base_url=airflow._url, trust_env=False, timeout=PATIENT) as http:

        def call(body, signature=None, **more):
            headers = {"x-chatbase-signature": sign(body) if signature is None else signature}
            return http.post("/chatbase/webhook", content=body, headers=headers, **more)

        yield call


def told(api):
    runs = api._get("/api/v2/dags/webhook/dagRuns?limit=200")["dag_runs"]
    done = [each["dag_run_id"] for each in runs if each["state"] == "success"]
    return [payload for run_id in done for payload in api.returned_value("webhook", run_id, "tell")]


@pytest.fixture
def stored(airflow):
    """Return a function that counts the asset events; the REST API cannot list one whose run is queued."""
    with closing(sqlite3.connect(airflow.home / "airflow.db", timeout=PATIENT)) as database:
        of_asset = "join asset on asset.id = asset_id where name like 'chatbase_webhook_%'"
        query = f"select count(*) from asset_event {of_asset}"
        yield lambda: database.execute(query).fetchone()[0]


def test_a_lead_starts_a_run(airflow, simulator, api, wait):
    url = f"{airflow._url}/chatbase/webhook"
    assert simulator.submit_lead(url, WEBHOOK_SECRET, name="Zoë", email=EMAIL) == 202
    conversation_id = max(
        simulator.store.agents[simulator.agent_id].conversations.by_id.values(),
        key=lambda each: each.created_at,
    ).id
    wait(lambda: any(each["conversation_id"] == conversation_id for each in told(api)))
    [found] = [each for each in told(api) if each["conversation_id"] == conversation_id]
    data = {"customerEmail": EMAIL, "customerName": "Zoë", "customerPhone": None}
    assert found == {
        "agent_id": simulator.agent_id,
        "event_type": "leads.submit",
        "conversation_id": conversation_id,
        "data": {"conversationId": conversation_id, **data},
    }


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "0" * 40,
        "\u00e9" * 40,
        sign(lead()),
        pytest.param(lambda body: sign(body).upper(), id="upper case"),
        pytest.param(lambda body: f"sha1={sign(body)}", id="with a prefix"),
        pytest.param(lambda body: sign(body)[:39], id="cut"),
        pytest.param(lambda body: sign(body) + "0", id="longer"),
        pytest.param(lambda body: sign(body, "another"), id="another secret"),
        pytest.param(lambda body: sign(body, ""), id="no secret"),
        pytest.param(lambda body: sign(body, f"{WEBHOOK_SECRET},the-old-secret"), id="both secrets as one"),
        pytest.param(lambda body: sign(body, algorithm=hashlib.sha256), id="sha256"),
        pytest.param(lambda body: hashlib.sha1(body + WEBHOOK_SECRET.encode()).hexdigest(), id="no hmac"),
    ],
)
def test_a_call_that_is_not_signed_so_is_refused(call, stored, signature):
    before, body = stored(), lead()
    given = signature(body) if callable(signature) else signature
    assert call(body, given.encode("latin-1")).status_code == 401
    assert stored() == before


def test_the_old_secret_holds_while_it_is_configured(call):
    body = lead()
    assert call(body, sign(body, "the-old-secret")).status_code == 202


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not json", 400),
        (b"[]", 400),
        (b"[" * 60_000, 400),
        (lead(payload={"deep": json.loads("[" * 400 + "]" * 400)}), 400),
        (b"\xff\xfe{", 400),
        (lead(payload=[]), 400),
        (lead(eventType=None), 400),
        (lead(eventType="leads\nsubmit"), 400),
        (lead(agent_id=""), 400),
        (lead(agent_id="../../etc"), 400),
        (lead(agent_id={"a": 1}), 400),
        (lead(agent_id="nobody-waits"), 404),
        (b"x" * 65_537, 413),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_event_is_refused_though_it_is_signed(call, stored, body, status):
    before = stored()
    assert call(body).status_code == status
    assert stored() == before


def test_an_event_that_is_not_known_yet_passes(call, api, stored, wait):
    # While Airflow makes a run of an event, the next one may be left to whatever comes after it.
    wait(lambda: len(told(api)) == stored())
    body = lead(
        eventType="tickets.new",
        payload={"odd": "half", "number": float("nan"), "deep": json.loads("[" * 90 + "]" * 90)},
    )
    assert call(body.replace(b"half", rb"\ud800\u0000")).status_code == 202
    wait(lambda: any(each["event_type"] == "tickets.new" for each in told(api)))


def test_the_same_call_again_is_refused_also_at_the_same_moment(call, stored):
    before, body = stored(), lead()
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: call(body).status_code, range(12)))
    assert sorted(replies) == [202] + [409] * 11
    assert call(body).status_code == 409
    assert stored() == before + 1


def test_a_body_without_end_is_not_read_to_its_end(airflow):
    sent = 0
    with socket.create_connection(("127.0.0.1", airflow._port), timeout=PATIENT) as connection:
        head = "POST /chatbase/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        try:
            while sent < 4000:
                connection.sendall(chunk)
                sent += 1
        except OSError:
            pass
        else:
            pytest.fail("64 MB were taken")


def test_a_body_that_does_not_come_is_not_waited_for(airflow):
    with socket.create_connection(("127.0.0.1", airflow._port), timeout=PATIENT) as connection:
        connection.sendall(b"POST /chatbase/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "webhook"), ("PUT", "webhook"), ("GET", "docs"), ("GET", "openapi.json")]
)
def test_there_is_nothing_else(airflow, api, method, path):
    with httpx.Client(base_url=airflow._url, trust_env=False, timeout=PATIENT) as http:
        assert http.request(method, f"/chatbase/{path}").status_code in (404, 405)


def test_nothing_of_a_customer_nor_the_secret_is_in_the_log(call, folder):
    """Of the API server: a worker of Airflow 3.0 logs what a run started on, which is in the docs."""
    call(lead())
    call(lead(), "0" * 40)
    call(lead(agent_id="nobody-waits"))
    text = (folder / "api-server.log").read_text(errors="replace")
    assert "was refused with 401" in text
    assert [word for word in (EMAIL, "Zoë", WEBHOOK_SECRET) if word in text] == []


def test_it_is_off_without_a_secret(monkeypatch):
    from airflow_provider_chatbase.webhook.plugin import ChatbaseWebhookPlugin

    for value in ("", " , "):
        monkeypatch.setenv("AIRFLOW__CHATBASE__WEBHOOK_SECRET", value)
        assert ChatbaseWebhookPlugin().fastapi_apps == []
