"""A worker that dies after the message was charged: real Airflow processes, and ``kill -9``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acting import KEY, TEXT, Act, Acting, fields_of

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from quickstart_demo.airflow_api import ENDED
from quickstart_demo.airflow_instance import AIRFLOW, AirflowInstance
from quickstart_demo.child_processes import ChildProcesses

DAG_ID = "killed"
MESSAGE = "a message that nobody logs"
DAG = """
import os
from datetime import datetime, timedelta
from pathlib import Path

from airflow.sdk import DAG
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator


def note_pid(context):
    (Path(__file__).parent.parent / f"{context['ti'].task_id}.pid").write_text(str(os.getpid()))


with DAG("killed", schedule=None, start_date=datetime(2026, 1, 1)):
    for name, arguments in {"whole": {}, "streamed": {"stream": True}, "named": {"user_id": "ann"}}.items():
        ChatbaseSendMessageOperator(
            task_id=name,
            message="a message that nobody logs",
            agent_id="agent-1",
            pre_execute=note_pid,
            retries=1,
            retry_delay=timedelta(seconds=1),
            max_active_tis_per_dag=1,
            **arguments,
        )
"""


def wait(for_what: Callable[[], object], seconds: float, children: ChildProcesses) -> None:
    deadline = time.monotonic() + seconds
    while not for_what():
        children.check()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def clear(instance: AirflowInstance) -> None:
    command = [sys.executable, str(AIRFLOW), "tasks", "clear", DAG_ID, "--yes", "--only-failed"]
    subprocess.run(command, env=instance.environment, cwd=instance.home, check=True, capture_output=True)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory) -> Iterator[tuple[AirflowInstance, ChildProcesses, Acting]]:
    folder = tmp_path_factory.mktemp("killed")
    (folder / "killed.py").write_text(DAG)
    with Acting() as chatbase:
        connection = json.dumps(fields_of(chatbase, timeout=120))
        instance = AirflowInstance(folder / "airflow", folder / "killed.py", {"chatbase_default": connection})
        instance.prepare()
        children = ChildProcesses(folder)
        try:
            instance.start(children)
            for _ in instance.components_as_they_become_healthy(children):
                pass
            yield instance, children, chatbase
        finally:
            children.stop()


@pytest.mark.system
@pytest.mark.timeout(420)
def test_one_conversation_one_charge_and_the_answer(airflow):
    """Three tasks are killed while Chatbase still writes; tried again, each finds its own answer."""
    instance, children, chatbase = airflow
    chatbase.acts = [Act(delay=600) for _ in range(3)]
    with instance.api() as api:
        wait(lambda: api.knows_dag(DAG_ID), 60, children)
        run_id = api.trigger(DAG_ID, {})
        wait(lambda: len(chatbase.posts) == 3, 120, children)
        assert chatbase.charges == 3
        for name in ("whole", "streamed", "named"):
            os.kill(int((instance.home / f"{name}.pid").read_text()), signal.SIGKILL)
        wait(lambda: api.run_state(DAG_ID, run_id) in ENDED, 120, children)
        if api.run_state(DAG_ID, run_id) == "failed":
            # Airflow 3.0 does not try a killed task again by itself: somebody clears it.
            clear(instance)
            wait(lambda: api.run_state(DAG_ID, run_id) in ENDED - {"failed"}, 120, children)
        answers = {name: api.returned_value(DAG_ID, run_id, name) for name in ("whole", "streamed", "named")}
        states = {task.task_id: task.state for task in api.tasks(DAG_ID, run_id)}
    assert states == dict.fromkeys(answers, "success")
    assert {(answer["text"], answer["recovered"]) for answer in answers.values()} == {(TEXT, True)}
    assert len({answer["conversation_id"] for answer in answers.values()}) == 3
    assert (len(chatbase.posts), chatbase.charges, len(chatbase.conversations)) == (3, 3, 3)
    logs = "".join(path.read_text() for path in instance.logs.rglob("attempt=*.log"))
    assert "The message had arrived" in logs
    for content in (MESSAGE, TEXT, TEXT[:6], KEY):
        assert content not in logs
