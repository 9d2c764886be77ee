"""The sensor in each of its modes comes to the same end.

A task's life is played with the real parts: ``execute``, Airflow's exceptions, the trigger after a round trip
through JSON, ``resume_execution`` on a new operator. Only the processes between them are left out.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)

from airflow_provider_chatbase.client import RetryPolicy
from airflow_provider_chatbase.exceptions import ChatbaseError, ChatbasePermanentError, ChatbaseTrainingError
from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor
from airflow_provider_chatbase.simulator import Fault

try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:
    from airflow.exceptions import AirflowRescheduleException  # 3.0

MODES = ["poke", "reschedule", "deferrable"]
TRIGGER = "airflow_provider_chatbase.triggers.training"


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch):
    """Let a poll fail at its first failure: how often one is repeated is not the sensor's matter."""
    one_attempt = RetryPolicy(max_attempts=1)
    monkeypatch.setattr("airflow_provider_chatbase.training.POLL_POLICY", one_attempt)
    monkeypatch.setattr("airflow_provider_chatbase.triggers.poll_hub.POLL_POLICY", one_attempt)


class TaskInstance:
    """The part of Airflow's that a sensor in reschedule mode asks."""

    first_reschedule: datetime | None = None

    def __init__(self) -> None:
        self.start_date = datetime.now(tz=UTC)

    def get_first_reschedule_date(self, context):
        return self.first_reschedule


def live(mode: str, **arguments) -> tuple[str, BaseException | None]:
    """Live the life of a task; return its end and the error that it ended with."""
    arguments = {"task_id": "wait", "poke_interval": 0.02, "timeout": 20.0, **arguments}
    if mode == "deferrable":
        arguments["deferrable"] = True
    else:
        arguments |= {"mode": mode, "deferrable": False}
    try:
        _run(arguments)
    except AirflowSkipException as error:
        return "skipped", error
    except (AirflowFailException, AirflowSensorTimeout) as error:
        return "failed for good", error
    except Exception as error:  # noqa: BLE001 - any other is one that Airflow retries
        return "failed", error
    return "success", None


def _run(arguments: dict) -> None:
    context = {"ti": TaskInstance()}
    while True:
        try:
            return ChatbaseTrainingSensor(**arguments).execute(context)
        except AirflowRescheduleException as again:
            context["ti"].first_reschedule = context["ti"].first_reschedule or datetime.now(tz=UTC)
            time.sleep(max((again.reschedule_date - datetime.now(tz=UTC)).total_seconds(), 0))
        except TaskDeferred as deferred:
            event = fire(deferred.trigger)
            sensor = ChatbaseTrainingSensor(**arguments)
            context["ti"].start_date = datetime.now(tz=UTC)  # as Airflow 3.0 does it
            given = {**(deferred.kwargs or {}), "event": event}
            return sensor.resume_execution(deferred.method_name, given, context)


def fire(trigger) -> object:
    """Run a trigger as the triggerer does, from what the database keeps of it."""
    path, arguments = json.loads(json.dumps(trigger.serialize()))
    module, _, name = path.rpartition(".")
    restored = getattr(importlib.import_module(module), name)(**arguments)

    async def first_event():
        async for event in restored.run():
            return event.payload
        return None

    return json.loads(json.dumps(asyncio.run(first_event())))


@pytest.fixture
def chatbase(start_simulator, connect):
    """Return a function that starts a simulator and points the default connection at it."""

    def chatbase(*faults: Fault, connection: dict | None = None, **switches):
        simulator = start_simulator(**switches)
        simulator.faults.add(*faults)
        if switches.get("training_seconds") == LATER:
            let_training_end_at_the_second_look(simulator)
        connect(simulator, **(connection or {}))
        return simulator

    return chatbase


def let_training_end_at_the_second_look(simulator) -> None:
    looks = Counter()

    def watch(request):
        looks[request.path] += request.method == "GET"
        if looks[request.path] == 2:
            simulator.on_request = None
            simulator.advance(LATER)

    simulator.on_request = watch


def add_source(simulator, name="Hours", content="From 8 to 18.") -> str:
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

    with ChatbaseHook() as hook:
        return hook.create_text_source(name, content)["id"]


FAILING = "sim:fail-training"
LATER, NEVER = 500, 600


