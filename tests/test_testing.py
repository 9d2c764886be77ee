"""The pytest plugin as a user has it; docs/testing.md is followed by the tests of the pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


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
