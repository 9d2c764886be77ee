"""Machines that die in the middle of their work, or are drained."""

from __future__ import annotations

import signal

from cluster import Cluster, side_by_side
from paid_work import PaidWork

ALL = ("batch", "export", "sync")


@side_by_side
def test_a_machine_dies(cluster: Cluster) -> str:
    """Killed in the middle of all; the next tries elsewhere go on, also without the first one's disk."""
    with PaidWork(cluster, "killed") as work:
        machine = cluster.machine("cat", "killed")
        run = work.start()
        work.wait_for_the_middle((*ALL, "local"))
        machine.die()
        work.hurry()
        cluster.bee.listen("killed")
        seen = work.require_all_done(run)
        assert {each["hostname"] for each in run.tasks().values()} == {"bee"}
        assert not list(machine.disk.glob("local/**/_manifest.json"))
        assert "no checkpoint of the one before" in run.log("local", 2)
        return seen


@side_by_side
def test_a_worker_is_drained(cluster: Cluster) -> str:
    """Told to end, it takes no more, ends its tasks in peace, and then itself."""
    with PaidWork(cluster, "drained") as work:
        machine = cluster.machine("dog", "drained")
        run = work.start()
        work.wait_for_the_middle(ALL)
        machine.processes()[0].send_signal(signal.SIGTERM)
        cluster.wait(lambda: not machine.answers())
        work.hurry()
        seen = work.require_all_done(run)
        assert {each["try_number"] for each in run.tasks().values()} == {1}
        cluster.wait(machine.has_ended)
        return seen


@side_by_side
def test_a_machine_is_drained_without_care(cluster: Cluster) -> str:
    """All of its processes are told to end at once, as dumb-init does it unless it is told otherwise."""
    with PaidWork(cluster, "drained_all") as work:
        machine = cluster.machine("eel", "drained_all")
        run = work.start()
        work.wait_for_the_middle(ALL)
        for process in machine.processes():
            process.send_signal(signal.SIGTERM)
        cluster.bee.listen("drained_all")
        work.hurry()
        return work.require_all_done(run)


@side_by_side
def test_a_task_is_told_to_end(cluster: Cluster) -> str:
    """Only the task's process gets the signal."""
    with PaidWork(cluster, "stopped") as work:
        cluster.ant.listen("stopped")
        run = work.start()
        work.wait_for_the_middle(ALL)
        for task in ALL:
            run.process(task).send_signal(signal.SIGTERM)
        work.hurry()
        return work.require_all_done(run)
