"""An Airflow of the demo's own: a folder, a SQLite database and four processes."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from quickstart_demo.airflow_api import AirflowApi
from quickstart_demo.child_processes import ChildProcesses
from quickstart_demo.errors import DemoError
from quickstart_demo.ports import free_port

AIRFLOW = Path(sysconfig.get_path("scripts")) / "airflow"
# Nobody reads the logs through Airflow's own log servers here, and their ports are fixed.
COMPONENTS = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}
SECONDS_TO_START = 180


class AirflowInstance:
    """
    Airflow in one folder.

    :param home: its AIRFLOW_HOME, made anew.
    :param dag_file: the one file with DAGs, which it copies.
    :param connections: by connection id, as Airflow reads them from environment variables.
    """

    def __init__(self, home: Path, dag_file: Path, connections: Mapping[str, str]) -> None:
        self.home = home
        self.logs = home / "logs"
        self._dag_file = dag_file
        self._port = free_port()
        self.environment = _without_airflow(os.environ) | self._settings() | _as_variables(connections)

    def prepare(self) -> None:
        """Make the folder and the database."""
        dags = self.home / "dags"
        dags.mkdir(parents=True)
        shutil.copy(self._dag_file, dags)
        done = subprocess.run(  # noqa: S603
            [sys.executable, AIRFLOW, "db", "migrate"],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DemoError(f"airflow db migrate ended with exit code {done.returncode}:\n{done.stdout}")

    def start(self, children: ChildProcesses) -> None:
        """Start Airflow's processes; they are not ready yet."""
        for name, options in COMPONENTS.items():
            command = [sys.executable, str(AIRFLOW), name, *options]
            children.start(name, command, env=self.environment, cwd=self.home)

    def components_as_they_become_healthy(self, children: ChildProcesses) -> Iterator[str]:
        """Yield the name of each part of Airflow once it reports that it works."""
        deadline = time.monotonic() + SECONDS_TO_START
        waiting_for = {"api_server", "scheduler", "dag_processor", "triggerer"}
        with httpx.Client(base_url=self._url, trust_env=False) as http:
            while waiting_for:
                children.check()
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"Not healthy within {SECONDS_TO_START} s: {', '.join(sorted(waiting_for))}."
                    )
                for name in _healthy(http) & waiting_for:
                    waiting_for.remove(name)
                    yield name
                time.sleep(0.2)

    def api(self) -> AirflowApi:
        """Return a client of its REST API; to be closed."""
        return AirflowApi(self._url)

    def page_of(self, dag_id: str) -> str:
        """Return the address of a DAG's page."""
        return f"{self._url}/dags/{dag_id}"

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def _settings(self) -> dict[str, str]:
        return {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.home / "dags"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self._url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }


def _without_airflow(environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("AIRFLOW_", "_AIRFLOW_", "CHATBASE_")
    return {name: value for name, value in environment.items() if not name.startswith(ours)}


def _as_variables(connections: Mapping[str, str]) -> dict[str, str]:
    return {f"AIRFLOW_CONN_{conn_id.upper()}": connection for conn_id, connection in connections.items()}


def _healthy(http: httpx.Client) -> set[str]:
    try:
        reply = http.get("/api/v2/monitor/health").raise_for_status()
    except httpx.HTTPError:
        return set()
    return {"api_server"} | {name for name, part in reply.json().items() if part["status"] == "healthy"}
