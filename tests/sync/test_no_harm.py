"""What a sync must not delete."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.simulator import Fault

REFUSALS = [
    Fault(kind="status", operation="createSource", status=400, code="VALIDATION_INVALID_BODY"),
    Fault(kind="status", operation="createSource", status=429, retry_after=0),
    Fault(kind="status", operation="createSource", status=500, after=False),
    Fault(kind="status", operation="createSource", status=502, after=False),
    Fault(kind="status", operation="createSource", status=422, code="SOURCE_SIZE_LIMIT_EXCEEDED"),
]


def replace_pages(desk, number=9):
    """Replace all pages by as many of other names."""
    for page in range(number):
        desk.write(f"old {page}.md", f"old text {page}")
    assert not desk.sync().failures()
    for page in range(number):
        (desk.folder / f"old {page}.md").unlink()
        desk.write(f"new {page}.md", f"new text {page}, longer than the old one")


@pytest.mark.parametrize("fault", REFUSALS[:4], ids=lambda fault: str(fault.status))
def test_what_a_refused_page_may_replace_is_kept(desk, fault):
    desk = desk(max_attempts=1)
    replace_pages(desk)
    desk.simulator.faults.add(fault)

    report = desk.sync(prune=True, max_deletes=20)

    assert desk.keys == [f"old {page}.md" for page in range(9)]
    assert "Nothing was deleted" in report.failures()
    desk.simulator.faults.clear()
    assert not desk.sync(prune=True, max_deletes=20).failures()
    assert desk.keys == [f"new {page}.md" for page in range(9)]


def test_one_refused_page_of_many_keeps_all_that_it_may_replace(desk):
    desk = desk()
    replace_pages(desk)
    desk.simulator.faults.add(Fault(kind="status", operation="createSource", status=400, times=1))
    desk.sync(prune=True, max_deletes=20)
    assert sum(key.startswith("old") for key in desk.keys) == 9


def test_a_page_that_cannot_be_sent_keeps_what_it_may_replace(desk):
    desk = desk()
    for page in range(9):
        desk.write(f"page {page}.md", f"text {page}")
    desk.sync()
    (desk.folder / "page 0.md").unlink()
    desk.write("page zero.md", "")

    report = desk.sync(prune=True)

    assert "page 0.md" in desk.keys
    assert "page zero.md" in report.failures()
    assert "Nothing was deleted" in report.failures()


def test_where_storage_is_full_the_deletes_make_room(desk):
    probe = desk()
    used = sum(source.size for source in probe.simulator.store.sources(probe.agent_id))
    desk = desk(storage_limit=used + 330)  # 90 for the old pages and 315 for the new ones do not fit together
    replace_pages(desk)

    report = desk.sync(prune=True, max_deletes=20)

    assert not report.failures()
    assert desk.keys == [f"new {page}.md" for page in range(9)]


def test_storage_that_stays_full_is_tried_again_by_airflow(desk):
    desk = desk()
    replace_pages(desk)
    desk.simulator.faults.add(REFUSALS[4])
    report = desk.sync(prune=True, max_deletes=20)
    assert desk.keys == []
    assert report.mendable
