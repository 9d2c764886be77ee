"""What comes from an upstream task is text: in no way of handing it on is it rendered as a template."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.simulator import Simulator

TEXT = "{{ conn.chatbase_default.password }} {% raw"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(conversations=3) as simulator:
        yield simulator


@pytest.fixture
def run(run_dag: Callable[..., Any], simulator: Simulator) -> Callable[..., Any]:
    connection = {
        "conn_type": "chatbase",
        "host": simulator.url,
        "password": simulator.api_key,
        "extra": {"agent_id": simulator.agent_id},
    }

    def run(build: Callable[[], Any], *, native: bool = False, conf: Any = None) -> Any:
        with DAG("texts", schedule=None, render_template_as_native_obj=native) as dag:
            build()
        return run_dag(dag, connections={"chatbase_default": connection}, conf=conf)

    return run


def _sent(simulator: Simulator) -> list[str]:
    return [json.loads(request.body)["message"] for request in simulator.requests_for("chatWithAgent")]


@task
def one() -> str:
    return TEXT


@task
def several() -> list[str]:
    return [TEXT, TEXT]


@task
def arguments() -> list[dict[str, Any]]:
    return [{"message": TEXT}, {"message": TEXT}]


@task
def prompts() -> list[list[Any]]:
    return [[TEXT], [{"message": TEXT}]]


def _send(**given: Any) -> Any:
    return ChatbaseSendMessageOperator.partial(task_id="ask", **given)


@task.chatbase
def said(text: str) -> dict[str, Any]:
    return {"message": text}


WAYS: dict[str, Callable[[Path], Any]] = {
    "argument": lambda _: ChatbaseSendMessageOperator(task_id="ask", message=one()),
    "expand": lambda _: _send().expand(message=several()),
    "expand_kwargs": lambda _: _send().expand_kwargs(arguments()),
    "partial": lambda _: _send(message=one()).expand(user_id=["u1", "u2"]),
    "map": lambda _: _send().expand(message=several().map(lambda text: text)),
    "zip": lambda _: _send().expand_kwargs(
        several().zip(several()).map(lambda pair: {"message": pair[0]})  # type: ignore[attr-defined]
    ),
    "concat": lambda _: _send().expand(message=several().concat(several())),
    "decorator": lambda _: said(one()),
    "decorator-expand": lambda _: said.expand(text=several()),
    "decorator-kwargs": lambda _: said.expand_kwargs(several().map(lambda text: {"text": text})),
    "pulled": lambda _: (
        one() >> ChatbaseSendMessageOperator(task_id="ask", message="{{ ti.xcom_pull('one') }}")
    ),
    "prompts": lambda path: ChatbaseBatchPromptOperator(
        task_id="ask", prompts=several(), output_path=f"file://{path}"
    ),
    "prompts-nested": lambda path: ChatbaseBatchPromptOperator(
        task_id="ask", prompts=[one(), {"message": one()}], output_path=f"file://{path}"
    ),
    "prompts-expand": lambda path: ChatbaseBatchPromptOperator.partial(
        task_id="ask", output_path=f"file://{path}/{{{{ ti.map_index }}}}"
    ).expand(prompts=prompts()),
}


RARE_WAYS = {"partial", "map", "zip", "concat", "decorator-kwargs", "prompts-expand"}


@pytest.mark.parametrize(
    ("way", "native"),
    [
        *((way, False) for way in WAYS if way not in RARE_WAYS),
        ("argument", True),
        ("prompts-nested", True),
        *(pytest.param(way, False, marks=pytest.mark.long) for way in sorted(RARE_WAYS)),
    ],
)
def test_a_text_of_others_is_sent_as_it_is(
    run: Callable[..., Any], simulator: Simulator, tmp_path: Path, way: str, native: bool
):
    run(lambda: WAYS[way](tmp_path), native=native)
    assert set(_sent(simulator)) == {TEXT}
    assert simulator.api_key not in "".join(path.read_text() for path in tmp_path.rglob("*.jsonl"))


@pytest.mark.parametrize("text", ["2024", "[1, 2]", '"quoted"'])
def test_with_native_objects_a_message_is_text(
    run: Callable[..., Any], simulator: Simulator, tmp_path: Path, text: str
):
    def build() -> None:
        given = "{{ dag_run.conf['text'] }}"
        ChatbaseSendMessageOperator(task_id="one", message=given, user_id="{{ 2024 }}", agent_id="{{ none }}")
        ChatbaseSendMessageOperator.partial(task_id="two").expand(message=[given])
        ChatbaseBatchPromptOperator(
            task_id="three", prompts=[given, {"id": "{{ 7 }}", "message": given}], output_path=str(tmp_path)
        )

    assert run(build, native=True, conf={"text": text}).state == "success"
    assert _sent(simulator) == [text] * 4


def test_with_native_objects_a_list_is_a_list(run: Callable[..., Any], simulator: Simulator, tmp_path: Path):
    def build() -> None:
        given = "{{ dag_run.conf['texts'] }}"
        ChatbaseBatchPromptOperator(task_id="ask", prompts=given, output_path=str(tmp_path))

    assert run(build, native=True, conf={"texts": ["a", "2024"]}).state == "success"
    assert sorted(_sent(simulator)) == ["2024", "a"]
