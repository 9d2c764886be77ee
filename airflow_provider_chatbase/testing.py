"""
A pytest plugin for tests of DAGs: an Airflow of the tests' own, a Chatbase on this machine, and no waits.

Use it with ``-p airflow_provider_chatbase.testing`` in pytest's ``addopts``, so that it comes before anything
that imports Airflow. From then on the tests know neither the database, the settings nor the connections of
whoever runs them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

pytest_plugins = ["airflow_provider_chatbase.simulator.pytest_plugin"]

LONGEST_WAIT = 0.01
WAITING = ("airflow_provider_chatbase.", "airflow.sdk.bases.sensor", "airflow.sdk.definitions.dag")
"""Whose waits are cut short: the provider's, a sensor's between two pokes, those of ``dag.test()``."""

_home: Path | None = None


def pytest_addoption() -> None:
    """Give the tests an Airflow of their own; pytest calls this as soon as it knows the plugin."""
    global _home
    if "airflow" in sys.modules:
        raise pytest.UsageError(
            "airflow was imported before airflow_provider_chatbase.testing, which gives the tests a database "
            "of their own. Load the plugin first, in the section of pytest's configuration: "
            'addopts = "-p airflow_provider_chatbase.testing".'
        )
    _home = Path(tempfile.mkdtemp(prefix="airflow-home-"))
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
        del os.environ[name]
    (_home / "dags").mkdir()
    os.environ |= {
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
        "AIRFLOW_HOME": str(_home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(_home / "dags"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home / 'airflow.db'}",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    }


def pytest_unconfigure() -> None:
    """Remove that Airflow."""
    if _home is not None:
        shutil.rmtree(_home, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """
    How a run of a DAG ended.

    :param state: of the run, as ``success`` or ``failed``.
    :param task_states: of each task; a mapped one has a list of them, by map index.
    :param xcoms: what each task returned; of a mapped one a list, by map index.
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
def run_dag(
    airflow_db: None,  # noqa: ARG001 - has to be there
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., FinishedRun]:
    """
    Give a function that runs a DAG in this process and returns a :class:`FinishedRun`.

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

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
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


@pytest.fixture
def chatbase_without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Cut short every wait between attempts, polls, uploads and pokes, and every retry delay.

    Clocks go on as ever, so a time-out that a test is about has to be a short one.
    """
    sleep, sleep_in_loop = time.sleep, asyncio.sleep

    def short(seconds: float) -> float:
        caller = sys._getframe(2).f_globals.get("__name__", "")  # noqa: SLF001 - nothing else tells it
        return min(seconds, LONGEST_WAIT) if caller.startswith(WAITING) else seconds

    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(short(seconds)))
    monkeypatch.setattr(asyncio, "sleep", lambda delay, result=None: sleep_in_loop(short(delay), result))
    instance = "airflow.models.taskinstance.TaskInstance"
    monkeypatch.setattr(f"{instance}.next_retry_datetime", lambda instance: instance.end_date)
