from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from airflow_provider_chatbase.simulator import Fault


@pytest.fixture
def v1(simulator, connect):
    return connect(simulator, "v1")


@pytest.fixture
def ask(simulator, v1):
    def send(content, **body):
        messages = body.pop("messages", [{"role": "user", "content": content}])
        return v1.post("/chat", json={"chatbotId": simulator.agent_id, "messages": messages, **body})

    return send


def test_answer_is_text_alone(simulator, ask):
    before = len(simulator.store.conversations(simulator.agent_id))
    assert ask("How long does a refund take?").json() == {
        "text": "Refunds take 5 to 7 working days after the parcel reaches us."
    }
    assert simulator.prompts_charged == 1
    assert len(simulator.store.conversations(simulator.agent_id)) == before


def test_conversation_is_saved_under_the_callers_id(simulator, ask, v2, agent):
    ask("How long does a refund take?", conversationId="my-own-id")
    ask("And the return?", conversationId="my-own-id")
    saved = simulator.store.conversation(simulator.agent_id, "my-own-id")
    assert [message.role for message in saved.messages] == ["user", "assistant"] * 2
    assert v2.get(f"{agent}/conversations/my-own-id").status_code == 404
    exported = v2.get(f"{agent}/conversations/export", params={"conversationId": "my-own-id"}).json()
    assert exported["data"][0]["source"] == "API"


def test_stream_is_plain_text(start, connect):
    simulator = start(split_stream=1)
    body = {
        "chatbotId": simulator.agent_id,
        "messages": [{"role": "user", "content": "[sim:answer] Größe 42 👍🏽"}],
    }
    with connect(simulator, "v1").stream("POST", "/chat", json={**body, "stream": True}) as reply:
        assert reply.headers["content-type"] == "text/plain; charset=utf-8"
        chunks = list(reply.iter_raw())
    assert b"".join(chunks).decode() == "Größe 42 👍🏽"
    assert max(map(len, chunks)) < 8


@pytest.mark.parametrize(
    "change",
    [
        {"chatbotId": "none"},
        {"messages": []},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"temperature": 2},
        {"model": "gpt-2"},
    ],
)
def test_bad_chat_requests(ask, change):
    reply = ask("x", **change)
    assert reply.status_code == 400
    assert set(reply.json()) == {"message"}


def test_quota(simulator, ask):
    simulator.credit_balance = 0
    reply = ask("x")
    assert (reply.status_code, reply.json()) == (403, {"message": "Message limit reached"})


def test_cut_streams(simulator, ask):
    simulator.faults.add(Fault(kind="stream_cut", reset=True, times=1), Fault(kind="stream_cut", times=1))
    with pytest.raises(httpx.TransportError):
        ask("[sim:long=50] x", stream=True)
    assert 0 < len(ask("[sim:long=50] x", stream=True).text.split()) < 50


def test_chatbots(simulator, v1):
    created = v1.post(
        "/create-chatbot", json={"chatbotName": "Night bot", "sourceText": "Owls fly at night."}
    )
    identifier = created.json()["chatbotId"]

    def shown():
        return next(each for each in v1.get("/get-chatbots").json()["chatbots"] if each["id"] == identifier)

    assert (shown()["name"], shown()["status"]) == ("Night bot", "training")
    simulator.advance(1)
    assert shown()["status"] == "ready"
    settings = {"chatbotId": identifier, "instructions": "Be brief.", "temp": 0.2, "model": "gpt-5"}
    assert v1.post("/update-chatbot-settings", json=settings).status_code == 202
    assert (shown()["instructions"], shown()["model"]) == ("Be brief.", "gpt-5")
    data = {"chatbotId": identifier, "chatbotName": "Day bot", "sourceText": "sim:fail-training"}
    assert v1.post("/update-chatbot-data", json=data).json() == {"chatbotId": identifier}
    assert (shown()["name"], shown()["status"]) == ("Day bot", "training")
    simulator.advance(1)
    assert shown()["status"] == "failed"
    assert len(simulator.store.sources(identifier)) == 1
    assert v1.delete("/delete-chatbot", params={"chatbotId": identifier}).status_code == 200
    assert v1.delete("/delete-chatbot", params={"chatbotId": identifier}).status_code == 404
    assert v1.post("/create-chatbot", json={"chatbotName": "ab"}).status_code == 400
    assert v1.post("/update-chatbot-data", json={"chatbotId": identifier}).status_code == 400


