from __future__ import annotations

import pytest

from airflow_provider_chatbase.simulator import Fault

TEXT = {"type": "text", "name": "Parking", "content": "Parking behind the shop is free for two hours."}


def error_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


def test_text_source_trains_and_then_answers(simulator, v2, agent):
    ask = {"message": "Is there parking at the shop?", "stream": False}
    created = v2.post(f"{agent}/sources", json=TEXT)
    assert (created.status_code, created.json()["status"]) == (201, "untrained")
    assert created.json()["size"] == len(TEXT["content"])
    assert v2.get(agent).json()["status"] == "training"
    assert "behind" not in v2.post(f"{agent}/chat", json=ask).json()["data"]["parts"][0]["text"]
    simulator.advance(0.3)
    path = f"{agent}/sources/{created.json()['id']}"
    assert v2.get(path).json()["status"] == "trained"
    assert v2.get(agent).json()["status"] == "trained"
    assert "behind the shop" in v2.post(f"{agent}/chat", json=ask).json()["data"]["parts"][0]["text"]


def test_update_retrains_while_the_old_version_answers(simulator, v2, agent):
    path = f"{agent}/sources/{v2.post(f'{agent}/sources', json=TEXT).json()['id']}"
    assert error_of(v2.put(path, json={"content": "new"})) == (409, "SOURCE_IS_TRAINING")
    simulator.advance(0.3)
    changed = v2.put(path, json={"content": "Parking behind the shop costs two euros."})
    assert (changed.status_code, changed.json()["status"]) == (200, "updated")
    ask = {"message": "Is there parking at the shop?", "stream": False}
    assert "free" in v2.post(f"{agent}/chat", json=ask).json()["data"]["parts"][0]["text"]
    simulator.advance(0.3)
    assert "costs" in v2.post(f"{agent}/chat", json=ask).json()["data"]["parts"][0]["text"]
    renamed = v2.put(path, json={"name": "Cars"}).json()
    assert (renamed["name"], renamed["status"]) == ("Cars", "trained")


def test_failed_training(simulator, v2, agent):
    body = {**TEXT, "content": "sim:fail-training"}
    path = f"{agent}/sources/{v2.post(f'{agent}/sources', json=body).json()['id']}"
    simulator.advance(0.3)
    assert v2.get(path).json()["status"] == "failed"
    assert v2.get(agent).json()["status"] == "failed"
    assert v2.put(path, json={"content": "better"}).status_code == 200
    simulator.advance(0.3)
    assert v2.get(agent).json()["status"] == "trained"


def test_agent_status_can_lag(start, connect):
    simulator = start(status_lag=5, training_seconds=20)
    client = connect(simulator)
    path = f"/agents/{simulator.agent_id}"
    client.post(f"{path}/sources", json=TEXT)
    assert client.get(path).json()["status"] == "trained"
    simulator.advance(6)
    assert client.get(path).json()["status"] == "training"


def test_qna_and_links(simulator, v2, agent):
    qna = {"type": "qna", "name": "Dogs", "questions": ["Are dogs allowed?"], "answer": "Dogs are welcome."}
    assert v2.post(f"{agent}/sources", json=qna).status_code == 201
    link = {"type": "link", "url": "https://example.com/a", "linkType": "individual"}
    created = v2.post(f"{agent}/sources", json=link).json()
    assert (created["name"], created["metadata"]) == ("https://example.com/a", {"type": "individual"})
    assert error_of(v2.post(f"{agent}/sources", json=link)) == (409, "SOURCE_DUPLICATE")
    sitemap = v2.post(f"{agent}/sources", json={**link, "linkType": "sitemap"}).json()
    assert sitemap["metadata"]["crawlStatus"] == "fetching"
    simulator.advance(1)
    fetched = v2.get(f"{agent}/sources/{sitemap['id']}").json()["metadata"]
    assert (fetched["crawlStatus"], fetched["children"]["included"]) == ("fetched", 12)
    answer = v2.post(f"{agent}/chat", json={"message": "Are dogs allowed inside?", "stream": False}).json()
    assert answer["data"]["parts"][0]["text"] == "Dogs are welcome."


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "notionPage", "name": "x"},
        {"type": "text", "name": "", "content": "x"},
        {"type": "text", "name": "x" * 101, "content": "x"},
        {"type": "text", "name": "x", "content": ""},
        {"type": "text", "name": "x", "content": "x" * 1_048_577},
        {"type": "qna", "name": "x", "questions": [], "answer": "x"},
        {"type": "qna", "name": "x", "questions": ["q"] * 51, "answer": "x"},
        {"type": "link", "url": "not a url", "linkType": "individual"},
        {"type": "link", "url": "https://example.com", "linkType": "page"},
    ],
)
def test_bad_sources(v2, agent, body):
    assert error_of(v2.post(f"{agent}/sources", json=body)) == (400, "VALIDATION_INVALID_BODY")


