"""Contacts as in a table of customers, whatever breaks meanwhile."""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from airflow_provider_chatbase.operators.contacts import ChatbaseSyncContactsOperator
from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.sync import contacts


@pytest.fixture
def agent(start_simulator, connect, monkeypatch):
    monkeypatch.setattr("airflow_provider_chatbase.sync.contacts.PAUSES_BEFORE_LOOKING", (0.2, 0.2))
    simulator = start_simulator(conversations=0, contacts=3)
    connect(simulator)
    there = simulator.store.agents[simulator.agent_id]
    return SimpleNamespace(simulator=simulator, contacts=there.contacts, attributes=there.attributes)


def sync(contacts, **how):
    return ChatbaseSyncContactsOperator(task_id="sync", contacts=contacts, **how).execute({})


def customers(count):
    return [
        {"external_id": f"c-{n}", "name": f"Customer {n}", "email": f"c{n}@example.com"} for n in range(count)
    ]


def by_key(agent):
    return {
        each["external_id"]: each for each in agent.contacts if str(each.get("external_id")).startswith("c-")
    }


def test_creates_updates_and_a_second_run_writes_nothing(agent):
    table = [{**each, "plan": "pro"} for each in customers(1_200)]
    assert sync(table, create_attributes={"plan": "text"})["created"] == 1_200
    assert len(agent.simulator.requests_for("createContacts")) == 2
    table[7] = {"external_id": "c-7", "phone": "+49 (151) 234-5678", "plan": "free", "name": ""}
    before = len(agent.simulator.requests)
    assert sync(table)["updated"] == 1
    changed = by_key(agent)["c-7"]
    assert (changed["name"], changed["custom_attributes"]["plan"]) == ("Customer 7", "free")
    changed["phonenumber"] = "+491512345678"  # as Chatbase shows it
    again = sync(table)
    assert (again["created"], again["updated"], again["deleted"], again["unchanged"]) == (0, 0, 0, 1_200)
    writes = [each.method for each in agent.simulator.requests[before:] if each.method != "GET"]
    assert writes == ["PATCH"]


@pytest.mark.parametrize("fault", [{"kind": "reset_after"}, {"kind": "status", "status": 502}], ids=str)
@pytest.mark.parametrize("operation", ["createContacts", "createCustomAttribute"])
def test_a_lost_reply_makes_no_second_ones(agent, operation, fault):
    agent.simulator.faults.add(Fault(operation=operation, times=1, **fault))
    table = [{"external_id": f"c-{n}", "age": n} for n in range(20)]
    assert sync(table, create_attributes={"age": "number"})["created"] == 20
    assert [each["name"] for each in agent.attributes].count("age") == 1
    assert sum(str(each.get("external_id")).startswith("c-") for each in agent.contacts) == 20


def test_one_that_is_refused_does_not_stop_the_others_and_nothing_is_deleted(agent):
    sync([{"external_id": "c-gone"}])
    taken = {"external_id": "c-9", "email": agent.contacts[0]["email"]}
    with pytest.raises(Exception, match="1 contacts could not be written, and none was deleted: c-9: "):
        sync([*customers(9), taken], prune=True, max_deletes=100)
    assert set(by_key(agent)) == {"c-gone", *(f"c-{n}" for n in range(9))}


def test_prune_within_its_limits(agent):
    agent.contacts[0].pop("external_id", None)
    sync(customers(10))
    kept = len(agent.contacts)
    for wrong, told in (
        ({"contacts": [], "prune": True}, "The table is empty"),
        ({"contacts": customers(2), "prune": True}, "would be deleted, and max_deletes allows"),
        ({"contacts": customers(2), "prune": True, "max_deletes": 5.0}, "max_deletes must be a whole number"),
    ):
        with pytest.raises(Exception, match=told):
            sync(**wrong)
    assert len(agent.contacts) == kept
    assert sync(customers(9), prune=True, max_deletes=5, dry_run=True)["deleted"] == 3
    assert len(agent.contacts) == kept
    result = sync(customers(9), prune=True, max_deletes=5)
    assert (result["deleted"], result["foreign"], len(agent.contacts)) == (3, 1, 10)


