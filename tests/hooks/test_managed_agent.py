"""A Chatbase agent as a tool of an Airflow agent, with pydantic-ai's models for tests: no model is needed."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from airflow_provider_chatbase.exceptions import ChatbaseServerError, ChatbaseTimeoutError
from airflow_provider_chatbase.simulator import Fault

MODULE = "airflow_provider_chatbase.hooks.managed_agent"
QUESTION = "How long does a refund take?"


def test_without_common_ai_one_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setitem(sys.modules, "airflow.providers.common.ai.managed_agents.base", None)
    with pytest.raises(AirflowOptionalProviderFeatureException, match=r"airflow-provider-chatbase\[ai\]"):
        importlib.import_module(MODULE)


managed = pytest.importorskip("airflow.providers.common.ai.managed_agents.base", reason="needs common.ai")
ai_errors = importlib.import_module("airflow.providers.common.ai.exceptions")


@pytest.fixture
def hook(simulator, connect):
    connect(simulator)
    return importlib.import_module(MODULE).ChatbaseManagedAgentHook()


def invoke(hook, prompt=QUESTION, **request):
    return hook.agent().invoke(managed.ManagedAgentRequest(prompt=prompt, **request))


def test_an_agent_of_airflow_asks_it_as_a_tool(simulator, hook):
    pydantic_ai = pytest.importorskip("pydantic_ai")
    models = importlib.import_module("pydantic_ai.models.function")
    toolsets = importlib.import_module("airflow.providers.common.ai.toolsets")
    messages = importlib.import_module("pydantic_ai.messages")

    def model(history, info):
        last = history[-1].parts[-1]
        if isinstance(last, messages.ToolReturnPart):
            return messages.ModelResponse(parts=[messages.TextPart(f"They say: {last.content}")])
        [tool] = info.function_tools
        return messages.ModelResponse(parts=[messages.ToolCallPart(tool.name, {"prompt": QUESTION})])

    toolset = toolsets.ManagedAgentToolset(hook.agent(), tool_name="ask_support")
    agent = pydantic_ai.Agent(models.FunctionModel(model), toolsets=[toolset])
    said = agent.run_sync("What about refunds?").output
    [conversation] = [
        c
        for c in simulator.store.conversations(simulator.agent_id)
        if c.user_id and c.user_id.startswith("airflow-")
    ]
    assert said == f"They say: {conversation.messages[-1].text}"
    assert simulator.prompts_charged == 1


def test_the_contract(simulator, hook):
    assert hook.agent().ref == managed.ManagedAgentRef("chatbase.agent", simulator.agent_id)
    assert hook.agent("other").ref.name == "other"
    assert hook.agent().capabilities == managed.ManagedAgentCapabilities(sessions=True, trace=True)
    first = invoke(hook)
    assert first.raw["text"] == first.text
    assert first.raw["message_id"] == first.trace_ref
    second = invoke(hook, "And how long at most?", session_id=first.session_id)
    assert second.session_id == first.session_id


def test_api_v1_has_no_sessions_and_takes_messages(simulator, connect, hook):
    connect(simulator, extra={"api_version": "v1"})
    assert hook.agent().capabilities.sessions is False
    messages = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]},
        {"role": "user", "content": QUESTION},
    ]
    assert hook.agent().invoke(managed.ManagedAgentRequest(messages=messages)).text
    with pytest.raises(ValueError, match="session_id"):
        invoke(hook, session_id="c1")


def test_a_lost_reply_is_looked_for(simulator, hook):
    simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", times=1))
    assert invoke(hook).raw["recovered"] is True
    assert simulator.prompts_charged == 1


def test_a_later_try_finds_what_an_earlier_one_paid_for(simulator, hook, monkeypatch):
    began = datetime.now(UTC)

    def in_try(number):
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=number)
        run = SimpleNamespace(clear_number=0, start_date=began, run_after=began)
        monkeypatch.setattr(f"{MODULE}.current_context", lambda: {"ti": ti, "dag_run": run})
        return type(hook)()

    first = in_try(1)
    answers = [invoke(first), invoke(first)]
    assert answers[0].session_id != answers[1].session_id, "asked twice on purpose"
    later = in_try(2)
    assert [invoke(later).session_id for _ in answers] == [each.session_id for each in answers]
    assert simulator.prompts_charged == 2


def test_a_timeout_is_kept(simulator, hook):
    simulator.faults.add(Fault(kind="slow", operation="chatWithAgent", seconds=30))
    with pytest.raises(ChatbaseTimeoutError):
        invoke(hook, timeout=0.3, vendor_options={"on_ambiguous": "retry"})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"status": 401, "code": "UNAUTHORIZED"}, "ManagedAgentInvocationError"),
        ({"status": 404, "code": "AGENT_NOT_FOUND"}, "ManagedAgentInvocationError"),
        ({"status": 403, "code": "CHAT_CREDITS_EXHAUSTED"}, "ManagedAgentInvocationError"),
        ({"status": 400, "code": "VALIDATION_INVALID_BODY"}, "ManagedAgentRejected"),
    ],
)
def test_what_a_retry_cannot_mend(simulator, hook, fault, expected):
    simulator.faults.add(Fault(kind="status", operation="chatWithAgent", **fault))
    with pytest.raises(getattr(ai_errors, expected)):
        invoke(hook)
    assert simulator.prompts_charged == 0


def test_what_passes_is_left_to_the_retries_of_the_task(simulator, hook):
    simulator.faults.add(Fault(kind="status", operation="chatWithAgent", status=500, code="INTERNAL_ERROR"))
    with pytest.raises(ChatbaseServerError):
        invoke(hook, timeout=2.0, vendor_options={"on_ambiguous": "retry"})


def test_an_empty_prompt_is_for_the_model_to_mend(hook):
    with pytest.raises(ai_errors.ManagedAgentRejected, match="empty"):
        invoke(hook, "  ")


@pytest.mark.parametrize(
    ("request_fields", "why"),
    [
        ({"vendor_options": {"agent_id": "another"}}, "vendor_options may hold"),
        ({"vendor_options": {"chatbase_conn_id": "another"}}, "vendor_options may hold"),
        ({"timeout": -1}, "timeout must be"),
        ({"prompt": None, "messages": [{"role": "user", "content": {"image": "x"}}]}, "must be text"),
        ({"prompt": None, "messages": [{"role": "assistant", "content": "Hi"}]}, "must be the user's"),
        ({"prompt": None, "messages": [{"role": "user", "content": "Hi"}] * 2}, "need API v1"),
        ({"prompt": None, "messages": []}, "no messages"),
    ],
)
def test_what_is_refused_before_anything_is_sent(simulator, hook, request_fields, why):
    with pytest.raises(ai_errors.ManagedAgentInvocationError, match=why):
        invoke(hook, **request_fields)
    assert simulator.requests_for("chatWithAgent") == []
