"""``python -m airflow_provider_chatbase.check``: what its report tells, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_chatbase.check import __main__ as command_line
from airflow_provider_chatbase.check.report import POINTS
from airflow_provider_chatbase.simulator import Simulator
from airflow_provider_chatbase.simulator.faults import Fault

REPOSITORY = Path(__file__).parents[2]
KEY = "sk-never-in-a-report-0123456789"


@pytest.fixture
def check(connect: Callable[..., Any], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Return a function that checks a simulator, and returns the exit code and the report."""

    def check(simulator: Simulator, *arguments: str, **fields: Any) -> tuple[int, str]:
        connect(simulator, **fields)
        report = tmp_path / "report.md"
        code = command_line.main(["--connection", "chatbase_default", "--report", str(report), *arguments])
        return code, report.read_text(encoding="utf-8")

    return check


def found(report: str, point: str) -> str:
    assert point in POINTS
    [row] = [line for line in report.splitlines() if line.startswith(f"| {point} |")]
    _, _, settled, how, _ = (cell.strip() for cell in row.split("|"))
    assert settled == "yes", row
    return how


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name in value:
            yield from strings(value[name])
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize(
    ("switches", "point", "told"),
    [
        ({"rate_limit": 250}, "Rate limit", "X-RateLimit-Limit 250, "),
        ({}, "Unit of X-RateLimit-Reset", "milliseconds since the epoch"),
        ({"reset_unit": "seconds"}, "Unit of X-RateLimit-Reset", "seconds since the epoch"),
        ({}, "Rate-limit headers on API v1", "there are none"),
        ({"v1_rate_headers": True}, "Rate-limit headers on API v1", "they are there"),
        ({}, "Whether getHealth counts", "it does not count"),
        ({}, "Code of a search cursor with another query", "400 VALIDATION_CURSOR_QUERY_MISMATCH"),
        ({}, "Role of human agents in the export", "where a human took over: `user`, `assistant`, `human`"),
        ({"human_role": "operator"}, "Role of human agents in the export", "`operator`"),
        ({"human_role": "Ann Lee"}, "Role of human agents in the export", "another value (text)"),
        ({}, "Parameters of the analytics", "inverted, 400 VALIDATION_INVALID_DATE_RANGE"),
        ({}, "Answer of the analytics", "data: {buckets: 7 of {start: epoch seconds, "),
        ({}, "Shape of the leads (v1)", "collectedCustomers"),
        (
            {"leads_shape": "collectedCustomers.data"},
            "Shape of the leads (v1)",
            "collectedCustomers.data",
        ),
        ({"leads_shape": "data"}, "Shape of the leads (v1)", "{data: 20 of {"),
        ({}, "Spelling of sources (v1)", "lower case"),
        ({"v1_source_style": "title"}, "Spelling of sources (v1)", "with capitals"),
    ],
)
def test_reading_tells_what_the_service_does(start_simulator, check, switches, point, told):
    simulator = start_simulator(**switches)
    code, report = check(simulator)
    assert code == 0
    assert told in found(report, point)
    assert {request.method for request in simulator.requests} == {"GET"}
    assert simulator.credits_charged == 0


@pytest.mark.parametrize(("retry_after", "told"), [(True, "whole seconds"), (False, "none")])
def test_a_refusal_for_the_number_of_calls_is_waited_out_and_told(start_simulator, check, retry_after, told):
    simulator = start_simulator(rate_limit=15, rate_window=2.0, retry_after=retry_after)
    _, report = check(simulator)
    assert found(report, "Retry-After of a 429") == told
    assert found(report, "Parameters of the analytics")


def test_what_only_an_agent_of_its_own_tells_stays_open_without_one(simulator, check):
    _, report = check(simulator)
    assert "| Pause by `paused` | no | only --with-a-test-agent tells it |" in report


@pytest.mark.parametrize(
    ("plan", "code", "told"),
    [
        ("no-api", 1, "| v2 | listAgents | 403 SUBSCRIPTION_API_RESTRICTED_PLAN |"),
        ("v1-only", 0, "| v1 | getChatbots | 200 |"),
        ("expired", 1, "| v2 | listAgents | 401 AUTH_EXPIRED_API_KEY |"),
        ("no-search", 0, "| v2 | searchConversations | 403 CONVERSATION_SEARCH_UNAVAILABLE |"),
        ("no-permission", 1, "| v2 | listAgents | 403 AUTH_INSUFFICIENT_PERMISSIONS |"),
    ],
)
def test_it_tells_what_key_and_plan_allow(simulator, check, plan, code, told):
    ended, report = check(simulator, password=simulator.add_key(KEY, plan))
    assert (ended, told in report) == (code, True)
    if plan in ("no-api", "v1-only"):
        assert found(report, "Plan that the API needs") == "a refusal names Standard"