def state(status: str, **fault) -> Fault:
    body = json.dumps({"id": "agent", "status": status})
    return Fault(kind="status", status=200, body=body, content_type="application/json", **fault)


KNOWN_STATES = ("untrained", "updated")


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("mode", MODES)
class TestEnd:
    """How the wait ends: the mode makes no difference."""

    def test_trained_already(self, chatbase, mode, soft_fail):
        simulator = chatbase()
        assert live(mode, soft_fail=soft_fail)[0] == "success"
        assert len(simulator.requests_for("getAgent")) == 1

    @pytest.mark.parametrize("by", ["agent", "source"])
    def test_trained_later(self, chatbase, mode, soft_fail, by):
        simulator = chatbase(training_seconds=LATER)
        ids = {"source": {"source_ids": [add_source(simulator)]}, "agent": {}}[by]
        assert live(mode, soft_fail=soft_fail, **ids)[0] == "success"
        assert len([request for request in simulator.requests if request.method == "GET"]) > 1

    @pytest.mark.parametrize("training_seconds", [0, LATER], ids=["already", "later"])
    @pytest.mark.parametrize("by", ["agent", "source"])
    def test_failed(self, chatbase, mode, soft_fail, training_seconds, by):
        simulator = chatbase(training_seconds=training_seconds)
        source = add_source(simulator, "Prices", FAILING)
        ids = {"source": {"source_ids": [source]}, "agent": {}}[by]
        end, error = live(mode, soft_fail=soft_fail, **ids)
        assert end == ("skipped" if soft_fail else "failed for good")
        if not soft_fail:
            assert isinstance(error, ChatbaseTrainingError)
            assert f"'Prices' ({source}) is failed" in str(error)

    def test_out_of_time(self, chatbase, mode, soft_fail):
        simulator = chatbase(training_seconds=NEVER)
        source = add_source(simulator)
        end, error = live(mode, soft_fail=soft_fail, source_ids=[source], timeout=1.0)
        assert end == ("skipped" if soft_fail else "failed for good")
        if not soft_fail:
            assert isinstance(error, AirflowSensorTimeout)
            assert str(error) == (
                "Not trained within 1 s. "
                f"Last seen: Waiting for 1 of 1 source: 'Hours' ({source}) is untrained."
            )

    @pytest.mark.parametrize(
        "status", ["brand_new", *(pytest.param(known, marks=pytest.mark.long) for known in KNOWN_STATES)]
    )
    def test_any_other_state_is_waited_for(self, chatbase, mode, soft_fail, status):
        chatbase(state(status))
        end, error = live(mode, soft_fail=soft_fail, timeout=1.0)
        assert end == ("skipped" if soft_fail else "failed for good")
        if not soft_fail:
            assert isinstance(error, AirflowSensorTimeout)
            assert f"Last seen: Agent agent is {status}" in str(error)

    @pytest.mark.parametrize("skip", [0, 1], ids=["already", "later"])
    @pytest.mark.parametrize(
        ("status", "code"),
        [(401, "AUTH_INVALID_API_KEY"), (403, "AUTH_INSUFFICIENT_PERMISSIONS"), (404, "AGENT_NOT_FOUND")],
    )
    def test_a_refusal_is_never_skipped(self, chatbase, mode, soft_fail, skip, status, code):
        chatbase(Fault(kind="status", status=status, code=code, skip=skip), state("training"))
        end, error = live(mode, soft_fail=soft_fail)
        assert end == ("failed" if soft_fail else "failed for good")
        assert code in str(error)
        assert "Chatbase refused getAgent" in str(error)

    def test_a_wrong_key(self, chatbase, mode, soft_fail):
        chatbase(connection={"password": "sk-wrong"})
        end, error = live(mode, soft_fail=soft_fail)
        assert end == ("failed" if soft_fail else "failed for good")
        assert "Check the password of the Airflow connection" in str(error)

    def test_a_connection_without_a_key(self, chatbase, mode, soft_fail):
        chatbase(connection={"password": ""})
        end, error = live(mode, soft_fail=soft_fail)
        assert end == ("failed" if soft_fail else "failed for good")
        assert "has no API key" in str(error)

    def test_a_connection_that_is_not_there(self, airflow_db, mode, soft_fail):
        end, error = live(mode, soft_fail=soft_fail, chatbase_conn_id="nowhere")
        assert end == "failed"
        assert "nowhere" in str(error)

    def test_an_unknown_agent(self, chatbase, mode, soft_fail):
        chatbase()
        end, error = live(mode, soft_fail=soft_fail, agent_id="nobody")
        assert end == ("failed" if soft_fail else "failed for good")
        assert "AGENT_NOT_FOUND" in str(error)

    def test_an_unknown_source(self, chatbase, mode, soft_fail):
        chatbase()
        end, error = live(mode, soft_fail=soft_fail, source_ids=["nothing"])
        assert end == ("failed" if soft_fail else "failed for good")
        assert "SOURCE_NOT_FOUND" in str(error)

    @pytest.mark.parametrize("nothing", ["", ["ok", ""], [None]], ids=repr)
    def test_no_id(self, chatbase, mode, soft_fail, nothing):
        simulator = chatbase()
        end, error = live(mode, soft_fail=soft_fail, source_ids=nothing)
        assert end == ("failed" if soft_fail else "failed for good")
        assert "source_id must be the id as text" in str(error) or "SOURCE_NOT_FOUND" in str(error)
        assert all(request.method == "GET" for request in simulator.requests)

    @pytest.mark.parametrize(
        "blip",
        [
            {"kind": "status", "status": 500},
            {"kind": "status", "status": 503, "code": "SERVICE_UNDER_MAINTENANCE"},
            {"kind": "status", "status": 429, "retry_after": 0},
            {"kind": "reset_before"},
            {"kind": "truncate_json"},
        ],
        ids=str,
    )
    def test_blips(self, chatbase, mode, soft_fail, blip):
        chatbase(state("training", times=1), Fault(**blip, times=3))
        assert live(mode, soft_fail=soft_fail)[0] == "success"

    def test_more_blips_than_may_be(self, chatbase, mode, soft_fail):
        chatbase(state("training", times=1), Fault(kind="status", status=500))
        timeout = 0.5 if mode == "reschedule" else 60.0  # the others end by themselves, if slowly
        end, error = live(mode, soft_fail=soft_fail, max_poll_failures=2, timeout=timeout)
        if mode == "reschedule":  # each poll is a process that knows of no other
            assert end == ("skipped" if soft_fail else "failed for good")
        else:
            assert end == "failed"
            assert "INTERNAL_SERVER_ERROR" in str(error)


