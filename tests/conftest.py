"""Airflow for the tests: an own AIRFLOW_HOME, set before anything can import airflow, and a way to run DAGs.

Nothing here imports airflow until a fixture that needs it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

pytest_plugins = ["airflow_provider_chatbase.simulator.pytest_plugin"]

AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="airflow-home-"))


def isolate_airflow(home: Path) -> None:
    """Point Airflow at ``home`` and forget the Airflow settings and connections of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
        del os.environ[name]
    dags_folder = home / "dags"
    dags_folder.mkdir()
    os.environ |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }


isolate_airflow(AIRFLOW_HOME)


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


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
