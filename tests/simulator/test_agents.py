from __future__ import annotations

import pytest


def error_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


def test_create_read_change_delete(v2):
    created = v2.post("/agents", json={"name": "Second", "temp": 0.4, "nonsense": 1})
    assert created.status_code == 201
    assert set(created.json()) == {"id"}
    path = f"/agents/{created.json()['id']}"
    shown = v2.get(path).json()
    assert (shown["name"], shown["temp"], shown["visibility"], shown["status"]) == (
        "Second",
        0.4,
        "private",
        "untrained",
    )
    assert v2.put(path, json={"instructions": "Be kind.", "creditLimit": 5}).json() == {"success": True}
    assert v2.get(path).json()["creditLimit"] == 5
    assert v2.put(path, json={"creditLimit": None}).status_code == 200
    assert v2.get(path).json()["creditLimit"] is None
    assert v2.get(path).json()["instructions"] == "Be kind."
    assert v2.delete(path).json() == {"success": True}
    assert error_of(v2.get(path)) == (404, "AGENT_NOT_FOUND")


def test_empty_update_changes_nothing(v2, agent):
    before = v2.get(agent).json()
    assert v2.put(agent, json={}).json() == {"success": True}
    assert v2.get(agent).json() == before


def test_ip_rate_limits_merge_and_reset(v2, agent):
    v2.put(agent, json={"ipRateLimits": {"limit": 7}})
    assert v2.get(agent).json()["ipRateLimits"]["limit"] == 7
    assert v2.get(agent).json()["ipRateLimits"]["timeframe"] == 240
    v2.put(agent, json={"ipRateLimits": None})
    assert v2.get(agent).json()["ipRateLimits"]["limit"] == 20


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": None}, "name"),
        ({"instructions": None}, "instructions"),
        ({"model": "gpt-4o"}, "model"),
        ({"temp": 1.5}, "temp"),
        ({"temp": None}, "temp"),
        ({"visibility": "secret"}, "visibility"),
        ({"initialMessages": None}, "initialMessages"),
        ({"ipRateLimits": {"limit": 201}}, "ipRateLimits.limit"),
        ({"spamSettings": {"enabled": True}}, "spamSettings.prompt"),
        ({"voiceSettings": {"voice": {"voiceName": "Nobody"}}}, "voiceSettings.voice.voiceName"),
        ({"blockedCountries": ["DEU"]}, "blockedCountries.0"),
        ({"creditLimit": 1.5}, "creditLimit"),
    ],
)
def test_bad_updates_name_the_field(v2, agent, body, field):
    reply = v2.put(agent, json=body)
    assert error_of(reply) == (400, "VALIDATION_INVALID_BODY")
    assert field in reply.json()["error"]["details"]


def test_nullable_settings_can_be_reset(v2, agent):
    names = [
        "channelInstructions",
        "allowedDomains",
        "suggestedMessages",
        "creditLimit",
        "notificationsSettings",
        "spamSettings",
        "voiceSettings",
        "blockedCountries",
    ]
    assert v2.put(agent, json=dict.fromkeys(names)).status_code == 200
    shown = v2.get(agent).json()
    assert {name: shown[name] for name in names} == dict.fromkeys(names)


def test_body_that_is_no_json(v2):
    assert error_of(v2.post("/agents", content=b"{oops")) == (400, "VALIDATION_INVALID_JSON")
    assert error_of(v2.post("/agents", content=b"")) == (400, "VALIDATION_INVALID_JSON")
    assert error_of(v2.post("/agents", json=["name"])) == (400, "VALIDATION_INVALID_BODY")
    assert v2.post("/agents", json={"name": "x", "instructions": "y" * 4_600_000}).status_code == 413


def test_create_with_url_trains_a_link(simulator, v2):
    identifier = v2.post("/agents", json={"name": "Web", "url": "https://example.com"}).json()["id"]
    assert v2.get(f"/agents/{identifier}").json()["status"] == "training"
    simulator.advance(1)
    assert v2.get(f"/agents/{identifier}").json()["status"] == "trained"
    assert error_of(v2.post("/agents", json={"name": "Web", "url": "no-url"}))[0] == 400