@pytest.mark.parametrize("mode", MODES)
def test_a_wait_that_never_reached_chatbase_says_why(chatbase, mode):
    simulator = chatbase()
    simulator.stop()
    end, error = live(mode, timeout=0.3, max_poll_failures=1000)
    assert end == "failed for good"
    assert "Last seen: nothing yet. The last poll failed:" in str(error)
    assert "cannot be reached" in str(error)


@pytest.mark.parametrize("mode", MODES)
def test_the_state_from_before_a_source_was_written_does_not_pass_for_its_own(chatbase, mode):
    simulator = chatbase(training_seconds=LATER, status_lag=NEVER)
    source = add_source(simulator)
    assert live(mode)[0] == "success", "the agent still shows what was before"
    began = len(simulator.requests_for("getSource"))
    assert live(mode, source_ids=[source])[0] == "success"
    assert len(simulator.requests_for("getSource")) - began > 1


@pytest.mark.parametrize("mode", MODES)
def test_one_id_may_be_given_without_a_list(chatbase, mode):
    simulator = chatbase(training_seconds=LATER)
    source = add_source(simulator)
    assert live(mode, source_ids=source)[0] == "success"
    assert {request.path.rsplit("/", 1)[-1] for request in simulator.requests_for("getSource")} == {source}


@pytest.mark.parametrize("mode", MODES)
def test_of_no_source_there_is_nothing_to_wait_for(chatbase, mode):
    simulator = chatbase()
    assert live(mode, source_ids=[])[0] == "success"
    assert simulator.requests == []


@pytest.mark.parametrize("mode", MODES)
def test_only_reads(chatbase, mode):
    simulator = chatbase(training_seconds=LATER)
    source = add_source(simulator, "Prices", FAILING)
    simulator.reset_log()
    live(mode)
    live(mode, source_ids=[source])
    assert {request.method for request in simulator.requests} == {"GET"}


