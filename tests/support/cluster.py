"""An Airflow on several machines, which share a database, a broker and an object store, and no more."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from quickstart_demo.airflow_api import ENDED, AirflowApi
from quickstart_demo.airflow_instance import AIRFLOW, COMPONENTS, AirflowInstance
from quickstart_demo.child_processes import ChildProcesses
from quickstart_demo.ports import free_port
from s3 import s3_fs

from airflow_provider_chatbase.simulator import Simulator

SECONDS_TO_WAIT = 900  # a deadline for what hangs, on a machine that has a lot to do besides
PROCESSES = 16  # of a worker; most of them only wait
IMPORTED_ONCE = [
    "airflow.sdk.execution_time.task_runner",
    "airflow.providers.amazon.aws.fs.s3",
    "airflow.providers.standard.operators.python",
    "airflow_provider_chatbase.batch.batch",
    "airflow_provider_chatbase.exports.export",
    "airflow_provider_chatbase.hooks.chatbase",
    "airflow_provider_chatbase.sync.sync",
    "s3fs",
]
"""What each task would import for itself, in a process of its own: most of the time that two cores have."""

UNSHARE = ("unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--uts")


def start_redis(folder: Path, processes: ChildProcesses) -> str:
    """Start a broker that keeps nothing on the disk; give its URL."""
    if (found := shutil.which("redis-server")) is None:
        pytest.fail("Redis is missing: apt-get install redis-server")
    port = str(free_port())
    command = [found, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    processes.start("redis", command, env={}, cwd=folder)
    return f"redis://127.0.0.1:{port}/0"


def settings(home: Path, postgres_port: int, broker: str) -> dict[str, str]:
    """Return what makes a usual Airflow one on several machines, and one that notices their death soon."""
    database = f"postgresql+psycopg2://test@127.0.0.1:{postgres_port}/postgres"
    return {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__PARALLELISM": "200",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "100",
        "AIRFLOW__CORE__DEFAULT_POOL_TASK_SLOT_COUNT": "4",  # for what has no hurry
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__CELERY__BROKER_URL": broker,
        "AIRFLOW__CELERY__RESULT_BACKEND": broker,
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(PROCESSES),
        "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
        "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": json.dumps({"imports": IMPORTED_ONCE}),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    }


class Cluster:
    """What a case asks of the Airflow on several machines; safe from several threads."""

    def __init__(
        self, airflow: AirflowInstance, processes: ChildProcesses, folder: Path, s3_url: str
    ) -> None:
        self.airflow = airflow
        self.processes = processes
        self.s3_url = s3_url
        self.disk = folder / "disk"  # where each machine has its own
        self._folder = folder
        self._starting = threading.Lock()
        self._celery = Celery(broker=airflow.environment["AIRFLOW__CELERY__BROKER_URL"])
        self.fs = s3_fs(s3_url, "cases")
        self.ant: Machine  # the two machines that stay
        self.bee: Machine

    @functools.cached_property
    def api(self) -> AirflowApi:
        api = self.airflow.api().__enter__()
        api._http.timeout = SECONDS_TO_WAIT
        return api

    def wait(self, for_what: Callable[[], object], seen: Callable[[], object] = lambda: "nothing") -> None:
        """Wait until a fact is there."""
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not for_what():
            assert time.monotonic() < deadline, f"waited in vain; seen: {seen()}"
            time.sleep(0.5)

    def connect(self, name: str, fields: Mapping[str, Any] | Simulator) -> None:
        """Make a connection in Airflow's database."""
        if isinstance(fields, Simulator):
            extra = json.dumps({"agent_id": fields.agent_id})
            fields = {"conn_type": "chatbase", "host": fields.url, "password": fields.api_key, "extra": extra}
        reply = self.api._http.post("/api/v2/connections", json={"connection_id": name, **fields})
        reply.raise_for_status()

    def make_pool(self, name: str, slots: int) -> None:
        """Make a pool for tasks that are not to wait for others."""
        self.api._http.post("/api/v2/pools", json={"name": name, "slots": slots}).raise_for_status()

    def connect_s3(self, name: str, url: str) -> None:
        """Make a connection to the object store, which is found at this URL."""
        extra = json.dumps({"endpoint_url": url, "region_name": "us-east-1"})
        self.connect(name, {"conn_type": "aws", "login": "test", "password": "secret-of-s3", "extra": extra})

    def start_triggerer(self) -> None:
        """Start one where the former was killed."""
        command = [sys.executable, str(AIRFLOW), "triggerer", *COMPONENTS["triggerer"]]
        with self._starting:
            self.processes.start("triggerer", command, env=self.airflow.environment, cwd=self.airflow.home)

    def kill_triggerer(self) -> None:
        """End it as a machine dies: with all its processes, at once."""
        process = self.processes._running.pop("triggerer")
        for each in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            each.kill()
        process.wait()

    def machine(self, name: str, *queues: str, host_name: str | None = None) -> Machine:
        """Start a machine with a disk of its own; its worker listens to these queues, and to its name's."""
        disk = self._folder / f"disk-of-{name}"
        disk.mkdir()
        boot = 'hostname "$0" && mount --bind "$1" "$2" && shift 2 && "$@"; exit $?'
        worker = ["celery", "worker", "--skip-serve-logs", "--celery-hostname", f"celery@{name}"]
        command = [*UNSHARE, "sh", "-c", boot, host_name or name, str(disk), str(self.disk)]
        command += [sys.executable, str(AIRFLOW), *worker, "--queues", ",".join((name, *queues))]
        with self._starting:
            self.processes.start(name, command, env=self.airflow.environment, cwd=self.airflow.home)
            process = self.processes._running[name]
        machine = Machine(name, disk, process, self._celery)
        self.wait(machine.answers, lambda: f"no worker on {name}; see {self._folder / name}.log")
        return machine

    def trigger(self, dag_id: str, **conf: Any) -> Run:
        return Run(self, dag_id, self.api.trigger(dag_id, conf))

    def runs(self, dag_id: str) -> list[Run]:
        """Return the runs that there are."""
        found = self.api._get(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
        return [Run(self, dag_id, each["dag_run_id"]) for each in found]


class Machine:
    """A worker with a host name, processes and a disk of its own."""

    def __init__(self, name: str, disk: Path, process: subprocess.Popen[bytes], celery: Celery) -> None:
        self.name, self.disk = name, disk
        self._process = process
        self._node = [f"celery@{name}"]
        self._celery = celery

    def answers(self) -> bool:
        assert not self.has_ended(), f"{self.name} ended with exit code {self._process.returncode}"
        return bool(self._celery.control.ping(self._node, timeout=1))

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def listen(self, queue: str) -> None:
        """Take tasks of a queue from now on."""
        self._celery.control.add_consumer(queue, destination=self._node, reply=True, timeout=10)

    def forget(self, queue: str) -> None:
        """Take no more tasks of a queue."""
        self._celery.control.cancel_consumer(queue, destination=self._node, reply=True, timeout=10)

    def processes(self) -> list[psutil.Process]:
        """Return those that a container would have: the worker's own comes first."""
        [init] = psutil.Process(self._process.pid).children()
        return init.children(recursive=True)

    def die(self) -> None:
        """End as a machine does that loses its power."""
        [init] = psutil.Process(self._process.pid).children()
        init.kill()
        self._process.wait()


class Run:
    """A run of a DAG."""

    def __init__(self, cluster: Cluster, dag_id: str, run_id: str) -> None:
        self.dag_id, self.run_id = dag_id, run_id
        self._cluster = cluster

    @property
    def state(self) -> str:
        return self._cluster.api.run_state(self.dag_id, self.run_id)

    def instances(self) -> list[dict[str, Any]]:
        """Return the task instances as Airflow sees them."""
        path = f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances?limit=100"
        return self._cluster.api._get(path)["task_instances"]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Return them by the ids of their tasks, where none is mapped."""
        return {each["task_id"]: each for each in self.instances()}

    def count(self, state: str) -> int:
        """Count the task instances in a state."""
        return sum(each["state"] == state for each in self.instances())

    def mark_as_failed(self, task_ids: Iterable[str]) -> None:
        """Do what the button does."""
        for task_id in task_ids:
            path = f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{task_id}"
            self._cluster.api._http.patch(path, json={"new_state": "failed"}).raise_for_status()

    def clear(self, task_ids: Iterable[str]) -> None:
        """Do what the button does."""
        how = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": list(task_ids), "only_failed": False}
        path = f"/api/v2/dags/{self.dag_id}/clearTaskInstances"
        self._cluster.api._http.post(path, json=how).raise_for_status()

    def log(self, task_id: str, number: int) -> str:
        found = self._cluster.airflow.logs.glob(
            f"dag_id={self.dag_id}/run_id={self.run_id}/task_id={task_id}/attempt={number}.log"
        )
        return "".join(each.read_text() for each in found)

    def process(self, task_id: str) -> psutil.Process:
        """Return the process in which a task runs now; its parent speaks to Airflow for it."""
        title = f"airflow worker -- {self.tasks()[task_id]['id']}"
        found = [
            each for each in psutil.process_iter(["cmdline"]) if title in (each.info["cmdline"] or [""])[0]
        ]
        [process] = found
        return process

    def wait(self) -> list[dict[str, Any]]:
        """Wait until it has ended, and return its task instances."""
        self._cluster.wait(lambda: time.sleep(1) or self.state in ENDED, self.told)
        return self.instances()

    def told(self) -> object:
        """Return what a failure of the test should tell."""
        return [
            (each["task_id"], each["state"], each["try_number"], each["hostname"])
            for each in self.instances()
        ]


Case = Callable[[Cluster], str]
"""Does something to the cluster, and returns in a line what was seen."""


def side_by_side(case: Case) -> Callable[..., None]:
    """Make a test of a case that runs while the others do."""

    def test(in_progress: Callable[[Case], str], capfd: pytest.CaptureFixture[str]) -> None:
        seen = in_progress(case)
        with capfd.disabled():
            print(f"\n{case.__name__.removeprefix('test_').replace('_', ' ')}: {seen}", flush=True)

    test.case = case  # type: ignore[attr-defined]
    test.__doc__ = case.__doc__
    return test