def test_pending_steps(start, connect):
    client = connect(start(pending_steps=("ADD_SOURCE", "TRAIN_AGENT")))
    created = client.post("/agents", json={"name": "Half", "url": "https://example.com"}).json()
    assert created["pendingSteps"] == ["ADD_SOURCE", "TRAIN_AGENT"]
    assert client.get(f"/agents/{created['id']}/sources").json()["data"] == []


def test_clone_is_deep_and_independent(simulator, v2, agent):
    clone = f"/agents/{v2.post(f'{agent}/clone').json()['id']}"
    assert v2.get(clone).json()["instructions"] == v2.get(agent).json()["instructions"]
    assert v2.get(clone).json()["status"] == "training"
    simulator.advance(1)
    originals = {each["id"] for each in v2.get(f"{agent}/sources").json()["data"]}
    copies = {each["id"] for each in v2.get(f"{clone}/sources").json()["data"]}
    assert len(originals) == len(copies)
    assert not originals & copies
    v2.put(clone, json={"instructions": "Other", "ipRateLimits": {"limit": 3}})
    assert v2.get(agent).json()["ipRateLimits"]["limit"] == 20
    assert v2.get(f"{clone}/conversations/export").json()["pagination"]["total"] == 0


def test_agent_limit(start, connect):
    simulator = start(agent_limit=1)
    client = connect(simulator)
    assert error_of(client.post("/agents", json={"name": "x"})) == (403, "AGENT_LIMIT_REACHED")
    assert error_of(client.post(f"/agents/{simulator.agent_id}/clone")) == (403, "AGENT_LIMIT_REACHED")


def test_train_does_nothing(v2, agent):
    reply = v2.post(f"{agent}/train")
    assert (reply.status_code, reply.json()["success"], reply.json()["deprecated"]) == (200, True, True)
    assert "Deprecation" in reply.headers


def test_styles_and_auto_retrain(simulator, v2, agent):
    assert v2.put(f"{agent}/styles", json={"styles": {"chat": {"theme": "dark"}}}).json() == {"success": True}
    assert v2.get(agent).json()["styles"]["chat"]["theme"] == "dark"
    assert error_of(v2.put(f"{agent}/styles", json={"styles": {"chat": {"headerColor": "red"}}}))[0] == 400
    assert v2.put(f"{agent}/auto-retrain", json={"enabled": True}).status_code == 200
    assert v2.get(agent).json()["autoRetrain"] is True
    fresh = v2.post("/agents", json={"name": "Fresh"}).json()["id"]
    refused = v2.put(f"/agents/{fresh}/auto-retrain", json={"enabled": True})
    assert error_of(refused) == (409, "AGENT_NOT_TRAINED")


def test_pages_of_agents(v2, simulator):
    made = [v2.post("/agents", json={"name": f"agent {number}"}).json()["id"] for number in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = v2.get("/agents", params=query).json()
        assert page["pagination"]["total"] == 6
        seen += [each["id"] for each in page["data"]]
        cursor = page["pagination"]["cursor"]
        if not page["pagination"]["hasMore"]:
            break
    assert cursor is None
    assert sorted(seen) == sorted([*made, simulator.agent_id])
    assert error_of(v2.get("/agents", params={"cursor": "garbage"})) == (400, "VALIDATION_INVALID_BODY")


def test_new_agents_and_sources_can_be_late_in_lists(start, connect):
    simulator = start(visibility_delay=5)
    client = connect(simulator)
    path = f"/agents/{client.post('/agents', json={'name': 'Late'}).json()['id']}"
    source = {"type": "text", "name": "late", "content": "late"}
    assert client.post(f"{path}/sources", json=source).status_code == 201
    assert client.get(path).status_code == 200
    assert client.get("/agents").json()["pagination"]["total"] == 1
    assert client.get(f"{path}/sources").json()["data"] == []
    simulator.advance(6)
    assert client.get("/agents").json()["pagination"]["total"] == 2
    assert len(client.get(f"{path}/sources").json()["data"]) == 1


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1", "1.5", ""])
def test_page_size_out_of_range(v2, limit):
    reply = v2.get("/agents", params={"limit": limit})
    assert error_of(reply) == (400, "VALIDATION_INVALID_BODY")
    assert "limit" in reply.json()["error"]["details"]