def deferral(**arguments) -> TaskDeferred:
    sensor = ChatbaseTrainingSensor(task_id="wait", deferrable=True, **arguments)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({})
    return deferred.value


def test_what_is_kept_while_it_waits_is_plain_and_holds_no_secret(chatbase):
    simulator = chatbase(training_seconds=NEVER)
    source = add_source(simulator)
    deferred = deferral(source_ids=[source], poke_interval=7, timeout=100, max_poll_failures=4)
    path, kept = deferred.trigger.serialize()
    deadline = kept.pop("deadline")
    assert path == f"{TRIGGER}.ChatbaseTrainingTrigger"
    assert kept == {
        "chatbase_conn_id": "chatbase_default",
        "agent_id": None,
        "source_ids": [source],
        "poll_interval": 7.0,
        "max_poll_failures": 4,
    }
    assert deadline == pytest.approx(time.time() + 100, abs=5)
    assert (deferred.method_name, deferred.kwargs) == ("execute_complete", None)
    assert 100 < deferred.timeout.total_seconds() <= 200, "ours comes first, and says what was seen"


def test_defers_as_airflow_is_configured(chatbase, monkeypatch):
    chatbase(training_seconds=NEVER)
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    sensor = ChatbaseTrainingSensor(task_id="wait")
    add_source(None)
    with pytest.raises(TaskDeferred):
        sensor.execute({})


def test_does_not_defer_where_airflow_is_not_configured_so(chatbase):
    chatbase()
    assert ChatbaseTrainingSensor(task_id="wait").execute({}) is None


@pytest.mark.parametrize(
    "event",
    [None, {}, [], "trained", {"outcome": None}, {"outcome": "brand_new"}, {"outcome": "waiting"}],
    ids=repr,
)
@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_an_event_that_does_not_say_trained_is_no_success(event, soft_fail):
    sensor = ChatbaseTrainingSensor(task_id="wait", soft_fail=soft_fail)
    with pytest.raises(ChatbaseError, match=r"[Rr]un the task again") as raised:
        sensor.resume_execution("execute_complete", {"event": event}, {})
    assert not isinstance(raised.value, AirflowException)


@pytest.mark.parametrize("soft_fail", [False, True], ids=["hard", "soft"])
def test_an_error_of_the_trigger_is_the_task_s(soft_fail):
    sensor = ChatbaseTrainingSensor(task_id="wait", soft_fail=soft_fail)
    event = {"outcome": "error", "reason": "Chatbase refused.", "permanent": True}
    with pytest.raises(ChatbaseError, match=r"^Chatbase refused\.$") as raised:
        sensor.resume_execution("execute_complete", {"event": event}, {})
    assert isinstance(raised.value, ChatbasePermanentError) is not soft_fail


@pytest.mark.parametrize("mode", MODES)
def test_says_what_it_waits_for(chatbase, mode, shown):
    simulator = chatbase(training_seconds=LATER)
    source = add_source(simulator)
    live(mode, source_ids=[source])
    assert f"Waiting for 1 of 1 source: 'Hours' ({source}) is untrained." in shown()
    assert "1 source trained." in shown()
    assert simulator.api_key not in shown()


def test_a_deferred_wait_that_never_reached_chatbase_says_why(simulator, connect, monkeypatch):
    monkeypatch.setattr(
        "airflow_provider_chatbase.triggers.poll_hub.POLL_POLICY", RetryPolicy(first_wait=0.2)
    )
    connect(simulator, host="http://127.0.0.1:9")
    end, error = live("deferrable", agent_id="a1", timeout=1.0, max_poll_failures=100)
    assert end == "failed for good"
    assert "http://127.0.0.1:9 cannot be reached" in str(error)
    assert "Connection refused" in str(error)


@pytest.mark.parametrize("soft_fail", [False, True])
def test_the_execution_timeout_holds_while_the_task_is_deferred(chatbase, soft_fail):
    source = add_source(chatbase(training_seconds=NEVER))
    arguments = {"soft_fail": soft_fail, "execution_timeout": timedelta(seconds=0.5)}
    with pytest.raises(AirflowTaskTimeout, match=r"is over\. Last seen: Waiting for 1 of 1 source"):
        live("deferrable", source_ids=[source], timeout=60.0, **arguments)
