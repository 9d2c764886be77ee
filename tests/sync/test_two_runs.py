"""Two runs of one sync at once, and one that stood still while another worked: one source for each key."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.sync.apply import ChatbaseToldToEndError
from tests.sync.conftest import QUICK

PAGES = 30


def write_pages(desk, pages=PAGES, text="text"):
    for page in range(pages):
        desk.write(f"{page}.md", f"{text} {page}")


def frozen_after(looks, meanwhile):
    """Return a patience whose clock stands still after some looks while something is done, and jumps."""
    count = 0
    jumped = 0.0

    def clock():
        nonlocal count, jumped
        count += 1
        if count == looks:
            jumped = 60.0
            meanwhile()
        return time.monotonic() + jumped

    return replace(QUICK, clock=clock)


def assert_in_step(desk, contents):
    assert sorted(source.content for source in desk.ours.values()) == sorted(contents)
    names = [source.name for source in desk.simulator.store.sources(desk.agent_id)]
    assert len(names) == len(set(names)), "some were made twice"
    desk.simulator.reset_log()
    report = desk.sync(prune=True, max_deletes=0)
    assert report.failures() == ""
    assert desk.writes == []


def test_two_at_once_leave_one_source_for_each_key(desk):
    desk = desk(latency={"createSource": 0.01})
    write_pages(desk)
    reports = []

    def sync():
        with ChatbaseClient(desk.client.settings) as client:
            reports.append(replace(desk.syncer(prune=True), client=client).apply(desk.declare()))

    runs = [threading.Thread(target=sync) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [report.failures() for report in reports] == ["", ""]
    assert len([write for write in desk.writes if write == "createSource"]) > PAGES, "they did not meet"
    live = {source.id for source in desk.ours.values()}
    assert all(set(report.ids_to_wait_for()) <= live for report in reports[1:])
    assert_in_step(desk, [f"text {page}" for page in range(PAGES)])


def test_one_that_stood_still_takes_over_what_another_made(desk):
    desk = desk()
    write_pages(desk)
    other = []
    patience = frozen_after(10, lambda: other.append(desk.sync(prune=True)))

    report = desk.syncer(prune=True, patience=patience).apply(desk.declare())

    assert report.failures() == other[0].failures() == ""
    notes = [each.note for each in report.outcome.of("create")]
    assert notes.count("another run of this sync wrote it meanwhile") > PAGES / 2
    assert desk.writes.count("createSource") == PAGES
    assert_in_step(desk, [f"text {page}" for page in range(PAGES)])


def test_one_that_is_told_to_end_leaves_nothing_twice(desk):
    """Somebody cleared a task at its work: the next try was done when the first one was told."""
    desk = desk()
    write_pages(desk)
    looks = 0

    def clock():
        nonlocal looks
        looks += 1
        if looks == 10:
            assert desk.sync(prune=True).failures() == ""
        if looks == 15:
            syncer.ending.set()
        return time.monotonic()

    syncer = desk.syncer(prune=True, patience=replace(QUICK, clock=clock))
    with pytest.raises(ChatbaseToldToEndError, match="running it again goes on") as told:
        syncer.apply(desk.declare())
    assert not told.value.permanent
    assert PAGES < desk.writes.count("createSource") < 2 * PAGES
    assert_in_step(desk, [f"text {page}" for page in range(PAGES)])


def test_one_that_stood_still_does_not_bring_back_what_was_there_before(desk):
    desk = desk()
    write_pages(desk)
    desk.sync()
    write_pages(desk, text="second")

    def meanwhile():
        write_pages(desk, text="third")
        assert desk.sync(prune=True).failures() == ""

    stale = desk.declare()
    payloads = {source.key: source.load() for source in stale.sources}
    stale = replace(
        stale,
        sources=tuple(replace(source, load=lambda key=source.key: payloads[key]) for source in stale.sources),
    )
    report = desk.syncer(prune=True, patience=frozen_after(10, meanwhile)).apply(stale)

    assert "Another run of this sync wrote another version of it meanwhile" in report.failures()
    assert report.mendable
    assert_in_step(desk, [f"third {page}" for page in range(PAGES)])


def test_what_another_run_renamed_meanwhile_is_not_deleted(desk):
    desk = desk()
    write_pages(desk, 10)
    desk.sync()
    (desk.folder / "0.md").rename(desk.folder / "moved away")
    desk.write("new.md", "new")

    def meanwhile():
        (desk.folder / "moved away").rename(desk.folder / "zero.md")
        assert desk.sync(prune=True).failures() == ""

    declared = desk.declare()
    desk.syncer(prune=True, patience=frozen_after(2, meanwhile)).apply(declared)

    assert "zero.md" in desk.keys
    assert_in_step(desk, [f"text {page}" for page in range(10)] + ["new"])


def test_doubles_of_an_earlier_time_are_mended_and_do_not_count_as_deletes(desk):
    from airflow_provider_chatbase.client.v2.sources import create_text_source

    desk = desk()
    write_pages(desk)
    desk.sync()
    for name, source in list(desk.ours.items()):
        desk.client.send(create_text_source(desk.agent_id, name, source.content))

    report = desk.sync(prune=True, max_deletes=0)

    assert report.failures() == ""
    assert report.summary()["deleted"] == PAGES
    assert_in_step(desk, [f"text {page}" for page in range(PAGES)])


@pytest.fixture
def two_tasks(desk):
    """Two tasks of one sync_id that declare different pages of one agent."""
    desk = desk()

    def run(task, *pages, **options):
        for path in desk.folder.iterdir():
            path.unlink()
        for page in pages:
            desk.write(f"{page}.md", page)
        return desk.sync(task=task, **{"prune": True, **options})

    return desk, run


def test_two_tasks_of_one_sync_id_do_not_delete_each_other_s_sources(two_tasks):
    desk, run = two_tasks
    assert run("aaaa", "a", "b", "c", "d", "e", "f", "g").failures() == ""
    for _ in range(2):
        told = run("bbbb", "x", max_deletes=100, allow_empty=True).failures()
        assert "sync_id 'docs' has 7 sources written by another task: a.md" in told
        assert "take_over=True" in told
        assert (
            "sync_id 'docs' has 1 source written by another task"
            in run("aaaa", "a", "b", "c", "d", "e", "f", "g").failures()
        )
    assert len(desk.ours) == 8


def test_a_source_of_another_task_is_not_renamed_for_a_page_of_the_same_content(two_tasks):
    desk, run = two_tasks
    run("aaaa", "a")
    (desk.folder / "a.md").rename(desk.folder / "copy.md")
    desk.sync(task="bbbb", prune=True)
    assert desk.keys == ["a.md", "copy.md"]


def test_a_task_that_was_renamed_takes_over_once(two_tasks):
    desk, run = two_tasks
    run("aaaa", "a", "b", "c", "d")
    assert run("bbbb", "a", "b", "c", "d").failures() == "", "nothing is to be deleted"
    assert "has 1 source written" in run("bbbb", "a", "b", "c").failures()
    report = run("bbbb", "a", "b", "c", take_over=True)
    assert (report.failures(), report.summary()["deleted"], report.summary()["updated"]) == ("", 1, 3)
    assert run("bbbb", "a", "b").failures() == ""
    assert desk.keys == ["a.md", "b.md"]


def test_names_without_a_mark_are_of_any_task(two_tasks):
    desk, run = two_tasks
    run("", "a", "b")
    assert run("bbbb", "a").failures() == ""
    assert desk.keys == ["a.md"]