def test_a_file(agent, tmp_path):
    path = tmp_path / "customers.csv"
    path.write_text("external_id,name,age\nc-1,Ann,41\nc-2,Bo,\n")
    sync(path.as_uri(), create_attributes={"age": "number"})
    assert by_key(agent)["c-1"]["custom_attributes"] == {"age": 41.0}
    assert by_key(agent)["c-2"]["custom_attributes"] == {}


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([{"external_id": "c-1", "colour": "red"}], "'colour', which is no field of a contact"),
        ([{"name": "Ann"}], "record 1 has no external_id"),
        ([{"external_id": "c-1"}, {"external_id": "c-1"}], "Two contacts have the external_id 'c-1'"),
        ([{"external_id": "c-1", "age": "old"}], "age of record 1 must be a number, not 'old'"),
        (["Ann"], "record 1 is no object"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(agent, table, told):
    with pytest.raises(Exception, match=told):
        sync(table, create_attributes={"age": "number"})
    assert {each.method for each in agent.simulator.requests} <= {"GET"}


def test_an_attribute_of_another_type_cannot_be_created(agent):
    sync(customers(1), create_attributes={"age": "number"})
    before = len(agent.simulator.requests)
    with pytest.raises(Exception, match="wants 'age' as text, and it is there as number"):
        sync(customers(1), create_attributes={"age": "text"})
    assert {each.method for each in agent.simulator.requests[before:]} == {"GET"}


def test_the_plan_and_the_report_name_each(agent, tmp_path, shown):
    sync(customers(3))
    path = tmp_path / "report.json"
    table = [{"external_id": "c-0", "name": "Ann"}, {"external_id": "c-9"}, *customers(3)[1:]]
    planned = sync(table, dry_run="true", report_path=path.as_uri())
    assert (planned["created"], planned["updated"], planned["unchanged"]) == (1, 1, 2)
    report = json.loads(path.read_text())
    assert report["create"] == [{"key": "c-9", "note": ""}]
    assert report["update"] == [{"key": "c-0", "note": "name"}]
    assert "c-0: name" in shown()
    assert set(by_key(agent)) == {"c-0", "c-1", "c-2"}
    sync(table, report_path=path.as_uri())
    assert json.loads(path.read_text())["updated"] == [{"key": "c-0", "note": "name"}]


def test_a_contact_that_a_page_lacked_is_not_made_again(agent):
    table = [{"external_id": "c-0", "name": "Ann"}, {"external_id": "c-1", "name": "Bo"}]
    sync(table)
    agent.simulator.faults.add(Fault(operation="listContacts", kind="drop_items", amount=1, times=1))
    assert sync(table)["unchanged"] == 2
    agent.simulator.faults.add(Fault(operation="listContacts", kind="drop_items", amount=1))
    with pytest.raises(Exception, match="listContacts counts 5 and lists 4, 3 times"):
        sync(table)
    assert len(agent.contacts) == 5


def test_what_another_run_made_meanwhile_is_no_failure(agent):
    """Two runs at once: the other one is first with all but one, and that one has another name."""
    other = [*customers(10)[:9], {"external_id": "c-9", "name": "Somebody else", "email": "x@y.org"}]

    def overtake(request):
        if request.operation == "createContacts" and not by_key(agent):
            agent.contacts.extend({**agent.contacts[0], **each, "id": str(uuid.uuid4())} for each in other)

    agent.simulator.on_request = overtake
    with pytest.raises(Exception, match="1 contacts could not be written, and none was deleted: c-9: "):
        sync(customers(10))
    assert len(by_key(agent)) == 10
    assert sync(customers(10))["updated"] == 1


def all_of(agent, key):
    return [each for each in agent.contacts if each.get("external_id") == key]


@pytest.mark.parametrize(
    "fault",
    [
        None,
        {"kind": "reset_after"},
        {"kind": "status", "status": 502},
        {"kind": "status", "status": 429},
        {"kind": "status", "status": 500, "after": True},
    ],
    ids=str,
)
def test_two_runs_at_once_leave_one_of_each(agent, fault, monkeypatch):
    """Neither sees what the other creates, as Chatbase lets two contacts have one external id."""
    table = [{"external_id": f"c-{n}", "name": f"Customer {n}", "age": n} for n in range(40)]
    both_have_looked = threading.Barrier(2, timeout=60)
    make_plan = contacts.make_plan

    def plan_and_wait(*args, **how):
        plan = make_plan(*args, **how)
        both_have_looked.wait()
        return plan

    if fault:
        agent.simulator.faults.add(Fault(operation="createContacts", times=1, **fault))
    with monkeypatch.context() as together, ThreadPoolExecutor(2) as runs:
        together.setattr(contacts, "make_plan", plan_and_wait)
        results = [
            each.result()
            for each in [runs.submit(sync, table, create_attributes={"age": "number"}) for _ in range(2)]
        ]
    assert {each["created"] for each in results} == {40}
    assert len(agent.simulator.requests_for("createContacts")) >= 2, "they did not meet"
    assert sorted(by_key(agent)) == sorted(each["external_id"] for each in table)
    assert [key for key in by_key(agent) if len(all_of(agent, key)) > 1] == []
    again = sync(table)
    assert (again["created"], again["updated"], again["deleted"], again["unchanged"]) == (0, 0, 0, 40)


def test_what_a_killed_one_left_twice_is_put_right_by_the_next(agent, tmp_path):
    table = customers(3)
    sync(table)
    double = {**all_of(agent, "c-1")[0], "id": str(uuid.uuid4()), "email": None, "name": "Customer 1"}
    agent.contacts.insert(0, double)
    path = tmp_path / "report.json"
    table[1]["name"] = "Anna"
    assert sync(table, dry_run=True, report_path=path.as_uri())["deleted"] == 1
    assert "another one has its external_id" in json.loads(path.read_text())["delete"][0]["note"]
    result = sync(table)
    assert (result["created"], result["updated"], result["deleted"]) == (0, 1, 1)
    [left] = all_of(agent, "c-1")
    assert (left["name"], left["email"]) == ("Anna", "c1@example.com")
    assert left["id"] != double["id"] or left["email"]


def test_two_that_differ_may_be_two_customers(agent):
    sync(customers(3))
    other = {**all_of(agent, "c-1")[0], "id": str(uuid.uuid4()), "email": None, "name": "Bob"}
    agent.contacts.append(other)
    before = len(agent.contacts)
    with pytest.raises(Exception, match=f"'c-1', .*{other['id']}.* which differ in name: they may be"):
        sync(customers(3))
    assert sync(customers(1))["unchanged"] == 1  # which does not name it
    assert len(agent.contacts) == before
