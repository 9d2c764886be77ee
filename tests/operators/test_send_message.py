"""The operator that sends a message: on real HTTP, and within Airflow where Airflow matters."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from acting import AGENT, KEY, TEXT, Act, Acting, events_of, fields_of, sse

from airflow_provider_chatbase.exceptions import (
    ChatbaseAmbiguousError,
    ChatbaseAnswerError,
    ChatbaseConflictError,
    ChatbaseConnectionLostError,
    ChatbaseCreditsError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbasePermanentError,
    ChatbaseToolCallError,
    ChatbaseUnansweredError,
)

LOST = {"silent": True, "works": False, "arrives": False}


@pytest.fixture
def impatient(monkeypatch):
    """Conclude soon that a message never arrived."""
    from airflow_provider_chatbase.client import asking
    from airflow_provider_chatbase.client import question as lookup

    monkeypatch.setattr(lookup, "FIRST_PAUSE", 0.02)
    defaults = {"patience": 0.2, "patience_after_timeout": 0.2}
    rules = asking.Rules
    monkeypatch.setattr(asking, "Rules", lambda **given: rules(**{**defaults, **given}))


def operator(message="Hello?", **arguments):
    from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator

    return ChatbaseSendMessageOperator(task_id="ask", message=message, **arguments)


def context(try_number=1, run_id="run", map_index=-1, began=None, due=None, cleared=0):
    ti = SimpleNamespace(
        dag_id="dag", run_id=run_id, task_id="ask", map_index=map_index, try_number=try_number
    )
    began = began or datetime.now(UTC)
    dag_run = SimpleNamespace(start_date=began, run_after=due or began, clear_number=cleared)
    return {"ti": ti, "dag_run": dag_run}


def run(operator, **how):
    return operator.execute(context(**how))


@pytest.fixture
def acting(connected: Acting, impatient) -> Acting:
    return connected


def test_returns_plain_json(acting):
    answer = run(operator())
    assert json.loads(json.dumps(answer)) == answer
    assert (answer["text"], answer["recovered"], answer["credits"]) == (TEXT, False, 1)


@pytest.mark.parametrize(
    "other", [{"run_id": "another"}, {"map_index": 1}, {"message": "Else?"}, {"agent_id": "agent-2"}], ids=str
)
def test_the_tag_is_the_same_for_the_same_task_instance_and_message(acting, other):
    def tag(message="Hello?", agent_id=AGENT, **how):
        made = operator(message, agent_id=agent_id)
        from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

        with ChatbaseHook() as hook:
            return made._tag(hook, context(**how))

    assert tag() == tag(try_number=3)
    assert tag() != tag(**other)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("version", ["v2", "v1"])
def test_both_versions_whole_and_streamed(acting, version, stream):
    conn_id = "chatbase_default" if version == "v2" else "chatbase_v1"
    answer = run(operator(stream=stream, chatbase_conn_id=conn_id))
    assert answer["text"] == TEXT
    [body] = acting.posts
    assert body["stream"] is stream


class TestRetries:
    def test_the_second_try_takes_the_answer_of_the_first(self, acting):
        first = run(operator())
        second = run(operator(), try_number=2)
        assert second == {**first, "recovered": True, "credits": None}
        assert (len(acting.posts), acting.charges) == (1, 1)

    def test_another_map_index_asks_anew(self, acting):
        run(operator(), map_index=0)
        assert run(operator(), map_index=1, try_number=2)["recovered"] is False
        assert acting.charges == 2

    def test_another_run_asks_anew(self, acting):
        run(operator())
        run(operator(), run_id="later", try_number=2)
        assert acting.charges == 2

    def test_a_continued_conversation_is_found_too(self, acting):
        conversation = acting.begin("ann", ("user", "Hi"), ("assistant", "Hello"))
        began = datetime.now(UTC)
        first = run(operator(conversation_id=conversation.id), began=began)
        second = run(operator(conversation_id=conversation.id), began=began, try_number=2)
        assert (second["message_id"], second["recovered"]) == (first["message_id"], True)
        assert acting.charges == 1

    def test_the_run_of_yesterday_that_said_the_same_is_another(self, acting):
        acting.begin("ann", ("user", "Hello?"), ("assistant", "Old."), age=86_400)
        assert run(operator(user_id="ann"), try_number=2)["text"] == TEXT
        assert acting.charges == 1

    def test_a_cleared_run_finds_what_it_sent_before(self, acting):
        """Clearing a finished run makes it begin anew; when it was due stays as it was."""
        acting.begin("ann", ("user", "Hello?"), ("assistant", "Paid."), age=3600)
        due = datetime.now(UTC) - timedelta(hours=2)
        answer = run(operator(user_id="ann"), try_number=2, due=due, cleared=1)
        assert (answer["text"], answer["recovered"], acting.posts) == ("Paid.", True, [])

    def test_version_1_warns_that_it_cannot_look(self, acting, caplog):
        run(operator(chatbase_conn_id="chatbase_v1"), try_number=2)
        assert "API v1 has no way to look" in caplog.text


REFUSED = Act(status=402, body=b'{"error": {"code": "CHAT_CREDITS_EXHAUSTED"}}', works=False)
ENDED = Act(status=403, body=b'{"error": {"code": "CHAT_CONVERSATION_NOT_ONGOING"}}', works=False)
FAILED = Act(
    body=sse([{"type": "error", "errorText": "broken"}]), content_type="text/event-stream", works=False
)


@pytest.mark.parametrize(
    ("act", "arguments", "error", "permanent"),
    [
        (None, {"message": ""}, ChatbaseInputError, True),
        (None, {"user_id": "a@b"}, ChatbaseInputError, True),
        (None, {"on_ambiguous": "hope"}, ChatbaseInputError, True),
        (None, {"on_tool_calls": "hope"}, ChatbaseInputError, True),
        (None, {"history": "{{ oops }}"}, ChatbaseInputError, True),
        (REFUSED, {}, ChatbaseCreditsError, True),
        (ENDED, {}, ChatbaseConflictError, True),
        (Act(silent=True), {"on_ambiguous": "fail"}, ChatbaseAmbiguousError, True),
        (Act(silent=True), {"chatbase_conn_id": "chatbase_v1"}, ChatbaseAmbiguousError, True),
        (Act(finish_reason="error"), {}, ChatbaseAnswerError, True),
        (FAILED, {"stream": True}, ChatbaseAnswerError, True),
        (Act(text="", works=False), {}, ChatbaseAnswerError, True),
        (Act(tools=[("weather", {})]), {}, ChatbaseToolCallError, True),
        (Act(silent=True, works=False), {}, ChatbaseUnansweredError, False),
        (Act(**LOST), {}, ChatbaseConnectionLostError, False),
    ],
    ids=lambda v: v.__name__ if isinstance(v, type) else str(v)[:60],
)
def test_what_airflow_tries_again(acting, monkeypatch, act, arguments, error, permanent):
    from airflow.providers.common.compat.sdk import AirflowFailException

    from airflow_provider_chatbase.client import question as lookup

    monkeypatch.setattr(lookup, "ANSWER_PATIENCE", 0.1)
    acting.acts = [Act(**vars(act)) for _ in range(9)] if act else []
    with pytest.raises(ChatbaseError) as raised:
        run(operator(**arguments))
    assert isinstance(raised.value, AirflowFailException) is permanent
    real = raised.value.error if isinstance(raised.value, ChatbasePermanentError) else raised.value
    assert isinstance(real, error)
    assert KEY not in str(raised.value)


def test_the_text_so_far_can_be_had_from_the_error(acting):
    events = events_of({"id": "m", "parts": [{"type": "text", "text": TEXT}]}, "stop", {})
    broken = sse([*events[:5], {"type": "error", "errorText": "overloaded"}])
    acting.acts = [Act(body=broken, content_type="text/event-stream")]
    with pytest.raises(ChatbasePermanentError, match="overloaded") as raised:
        run(operator(stream=True))
    assert raised.value.error.text == TEXT[:6]


def test_progress_is_logged_without_what_is_said(acting, caplog, monkeypatch):
    from airflow_provider_chatbase.operators import chat

    monkeypatch.setattr(chat, "SECONDS_BETWEEN_REPORTS", 0.0)
    # Airflow's own task logger goes through structlog or logging, by its version, and by its configuration.
    monkeypatch.setattr(chat.ChatbaseSendMessageOperator, "log", logging.getLogger("task"))
    caplog.set_level(logging.INFO)
    run(operator("my secret", stream=True))
    assert f"{len(TEXT)} characters of the answer so far" in caplog.text
    assert f"Answered with {len(TEXT)} characters for 1 credit" in caplog.text
    for content in ("my secret", TEXT, TEXT[:3], KEY):
        assert content not in caplog.text


def test_tools(acting):
    acting.acts = [Act(text="", tools=[("weather", {"city": "Ulm"})]), Act()]
    answer = run(operator(tool_handlers={"weather": lambda city: f"Sun in {city}"}))
    assert (answer["text"], answer["credits"], answer["tool_rounds"]) == (TEXT, 2, 1)
    assert acting.tool_results[0]["output"] == "Sun in Ulm"


def test_tools_may_be_left_to_the_caller(acting):
    acting.acts = [Act(text="", tools=[("weather", {"city": "Ulm"})])]
    [call] = run(operator(on_tool_calls="return"))["tool_calls"]
    assert (call["name"], call["input"]) == ("weather", {"city": "Ulm"})


class TestInAirflow:
    def run(self, run_dag, acting, build, conf=None, **extra):
        from airflow.sdk import DAG

        with DAG("chat", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            build()
        versions = {"chatbase_default": "v2", "chatbase_v1": "v1"}
        connections = {conn_id: fields_of(acting, version, **extra) for conn_id, version in versions.items()}
        return run_dag(dag, conf=conf, connections=connections)

    def test_every_template_field(self, run_dag, acting):
        from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator

        def build():
            ChatbaseSendMessageOperator(
                task_id="v2",
                message="{{ dag_run.conf['topic'] }}?",
                agent_id="{{ dag_run.conf['agent'] }}",
                user_id="{{ dag_run.conf['user'] }}",
                chatbase_conn_id="{{ dag_run.conf['conn'] }}",
                conversation_id="{{ '' }}",
                model="{{ '' }}",
            )
            ChatbaseSendMessageOperator(
                task_id="v1",
                message="Hi",
                conversation_id="c-{{ dag_run.conf['user'] }}",
                model="{{ dag_run.conf['model'] }}",
                history=[{"role": "user", "content": "{{ dag_run.conf['topic'] }}!"}],
                chatbase_conn_id="chatbase_v1",
            )

        conf = {"topic": "Hours", "agent": AGENT, "user": "ann", "conn": "chatbase_default", "model": "gpt-5"}
        finished = self.run(run_dag, acting, build, conf=conf)
        assert finished.state == "success"
        v2, v1 = sorted(acting.posts, key=lambda body: "chatbotId" in body)
        assert v2 == {"message": "Hours?", "userId": "ann", "stream": False}
        assert v1["messages"] == [{"role": "user", "content": "Hours!"}, {"role": "user", "content": "Hi"}]
        assert (v1["model"], v1["conversationId"]) == ("gpt-5", "c-ann")

    def test_mapped_messages_and_a_conversation_through_xcom(self, run_dag, acting):
        from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator

        def build():
            mapped = ChatbaseSendMessageOperator.partial(task_id="each", stream=True).expand(
                message=["a", "b", "b"]
            )
            first = ChatbaseSendMessageOperator(task_id="first", message="One?")
            then = ChatbaseSendMessageOperator(task_id="then", message="Two?", history=first.output)
            mapped >> first >> then

        finished = self.run(run_dag, acting, build)
        assert finished.state == "success"
        assert [answer["text"] for answer in finished.xcoms["each"]] == [TEXT] * 3
        assert len({body["userId"] for body in acting.posts if body["message"] in "ab"}) == 3
        assert finished.xcoms["then"]["conversation_id"] == finished.xcoms["first"]["conversation_id"]
        assert json.loads(json.dumps(finished.xcoms)) == finished.xcoms

    def test_a_retry_finds_the_answer_that_is_paid_for(self, run_dag, acting):
        """The first try loses the reply and may not look; the second looks first."""
        from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator

        acting.acts = [Act(silent=True)]
        acting.look_status, acting.look_failures = 500, 2

        def build():
            ChatbaseSendMessageOperator(task_id="ask", message="Hello?", retries=1, retry_delay=timedelta(0))

        finished = self.run(run_dag, acting, build, max_attempts=2)
        assert finished.state == "success"
        assert finished.xcoms["ask"]["recovered"] is True
        assert (len(acting.posts), acting.charges) == (1, 1)
