"""What a sync must not delete."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.sync.declaration import read_records

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


def fill(desk, pages=12, questions=100):
    for page in range(pages):
        desk.write(f"guides/{page}.md", f"text {page}")
    return [{"question": f"Question {number}?", "answer": "Yes."} for number in range(questions)]


def kept(report, desk, before):
    return report.failures().startswith("Nothing was deleted") and len(desk.ours) == before


@pytest.mark.parametrize("share", [{}, {"max_deletes": 500}, {"max_deletes": 1.0}], ids=str)
def test_a_folder_that_became_empty_beside_a_list_is_a_question(desk, share):
    desk = desk()
    faq = fill(desk)
    desk.sync(faq)
    for page in (desk.folder / "guides").iterdir():
        page.unlink()

    report = desk.sync(faq, prune=True, **share)

    assert kept(report, desk, 112)
    assert "allow_empty=True" in report.failures()
    assert not desk.sync(faq, prune=True, max_deletes=12, allow_empty=True).failures()
    assert len(desk.ours) == 100


def test_a_folder_of_which_one_page_is_left_is_a_question_whatever_the_count(desk):
    desk = desk()
    fill(desk, questions=0)
    desk.sync()
    for page in [*desk.folder.rglob("*.md")][1:]:
        page.unlink()
    report = desk.sync(prune=True, max_deletes=500)
    assert kept(report, desk, 12)
    assert "allow_empty=True" in report.failures()
    assert not desk.sync(prune=True, max_deletes=500, allow_empty=True).failures()
    assert len(desk.ours) == 1


def test_a_list_that_became_empty_beside_a_folder_is_a_question(desk):
    desk = desk()
    desk.sync(fill(desk, questions=3))
    assert kept(desk.sync(prune=True, max_deletes=500), desk, 15)


def test_a_list_of_pages_alone_that_became_empty_is_a_question(desk):
    desk = desk()
    desk.syncer().apply(read_records([{"key": f"docs/{page}.md", "content": "text"} for page in range(9)]))
    report = desk.syncer(prune=True, max_deletes=500).apply(read_records([]))
    assert kept(report, desk, 9)


def test_a_pattern_that_matches_nothing_any_more_is_a_question(desk):
    desk = desk()
    fill(desk)
    desk.write("faq/a.md", "text")
    globs = ["guides/*.md", "faq/*.md", "never/*.md"]
    desk.syncer().apply(desk.declare(globs=globs))
    (desk.folder / "faq" / "a.md").rename(desk.folder / "faq" / "a.markdown")

    report = desk.syncer(prune=True).apply(desk.declare(globs=globs))

    assert "faq/*.md in" in report.failures()
    assert len(desk.ours) == 13


def test_a_folder_that_shrank_beside_a_long_list_is_a_question(desk):
    desk = desk()
    faq = fill(desk)
    desk.sync(faq)
    for page in range(4):
        (desk.folder / f"guides/{page}.md").unlink()

    report = desk.sync(faq, prune=True)

    assert kept(report, desk, 112)
    assert "4 of the 12 sources of **/* in" in report.failures()
    desk.write("guides/0.md", "text 0")
    assert not desk.sync(faq, prune=True).failures(), "3 of 12 are less than 30 %"
    assert len(desk.ours) == 109


def test_a_share_of_the_whole_and_a_count_are_each_a_limit(desk):
    desk = desk()
    fill(desk, pages=10)
    desk.sync()
    for page in range(4):
        (desk.folder / f"guides/{page}.md").unlink()
    assert kept(desk.sync(prune=True), desk, 10)
    assert kept(desk.sync(prune=True, max_deletes=3), desk, 10)
    assert not desk.sync(prune=True, max_deletes=0.4).failures()
    assert len(desk.ours) == 6


def test_one_source_may_always_be_deleted(desk):
    desk = desk()
    fill(desk, pages=2)
    desk.sync()
    (desk.folder / "guides/0.md").unlink()
    assert not desk.sync(prune=True).failures()
    assert desk.keys == ["guides/1.md"]


def test_what_a_linked_folder_held_is_kept_when_it_leads_elsewhere(desk, tmp_path):
    desk = desk()
    fill(desk)
    desk.sync()
    (desk.folder / "guides").rename(tmp_path / "moved")
    (desk.folder / "guides").symlink_to(tmp_path / "moved")

    report = desk.sync(prune=True, max_deletes=100, allow_empty=True)

    assert "guides: It is a link that leads out of the folder" in report.failures()
    assert len(desk.ours) == 12


def test_a_file_that_failed_to_train_is_not_uploaded_again(desk):
    desk = desk()
    desk.write("manual.txt", "sim:fail-training")
    desk.write("good.txt", "good")
    desk.sync()
    desk.settle()
    (failed,) = (source for name, source in desk.ours.items() if "manual" in name)
    desk.simulator.reset_log()

    report = desk.sync()

    assert desk.writes == []
    (told,) = report.summary()["failed_training"]
    assert told["key"] == "manual.txt"
    assert told["since"].startswith("20")
    assert "manual.txt" in report.as_text()
    assert report.ids_to_wait_for() == [failed.id]
    desk.write("manual.txt", "mended")
    assert desk.sync().summary()["updated"] == 1
    desk.settle()
    assert desk.sync().summary()["failed_training"] == []


def test_many_that_failed_to_train_keep_the_summary_small(desk):
    desk = desk()
    for number in range(40):
        desk.write("長" * 60 + f"{number}.txt", f"sim:fail-training {number}")
    desk.sync()
    desk.settle()
    report = desk.sync()
    assert len(report.as_json()["failed_training"]) == 40
    assert len(json.dumps(report.summary())) < 2000


LINK = {"url": "https://mine.example/sim:fail-training", "link_type": "crawl"}


def test_a_link_that_failed_to_train_is_sent_no_option_that_nobody_declared(desk):
    desk = desk()
    desk.sync([LINK])
    desk.settle()
    desk.simulator.reset_log()
    report = desk.sync([LINK])
    assert desk.writes == []
    (told,) = report.as_json()["failed_training"]
    assert told["key"] == "crawl https://mine.example/sim:fail-training"


def test_a_link_that_failed_to_train_is_sent_its_options(desk):
    desk = desk()
    declared = {**LINK, "exclude_paths": ["/old/*"]}
    desk.sync([declared])
    desk.settle()
    desk.simulator.reset_log()
    desk.sync([declared])
    (request,) = (each for each in desk.simulator.requests if each.operation == "updateSource")
    assert request.json == {"excludePaths": ["/old/*"]}


def test_other_line_ends_are_the_same_content(desk):
    desk = desk()
    faq = {"question": "When?", "answer": "At 8.\nAt 9."}
    desk.write("guide.md", "one\ntwo\n")
    desk.sync([faq])
    desk.write("guide.md", "one\r\ntwo\r\n")
    assert desk.sync([{**faq, "answer": "At 8.\r\nAt 9."}]).plan.in_step


def test_it_says_in_words_what_is_done_and_what_is_not(desk):
    desk = desk()
    faq = fill(desk, pages=4, questions=2)
    assert desk.syncer().check(desk.declare(faq)).in_words() == (
        "Planned only, nothing was sent: 6 to create."
    )
    assert desk.sync(faq).in_words() == "Synced: 6 created. Nothing is left undone."
    for page in (desk.folder / "guides").iterdir():
        page.unlink()
    told = desk.sync(faq, prune=True).in_words()
    assert told.startswith("Synced: 2 unchanged, 4 kept. Nothing was deleted: ")
