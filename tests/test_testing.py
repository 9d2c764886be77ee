"""The pytest plugin as a user has it; docs/testing.md is followed by the tests of the pages."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"AIRFLOW_HOME": str(folder / "not-this-one"), "AIRFLOW_CONN_CHATBASE_DEFAULT": "wrong://"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


def test_what_whoever_runs_the_tests_has_set_up_for_airflow_is_not_there(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import os\n"
        "def test_it():\n"
        "    assert 'AIRFLOW_CONN_CHATBASE_DEFAULT' not in os.environ\n"
        "    assert 'not-this-one' not in os.environ['AIRFLOW_HOME']\n"
    )

    done = run_pytest(tmp_path, "-p", "airflow_provider_chatbase.testing")

    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_it_does_not_let_tests_into_the_airflow_of_whoever_runs_them(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "import sys, types\n"
        "sys.modules['airflow'] = types.ModuleType('airflow')\n"
        "pytest_plugins = ['airflow_provider_chatbase.testing']\n"
    )

    done = run_pytest(tmp_path)

    assert done.returncode != 0
    assert "-p airflow_provider_chatbase.testing" in done.stderr


@pytest.mark.usefixtures("chatbase_without_waits")
@pytest.mark.parametrize("deferrable", [False, True])
def test_nothing_waits(run_dag, start_chatbase_simulator, connect_chatbase, deferrable):
    """A sensor that pokes each hour, a retry after an hour."""
    from airflow.sdk import DAG, task

    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
    from airflow_provider_chatbase.sensors.training import ChatbaseTrainingSensor

    tried = []
    simulator = start_chatbase_simulator(training_seconds=1.0)
    connect_chatbase(simulator)
    with DAG("hours", schedule=None, start_date=datetime(2024, 1, 1)) as dag:  # noqa: DTZ001

        @task(retries=1, retry_delay=3600)
        def teach():
            tried.append(1)
            with ChatbaseHook() as hook:
                hook.create_text_source(f"Try {len(tried)}", "Open on Monday.")
                if len(tried) == 1:
                    raise RuntimeError("an error that passes")

        teach() >> ChatbaseTrainingSensor(task_id="wait", poke_interval=3600, deferrable=deferrable)
    began = time.monotonic()

    run = run_dag(dag)

    assert run.state == "success", run
    assert len(tried) == 2
    assert time.monotonic() - began < 600
