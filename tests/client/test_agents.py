"""The requests about agents."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.v2 import agents

REQUESTS = [
    pytest.param(agents.list_agents(), "listAgents", "GET", "/agents", None, True, id="list"),
    pytest.param(agents.get_agent("a/1"), "getAgent", "GET", "/agents/a%2F1", None, True, id="get"),
    pytest.param(
        agents.create_agent({"name": "N", "temp": 0, "brandNew": 1}),
        "createAgent",
        "POST",
        "/agents",
        {"name": "N", "temp": 0, "brandNew": 1},
        False,
        id="create",
    ),
    pytest.param(
        agents.update_agent("a1", {"name": "N", "creditLimit": None}),
        "updateAgent",
        "PUT",
        "/agents/a1",
        {"name": "N", "creditLimit": None},
        True,
        id="update",
    ),
    pytest.param(agents.update_agent("a1", {}), "updateAgent", "PUT", "/agents/a1", {}, True, id="no-op"),
    pytest.param(agents.clone_agent("a1"), "cloneAgent", "POST", "/agents/a1/clone", None, False, id="clone"),
    pytest.param(agents.delete_agent("a1"), "deleteAgent", "DELETE", "/agents/a1", None, True, id="delete"),
]


@pytest.mark.parametrize(("request_", "operation", "method", "path", "body", "repeatable"), REQUESTS)
def test_request(request_, operation, method, path, body, repeatable):
    assert (request_.operation, request_.method, request_.path) == (operation, method, path)
    assert request_.body == body
    assert request_.repeatable is repeatable
    assert (request_.version, request_.host) == ("v2", "main")


@pytest.mark.parametrize(("limit", "valid"), [(0, False), (1, True), (100, True), (101, False)])
def test_limit_of_a_page(limit, valid):
    if valid:
        assert agents.list_agents(limit=limit).query == {"limit": limit}
    else:
        with pytest.raises(ChatbaseInputError):
            agents.list_agents(limit=limit)


@pytest.mark.parametrize("agent_id", ["", " ", None, ".."], ids=repr)
@pytest.mark.parametrize(
    "operation",
    [
        agents.get_agent,
        agents.clone_agent,
        agents.delete_agent,
        lambda agent_id: agents.update_agent(agent_id, {"name": "N"}),
    ],
    ids=["get", "clone", "delete", "update"],
)
def test_no_agent(operation, agent_id):
    with pytest.raises(ChatbaseInputError, match="agent_id"):
        operation(agent_id)


@pytest.mark.parametrize(
    "settings",
    [{}, {"name": ""}, {"name": None}, {"name": 7}, {"name": "x" * 101}, None, "N", {1: "x"}],
    ids=repr,
)
def test_settings_that_make_no_agent(settings):
    with pytest.raises(ChatbaseInputError):
        agents.create_agent(settings)


@pytest.mark.parametrize("name", sorted(agents.NULLABLE_SETTINGS))
def test_null_resets_what_the_api_says_is_nullable(name):
    assert agents.checked_settings({name: None}) == {name: None}


@pytest.mark.parametrize("name", sorted(agents.FIXED_SETTINGS))
def test_null_is_refused_for_what_always_has_a_value(name):
    with pytest.raises(ChatbaseInputError, match=rf"settings\['{name}'\] cannot be None"):
        agents.checked_settings({name: None})


def test_settings_of_tomorrow_pass_through():
    settings = {"brandNew": None, "model": "a-model-of-tomorrow", "other_new": 1}
    assert agents.checked_settings(settings) == settings


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("credit_limit", "creditLimit"),
        ("allowed_domains", "allowedDomains"),
        ("initial_messages", "initialMessages"),
        ("ip_rate_limits", "ipRateLimits"),
    ],
)
def test_a_name_in_snake_case_is_corrected_by_the_message(given, meant):
    with pytest.raises(ChatbaseInputError, match=rf"'{given}'\] is not a name of the API; it is '{meant}'"):
        agents.checked_settings({given: 1})


def test_deleting_again_is_done_only_when_an_earlier_attempt_may_have_done_it():
    delete = agents.delete_agent("a1")
    assert delete.means_done == {}
    assert delete.means_done_on_repeat == {"AGENT_NOT_FOUND": {"success": True}}
