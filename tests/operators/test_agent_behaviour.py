"""Actions and procedures in an agent's file: changed, made, deleted, read back and checked for drift."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.operators.agents import ChatbaseUpdateAgentOperator
from airflow_provider_chatbase.simulator import Fault

REFUND = {
    "trigger": "A refund is due.",
    "steps": [{"kind": "instruction", "text": "Use @check_order_status."}],
}


@pytest.fixture
def agent(simulator, connect):
    connect(simulator)
    return simulator.store.agents[simulator.agent_id]


def run(settings, **how):
    return ChatbaseUpdateAgentOperator(task_id="update", settings=settings, **how).execute({})


def named(things):
    return {each["name"]: each for each in things}


def test_changes_makes_enables_and_a_second_run_writes_nothing(simulator, agent):
    wanted = {
        "temp": 0.3,
        "actions": {
            "check_order_status": {
                "whenToUse": "Somebody asks for a parcel.",
                "channels": [{"channel": "whatsapp", "enabled": True}],
            }
        },
        "procedures": {"Refund": {**REFUND, "status": "enabled"}, "Late parcel": {"trigger": "It is late."}},
    }
    result = run(wanted)
    action = named(agent.actions)["check_order_status"]
    assert action["whenToUse"] == "Somebody asks for a parcel."
    assert {each["channel"]: each["enabled"] for each in action["channels"]} == {
        "chat_widget": True,
        "whatsapp": True,
    }
    procedures = named(agent.procedures)
    assert (procedures["Refund"]["status"], procedures["Late parcel"]["trigger"]) == (
        "enabled",
        "It is late.",
    )
    assert {"temp", "procedures.Refund", "procedures.Late parcel.trigger"} <= set(result["changed"])
    assert result["not_applied"] == []
    before = len(simulator.requests)
    again = run(wanted)
    assert again["changed"] == {}
    assert {"temp", "actions.check_order_status", "procedures.Refund"} <= set(again["unchanged"])
    assert {request.method for request in simulator.requests[before:]} == {"GET"}


def test_drift(simulator, agent):
    wanted = {
        "actions": {"refund_payment": {"status": "enabled"}},
        "procedures": {"Gone": None, "Refund": REFUND},
    }
    found = run(wanted, mode="check", on_drift="report")
    assert found["differs"]["actions.refund_payment.status"] == {"wanted": "enabled", "actual": "disabled"}
    assert set(found["differs"]) == {"actions.refund_payment.status", "procedures.Refund"}
    assert {request.method for request in simulator.requests} == {"GET"}


def test_a_refused_delete_is_told_with_what_mentions_it(agent):
    with pytest.raises(Exception, match="'check_order_status' is mentioned by the procedures Late parcel"):
        run({"actions": {"check_order_status": None}})
    run({"actions": {"check_order_status": None}, "procedures": {"Late parcel": None}})
    assert "check_order_status" not in named(agent.actions)
    assert agent.procedures == []


def test_a_procedure_that_cannot_be_enabled_is_told_with_its_actions(agent):
    steps = [{"kind": "instruction", "text": "Use @refund_payment."}]
    with pytest.raises(Exception, match="mentions @refund_payment, which is not enabled"):
        run({"procedures": {"Refund": {"trigger": "T", "steps": steps, "status": "enabled"}}})


def test_a_procedure_is_enabled_whatever_is_said_when_it_is_made(simulator, agent):
    """No document shows the reply to its creation."""
    simulator.faults.add(
        Fault(
            kind="status",
            status=201,
            operation="createProcedure",
            body='{"success": true}',
            content_type="application/json",
            after=True,
        )
    )
    assert run({"procedures": {"Refund": {**REFUND, "status": "enabled"}}})["not_applied"] == []
    assert named(agent.procedures)["Refund"]["status"] == "enabled"


def test_what_is_accepted_and_not_kept_is_reported(simulator, agent):
    simulator.faults.add(
        Fault(kind="status", status=200, operation="updateAction", body="{}", content_type="application/json")
    )
    result = run({"actions": {"refund_payment": {"status": "enabled"}}})
    assert result["not_applied"] == ["actions.refund_payment.status"]
    assert result["changed"] == {}


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"actions": {"fly": {"status": "enabled"}}}, "no action 'fly', .* There are: check_order_status"),
        ({"procedures": {"New": {"trigger": "T"}}}, "'New' needs steps"),
        ({"actions": ["check_order_status"]}, "actions must be objects by their names"),
        ({"procedures": {"Late parcel": {"name": "Later"}}}, "Rename it in the dashboard"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(simulator, agent, wanted, told):
    with pytest.raises(Exception, match=told):
        run({"temp": 0.9, **wanted})
    assert {request.method for request in simulator.requests} <= {"GET"}
