"""How the tests are handed out, and short names for the fixtures that users have as well."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

    from airflow_provider_chatbase.simulator import Simulator

pytest_plugins = ["airflow_provider_chatbase.testing", "acting", "chromium"]

MOST_PROCESSES = 8  # each may grow to half a gigabyte


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
