"""Sending templates in real DAG runs: mapped, two at once, with the manifest and without a number in it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_chatbase.exceptions import ChatbaseBatchError, ChatbasePermanentError
from airflow_provider_chatbase.operators.whatsapp import ChatbaseSendTemplatesOperator
from airflow_provider_chatbase.simulator import Fault, Simulator
from tests.operators.conftest import context

SEND = "sendWhatsAppTemplateMessage"


def _customers(count: int) -> list[dict[str, Any]]:
    return [{"to": f"+49301{n:06d}1", "body[name]": "{{ Ada }}"} for n in range(count)]


def _send(path: Path, **given: Any) -> ChatbaseSendTemplatesOperator:
    settings = {"template": "feedback", "recipients": _customers(8), "output_path": f"file://{path}", **given}
    return ChatbaseSendTemplatesOperator(task_id="task", **settings)


def _got(simulator: Simulator) -> Counter[str]:
    return Counter(each["to"] for each in simulator.store.templates_sent)


def test_a_file_of_customers_each_gets_one(start: Callable[..., Simulator], tmp_path: Path):
    simulator = start()
    table = tmp_path / "customers.csv"
    table.write_text("to,body[name],city\n+49 30 1234567,Ada,Bonn\n+49 30 1234568,Bo,Kiel\n")
    send = _send(tmp_path / "out", recipients=None, recipients_path=f"file://{table}", file_format="csv")
    result = send.execute(context())
    assert (result["kind"], result["items"], result["outcomes"]["sent"]) == ("whatsapp_templates", 2, 2)
    assert "49301234567" not in json.dumps(result)
    send.execute(context(attempt=2))
    assert set(_got(simulator).values()) == {1}
    assert send.get_openlineage_facets_on_complete(None) is not None


def test_a_plan_sends_nothing(start: Callable[..., Simulator], tmp_path: Path):
    simulator = start()
    given = [*_customers(3), {"to": "1"}]
    plan = _send(tmp_path, recipients=given, plan_only="true", max_messages="2").execute(context())
    assert (plan["to_send"], plan["invalid"], plan["template"]) == (3, 1, "feedback")
    assert simulator.requests_for(SEND) == []
    assert list(tmp_path.iterdir()) == []


def test_a_cap_is_kept_over_tries(start: Callable[..., Simulator], tmp_path: Path):
    simulator = start()
    for attempt in (1, 2):
        with pytest.raises(
            ChatbasePermanentError, match=r"max_messages was reached; 3 of 8 messages are sent"
        ):
            _send(tmp_path, max_messages=3).execute(context(attempt))
    assert sum(_got(simulator).values()) == 3
    _send(tmp_path, max_messages=8).execute(context(3))
    assert set(_got(simulator).values()) == {1}


def test_a_clear_after_a_lost_reply_sends_none_again(start: Callable[..., Simulator], tmp_path: Path):
    simulator = start()
    simulator.faults.add(Fault(kind="reset_after", operation=SEND, times=2))
    for attempt in (1, 2, 3):
        with pytest.raises(ChatbaseBatchError, match=r"2 of 8 messages failed .* 2 are in doubt"):
            _send(tmp_path).execute(context(attempt))
    assert set(_got(simulator).values()) == {1}
    _send(tmp_path, resend_in_doubt=True).execute(context(4))
    assert sum(_got(simulator).values()) == 10


def test_two_of_one_task_at_once_send_each_once(start: Callable[..., Simulator], tmp_path: Path):
    simulator = start(latency={SEND: 0.05})
    ends: list[str] = []

    def go() -> None:
        try:
            _send(tmp_path, recipients=_customers(40)).execute(context())
            ends.append("done")
        except Exception as error:  # noqa: BLE001 - which of them ends is chance
            ends.append(type(error).__name__)

    both = [threading.Thread(target=go) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert "done" in ends
    assert set(_got(simulator).values()) == {1}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"template": ""}, "template is empty"),
        ({"recipients": None}, "Give either recipients or recipients_path"),
        ({"on_duplicate": "all"}, "on_duplicate must be one of fail, first, send"),
        ({"sender": "+1 555 0100"}, r"cannot be sent from \+1 555 0100.*\+49301234567"),
        ({"resend_in_doubt": "maybe"}, "resend_in_doubt must be true or false"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    start: Callable[..., Simulator], tmp_path: Path, given: dict[str, Any], told: str
):
    simulator = start()
    with pytest.raises(ChatbasePermanentError, match=told):
        _send(tmp_path, **given).execute(context())
    assert simulator.requests_for(SEND) == []


def test_mapped_over_languages(run_dag: Callable[..., Any], start: Callable[..., Simulator], tmp_path: Path):
    simulator = start()
    with DAG("templates_mapped", schedule=None) as dag:
        ChatbaseSendTemplatesOperator.partial(
            task_id="send", template="order_shipped", output_path=f"file://{tmp_path}"
        ).expand_kwargs(
            [
                {"language": language, "recipients": [{"to": to, "body[1]": "{{ ds }}", "body[2]": 7}]}
                for language, to in (("de", "+49301111111"), ("en", "+44201111111"))
            ]
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert [each["outcomes"]["sent"] for each in run.xcoms["send"]] == [1, 1]
    assert sorted(each["language"] for each in simulator.store.templates_sent) == ["de", "en"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
