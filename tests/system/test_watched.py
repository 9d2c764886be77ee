"""Watchers of conversations in a real triggerer, which is killed."""

from __future__ import annotations

import os
import signal
import sys
import time

import psutil
import pytest
from quickstart_demo.airflow_instance import AIRFLOW, COMPONENTS

pytestmark = [pytest.mark.long, pytest.mark.system, pytest.mark.timeout(900)]


class Triggerer:
    """The triggerer of the tests' Airflow, killed as a machine dies: with all its processes, at once."""

    def __init__(self, airflow, processes):
        self._airflow, self._processes = airflow, processes

    def kill(self):
        process = self._processes._running.pop("triggerer")
        for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
            os.kill(each.pid, signal.SIGKILL)
        process.wait()

    def start(self):
        command = [sys.executable, str(AIRFLOW), "triggerer", *COMPONENTS["triggerer"]]
        self._processes.start("triggerer", command, env=self._airflow.environment, cwd=self._airflow.home)


def told(api, dag_id):
    runs = api._get(f"/api/v2/dags/{dag_id}/dagRuns?limit=200&order_by=run_after")["dag_runs"]
    ids = [
        api.returned_value(dag_id, each["dag_run_id"], "tell") for each in runs if each["state"] == "success"
    ]
    return [each for found in ids for each in found]


def test_a_killed_triggerer_repeats_nothing_and_loses_nothing(
    airflow, api, watched_simulator, processes, wait
):
    triggerer = Triggerer(airflow, processes)
    made: dict[str, list[str]] = {"watched_new": [], "watched_handed_over": []}
    before: set[str] = set()

    def create(count):
        found = watched_simulator.create_conversations(count=count)
        found[0].status = "taken_over"
        return [each.id for each in found]

    def all_watch():
        before.update(create(1))
        return all(told(api, dag_id) for dag_id in made)

    def create_and_note():
        ids = create(5)
        made["watched_new"] += ids
        made["watched_handed_over"].append(ids[0])

    def all_told():
        return all(set(told(api, dag_id)) >= set(ids) for dag_id, ids in made.items())

    wait(all_watch)
    for seconds in (0.5, 6):  # before it is told or while it is, and when it is told for long
        create_and_note()
        time.sleep(seconds)
        triggerer.kill()
        create_and_note()
        triggerer.start()
        wait(all_told, lambda: ({dag_id: told(api, dag_id) for dag_id in made}, made))
    for dag_id, ids in made.items():
        found = [each for each in told(api, dag_id) if each not in before]
        assert set(found) == set(ids)
        # Only what was stored in the seconds before a kill may be told once more.
        assert len(found) <= len(ids) + 5, found


def test_the_watchers_of_an_agent_share_their_polls(watched_simulator, api, wait):
    watched_simulator.reset_log()

    def searches(filtered):
        found = [each.query for each in watched_simulator.requests_for("searchConversations")]
        return [each for each in found if ("escalated" in each) is filtered and "cursor" not in each]

    wait(lambda: len(searches(True)) >= 5)
    assert len(searches(False)) <= len(searches(True)) + 1, (
        "those that watch for new and for changed ones share"
    )
