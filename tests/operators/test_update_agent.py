"""Changing an agent: only what differs is sent, and what is returned is what Chatbase shows."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.exceptions import ChatbasePermanentError, ChatbaseServerError
from airflow_provider_chatbase.operators.agents import ChatbaseUpdateAgentOperator
from airflow_provider_chatbase.simulator import Fault


@pytest.fixture
def simulator(simulator, connect):
    connect(simulator, extra={"max_attempts": 1})
    return simulator


def update(settings: dict, **arguments) -> dict:
    operator = ChatbaseUpdateAgentOperator(task_id="update", settings=settings, **arguments)
    result = operator.execute({})
    assert json.loads(json.dumps(result)) == result
    return result


def fields(simulator) -> dict:
    return simulator.store.agents[simulator.agent_id].fields


def sent(simulator) -> list:
    return [request.json for request in simulator.requests_for("updateAgent")]


def test_changes_what_is_given_and_nothing_else(simulator):
    before = dict(fields(simulator))
    result = update({"instructions": "Be short.", "temp": 0.9})
    assert result == {
        "agent_id": simulator.agent_id,
        "changed": {
            "instructions": {"from": before["instructions"], "to": "Be short."},
            "temp": {"from": before["temp"], "to": 0.9},
        },
        "unchanged": [],
        "not_applied": [],
    }
    assert fields(simulator) == {**before, "instructions": "Be short.", "temp": 0.9}
    assert sent(simulator) == [{"instructions": "Be short.", "temp": 0.9}]


def test_a_second_run_sends_nothing(simulator):
    update({"instructions": "Be short.", "creditLimit": 100})
    result = update({"instructions": "Be short.", "creditLimit": 100})
    assert result["changed"] == {}
    assert result["unchanged"] == ["creditLimit", "instructions"]
    assert len(sent(simulator)) == 1


def test_only_what_differs_is_sent(simulator):
    result = update({"name": "Ridgeline Support", "temp": 0.9})
    assert sent(simulator) == [{"temp": 0.9}]
    assert result["unchanged"] == ["name"]


def test_no_settings_change_nothing(simulator):
    assert update({})["changed"] == {}
    assert sent(simulator) == []


@pytest.mark.parametrize("name", ["creditLimit", "allowedDomains", "suggestedMessages", "voiceSettings"])
def test_none_resets(simulator, name):
    value = {"creditLimit": 5, "allowedDomains": ["a.example"], "suggestedMessages": []}.get(name)
    if value is not None:
        update({name: value})
    assert update({name: None})["not_applied"] == []
    assert fields(simulator)[name] is None
    assert update({name: None})["unchanged"] == [name]


def test_none_resets_to_a_default(simulator):
    default = dict(fields(simulator)["ipRateLimits"])
    update({"ipRateLimits": {"limit": 7}})
    result = update({"ipRateLimits": None})
    assert result["changed"]["ipRateLimits"]["to"] == default
    assert result["not_applied"] == [], "what a reset leads to is for the API to say"


def test_a_reset_to_a_default_is_no_drift(simulator):
    update({"ipRateLimits": None, "creditLimit": None})
    settings = {"ipRateLimits": None, "creditLimit": None}
    assert update(settings, mode="check")["drift"] is False
    fields(simulator)["creditLimit"] = 5
    assert set(update(settings, mode="check", on_drift="report")["differs"]) == {"creditLimit"}


def test_a_text_that_chatbase_normalises_is_no_drift(simulator):
    update({"instructions": "Be kind. \r\nBe short.\r\n"})
    fields(simulator)["instructions"] = "Be kind.\nBe short."
    simulator.reset_log()
    assert update({"instructions": "Be kind. \r\nBe short.\r\n"})["unchanged"] == ["instructions"]
    assert update({"instructions": "Be kind. \r\nBe short.\r\n"}, mode="check")["drift"] is False
    assert sent(simulator) == []


def test_a_part_of_an_object_leaves_the_rest(simulator):
    before = dict(fields(simulator)["ipRateLimits"])
    update({"ipRateLimits": {"limit": 7}})
    assert fields(simulator)["ipRateLimits"] == {**before, "limit": 7}
    assert update({"ipRateLimits": {"limit": 7}})["unchanged"] == ["ipRateLimits"]


def test_what_chatbase_accepts_and_does_not_show_is_reported(simulator, shown):
    accepted = {"status": 200, "body": '{"success": true}', "content_type": "application/json"}
    simulator.faults.add(Fault(kind="status", operation="updateAgent", **accepted))
    result = update({"temp": 0.5})
    assert result["changed"] == {}
    assert result["not_applied"] == ["temp"]
    assert "does not show the wanted value: temp" in shown()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("temperature", "temp"),
        ("instruction", "instructions"),
        ("Model", "model"),
        ("style", "styles"),
        ("status", "styles"),
        ("creditsUsed", "creditLimit"),
    ],
)
@pytest.mark.parametrize("mode", ["apply", "check"])
def test_a_setting_that_does_not_exist_fails_and_the_nearest_is_named(simulator, name, nearest, mode):
    with pytest.raises(ChatbasePermanentError, match=f"no setting '{name}'.* nearest is '{nearest}'"):
        update({"temp": 0.9, name: 0.5}, mode=mode)
    assert sent(simulator) == []


def test_a_setting_of_tomorrow_is_known_by_the_agent_that_shows_it(simulator):
    fields(simulator)["voiceSpeed"] = 1
    assert update({"voiceSpeed": 1})["unchanged"] == ["voiceSpeed"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": None}, "settings['name'] cannot be None"),
        ({"credit_limit": 5}, "it is 'creditLimit'"),
        ({"name": ""}, "is empty"),
        (None, "Give settings or settings_path"),
        ("{}", "settings must be a dict"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_sent(simulator, settings, words):
    with pytest.raises(ChatbasePermanentError) as raised:
        update(settings)
    assert words in str(raised.value)
    assert simulator.requests == []


def test_a_value_that_chatbase_refuses_is_named(simulator):
    with pytest.raises(ChatbasePermanentError, match="VALIDATION_INVALID_BODY") as raised:
        update({"temp": 7})
    assert "temp" in str(raised.value.details)
    assert str(next(iter(raised.value.details.values()))) in str(raised.value)


def test_another_agent(simulator):
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

    with ChatbaseHook() as hook:
        other = hook.create_agent("Second")["id"]
    assert update({"temp": 0.1}, agent_id=other)["agent_id"] == other
    assert simulator.store.agents[other].fields["temp"] == 0.1


def test_an_update_that_was_done_and_not_confirmed_is_done_again(simulator, connect):
    connect(simulator, extra={"max_attempts": 3})
    simulator.faults.add(Fault(kind="reset_after", operation="updateAgent", times=1))
    assert update({"temp": 0.9})["changed"]["temp"]["to"] == 0.9
    assert len(sent(simulator)) == 2


def test_a_failure_of_the_server_is_left_to_airflow_s_retries(simulator):
    simulator.faults.add(Fault(kind="status", status=500, operation="updateAgent"))
    with pytest.raises(ChatbaseServerError) as raised:
        update({"temp": 0.9})
    assert not isinstance(raised.value, ChatbasePermanentError)


def test_values_are_not_logged(simulator, shown):
    update({"instructions": "Our secret recipe."})
    assert "changed instructions" in shown()
    assert "recipe" not in shown()


def test_what_is_not_shown_is_not_said_to_be_in_step(simulator, connect, shown):
    connect(simulator, extra={"api_version": "v1"})
    report = update({"temp": 0.9, "instructions": "x"}, mode="check", on_drift="report")
    assert report["not_shown"]
    assert not set(report["not_shown"]) & set(report["unchanged"])
    assert "does not show, so not compared: " in shown()


def test_a_text_cannot_be_compared(simulator):
    with pytest.raises(ChatbasePermanentError, match="cannot be compared"):
        update({}, mode="check", source_text="x")
    assert simulator.requests == []


LOOP: dict = {}
LOOP["a"] = LOOP


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", b"x", {1: 2}, {"set"}, [[float("nan")]]], ids=str
)
@pytest.mark.parametrize("mode", ["apply", "check"])
def test_what_json_does_not_have_is_refused_before_anything_is_sent(simulator, value, mode):
    with pytest.raises(ChatbasePermanentError, match="The settings cannot be sent"):
        update({"styles": {"chat": value}}, mode=mode)
    assert simulator.requests == []


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"set"}, LOOP], ids=str)
def test_what_json_does_not_have_is_refused_by_the_hook_too(simulator, value):
    from airflow_provider_chatbase.exceptions import ChatbaseInputError
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

    with (
        ChatbaseHook() as hook,
        pytest.raises(ChatbaseInputError, match="to send is no JSON"),
    ):
        hook.update_agent({"brandNew": value})
    assert sent(simulator) == []