@pytest.mark.parametrize("kind", ["not_json", "truncate_json"])
def test_a_success_without_json_is_none(simulator, check, capsys, kind):
    """A proxy's page, as of a login, comes with HTTP 200."""
    simulator.faults.add(Fault(kind=kind))
    code, report = check(simulator, "--with-a-test-agent", "--yes")
    assert (code, "| v2 | listAgents | 200 without JSON |" in report) == (1, True)
    assert "What answers is not Chatbase, or its answers were cut" in capsys.readouterr().err
    assert {request.method for request in simulator.requests} == {"GET"}


def test_an_agent_that_is_not_there_is_told(simulator, check):
    code, report = check(simulator, extra={"agent_id": "agent-of-nobody"})
    assert (code, "- The connection's agent_id is none that this key may see" in report) == (1, True)
    assert "agent-of-nobody" not in report


def test_what_keeps_it_out_is_said_in_a_sentence_that_is_not_in_the_report(simulator, check, capsys):
    code, report = check(simulator, password=KEY)
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert code == 1
    assert sentence.startswith("Neither API version lets the key in. Chatbase refused listAgents: ")
    assert "Check the password of the Airflow connection" in sentence
    assert sentence not in report
    simulator.stop()
    code, report = check(simulator)
    assert code == 1
    said = capsys.readouterr()
    assert "Chatbase was not reached. " in said.err
    assert "cannot be reached for listAgents" in said.err
    assert "# Chatbase check" not in said.out, "a page of what is not known is above it"
    assert "| v2 | listAgents | no reply | 2 |" in report


AN_AGENT_TELLS = {
    "First event of a stream": ("`start`", "`message-start`"),
    "Lines of a stream beside `data:`": (
        "`event:` lines: no, comments: no",
        "`event:` lines: yes, comments: yes",
    ),
    "Metadata of a stream": (
        "in `message-metadata`, `finish`; finishReason at the top of `finish`",
        "in `message-metadata`; finishReason at the top of `finish`",
    ),
    "Credits of the answer": ("1", "0.5"),
    "Limit of 20 kB for a tool's result": ("21 kB are answered 400 VALIDATION_INVALID_BODY",) * 2,
    "Pause by `paused`": ("200", "200"),
    "Reply in a paused conversation": ("200, an answer without parts", "200, data is null"),
    "End by `status`": ("200", "200"),
    "Status of CHAT_CONVERSATION_NOT_ONGOING": (
        "403 CHAT_CONVERSATION_NOT_ONGOING",
        "400 CHAT_CONVERSATION_NOT_ONGOING",
    ),
    "Answer of deleteConversation": ("200 {success: bool}",) * 2,
    "Header of the deprecated train": ("200, Deprecation: `true`",) * 2,
    "Whether getSource returns the text": ("no", "no"),
}
OTHERWISE = {
    "stream_start_event": "message-start",
    "stream_event_lines": True,
    "stream_comments": True,
    "stream_metadata": "message-metadata",
    "credits_per_answer": 0.5,
    "paused_reply": "null",
    "not_ongoing_status": 400,
}


@pytest.mark.parametrize(("column", "switches"), [(0, {}), (1, OTHERWISE)])
def test_an_agent_of_its_own_tells_the_rest_and_is_gone(start_simulator, check, column, switches):
    simulator = start_simulator(**switches)
    code, report = check(simulator, "--with-a-test-agent", "--yes")
    assert code == 0
    assert {point: found(report, point) for point in AN_AGENT_TELLS} == {
        point: told[column] for point, told in AN_AGENT_TELLS.items()
    }
    assert "`trained` after" in found(report, "Training of a short text")
    assert "with `user`, `assistant`" in found(report, "Conversation in the export")
    assert list(simulator.store.agents) == [simulator.agent_id]
    assert simulator.prompts_charged == 1
    written = [request for request in simulator.requests if request.method != "GET"]
    assert not [request for request in written if simulator.agent_id in request.path]


def test_neither_the_key_nor_anything_of_anybody_is_in_what_it_says(start_simulator, check, capsys):
    simulator = start_simulator(api_key=KEY)
    simulator.store.agents[simulator.agent_id].fields["instructions"] = f"Quote {KEY}"
    simulator.faults.add(
        Fault(kind="status", operation="listActions", status=403, code=KEY.upper(), message=f"{KEY} no")
    )
    code, report = check(simulator, "--with-a-test-agent", "--yes")
    assert code == 0
    said = report + "".join(capsys.readouterr())
    assert KEY.lower() not in said.lower()
    agent = simulator.store.agents[simulator.agent_id]
    theirs = [agent.id, agent.name, *(source.name for source in agent.sources.values())]
    theirs += strings(agent.leads)
    for conversation in agent.conversations.by_id.values():
        theirs += [conversation.id, conversation.title or "", conversation.user_id or ""]
        theirs += [message.text for message in conversation.messages]
    assert len(theirs) > 100
    assert [text for text in theirs if len(text) > 7 and text in said] == []


