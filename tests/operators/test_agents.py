"""Agents: created once, changed where they differ, cloned, deleted only on purpose."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.exceptions import (
    ChatbaseConnectionLostError,
    ChatbasePermanentError,
    ChatbaseTrainingError,
)
from airflow_provider_chatbase.operators.agents import (
    ChatbaseCloneAgentOperator,
    ChatbaseCreateAgentOperator,
    ChatbaseDeleteAgentOperator,
    ChatbaseUpdateAgentOperator,
)
from airflow_provider_chatbase.simulator import Fault
from tests.operators.conftest import context, writes


def create(attempt=1, run_began=None, **arguments):
    arguments.setdefault("name", "Parcels")
    return ChatbaseCreateAgentOperator(task_id="create", **arguments).execute(context(attempt, run_began))


def update(**arguments):
    return ChatbaseUpdateAgentOperator(task_id="update", **arguments).execute(context())


def named(simulator, name="Parcels"):
    return [agent for agent in simulator.store.agents.values() if agent.name == name]


def test_creates_an_agent_with_all_its_settings(start):
    simulator = start()
    result = create(
        settings={
            "instructions": "Be short.",
            "temp": 0.5,
            "creditLimit": 9,
            "styles": {"chat": {"theme": "dark"}},
        },
        url="https://parcels.example",
        wait_for_training=True,
        poll_interval=0.05,
    )
    (agent,) = named(simulator)
    assert result["agent_id"] == agent.id
    assert result["created"] is True
    assert agent.fields["instructions"] == "Be short."
    assert (agent.fields["temp"], agent.fields["creditLimit"]) == (0.5, 9)
    assert agent.fields["styles"]["chat"]["theme"] == "dark"
    assert [source.name for source in agent.sources.values()] == ["https://parcels.example"]
    assert set(result["changed"]) == {"creditLimit", "styles"}
    assert writes(simulator) == ["createAgent", "updateAgent", "updateAgentStyles"]
    assert len(json.dumps(result)) < 2000


def test_settings_come_from_a_file_and_those_given_go_before(start, tmp_path):
    simulator = start()
    path = tmp_path / "agent.yaml"
    path.write_text("name: Parcels\ninstructions: |\n  Be kind.\nautoRetrain: true\ntemp: 0.1\n")
    result = ChatbaseCreateAgentOperator(
        task_id="create", settings_path=f"file://{path}", settings={"temp": 0.7}
    ).execute(context())
    (agent,) = named(simulator)
    assert (agent.fields["instructions"], agent.fields["temp"]) == ("Be kind.\n", 0.7)
    assert result["not_applied"] == ["autoRetrain"], "nothing is trained yet"
    assert update(
        agent_id=agent.id, settings_path=str(path), settings={"temp": 0.7, "autoRetrain": False}
    ) == {
        "agent_id": agent.id,
        "changed": {},
        "unchanged": ["autoRetrain", "instructions", "name", "temp"],
        "not_applied": [],
    }


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", ""])
def test_a_file_that_holds_no_settings(start, tmp_path, text):
    simulator = start()
    (tmp_path / "agent.yml").write_text(text)
    with pytest.raises(ChatbasePermanentError, match=r"agent\.yml"):
        update(settings_path=str(tmp_path / "agent.yml"))
    assert simulator.requests == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "instructions: 2026-01-02\n", "instructions is datetime.date"),
        ("a.yaml", "temp: .nan\n", "temp is nan"),
        ("a.yaml", "styles:\n  chat:\n    theme: a\n    theme: b\n", "theme stands in it twice"),
        ("a.yaml", "temp: 0.1\ntemp: 0.2\n", "temp stands in it twice"),
        ("a.yaml", "temp: !!python/object:os.system x\n", "could not determine a constructor"),
        ("a.json", '{"temp": 0.1, "temp": 0.2}', "temp stands in it twice"),
        ("a.json", '{"temp": NaN}', "temp is nan"),
    ],
)
def test_a_file_of_settings_is_not_guessed_at(start, tmp_path, name, text, words):
    simulator = start()
    (tmp_path / name).write_text(text)
    with pytest.raises(ChatbasePermanentError, match=words):
        update(settings_path=str(tmp_path / name))
    assert simulator.requests == []


def test_anchors_and_merges_in_a_file_of_settings(start, tmp_path):
    start()
    (tmp_path / "a.yaml").write_text(
        "styles:\n  chat: &look\n    theme: dark\n  centerStage:\n    <<: *look\n    theme: light\n"
    )
    report = update(settings_path=str(tmp_path / "a.yaml"), mode="check", on_drift="report")
    assert report["differs"]["styles"]["wanted"]["centerStage"] == {"theme": "light"}


def test_an_agent_of_that_name_is_not_made_again_unasked(start):
    simulator = start()
    first = create()
    with pytest.raises(ChatbasePermanentError, match=first["agent_id"]):
        create()
    assert create(if_exists="get", settings={"temp": 0.9})["agent_id"] == first["agent_id"]
    assert named(simulator)[0].fields["temp"] == 0
    updated = create(if_exists="update", settings={"temp": 0.9})
    assert (updated["created"], updated["changed"]) == (False, {"temp": {"from": 0, "to": 0.9}})
    assert create(if_exists="create")["agent_id"] != first["agent_id"]
    with pytest.raises(ChatbasePermanentError, match="2 agents named 'Parcels'"):
        create(if_exists="get")
    assert len(named(simulator)) == 2


@pytest.mark.parametrize("if_exists", ["fail", "get", "update", "create"])
def test_a_retry_after_a_crash_finds_the_agent_and_finishes_it(start, if_exists):
    simulator = start()
    began = datetime.now(tz=UTC)
    simulator.on_request = lambda request: None
    simulator.faults.add(Fault(kind="status", operation="updateAgent", status=500, after=False))
    with pytest.raises(Exception, match="updateAgent"):
        create(1, began, if_exists=if_exists, settings={"creditLimit": 5}, url="https://parcels.example")
    simulator.faults.clear()
    result = create(2, began, if_exists=if_exists, settings={"creditLimit": 5}, url="https://parcels.example")
    (agent,) = named(simulator)
    assert result["agent_id"] == agent.id
    assert agent.fields["creditLimit"] == 5
    assert len(agent.sources) == 1


def test_a_retry_does_not_take_an_agent_from_before_the_run(start):
    simulator = start()
    old = create()
    later = datetime.now(tz=UTC) + timedelta(hours=1)
    with pytest.raises(ChatbasePermanentError, match="already"):
        create(2, later)
    assert create(2, later, if_exists="create")["agent_id"] != old["agent_id"]
    assert len(named(simulator)) == 2


@pytest.mark.parametrize("kind", ["reset_after", "truncate", "not_json"])
def test_an_agent_whose_reply_was_lost_is_looked_for(start, kind):
    simulator = start()
    simulator.faults.add(Fault(kind=kind, operation="createAgent", times=1, after=True))
    result = create()
    (agent,) = named(simulator)
    assert (result["agent_id"], result["created"]) == (agent.id, True)
    assert writes(simulator) == ["createAgent"]


def test_an_agent_that_was_not_made_is_not_made_blindly(start, monkeypatch):
    from airflow_provider_chatbase.sync import agents

    monkeypatch.setattr(agents, "PAUSES_BEFORE_LOOKING", (0.0, 0.0))
    simulator = start()
    simulator.faults.add(Fault(kind="reset_before", operation="createAgent", times=1))
    with pytest.raises(ChatbaseConnectionLostError):
        create()
    assert create(2)["created"] is True
    assert len(named(simulator)) == 1


def test_pending_steps_are_finished_and_train_is_never_called(start):
    simulator = start(pending_steps=("ADD_SOURCE", "TRAIN_AGENT"))
    result = create(url="https://parcels.example/")
    (agent,) = named(simulator)
    assert [source.name for source in agent.sources.values()] == ["https://parcels.example/"]
    assert result["pending_steps"] == ["ADD_SOURCE", "TRAIN_AGENT"]
    assert result["finished_steps"] == ["ADD_SOURCE"]
    assert writes(simulator) == ["createAgent", "createSource"]


def test_a_model_that_is_refused_gives_the_apis_reason(start):
    start()
    with pytest.raises(ChatbasePermanentError, match="model"):
        update(settings={"model": "gpt-0"})


def test_no_agent_is_made_with_a_setting_that_does_not_exist(start):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match="nearest is 'temp'"):
        create(settings={"temperature": 0.5})
    assert writes(simulator) == []


def test_a_limit_of_agents_is_named(start):
    start(agent_limit=1)
    with pytest.raises(ChatbasePermanentError, match="AGENT_LIMIT_REACHED"):
        create()


def test_an_update_sends_what_differs_and_each_kind_to_its_own_operation(start):
    simulator = start()
    wanted = {"temp": 0.3, "styles": {"chat": {"theme": "dark"}}, "autoRetrain": True}
    assert set(update(settings=wanted)["changed"]) == set(wanted)
    assert writes(simulator) == ["updateAgent", "updateAgentStyles", "updateAgentAutoRetrain"]
    simulator.reset_log()
    assert update(settings=wanted)["unchanged"] == sorted(wanted)
    assert writes(simulator) == []


def test_long_texts_are_cut_in_the_result(start):
    start()
    result = update(settings={"instructions": "x" * 50_000})
    assert len(json.dumps(result)) < 2000
    assert "50,000 characters" in result["changed"]["instructions"]["to"]


def test_a_check_changes_nothing_and_says_what_differs(start):
    simulator = start()
    wanted = {"temp": 0.3, "visibility": "public"}
    with pytest.raises(ChatbasePermanentError, match=r"temp is 0, not 0\.3"):
        update(settings=wanted, mode="check")
    report = update(settings=wanted, mode="check", on_drift="report")
    assert report["drift"] is True
    assert report["differs"] == {"temp": {"wanted": 0.3, "actual": 0}}
    assert writes(simulator) == []
    update(settings=wanted)
    assert update(settings=wanted, mode="check")["drift"] is False


def test_a_clone_gets_its_name_and_a_retry_finds_it(start):
    simulator = start()
    began = datetime.now(tz=UTC)
    clone = ChatbaseCloneAgentOperator(
        task_id="clone", name="Green", wait_for_training=True, poll_interval=0.05
    )
    simulator.faults.add(Fault(kind="status", operation="updateAgent", status=500))
    with pytest.raises(Exception, match="updateAgent"):
        clone.execute(context(1, began))
    simulator.faults.clear()
    result = clone.execute(context(2, began))
    (agent,) = named(simulator, "Green")
    assert result["agent_id"] == agent.id
    assert result["cloned_from"] == simulator.agent_id
    assert clone.execute(context(3, began))["agent_id"] == agent.id
    assert writes(simulator).count("cloneAgent") == 1
    with pytest.raises(ChatbasePermanentError, match="'Green' already"):
        clone.execute(context(1))


def test_a_clone_whose_reply_was_lost_is_looked_for(start):
    simulator = start()
    simulator.faults.add(Fault(kind="reset_after", operation="cloneAgent", times=1))
    result = ChatbaseCloneAgentOperator(task_id="clone", name="Green").execute(context())
    assert [agent.id for agent in named(simulator, "Green")] == [result["agent_id"]]
    assert len(simulator.store.agents) == 2


def test_deleting_needs_the_same_id_twice(start):
    simulator = start()
    agent_id = create()["agent_id"]
    for confirm in ("", "Parcels", simulator.agent_id):
        with pytest.raises(ChatbasePermanentError, match="Nothing was deleted"):
            ChatbaseDeleteAgentOperator(task_id="d", agent_id=agent_id, confirm=confirm).execute(context())
    delete = ChatbaseDeleteAgentOperator(task_id="d", agent_id=agent_id, confirm=agent_id)
    assert delete.execute(context()) == {"agent_id": agent_id, "deleted": True}
    assert agent_id not in simulator.store.agents
    assert delete.execute(context(2))["deleted"] is True, "an earlier attempt did it"
    with pytest.raises(ChatbasePermanentError, match="AGENT_NOT_FOUND"):
        delete.execute(context())


def test_v1_creates_updates_waits_and_deletes(start):
    simulator = start(api_version="v1", training_seconds=0.3)
    result = create(source_text="We open at 8.", settings={"temp": 0.4, "instructions": "Be short."})
    (agent,) = named(simulator)
    assert result["agent_id"] == agent.id
    assert result["created"] is True
    assert [source.content for source in agent.sources.values()] == ["We open at 8."]
    assert (agent.fields["temp"], agent.fields["instructions"]) == (0.4, "Be short.")
    assert create(if_exists="get")["agent_id"] == agent.id

    changed = update(agent_id=agent.id, source_text="We open at 9.", settings={"instructions": "Be kind."})
    assert changed["changed"] == {"instructions": {"from": "Be short.", "to": "Be kind."}}
    assert changed["not_applied"] == []
    assert [source.content for source in agent.sources.values()] == ["We open at 9."]

    ChatbaseDeleteAgentOperator(task_id="d", agent_id=agent.id, confirm=agent.id).execute(context())
    assert named(simulator) == []


def test_v1_waits_by_status_and_does_not_trust_it_at_once(start, monkeypatch):
    from airflow_provider_chatbase.operators import _task

    monkeypatch.setattr(_task, "V1_SETTLES_AFTER", 0.6)
    simulator = start(api_version="v1", training_seconds=0.8, status_lag=0.3)
    update(settings={}, source_text="new", wait_for_training=True, poll_interval=0.1)
    (source,) = simulator.store.sources(simulator.agent_id)
    assert source.status(simulator._world.clock.time()) == "trained"


def test_v1_says_which_settings_it_does_not_have(start):
    simulator = start(api_version="v1")
    with pytest.raises(ChatbasePermanentError, match="cannot set allowedDomains \\(reset\\), creditLimit"):
        update(settings={"creditLimit": 5, "temp": 0.1, "allowedDomains": None})
    with pytest.raises(ChatbasePermanentError, match="url"):
        create(url="https://parcels.example")
    assert writes(simulator) == []


def test_v2_says_that_source_text_is_not_its_way(start):
    start()
    with pytest.raises(ChatbasePermanentError, match="ChatbaseSyncSourcesOperator"):
        create(source_text="text")


def test_a_failed_training_of_a_new_agent_fails_the_task(start):
    start()
    with pytest.raises(ChatbaseTrainingError, match="sim:fail-training"):
        create(url="https://x.example/sim:fail-training", wait_for_training=True, poll_interval=0.05)


@pytest.mark.parametrize("name", ["x" * 101, "\ud800", 5])
def test_a_copy_whose_name_is_none_is_not_made(start, name):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match="name"):
        ChatbaseCloneAgentOperator(task_id="clone", name=name).execute(context())
    assert writes(simulator) == []
