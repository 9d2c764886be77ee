"""``@task.chatbase`` within Airflow: the function makes the message, the task returns the answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from acting import TEXT, Acting, fields_of

EXAMPLE = Path(__file__).parents[2] / "example_dags" / "chatbase_ask_daily.py"


@pytest.fixture
def run(run_dag, chatbase: Acting):
    from airflow.sdk import DAG

    def run(build, conf=None):
        with DAG("decorated", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
            build()
        connections = {"chatbase_default": fields_of(chatbase), "chatbase_v1": fields_of(chatbase, "v1")}
        return run_dag(dag, conf=conf, connections=connections)

    return run


def test_a_text_is_the_message(run, chatbase):
    from airflow.sdk import task

    def build():
        @task.chatbase
        def ask():
            return "Hello?"

        @task
        def use(answer):
            return answer["text"]

        use(ask())

    finished = run(build)
    assert (finished.state, finished.xcoms["use"]) == ("success", TEXT)
    assert [body["message"] for body in chatbase.posts] == ["Hello?"]
    assert json.loads(json.dumps(finished.xcoms)) == finished.xcoms


def test_a_dict_has_arguments_too(run, chatbase):
    from airflow.sdk import task

    def build():
        @task.chatbase(chatbase_conn_id="chatbase_default", stream=False)
        def ask(topic, dag_run=None):
            return {
                "message": f"{topic}, {dag_run.conf['name']}?",
                "chatbase_conn_id": "chatbase_v1",
                "model": "gpt-5",
                "temperature": 0.5,
                "stream": True,
                "history": [{"role": "user", "content": "Hi"}],
            }

        ask("Hours")

    finished = run(build, conf={"name": "Ann"})
    assert finished.state == "success"
    [body] = chatbase.posts
    assert [each["content"] for each in body["messages"]] == ["Hi", "Hours, Ann?"]
    assert (body["model"], body["temperature"], body["stream"]) == ("gpt-5", 0.5, True)


def test_templates_in_arguments(run, chatbase):
    from airflow.sdk import task

    def build():
        @task.chatbase(user_id="{{ dag_run.conf['name'] }}")
        def ask(topic):
            return f"{topic}?"

        ask("{{ dag_run.conf['topic'] }} for {{ dag_run.conf['name'] }}")

    assert run(build, conf={"name": "ann", "topic": "Hours"}).state == "success"
    assert chatbase.posts == [{"message": "Hours for ann?", "userId": "ann", "stream": False}]


@pytest.mark.parametrize(
    "text", ["{{ conn.chatbase_default.password }}", "{% raw", "{{ 1 / 0 }}", "{# not seen #}"]
)
@pytest.mark.parametrize("whole", [True, False], ids=["text", "dict"])
def test_what_the_function_returns_is_text(run, chatbase, text, whole):
    from airflow.sdk import task

    def build():
        @task
        def from_a_customer():
            return text

        @task.chatbase
        def ask(text):
            return text if whole else {"message": text}

        ask(from_a_customer())

    assert run(build).state == "success"
    assert [body["message"] for body in chatbase.posts] == [text]


def test_what_the_function_is_given_is_not_rendered_again(run, chatbase):
    """A text of others may hold braces."""
    from airflow.sdk import task

    def build():
        @task
        def text():
            return "100 {% off {{ conn.chatbase_default.password }}"

        @task.chatbase
        def ask(text):
            return f"How long is a text of {len(text)} characters?"

        ask(text())

    assert run(build).state == "success"
    assert chatbase.posts[0]["message"] == "How long is a text of 47 characters?"


def test_expand_and_partial(run, chatbase):
    from airflow.sdk import task

    def build():
        @task
        def topics():
            return ["a", "b", "c"]

        @task.chatbase
        def ask(greeting, topic):
            return f"{greeting} {topic}?"

        ask.partial(greeting="Hello").expand(topic=topics())

    finished = run(build)
    assert finished.state == "success"
    assert [answer["text"] for answer in finished.xcoms["ask"]] == [TEXT] * 3
    assert sorted(body["message"] for body in chatbase.posts) == ["Hello a?", "Hello b?", "Hello c?"]
    assert len({body["userId"] for body in chatbase.posts}) == 3


@pytest.mark.parametrize(
    "returned",
    [None, 7, ["Hello?"], {}, {"text": "Hello?"}, {"message": "Hello?", "colour": "red"}, {7: 8, "a": 1}, ""],
    ids=repr,
)
def test_anything_else_fails_at_once_and_sends_nothing(run, chatbase, returned):
    from airflow.sdk import task

    calls = []

    def build():
        @task.chatbase(retries=2)
        def ask():
            calls.append(1)
            return returned

        ask()

    finished = run(build)
    assert (finished.task_states, chatbase.posts) == ({"ask": "failed"}, [])
    assert calls == [1]


@pytest.mark.parametrize("returned", [None, {"message": "x", "colour": "red"}, {7: 8, "a": 1}], ids=repr)
def test_the_error_says_what_may_be_returned(returned):
    from airflow_provider_chatbase.decorators.chat import _ChatbaseDecoratedOperator
    from airflow_provider_chatbase.exceptions import ChatbasePermanentError

    made = _ChatbaseDecoratedOperator(task_id="ask", python_callable=lambda: returned)
    with pytest.raises(
        ChatbasePermanentError, match="returns the message, or a dict with message and any of"
    ):
        made.execute({})


def test_a_function_that_says_it_returns_a_dict_says_nothing_about_the_answer(run, chatbase):
    """Airflow would take the answer apart by that; 3.0 fails then, since some of its fields are None."""
    from airflow.sdk import task

    def build():
        @task.chatbase
        def ask() -> dict:
            return {"message": "Hello?"}

        ask()

    finished = run(build)
    assert (finished.state, finished.xcoms["ask"]["text"]) == ("success", TEXT)


def test_multiple_outputs(run, chatbase):
    import airflow
    from airflow.sdk import task

    if airflow.__version__.startswith("3.0."):
        pytest.skip("Airflow 3.0 cannot push a field that is None")

    def build():
        @task.chatbase(multiple_outputs=True)
        def ask():
            return "Hello?"

        @task
        def use(text):
            return text

        use(ask()["text"])

    assert run(build).xcoms["use"] == TEXT


def test_the_example(run_dag, chatbase):
    import importlib.util

    spec = importlib.util.spec_from_file_location("chatbase_ask_daily", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    finished = run_dag(
        module.dag, connections={"chatbase_default": fields_of(chatbase)}, conf={"topic": "returns"}
    )
    assert finished.task_states == {"ask": "success", "hand_on": "success"}
    [conversation_id] = chatbase.conversations
    handed_on = {"conversation_id": conversation_id, "characters": len(TEXT), "credits": 1}
    assert finished.xcoms["hand_on"] == handed_on
    [body] = chatbase.posts
    assert (body["message"], body["stream"]) == ("What do customers need to know about returns today?", True)
