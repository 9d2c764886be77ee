from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize(
    ("plan", "status", "code"),
    [
        ("no-api", 403, "SUBSCRIPTION_API_RESTRICTED_PLAN"),
        ("v1-only", 403, "SUBSCRIPTION_API_RESTRICTED_PLAN"),
        ("expired", 401, "AUTH_EXPIRED_API_KEY"),
        ("no-permission", 403, "AUTH_INSUFFICIENT_PERMISSIONS"),
    ],
)
def test_keys_that_are_refused(simulator, v2, plan, status, code):
    key = simulator.add_key(f"key-of-{plan}", plan)
    reply = v2.get("/agents", headers={"Authorization": f"Bearer {key}"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_missing_and_unknown_keys(simulator):
    url = f"{simulator.url}/api/v2/agents"
    missing = httpx.get(url)
    assert (missing.status_code, missing.json()["error"]["code"]) == (401, "AUTH_MISSING_API_KEY")
    unknown = httpx.get(url, headers={"Authorization": "Bearer nope"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (401, "AUTH_INVALID_API_KEY")
    assert {"x-request-id", "x-ratelimit-limit"} <= set(unknown.headers)


def test_read_only_key(simulator, v2):
    reader = {"Authorization": f"Bearer {simulator.add_key('reader', 'read-only')}"}
    assert v2.get("/agents", headers=reader).status_code == 200
    refused = v2.post("/agents", json={"name": "x"}, headers=reader)
    assert refused.json()["error"]["code"] == "AUTH_INSUFFICIENT_PERMISSIONS"


def test_plan_without_search(simulator, v2, agent):
    none = {"Authorization": f"Bearer {simulator.add_key('a', 'no-search')}"}
    some = {"Authorization": f"Bearer {simulator.add_key('b', 'no-query-search')}"}
    path = f"{agent}/conversations/search"
    assert v2.get(path, headers=none).json()["error"]["code"] == "CONVERSATION_SEARCH_UNAVAILABLE"
    assert v2.get(path, headers=some).status_code == 200
    assert v2.get(path, headers=some, params={"query": "x"}).status_code == 403


def test_versions_of_a_plan_can_be_set(start, connect):
    simulator = start(api_version_plans={"hobby": ["v1"]})
    client = connect(simulator)
    hobby = {"Authorization": f"Bearer {simulator.add_key('h', 'hobby')}"}
    assert client.get("/agents", headers=hobby).status_code == 403
    assert client.get(f"{simulator.url}/api/v1/get-chatbots", headers=hobby).status_code == 200


def test_agents_of_another_workspace_do_not_exist(simulator, v2, agent):
    foreign = {"Authorization": f"Bearer {simulator.add_key('f', workspace='other')}"}
    assert v2.get("/agents", headers=foreign).json()["data"] == []
    assert v2.get(agent, headers=foreign).json()["error"]["code"] == "AGENT_NOT_FOUND"
    paths = ["conversations", "conversations/export", "conversations/search", "sources", "sources/summary"]
    for path in [*paths, "users/u/conversations", "conversations/c", "conversations/c/messages", "sources/s"]:
        reply = v2.get(f"{agent}/{path}", headers=foreign)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "AGENT_NOT_FOUND"), path


def test_unknown_plan_and_unknown_path(simulator, v2):
    with pytest.raises(ValueError, match="Unknown plan 'golden'"):
        simulator.add_key("k", "golden")
    assert v2.get("/nothing/here").status_code == 404
    assert v2.delete("/agents").status_code == 404


def test_a_client_that_closes_gets_its_reply(v2, agent):
    reply = v2.get(agent, headers={"Connection": "close"})
    assert (reply.status_code, reply.headers["connection"]) == (200, "close")
    assert reply.json()["id"]
