"""Airflow for the tests: an own AIRFLOW_HOME, set before anything can import airflow, and a way to run DAGs.

Nothing here imports airflow until a fixture that needs it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG
    from xdist.remote import Producer

    from airflow_provider_chatbase.simulator import Simulator

pytest_plugins = ["airflow_provider_chatbase.simulator.pytest_plugin", "acting", "chromium"]

AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))
MOST_PROCESSES = 8  # each may grow to half a gigabyte


def isolate_airflow(home: Path) -> None:
    """Point Airflow at ``home`` and forget the Airflow settings and connections of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
        del os.environ[name]
    os.environ |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    dags_folder = home / "dags"
    dags_folder.mkdir()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    }


isolate_airflow(AIRFLOW_HOME)


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Take two processes for each core, as tests also wait, but one for what the command line names."""
    if config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword:
        return 0
    return min(2 * len(os.sched_getaffinity(0)), MOST_PROCESSES)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return OneByOne(config, log)


TOGETHER = (
    "tests/system/",
    "tests/browser/",
    "tests/playground/test_browser.py",
    "tests/exports/test_s3.py",
    "tests/test_conventions.py",
)
"""What shares something slow to start: an Airflow, a browser, a server, a parsing of all examples."""


class OneByOne(LoadScopeScheduling):
    """Hands out test by test, as some take long; but first what belongs together, each to one process."""

    def _split_scope(self, nodeid: str) -> str:
        return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid)


@pytest.fixture
def start_simulator() -> Iterator[Callable[..., Simulator]]:
    """Return a function that starts a simulator with the given switches; all are stopped at the end."""
    from airflow_provider_chatbase.simulator import Simulator

    with contextlib.ExitStack() as stack:
        small = {"conversations": 30, "training_seconds": 0.05}
        yield lambda **switches: stack.enter_context(Simulator(**{**small, **switches}))


@pytest.fixture
def simulator(start_simulator: Callable[..., Simulator]) -> Simulator:
    return start_simulator()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that points ``chatbase_default`` at a simulator; fields given by name go before."""

    def connect(simulator: Simulator, conn_id: str = "chatbase_default", **fields: Any) -> dict[str, Any]:
        extra = {"agent_id": simulator.agent_id, **fields.pop("extra", {})}
        connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
        connection |= {"extra": extra, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return connection

    return connect


@pytest.fixture
def shown(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Return a function that returns all that was logged, at any level, or printed since the test began.

    A task logs to Python's logging or straight to the standard output, as the Airflow version has it.
    """
    printed: list[str] = []

    def shown() -> str:
        printed.extend(capfd.readouterr())
        return "".join(printed) + caplog.text

    with caplog.at_level(logging.DEBUG):
        yield shown


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """How a DAG run ended: its state, the tasks' states, and what they returned.

    A mapped task has a list of states and a list of returned values, by map index.
    """

    state: str
    task_states: dict[str, Any]
    xcoms: dict[str, Any]


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Create the tables of Airflow's metadata database."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def run_dag(airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FinishedRun]:
    """Return a function that runs a DAG object in this process and says how the run ended.

    Its arguments: the DAG; ``conf`` for the run; ``connections``, a mapping of connection id to the
    connection's fields (``conn_type``, ``host``, ``password``, ``extra``...).
    """

    def run(
        dag: DAG,
        *,
        conf: Mapping[str, Any] | None = None,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> FinishedRun:
        for conn_id, fields in (connections or {}).items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        _serialize_where_airflow_asks_for_it(dag)
        with _signal_handlers_kept():
            dag_run = dag.test(run_conf=dict(conf or {}))
        return _finished(dag_run)

    return run


def _serialize_where_airflow_asks_for_it(dag: DAG) -> None:
    # Later than 3.0, dag.test() looks up the serialized DAG, which is otherwise made from a file in a bundle.
    try:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    except ImportError:
        return
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(dag_folder=os.devnull, collect_dags=False)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)


@contextlib.contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    # dag.test() leaves a SIGTERM handler behind with which the process no longer ends when it is told to.
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finished(dag_run: DagRun) -> FinishedRun:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    of_this_run = select(XComModel).where(
        XComModel.dag_id == dag_run.dag_id,
        XComModel.run_id == dag_run.run_id,
        XComModel.key == "return_value",
    )
    with create_session() as session:
        returned = [
            (x.task_id, x.map_index, XComModel.deserialize_value(x)) for x in session.scalars(of_this_run)
        ]
    states = [(ti.task_id, ti.map_index, str(ti.state)) for ti in dag_run.get_task_instances()]
    return FinishedRun(str(dag_run.state), _by_task(states), _by_task(returned))


def _by_task(rows: list[tuple[str, int, Any]]) -> dict[str, Any]:
    by_task: dict[str, Any] = {}
    for task_id, map_index, value in sorted(rows, key=lambda row: row[:2]):
        if map_index < 0:
            by_task[task_id] = value
        else:
            by_task.setdefault(task_id, []).append(value)
    return by_task
