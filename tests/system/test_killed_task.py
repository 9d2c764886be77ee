"""A worker that dies after the message was charged: real Airflow processes, and ``kill -9``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from acting import KEY, TEXT, Act
from quickstart_demo.airflow_api import ENDED
from quickstart_demo.airflow_instance import AIRFLOW, AirflowInstance

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]

DAG_ID = "killed"
MESSAGE = "a message that nobody logs"


def clear(instance: AirflowInstance) -> None:
    command = [sys.executable, str(AIRFLOW), "tasks", "clear", DAG_ID, "--yes", "--only-failed"]
    subprocess.run(command, env=instance.environment, cwd=instance.home, check=True, capture_output=True)


def test_one_conversation_one_charge_and_the_answer(airflow, api, chatbase, wait):
    """Three tasks are killed while Chatbase still writes; tried again, each finds its own answer."""
    chatbase.acts = [Act(delay=600) for _ in range(3)]
    run_id = api.trigger(DAG_ID, {})
    wait(lambda: len(chatbase.posts) == 3)
    assert chatbase.charges == 3
    for name in ("whole", "streamed", "named"):
        os.kill(int((airflow.home / f"{name}.pid").read_text()), signal.SIGKILL)
    wait(lambda: api.run_state(DAG_ID, run_id) in ENDED)
    if api.run_state(DAG_ID, run_id) == "failed":
        # Airflow 3.0 does not try a killed task again by itself: somebody clears it.
        clear(airflow)
        wait(lambda: api.run_state(DAG_ID, run_id) in ENDED - {"failed"})
    answers = {name: api.returned_value(DAG_ID, run_id, name) for name in ("whole", "streamed", "named")}
    states = {task.task_id: task.state for task in api.tasks(DAG_ID, run_id)}
    assert states == dict.fromkeys(answers, "success")
    assert {(answer["text"], answer["recovered"]) for answer in answers.values()} == {(TEXT, True)}
    assert len({answer["conversation_id"] for answer in answers.values()}) == 3
    assert (len(chatbase.posts), chatbase.charges, len(chatbase.conversations)) == (3, 3, 3)
    logs = "".join(path.read_text() for path in airflow.logs.glob(f"dag_id={DAG_ID}/**/attempt=*.log"))
    assert "The message had arrived" in logs
    for content in (MESSAGE, TEXT, TEXT[:6], KEY):
        assert content not in logs
