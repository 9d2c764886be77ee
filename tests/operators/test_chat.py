"""Asking an agent from a task: one answer, paid for once, as plain JSON."""

from __future__ import annotations

import json
import traceback

import pytest

from airflow_provider_chatbase.exceptions import (
    ChatbaseMaintenanceError,
    ChatbasePermanentError,
    ChatbaseRateLimitError,
)
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.simulator import Fault

QUESTION = "How long does a refund take?"
FIELDS = {
    *("text", "conversation_id", "message_id", "user_message_id", "user_id", "credits", "finish_reason"),
    *("tool_calls", "tool_rounds", "recovered", "history"),
}


@pytest.fixture
def simulator(simulator, connect):
    connect(simulator)
    return simulator


def ask(message=QUESTION, **arguments) -> dict:
    result = ChatbaseSendMessageOperator(task_id="ask", message=message, **arguments).execute({})
    assert json.loads(json.dumps(result)) == result
    return result


def test_returns_the_answer(simulator):
    answer = ask(user_id="ann")
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "ann")
    assert set(answer) == FIELDS
    assert answer["text"] == conversation.messages[-1].text
    assert answer["message_id"] == conversation.messages[-1].id
    assert answer["conversation_id"] == conversation.id
    assert (answer["credits"], answer["finish_reason"]) == (1, "stop")


def test_asks_without_streaming(simulator):
    ask()
    [request] = simulator.requests_for("chatWithAgent")
    assert request.json["message"] == QUESTION
    assert request.json["stream"] is False


def test_goes_on_with_a_conversation(simulator):
    first = ask()
    assert (
        ask("And an exchange?", conversation_id=first["conversation_id"])["conversation_id"]
        == (first["conversation_id"])
    )


@pytest.mark.parametrize("nothing", ["", None], ids=repr)
def test_empty_parameters_mean_none(simulator, nothing):
    assert ask(agent_id=nothing, conversation_id=nothing, user_id=nothing)["text"]


def test_an_agent_that_failed_fails_the_task_for_good(simulator):
    """Asking again would be charged again, so Airflow's retries are not to do it."""
    simulator.faults.add(Fault(kind="finish_error"))
    with pytest.raises(ChatbasePermanentError, match="finishReason: error"):
        ask()
    assert len(simulator.requests_for("chatWithAgent")) == 1


@pytest.mark.parametrize("message", ["", "  ", "\n", None, 7], ids=repr)
def test_nothing_is_sent_of_an_empty_message(simulator, message):
    with pytest.raises(ChatbasePermanentError, match=r"^message .+ Nothing was sent\.$"):
        ask(message)
    assert simulator.requests == []


@pytest.mark.parametrize("status", ["ended", "taken_over"])
def test_a_conversation_that_is_over_is_said_to_be_over(simulator, status):
    first = ask()
    simulator.store.conversation(simulator.agent_id, first["conversation_id"]).status = status
    with pytest.raises(Exception, match="leave conversation_id out to start a new one"):
        ask(conversation_id=first["conversation_id"])
    assert simulator.prompts_charged == 1


def test_a_paused_conversation_is_no_answer(simulator):
    first = ask()
    simulator.store.conversation(simulator.agent_id, first["conversation_id"]).status = "paused"
    with pytest.raises(ChatbasePermanentError, match="may be paused"):
        ask(conversation_id=first["conversation_id"])


def test_no_credits_left(simulator):
    simulator.credit_balance = 0
    with pytest.raises(ChatbasePermanentError, match="Wait for the next billing cycle"):
        ask()
    assert len(simulator.requests_for("chatWithAgent")) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 429, "retry_after": 0.01}, ChatbaseRateLimitError),
        ({"status": 503, "code": "SERVICE_UNDER_MAINTENANCE", "retry_after": 0.01}, ChatbaseMaintenanceError),
    ],
    ids=["429", "maintenance"],
)
def test_a_refusal_that_does_not_pass_is_left_to_airflow_s_retries(simulator, connect, fault, error):
    connect(simulator, extra={"max_attempts": 2})
    simulator.faults.add(Fault(kind="status", **fault))
    with pytest.raises(error) as raised:
        ask()
    assert not isinstance(raised.value, ChatbasePermanentError)
    assert len(simulator.requests_for("chatWithAgent")) == 2


def test_an_answer_that_was_lost_on_the_way_is_found_and_not_asked_for_again(simulator):
    simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent"))
    answer = ask()
    assert answer["recovered"] is True
    assert answer["text"]
    assert (len(simulator.requests_for("chatWithAgent")), simulator.prompts_charged) == (1, 1)


def test_neither_the_question_nor_the_answer_is_logged(simulator, shown):
    answer = ask("My diagnosis is a secret.")
    assert f"Conversation {answer['conversation_id']}" in shown()
    assert "diagnosis" not in shown()
    assert answer["text"] not in shown()


def test_an_error_is_told_in_words_that_the_page_shows_whole_and_then_with_a_short_traceback(
    simulator, connect, caplog
):
    connect(simulator, password="sk-wrong")
    with pytest.raises(ChatbasePermanentError) as raised:
        ask()
    [told] = [record for record in caplog.records if record.levelname == "ERROR"]
    lines = told.getMessage().splitlines()
    assert max(map(len, lines)) <= 100
    assert " ".join(lines) == str(raised.value)
    assert lines[0].startswith("Chatbase refused chatWithAgent: Invalid API key")
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)
    assert len(traceback.extract_tb(raised.value.error.__traceback__)) > 8
    assert len(traceback.extract_tb(raised.value.__traceback__)) <= 8


def test_flags_and_numbers_may_be_text(simulator):
    ask(stream="False", max_tool_rounds="3")
    assert simulator.requests_for("chatWithAgent")[0].json["stream"] is False
    with pytest.raises(ChatbasePermanentError, match="stream must be true or false, not 'maybe'"):
        ask(stream="maybe")
    with pytest.raises(ChatbasePermanentError, match="max_tool_rounds must be a number, not 'ten'"):
        ask(max_tool_rounds="ten")
    assert simulator.prompts_charged == 1