def walk(v1, path, key, **query):
    found, page = [], 1
    while True:
        data = v1.get(path, params={**query, "page": page}).json()[key]
        if not data:
            return found
        found += data
        page += 1


def test_conversations_by_page(simulator, v1):
    everything = simulator.store.conversations(simulator.agent_id)
    found = walk(v1, "/get-conversations", "data", chatbotId=simulator.agent_id, size=7)
    assert [each["id"] for each in found] == [each.id for each in everything]
    assert [len(each["messages"]) for each in found] == [len(each.messages) for each in everything]
    only = walk(
        v1, "/get-conversations", "data", chatbotId=simulator.agent_id, filteredSources="API,WhatsApp"
    )
    assert [each["id"] for each in only] == [
        each.id for each in everything if each.source in {"API", "WhatsApp"}
    ]
    assert {each["source"] for each in only} == {"api", "whatsapp"}
    day = datetime.fromtimestamp(everything[5].created_at, UTC).strftime("%Y-%m-%d")
    dated = walk(v1, "/get-conversations", "data", chatbotId=simulator.agent_id, startDate=day, endDate=day)
    assert everything[5].id in {each["id"] for each in dated}
    assert {each["created_at"][:10] for each in dated} == {day}


@pytest.mark.parametrize(
    "query",
    [
        {"chatbotId": ""},
        {"startDate": "2026-1-1"},
        {"startDate": "2026-01-01T00:00:00Z"},
        {"startDate": "2026-02-02", "endDate": "2026-02-01"},
        {"size": "101"},
        {"page": "0"},
    ],
)
def test_bad_conversation_queries(simulator, v1, query):
    reply = v1.get("/get-conversations", params={"chatbotId": simulator.agent_id, **query})
    assert reply.status_code == 400
    assert set(reply.json()) == {"message"}


@pytest.mark.parametrize(
    ("shape", "read"),
    [
        ("collectedCustomers", lambda reply: reply["collectedCustomers"]),
        ("collectedCustomers.data", lambda reply: reply["collectedCustomers"]["data"]),
        ("data", lambda reply: reply["data"]),
    ],
)
def test_leads_in_every_shape(start, connect, shape, read):
    simulator = start(leads_shape=shape)
    client = connect(simulator, "v1")
    found = []
    for page in range(1, 6):
        found += read(client.get("/get-leads", params={"chatbotId": simulator.agent_id, "page": page}).json())
    assert found == simulator.store.leads(simulator.agent_id)
    assert len(found) == 40


def test_contacts(simulator, v1):
    path = f"/chatbots/{simulator.agent_id}/contacts"
    page = v1.get(path, params={"per_page": 10, "page": 3}).json()
    assert page["pages"] == {"page": 3, "per_page": 10, "total_pages": 3}
    assert page["total"] == 30
    contact = page["data"][0]
    assert v1.get(f"{path}/{contact['external_id']}").json()["data"] == contact
    assert v1.get(f"{path}/none").status_code == 404
    assert v1.get(path, params={"per_page": 9}).status_code == 400
    assert len(v1.get(f"/chatbots/{simulator.agent_id}/custom-attributes").json()["data"]) == 2


def test_limits_without_headers(start, connect):
    client = connect(start(rate_limit=1), "v1")
    first, second = client.get("/get-chatbots"), client.get("/get-chatbots")
    assert "x-ratelimit-limit" not in first.headers
    assert (second.status_code, set(second.json())) == (429, {"message"})
    assert "Retry-After" in second.headers


def test_errors_are_messages(simulator, v1):
    reply = v1.get("/get-chatbots", headers={"Authorization": "Bearer nope"})
    assert (reply.status_code, reply.json()) == (401, {"message": "Invalid API key"})
    key = simulator.add_key("k", "no-api")
    assert v1.get("/get-chatbots", headers={"Authorization": f"Bearer {key}"}).status_code == 403
