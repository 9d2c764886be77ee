"""Where the buttons on a task's page lead, before it is done and after."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_chatbase.exceptions import ChatbaseError
from airflow_provider_chatbase.links import DASHBOARD, ChatbaseAgentLink, ChatbaseConversationLink
from airflow_provider_chatbase.operators.agents import (
    ChatbaseCloneAgentOperator,
    ChatbaseCreateAgentOperator,
    ChatbaseUpdateAgentOperator,
)
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

WORKSPACE = "https://www.chatbase.co/dashboard/ridgeline"


@pytest.fixture
def agent_id(simulator, connect) -> str:
    connect(simulator, extra={"dashboard_url": f"{WORKSPACE}/"})
    return simulator.agent_id


def leads_to(operator: Any, link: Any = None) -> str:
    """Return where the operator's own link of this kind leads."""
    [found] = [each for each in operator.operator_extra_links if type(each) is (link or ChatbaseAgentLink)]
    return found.get_link(operator, ti_key=None)


@pytest.mark.parametrize(
    "task",
    [
        ChatbaseUpdateAgentOperator(task_id="t"),
        ChatbaseTrainingSensor(task_id="t"),
        ChatbaseBatchPromptOperator(task_id="t", output_path="x"),
    ],
    ids=lambda task: type(task).__name__,
)
def test_to_the_connections_agent_or_the_one_that_is_named(agent_id, task):
    assert leads_to(task) == f"{WORKSPACE}/chatbot/{agent_id}/playground"
    task.agent_id = "a/b?c"
    assert leads_to(task) == f"{WORKSPACE}/chatbot/a%2Fb%3Fc/playground"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (WORKSPACE, f"{WORKSPACE}/chatbot/a1/playground"),
        (f"{WORKSPACE}/chatbots?sort=name", f"{WORKSPACE}/chatbot/a1/playground"),
        (f"{WORKSPACE}/chatbot/other/activity/leads", f"{WORKSPACE}/chatbot/a1/playground"),
        (None, DASHBOARD),
        (DASHBOARD, DASHBOARD),
        ("javascript:alert(1)", DASHBOARD),
        ("http://elsewhere.example/", DASHBOARD),
    ],
)
def test_the_workspace_is_copied_from_any_page_of_the_dashboard(monkeypatch, given, url):
    fields = {"conn_type": "chatbase", "password": "sk-1", "extra": {"dashboard_url": given}}
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(fields))
    assert leads_to(ChatbaseUpdateAgentOperator(task_id="t", agent_id="a1")) == url


def test_another_host_has_its_own_dashboard(simulator, connect):
    connect(simulator)
    assert leads_to(ChatbaseUpdateAgentOperator(task_id="t")) == f"{simulator.url}/dashboard"


def test_a_connection_that_is_not_there_fails_no_task():
    assert leads_to(ChatbaseUpdateAgentOperator(task_id="t", chatbase_conn_id="nowhere")) == DASHBOARD


@pytest.mark.parametrize("kind", [ChatbaseCreateAgentOperator, ChatbaseCloneAgentOperator])
def test_to_the_agent_that_was_made(agent_id, kind):
    task = kind(task_id="t", name="New")
    before = leads_to(task)
    made = task.execute({})["agent_id"]
    assert leads_to(task) == f"{WORKSPACE}/chatbot/{made}/playground"
    assert before == (WORKSPACE if kind is ChatbaseCreateAgentOperator else leads_to_agent(agent_id))
    waiting = kind(task_id="t", name="New")
    event = {"outcome": "trained", "reason": "1 source trained.", "carry": {"agent_id": made}}
    waiting.execute_complete({}, event)
    assert leads_to(waiting) == leads_to(task)


def leads_to_agent(agent_id: str) -> str:
    return f"{WORKSPACE}/chatbot/{agent_id}/playground"


def test_to_the_conversation_as_soon_as_it_is_known(agent_id, simulator):
    logs = f"{WORKSPACE}/chatbot/{agent_id}/activity/chat-logs"
    task = ChatbaseSendMessageOperator(task_id="t", message="Hello")
    assert leads_to(task, ChatbaseConversationLink) == logs
    conversation = task.execute({})["conversation_id"]
    assert leads_to(task, ChatbaseConversationLink) == f"{logs}?conversationId={conversation}"
    further = ChatbaseSendMessageOperator(task_id="t", message="More", conversation_id=conversation)
    assert leads_to(further, ChatbaseConversationLink) == f"{logs}?conversationId={conversation}"
    batch = ChatbaseBatchPromptOperator(task_id="t", output_path="x")
    assert leads_to(batch, ChatbaseConversationLink) == logs


def test_to_the_conversation_of_an_answer_that_failed(agent_id):
    task = ChatbaseSendMessageOperator(task_id="t", message="[sim:empty]")
    with pytest.raises(ChatbaseError):
        task.execute({})
    assert "?conversationId=" in leads_to(task, ChatbaseConversationLink)


def test_the_links_are_there_while_the_task_runs(agent_id, run_dag):
    from airflow.sdk import DAG, task

    with DAG("links", schedule=None) as dag:

        @task.chatbase
        def ask(ti=None):
            links = [ti.xcom_pull(task_ids="ask", key=f"_link_Chatbase{each}Link") for each in KINDS]
            return f"[sim:answer] {' '.join(links)}"

        ask()
    run = run_dag(dag)
    assert run.state == "success"
    agent = leads_to_agent(agent_id)
    logs = agent.replace("playground", "activity/chat-logs")
    assert run.xcoms["ask"]["text"] == f"{agent} {logs}"


KINDS = ("Agent", "Conversation")
