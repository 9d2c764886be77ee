"""One Airflow in processes of its own, for all tests here; they run in one group, and it ends with them."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acting import Acting, fields_of
from quickstart_demo.airflow_api import AirflowApi
from quickstart_demo.airflow_instance import AirflowInstance
from quickstart_demo.child_processes import ChildProcesses

from airflow_provider_chatbase.simulator import Simulator

QUICKSTART = Path(__file__).parents[2] / "example_dags" / "chatbase_quickstart.py"
DAGS = Path(__file__).parent / "dags"
KEY = "sk-of-the-system-test-4711"
WEBHOOK_SECRET = "whsec-of-the-system-test-4711"
SECONDS_TO_WAIT = 600  # also on a machine that has a lot to do besides


@pytest.fixture(scope="package")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("system")


@pytest.fixture(scope="package")
def simulator() -> Iterator[Simulator]:
    with Simulator(api_key=KEY, agent_id="agent-1", conversations=50, training_seconds=3600.0) as simulator:
        yield simulator


@pytest.fixture(scope="package")
def watched_simulator() -> Iterator[Simulator]:
    with Simulator(api_key=KEY, conversations=50) as simulator:
        yield simulator


@pytest.fixture(scope="package")
def chatbase() -> Iterator[Acting]:
    with Acting() as chatbase:
        yield chatbase


@pytest.fixture(scope="package")
def processes(folder) -> Iterator[ChildProcesses]:
    children = ChildProcesses(folder)
    yield children
    children.stop()


def connection_to(simulator: Simulator) -> dict[str, object]:
    extra = {"agent_id": simulator.agent_id}
    return {"conn_type": "chatbase", "host": simulator.url, "password": KEY, "extra": extra}


@pytest.fixture(scope="package")
def statsd() -> Iterator[socket.socket]:
    """Receive the metrics of all that runs."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as received:
        received.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**22)
        received.bind(("127.0.0.1", 0))
        received.setblocking(False)
        yield received


@pytest.fixture(scope="package")
def airflow(folder, simulator, watched_simulator, chatbase, processes, statsd) -> AirflowInstance:
    connections = {
        "chatbase_default": connection_to(simulator),
        "chatbase_watched": connection_to(watched_simulator),
        "chatbase_killed": fields_of(chatbase, timeout=120),
    }
    as_text = {name: json.dumps(fields) for name, fields in connections.items()}
    airflow = AirflowInstance(folder / "airflow", QUICKSTART, as_text)
    # What a killed triggerer did is soon taken up again.
    airflow.environment |= {
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
        "AIRFLOW__CHATBASE__WEBHOOK_SECRET": f"{WEBHOOK_SECRET}, the-old-secret",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.getsockname()[1]),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",  # the one kind of StatsD that knows tags
        "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "chatbase",  # Airflow's own would fill the socket
    }
    airflow.prepare()
    shutil.copy(QUICKSTART.with_name("chatbase_low_confidence.py"), airflow.home / "dags")
    shutil.copytree(DAGS, airflow.home / "dags", dirs_exist_ok=True)
    airflow.start(processes)
    for _ in airflow.components_as_they_become_healthy(processes):
        pass
    return airflow


@pytest.fixture(scope="package")
def wait(processes) -> Callable[..., None]:
    """Return a function that waits until what it is given says yes, while Airflow's processes run."""

    def wait(for_what: Callable[[], object], seen: Callable[[], object] = lambda: "nothing") -> None:
        deadline = time.monotonic() + SECONDS_TO_WAIT
        while not for_what():
            processes.check()
            assert time.monotonic() < deadline, f"waited in vain; seen: {seen()}"
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="package")
def api(airflow, wait) -> Iterator[AirflowApi]:
    with airflow.api() as api:
        api._http.timeout = SECONDS_TO_WAIT  # its first requests build half of Airflow
        dags = (
            "chatbase_quickstart",
            "killed",
            "waiting",
            "watched_new",
            "watched_changed",
            "watched_handed_over",
            "webhook",
            "chatbase_low_confidence",
        )
        wait(lambda: api.import_errors() or all(api.knows_dag(dag) for dag in dags))
        assert api.import_errors() == []
        yield api
