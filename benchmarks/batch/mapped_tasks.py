"""
100 prompts as one batch task and as 100 mapped HttpOperator tasks, in a real Airflow with a LocalExecutor.

``mapped_tasks.py URL KEY AGENT``; prints the seconds of both DAG runs as JSON.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

PLACES = 10
PATIENCE = 1800.0

DAGS = """
import json
from airflow.sdk import DAG
from airflow.providers.http.operators.http import HttpOperator
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator

QUESTIONS = [f"Question {{n}}" for n in range(100)]

with DAG("batch", schedule=None):
    ChatbaseBatchPromptOperator(
        task_id="ask", prompts=QUESTIONS, output_path="file://{home}/out", concurrency={places}
    )

with DAG("mapped", schedule=None, max_active_tasks={places}):
    HttpOperator.partial(
        task_id="ask",
        http_conn_id="chatbase_http",
        endpoint="api/v2/agents/{agent_id}/chat",
        method="POST",
        headers={{"Authorization": "Bearer {key}", "Content-Type": "application/json"}},
    ).expand(data=[json.dumps({{"message": question, "stream": False}}) for question in QUESTIONS])
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def settings(home: Path, url: str, key: str, agent_id: str, port: int) -> dict[str, str]:
    """Return the environment of Airflow."""
    chatbase = {"conn_type": "chatbase", "host": url, "password": key, "extra": {"agent_id": agent_id}}
    return {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PLACES),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW_CONN_CHATBASE_DEFAULT": json.dumps(chatbase),
        "AIRFLOW_CONN_CHATBASE_HTTP": json.dumps({"conn_type": "http", "host": url}),
    }


def call(port: int, path: str, body: Any = None, token: str = "") -> Any:
    """Call Airflow's API."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def until(what: str, check: Any) -> Any:
    """Return what a check returns as soon as it returns something."""
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        try:
            if found := check():
                return found
        except OSError:
            pass
        time.sleep(1)
    raise TimeoutError(what)


def run_dag(port: int, dag_id: str, token: str) -> float:
    """Run a DAG and return the seconds that its run took."""
    runs = f"/api/v2/dags/{dag_id}/dagRuns"
    run_id = until(dag_id, lambda: call(port, runs, {"logical_date": None}, token))["dag_run_id"]

    def ended() -> Any:
        run = call(port, f"{runs}/{run_id}", token=token)
        return run if run["state"] in ("success", "failed") else None

    run = until(dag_id, ended)
    if run["state"] != "success":
        raise RuntimeError(f"{dag_id} failed")
    return float(run["duration"])


def main(url: str, key: str, agent_id: str) -> None:
    """Run both, and print their seconds."""
    with tempfile.TemporaryDirectory() as directory:
        home, port = Path(directory), free_port()
        (home / "dags").mkdir()
        (home / "dags" / "both.py").write_text(
            DAGS.format(home=home, places=PLACES, agent_id=agent_id, key=key)
        )
        environment = settings(home, url, key, agent_id, port)
        airflow = [sys.executable, "-m", "airflow"]
        with (home / "log.txt").open("w") as log:
            output = {"env": environment, "stdout": log, "stderr": log}
            subprocess.run([*airflow, "db", "migrate"], check=True, **output)
            parts = [
                subprocess.Popen([*airflow, part], **output)
                for part in ("api-server", "scheduler", "dag-processor")
            ]
            try:
                token = until("token", lambda: call(port, "/auth/token"))["access_token"]
                until("DAGs", lambda: call(port, "/api/v2/dags/mapped", token=token))
                found = {dag_id: run_dag(port, dag_id, token) for dag_id in ("batch", "mapped")}
            finally:
                for part in parts:
                    part.send_signal(signal.SIGTERM)
                for part in parts:
                    part.wait()
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
