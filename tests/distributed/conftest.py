"""One Airflow for all cases, which run side by side: most of their time they wait."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import gettempdir

import pytest
from cluster import Case, Cluster, settings, start_redis
from postgres import postgres_server
from quickstart_demo.airflow_instance import AirflowInstance
from quickstart_demo.child_processes import ChildProcesses
from s3 import s3_server

DAGS = Path(__file__).parent / "dags"
EXAMPLES = Path(__file__).parents[2] / "example_dags"
AT_ONCE = 6
EXAMPLES_PATH = "s3://s3@cases/examples"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """Start Airflow with all that its machines share, and end all of it."""
    folder = tmp_path_factory.mktemp("cluster")
    processes = ChildProcesses(folder)
    with contextlib.ExitStack() as stack:
        postgres_port = stack.enter_context(postgres_server("-c max_connections=300", parent=gettempdir()))
        s3_url = stack.enter_context(s3_server())
        stack.callback(processes.stop)
        broker = start_redis(folder, processes)
        (folder / "disk").mkdir()
        airflow = AirflowInstance(folder / "airflow", DAGS / "many_machines.py", {})
        airflow.environment |= settings(airflow.home, postgres_port, broker)
        airflow.environment["DISK_OF_THE_MACHINE"] = str(folder / "disk")
        airflow.prepare()
        for example in EXAMPLES.glob("*.py"):
            text = example.read_text()
            (airflow.home / "dags" / example.name).write_text(
                text.replace("file:///tmp/chatbase", EXAMPLES_PATH)
            )
        airflow.start(processes)
        for _ in airflow.components_as_they_become_healthy(processes):
            pass
        cluster = Cluster(airflow, processes, folder, s3_url)
        cluster.connect_s3("s3", s3_url)
        cluster.make_pool("cases", 100)
        # The scheduled runs of the examples fill the default one until a machine takes them.
        cluster.make_pool("waits", 4)
        cluster.wait(lambda: cluster.api.import_errors() or cluster.api.knows_dag("waits"))
        assert cluster.api.import_errors() == []
        yield cluster


@pytest.fixture(scope="session")
def machines(cluster) -> None:
    """Start the two machines that stay."""
    with ThreadPoolExecutor() as pool:
        cluster.ant, cluster.bee = pool.map(cluster.machine, ("ant", "bee"))


@pytest.fixture(scope="session")
def in_progress(request, cluster, machines) -> Iterator[Callable[[Case], str]]:
    """Start all cases that were asked for, and return a function that waits for one of them."""
    cases = [each.function.case for each in request.session.items if hasattr(each.function, "case")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {case: pool.submit(case, cluster) for case in cases}
        yield lambda case: running[case].result()
