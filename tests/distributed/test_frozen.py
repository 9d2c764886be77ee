"""Tasks that stand still, or that Airflow loses sight of, and go on later."""

from __future__ import annotations

import time

from cluster import Cluster, Run, side_by_side
from paid_work import PaidWork

from airflow_provider_chatbase.files.lock import LockTimes

ALL = ("batch", "export", "sync")


@side_by_side
def test_frozen_and_thawed(cluster: Cluster) -> str:
    """Longer than a lock lasts; Airflow does not notice, and nobody takes over."""
    with PaidWork(cluster, "frozen") as work:
        cluster.ant.listen("frozen")
        run = work.start()
        work.wait_for_the_middle(ALL)
        frozen = [run.process(task) for task in ALL]
        for process in frozen:
            process.suspend()
        time.sleep(LockTimes().stale + LockTimes().beat)  # that is the case
        for process in frozen:
            process.resume()
        work.hurry()
        return work.require_all_done(run)


@side_by_side
def test_frozen_and_taken_over(cluster: Cluster) -> str:
    """The next try works on another machine when the first one thaws."""
    with PaidWork(cluster, "overtaken") as work:
        cluster.ant.listen("overtaken")
        run = work.start()
        before = work.wait_for_the_middle(ALL)
        frozen = [each for task in ALL for each in (run.process(task), run.process(task).parent())]
        for process in frozen:
            process.suspend()
        hand_over(cluster, "overtaken")
        work.wait_for_the_middle(ALL, before)
        for process in frozen:
            process.resume()
        work.hurry()
        seen = work.require_all_done(run)
        assert {each["hostname"] for each in run.tasks().values()} == {"bee"}
        return seen


@side_by_side
def test_lost_from_sight(cluster: Cluster) -> str:
    """Airflow hears no more of tasks that go on working; their next tries tell them to end, and take over."""
    with PaidWork(cluster, "lost") as work:
        cluster.ant.listen("lost")
        run = work.start()
        work.wait_for_the_middle(ALL)
        mute = [run.process(task).parent() for task in ALL]
        for process in mute:
            process.suspend()
        hand_over(cluster, "lost")
        cluster.wait(lambda: tries_that_work(run) == [2] * len(ALL), run.told)
        work.hurry()
        seen = work.require_all_done(run)
        for process in mute:
            process.resume()
        return seen


@side_by_side
def test_marked_and_cleared(cluster: Cluster) -> str:
    """Somebody marks tasks as failed and clears them, so that the next tries begin while these still work."""
    with PaidWork(cluster, "cleared") as work:
        cluster.ant.listen("cleared")
        run = work.start()
        work.wait_for_the_middle(ALL)
        hand_over(cluster, "cleared")
        run.mark_as_failed(ALL)
        # A clear just when the scheduler ends the run leaves it ended, and its tasks wait for ever.
        cluster.wait(lambda: run.state == "failed", run.told)
        run.clear(ALL)
        cluster.wait(lambda: tries_that_work(run) == [2] * len(ALL), run.told)
        work.hurry()
        return work.require_all_done(run)


def hand_over(cluster: Cluster, queue: str) -> None:
    cluster.bee.listen(queue)
    cluster.ant.forget(queue)


def tries_that_work(run: Run) -> list[int]:
    return [each["try_number"] for each in run.instances() if each["state"] in ("running", "success")]