def test_storage_is_limited(start, connect):
    simulator = start(storage_limit=2000)
    client = connect(simulator)
    reply = client.post(f"/agents/{simulator.agent_id}/sources", json={**TEXT, "content": "x" * 2000})
    assert error_of(reply) == (422, "SOURCE_SIZE_LIMIT_EXCEEDED")


def test_delete_at_once(v2, agent):
    path = f"{agent}/sources/{v2.post(f'{agent}/sources', json=TEXT).json()['id']}"
    assert v2.delete(path).json()["status"] == "deleted"
    assert error_of(v2.get(path)) == (404, "SOURCE_NOT_FOUND")
    assert v2.post(f"{path}/restore").json()["deprecated"] is True
    assert v2.get(path).status_code == 404


def test_delete_with_purge(start, connect):
    simulator = start(purge_seconds=10)
    client, agent = connect(simulator), f"/agents/{simulator.agent_id}"
    path = f"{agent}/sources/{client.post(f'{agent}/sources', json=TEXT).json()['id']}"
    assert client.delete(path).json()["status"] == "toBeDeleted"
    assert error_of(client.delete(path)) == (409, "SOURCE_ALREADY_PENDING_DELETION")
    assert error_of(client.put(path, json={"name": "x"})) == (409, "SOURCE_PENDING_DELETION")
    assert client.get(f"{agent}/sources/summary").json()["shouldRetrain"] is True
    simulator.advance(11)
    assert error_of(client.get(path)) == (404, "SOURCE_NOT_FOUND")


def test_list_filters_and_summary(v2, agent):
    everything = v2.get(f"{agent}/sources").json()
    assert everything["pagination"]["total"] == 6
    texts = v2.get(f"{agent}/sources", params={"type": "text,link"}).json()["data"]
    assert {each["type"] for each in texts} == {"text", "link"}
    [found] = v2.get(f"{agent}/sources", params={"name": "SHIPPING"}).json()["data"]
    assert found["name"] == "Shipping policy"
    assert error_of(v2.get(f"{agent}/sources", params={"type": "ticket"}))[0] == 400
    summary = v2.get(f"{agent}/sources/summary").json()
    assert (summary["texts"]["count"], summary["qnas"]["count"], summary["shouldRetrain"]) == (3, 2, False)


def test_file_sources(simulator, v2, agent):
    content = "Boots: gr\u00f6\u00dfe 42\r\n--not-a-boundary\r\n".encode()
    created = v2.post(
        f"{agent}/sources", data={"name": "dir/B\u00f6ots.txt"}, files={"file": ("B\u00f6ots.txt", content)}
    )
    assert created.status_code == 201
    assert (created.json()["name"], created.json()["size"]) == ("dir/B\u00f6ots.txt", len(content))
    assert simulator.requests[-1].operation == "createFileSource"
    stored = simulator.store.agents[simulator.agent_id].sources[created.json()["id"]]
    assert stored.details["content"] == content
    path = f"{agent}/sources/{created.json()['id']}"
    update = {"files": {"file": ("B\u00f6ots.txt", b"42")}}
    assert error_of(v2.put(path, **update)) == (409, "SOURCE_IS_TRAINING")
    simulator.advance(1)
    assert v2.put(path, **update).json()["status"] == "updated"
    simulator.advance(1)
    renamed = v2.put(path, data={"name": "new"}, files={"ignored": ("x.txt", b"x")}).json()
    assert (renamed["name"], renamed["size"], renamed["status"]) == ("new", 2, "trained")


@pytest.mark.parametrize(
    ("data", "files"),
    [
        ({}, {"file": ("a.txt", b"x")}),
        ({"name": "a"}, {"other": ("a.txt", b"x")}),
        ({"name": "a"}, {"file": ("a.md", b"x")}),
        ({"name": "a"}, {"file": ("a.txt", b"")}),
        ({"name": "a"}, {"file": ("a.txt", b"x" * (20 * 1024 * 1024 + 1))}),
    ],
)
def test_bad_files(v2, agent, data, files):
    assert error_of(v2.post(f"{agent}/sources", data=data, files=files)) == (400, "VALIDATION_INVALID_BODY")


def test_update_of_a_missing_file_source(v2, agent):
    files = {"file": ("a.txt", b"x")}
    assert error_of(v2.put(f"{agent}/sources/none", files=files)) == (404, "SOURCE_NOT_FOUND")
    assert error_of(v2.put("/agents/none/sources/none", files=files)) == (404, "SOURCE_NOT_FOUND")


def test_a_listing_that_breaks_on_its_second_page(simulator, v2, agent):
    simulator.faults.add(Fault(kind="status", status=500, operation="listSources", skip=1))
    assert v2.get(f"{agent}/sources", params={"limit": 2}).status_code == 200
    assert v2.get(f"{agent}/sources", params={"limit": 2}).status_code == 500