@pytest.mark.parametrize("answer", ["n", "", None])
def test_without_a_yes_nothing_is_written(simulator, check, monkeypatch, capsys, answer):
    def ask(_: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    code, report = check(simulator, "--with-a-test-agent")
    assert "The answer costs message credits" in capsys.readouterr().out
    assert (code, "No test agent was made: nobody agreed to the cost." in report) == (1, True)
    assert {request.method for request in simulator.requests} == {"GET"}


def test_a_paused_conversation_that_is_answered_is_not_followed_by_another_message(simulator, check):
    simulator.faults.add(
        Fault(kind="status", operation="updateConversation", status=400, code="VALIDATION_INVALID_BODY")
    )
    _, report = check(simulator, "--with-a-test-agent", "--yes")
    assert found(report, "Pause by `paused`") == "400 VALIDATION_INVALID_BODY"
    assert found(report, "Reply in a paused conversation") == "an answer"
    assert len(simulator.requests_for("chatWithAgent")) == 2


def test_an_agent_whose_creation_had_no_answer_is_found_and_deleted(simulator, check):
    simulator.faults.add(Fault(kind="reset_after", operation="createAgent", times=1))
    code, report = check(simulator, "--with-a-test-agent", "--yes")
    assert code == 0
    assert "The test agent was deleted with all it had." in report
    assert len(simulator.requests_for("createAgent")) == 1
    assert list(simulator.store.agents) == [simulator.agent_id]


def test_an_agent_that_cannot_be_deleted_is_named_and_seen_by_the_next_check(simulator, check, capsys):
    fault = Fault(kind="status", operation="deleteAgent", status=403, code="AUTH_INSUFFICIENT_PERMISSIONS")
    simulator.faults.add(fault)
    code, report = check(simulator, "--with-a-test-agent", "--yes")
    assert code == 1
    assert "A test agent may be left." in report
    [left] = [agent for agent in simulator.store.agents.values() if agent.id != simulator.agent_id]
    told = f"The test agent {left.name!r} could not be deleted ({left.id}, 403 AUTH_INSUFFICIENT_PERMISSIONS)"
    assert told in capsys.readouterr().err
    assert left.id not in report
    assert "1 agents named 'airflow-provider-chatbase check '… are left" in check(simulator)[1]


def test_where_no_report_can_be_written_nothing_is_sent(simulator, connect, capsys, tmp_path):
    connect(simulator)
    path = str(tmp_path / "nowhere" / "report.md")
    assert command_line.main(["--connection", "chatbase_default", "--report", path]) == 1
    assert "No report can be written" in capsys.readouterr().err
    assert not simulator.requests


@pytest.mark.parametrize(
    ("number", "operation", "latency"),
    [
        (signal.SIGINT, "chatWithAgent", 60.0),
        pytest.param(signal.SIGTERM, "chatWithAgent", 60.0, marks=pytest.mark.long),
        pytest.param(signal.SIGINT, "createAgent", 2.0, marks=pytest.mark.long),
        (signal.SIGTERM, "deleteAgent", 2.0),
    ],
)
def test_a_signal_leaves_no_agent(start_simulator, connect, tmp_path, number, operation, latency):
    simulator = start_simulator(api_key=KEY, latency={operation: latency})
    connect(simulator)
    report = tmp_path / "report.md"
    command = [sys.executable, "-m", "airflow_provider_chatbase.check", "--connection", "chatbase_default"]
    with subprocess.Popen(
        [*command, "--report", str(report), "--with-a-test-agent", "--yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            ends = time.monotonic() + 120
            while not simulator.requests_for(operation) and process.poll() is None:
                assert time.monotonic() < ends
                time.sleep(0.05)
            process.send_signal(number)
            process.send_signal(number)
            said = process.communicate(timeout=120)[0].decode()
        finally:
            process.kill()
    assert process.returncode == (0 if operation == "deleteAgent" else 130), said
    assert list(simulator.store.agents) == [simulator.agent_id]
    assert simulator.requests_for("deleteAgent")
    text = report.read_text(encoding="utf-8")
    assert "The test agent was deleted with all it had." in text
    assert ("Stopped before its end." in text) == (operation != "deleteAgent")
    assert KEY not in said + text
    assert "Traceback" not in said
