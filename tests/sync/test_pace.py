"""Uploads stay below the account's limit: counted by the simulator, whose clock both sides share."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from airflow_provider_chatbase.client.rate_limiter import UPLOAD_INTERVAL, UploadPacer
from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.sync.apply import PlanRunner


class Clock:
    def __init__(self):
        self.now = 1000.0
        self.waits = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def take_turn(pacer, clock, seconds=0.0):
    with pacer.turn():
        clock.now += seconds


def test_uploads_of_one_account_wait_for_each_other_from_end_to_beginning():
    clock = Clock()
    take_turn(UploadPacer("one", 6.0, clock, clock.sleep), clock, seconds=2.0)
    clock.now += 1.0
    take_turn(UploadPacer("another", 6.0, clock, clock.sleep), clock)
    take_turn(UploadPacer("one", 6.0, clock, clock.sleep), clock)
    assert clock.waits == [5.0]


def test_a_failed_upload_counts_too():
    clock = Clock()
    pacer = UploadPacer("failing", 6.0, clock, clock.sleep)
    with pytest.raises(OSError, match="lost"), pacer.turn():
        raise OSError("lost")
    take_turn(pacer, clock)
    assert clock.waits == [6.0]


@pytest.mark.parametrize(("age", "waits"), [(2.0, [4.0]), (-1.0, [6.0]), (7.0, []), (-100.0, [])])
def test_the_upload_of_an_attempt_that_died_is_waited_for(age, waits):
    clock = Clock()
    pacer = UploadPacer(f"died {age}", 6.0, clock, clock.sleep)
    now = 1_700_000_000.0
    pacer.note_earlier(datetime.fromtimestamp(now - age, UTC).isoformat().replace("+00:00", "Z"), now)
    take_turn(pacer, clock)
    assert clock.waits == pytest.approx(waits)


@pytest.mark.parametrize("created_at", ["", "yesterday"])
def test_an_unreadable_time_is_passed_over(created_at):
    clock = Clock()
    pacer = UploadPacer(f"unreadable {created_at}", 6.0, clock, clock.sleep)
    pacer.note_earlier(created_at, time.time())
    take_turn(pacer, clock)
    assert clock.waits == []


def statuses(desk):
    """Return the status of each reply to an upload."""
    return [request.status for request in desk.simulator.requests if request.is_multipart]


def run(desk, interval=UPLOAD_INTERVAL):
    clock = desk.simulator._world.clock
    pacer = UploadPacer(desk.simulator.url, interval, clock.monotonic, desk.simulator.advance)
    plan, _ = desk.syncer().plan(desk.declare())
    return PlanRunner(desk.client, desk.client, desk.agent_id, "docs", pacer).run(plan)


def test_25_files_and_their_changes_go_without_a_refusal(desk):
    desk = desk(upload_limit=10, upload_window=60.0)
    for number in range(25):
        desk.write(f"{number}.txt", f"file {number}")
    assert not run(desk).failed
    for number in range(25):
        desk.write(f"{number}.txt", f"FILE {number}")

    assert not run(desk).failed

    assert statuses(desk) == [201] * 25 + [200] * 25
    assert {source.content for source in desk.ours.values()} == {f"FILE {number}" for number in range(25)}


def test_faster_than_that_would_be_refused(desk):
    desk = desk(upload_limit=10, upload_window=60.0, max_attempts=1)
    for number in range(11):  # none after the one that is refused, or it would wait for its turn
        desk.write(f"{number}.txt", f"file {number}")
    assert run(desk, interval=4.0).failed
    assert 429 in statuses(desk)


def test_a_refusal_is_waited_out(desk):
    desk = desk()
    desk.write("a.txt", "file")
    desk.simulator.faults.add(
        Fault(kind="status", operation="createFileSource", status=429, retry_after=0.2, times=1)
    )
    before = time.monotonic()
    assert not run(desk).failed
    assert time.monotonic() - before >= 0.2
    assert statuses(desk) == [429, 201]
