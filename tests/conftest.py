"""How the tests are handed out, and short names for the fixtures that users have as well."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from airflow_provider_chatbase.client import rate_limiter

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from airflow_provider_chatbase.simulator import Simulator

pytest_plugins = ["airflow_provider_chatbase.testing", "acting", "chromium", "s3"]

MOST_PROCESSES = 8  # each may grow to half a gigabyte
LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run what is marked as long, as CI does")
    parser.addoption("--also", action="append", default=[], metavar="PATH", help="of that, run what is there")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless it is asked for: by ``--all``, its path or its name."""
    items.sort(key=_turn)
    if config.option.all or _chosen(config):
        return
    also = tuple(config.option.also)
    long = {item for item in items if item.get_closest_marker("long")}
    left_out = [item for item in items if item in long and not item.nodeid.startswith(also)]
    items[:] = [item for item in items if item not in long or item.nodeid.startswith(also)]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = len(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"NOT RUN: {left_out} tests that take long (an Airflow of its own, browsers, most seeds "
            "of the campaign and more, see CONTRIBUTING.md). scripts/test --all runs them too, as CI does.",
            yellow=True,
            bold=True,
        )


def _turn(item: pytest.Item) -> int:
    """Return when it begins: what many tests wait for first, then what is slow."""
    first = (*TOGETHER, SLOW)
    return next((turn for turn, names in enumerate(first) if item.nodeid.startswith(names)), len(first))


def _chosen(config: pytest.Config) -> bool:
    chosen = config.args_source is pytest.Config.ArgsSource.ARGS
    return chosen or bool(config.option.keyword or config.option.markexpr)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Take two processes for each core, as tests also wait, but one for what the command line names."""
    if _chosen(config):
        return 0
    return min(2 * len(os.sched_getaffinity(0)), MOST_PROCESSES)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # not by size: see _turn
    return OneByOne(config, log)


TOGETHER = (
    ("tests/system/",),
    ("tests/browser/",),
    ("tests/playground/test_browser.py",),
    (
        "tests/exports/test_s3.py",
        "tests/exports/test_delta_storage.py",
        "tests/exports/test_delta_target.py::test_into_a_bucket",
        "tests/files/test_lock.py::test_over_s3",
        "tests/files/test_directory.py::test_names_are_no_patterns_in_s3",
        "tests/files/test_directory.py::test_what_is_there_in_s3",
        "tests/files/test_directory.py::test_a_missing_bucket",
    ),
    ("tests/test_conventions.py",),
    (
        "tests/test_docs.py",
        "tests/test_dags.py",
        "tests/test_run_dag.py",
        "tests/test_testing.py",
        "tests/test_links.py",
        "tests/batch/test_example_dags.py",
    ),
    (
        "tests/operators/test_texts_of_others.py",
        "tests/operators/test_example_dags.py",
        "tests/operators/test_cleared.py",
        "tests/operators/test_batch.py",
        "tests/operators/test_send_message.py",
        "tests/operators/test_whatsapp.py",
        "tests/decorators/",
        "tests/example_dags/",
    ),
)
"""What shares something slow to start: an Airflow, a browser, a server, a parsing of all examples, the API of
the task runner, which the first ``dag.test()`` of a process builds."""

SLOW = (
    "tests/batch/test_batch.py::test_an_outage_ends",
    "tests/campaign/",
    "tests/batch/test_task_timeout.py",
    "tests/batch/test_kill.py",
    "tests/triggers/test_conversations.py",
)
"""What a process may be at alone for long: it begins early, so that none of it is the last to end."""

QUICK = ("tests/client/", "tests/hooks/", "tests/test_structure.py")
"""Where a test takes hardly longer than to hand it out."""


class OneByOne(LoadScopeScheduling):
    """Hands out test by test, as some take long; but first what belongs together, each to one process."""

    def _split_scope(self, nodeid: str) -> str:
        alone = nodeid.partition("[")[0] if nodeid.startswith(QUICK) else nodeid
        return next((group[0] for group in TOGETHER if nodeid.startswith(group)), alone)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Forget what is done, too: all that a process was given is counted with each test that it ends."""
        super().mark_test_complete(node, item_index, duration)
        scope = self._split_scope(self.registered_collections[node][item_index])
        if all(self.assigned_work[node][scope].values()):
            del self.assigned_work[node][scope]


@pytest.fixture(autouse=True)
def limits_of_earlier_tests_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port is used again, and its next service has other limits, or does not tell them (v1)."""
    monkeypatch.setattr(rate_limiter, "_limiters", {})


@pytest.fixture
def start_simulator(start_chatbase_simulator: Callable[..., Simulator]) -> Callable[..., Simulator]:
    return start_chatbase_simulator


@pytest.fixture
def simulator(chatbase_simulator: Simulator) -> Simulator:
    return chatbase_simulator


@pytest.fixture
def connect(connect_chatbase: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return connect_chatbase


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


@pytest.fixture(scope="session")
def airflow_db(airflow_db: None) -> None:
    """Build the API of ``dag.test()`` once, which takes seconds, as Airflow does itself from 3.3 on."""
    from airflow.sdk.execution_time import supervisor

    if not hasattr(supervisor.in_process_api_server, "cache_info"):
        supervisor.in_process_api_server = functools.lru_cache(supervisor.in_process_api_server)
