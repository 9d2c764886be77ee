"""Syncing a real folder and real lists with an agent over HTTP."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace

import pytest

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseServerError, ChatbaseUnsupportedError
from airflow_provider_chatbase.client.rate_limiter import UploadPacer
from airflow_provider_chatbase.client.v2.sources import create_link_source, create_text_source
from airflow_provider_chatbase.simulator import Fault
from airflow_provider_chatbase.sync.apply import PlanRunner, SyncPatience
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError, ChatbaseIncompleteListingError

QNA = {"questions": ["When are you open?", "Opening hours?"], "answer": "From 8 to 18."}
LINK = {"url": "https://mine.example/help", "link_type": "sitemap", "exclude_paths": ["/old/*"]}


def fill(desk):
    desk.write("guide.md", "# Guide\n\nPress the green button.")
    desk.write(
        "pages/index.html", "<html><head><title>Home</title><style>x{}</style></head><body><p>Hi there</p>"
    )
    desk.write("prices.txt", "A parcel costs 5 euros.")
    desk.write("manual.pdf", b"%PDF-1.4 manual")


def test_makes_the_agents_sources_as_declared(desk):
    desk = desk()
    fill(desk)
    before = {source.id for source in desk.simulator.store.sources(desk.agent_id)}

    report = desk.sync([QNA, LINK, {"key": "note", "content": "We moved."}])

    assert report.summary()["created"] == 7
    assert not report.outcome.failed
    made = {
        s.name.rsplit(" #", 1)[0]: s
        for s in desk.simulator.store.sources(desk.agent_id)
        if s.id not in before
    }
    assert {name: source.type for name, source in made.items()} == {
        "docs:guide.md": "text",
        "docs:pages/index.html": "text",
        "docs:prices.txt": "file",
        "docs:manual.pdf": "file",
        "docs:note": "text",
        "docs:When are you open?": "qna",
        "https://mine.example/help": "link",
    }
    assert made["docs:guide.md"].content == "# Guide\n\nPress the green button."
    assert made["docs:pages/index.html"].content == "# Home\n\nHi there"
    assert made["docs:manual.pdf"].details == {"filename": "manual.pdf", "content": b"%PDF-1.4 manual"}
    assert made["docs:When are you open?"].details["answer"] == "From 8 to 18."
    assert made["https://mine.example/help"].metadata["excludePaths"] == ["/old/*"]
    assert sorted(report.ids_to_wait_for()) == sorted(source.id for source in made.values())


def test_a_second_run_over_the_same_content_sends_no_write(desk):
    desk = desk()
    fill(desk)
    desk.sync([QNA, LINK])
    desk.settle()
    desk.simulator.reset_log()

    report = desk.sync([QNA, LINK], prune=True)

    assert desk.writes == []
    assert report.summary()["unchanged"] == 6
    assert report.plan.in_step


def test_an_edit_of_the_same_length_is_written_into_the_same_source(desk):
    desk = desk()
    fill(desk)
    desk.sync()
    ids = {source.id for source in desk.ours.values()}
    desk.write("guide.md", "# Guide\n\nPress the brown button.")
    desk.write("prices.txt", "A parcel costs 6 euros.")
    desk.simulator.reset_log()

    report = desk.sync()

    assert sorted(desk.writes) == ["updateFileSource", "updateSource"]
    assert report.summary()["updated"] == 2
    assert {source.id for source in desk.ours.values()} == ids
    contents = {source.content for source in desk.ours.values()}
    assert {"# Guide\n\nPress the brown button.", "A parcel costs 6 euros."} <= contents


def test_a_renamed_file_is_renamed_when_pruning_and_its_content_not_sent_again(desk):
    desk = desk()
    fill(desk)
    desk.sync()
    (desk.folder / "prices.txt").rename(desk.folder / "price list.txt")
    (desk.folder / "guide.md").rename(desk.folder / "handbook.md")
    desk.simulator.reset_log()

    desk.sync(prune=True)

    assert desk.keys == ["handbook.md", "manual.pdf", "pages/index.html", "price list.txt"]
    assert sorted(desk.writes) == ["updateFileSource", "updateSource"]
    assert not any(b"costs 5" in request.body for request in desk.simulator.requests)


def test_a_renamed_and_changed_file_is_made_anew_and_the_old_one_deleted(desk):
    desk = desk()
    fill(desk)
    desk.sync()
    (desk.folder / "guide.md").unlink()
    desk.write("handbook.md", "Something else.")

    desk.sync(prune=True)

    assert desk.keys == ["handbook.md", "manual.pdf", "pages/index.html", "prices.txt"]


def test_without_prune_nothing_is_deleted(desk):
    desk = desk()
    fill(desk)
    desk.sync()
    (desk.folder / "guide.md").unlink()
    desk.simulator.reset_log()

    report = desk.sync()

    assert desk.writes == []
    assert report.summary()["kept"] == 1


def test_sources_of_others_are_never_touched(desk):
    desk = desk()
    fill(desk)
    desk.sync(sync_id="other", prune=True)
    store = desk.simulator.store
    theirs = {s.id: (s.name, s.content) for s in store.sources(desk.agent_id)}
    desk.sync([QNA], prune=True)
    for path in list(desk.folder.rglob("*.*")):
        path.unlink()

    report = desk.sync(prune=True, max_deletes=10, allow_empty=True)

    assert report.summary()["deleted"] == 5
    assert desk.ours == {}
    assert {s.id: (s.name, s.content) for s in store.sources(desk.agent_id)} == theirs


def test_more_deletes_than_allowed_delete_nothing(desk):
    desk = desk()
    fill(desk)
    desk.sync()
    (desk.folder / "guide.md").unlink()
    (desk.folder / "prices.txt").unlink()

    report = desk.sync(prune=True, max_deletes=1)

    assert "max_deletes is 1" in report.failures()
    assert len(desk.ours) == 4


def test_an_emptied_folder_does_not_empty_the_agent_unasked(desk):
    desk = desk()
    desk.write("guide.md", "text")
    desk.sync()
    (desk.folder / "guide.md").unlink()

    assert "declares nothing at all" in desk.sync(prune=True).failures()
    assert "declares nothing at all" in desk.sync(prune=True, max_deletes=20).failures()
    assert desk.keys == ["guide.md"]
    assert desk.sync(prune=True, allow_empty=True).failures() == ""
    assert desk.keys == []


def test_names_with_accents_long_names_and_names_that_differ_by_case(desk):
    desk = desk()
    names = ["Größe/Übersicht.md", "日本語/" + "長い" * 40 + ".txt", "FAQ.md", "faq.md", "🚀" * 30 + ".md"]
    for name in names:
        desk.write(name, f"content of {name}")
    report = desk.sync(prune=True)
    assert report.summary()["created"] == 5
    assert not report.outcome.failed
    assert all(len(name.encode("utf-16-le")) <= 200 for name in desk.ours)
    desk.simulator.reset_log()
    decomposed = unicodedata.normalize("NFD", names[0])
    (desk.folder / names[0]).unlink()
    desk.write(decomposed, f"content of {names[0]}")

    report = desk.sync(prune=True)

    assert desk.writes == []
    assert report.summary()["unchanged"] == 5


def test_links_are_made_changed_and_pruned_when_remembered(desk):
    desk = desk()
    handmade = {"url": "https://mine.example/handmade"}
    desk.client.send(create_link_source(desk.agent_id, handmade["url"]))
    second = {"url": "https://mine.example/second/"}
    desk.sync([LINK, second, handmade], record=True, prune=True)
    desk.simulator.reset_log()
    desk.sync([LINK, second, handmade], record=True, prune=True)
    assert desk.writes == []

    changed = {**LINK, "exclude_paths": ["/older/*"]}
    desk.sync([changed], record=True, prune=True)

    assert desk.writes == ["updateSource", "deleteSource"]
    assert desk.links() == ["https://mine.example/handmade", "https://mine.example/help"]


def test_without_a_record_no_link_is_deleted(desk):
    desk = desk()
    desk.sync([LINK])
    desk.sync([QNA], prune=True)
    assert desk.links() == ["https://mine.example/help"]


def test_a_duplicate_link_is_adopted(desk):
    desk = desk()
    desk.sync([LINK])
    desk.simulator.faults.add(
        Fault(kind="drop_items", operation="listSources", amount=100, times=3),
    )
    # The listing that hides the link also lacks others: then nothing is sent at all.
    with pytest.raises(ChatbaseIncompleteListingError):
        desk.sync([LINK])
    desk.simulator.faults.clear()

    declared = [{**LINK, "url": "https://mine.example/help?"}]
    report = desk.sync(declared)

    assert not report.outcome.failed
    assert desk.links() == ["https://mine.example/help"]


def test_a_source_that_trains_is_written_when_it_is_trained(desk):
    desk = desk(training_seconds=0.3)
    fill(desk)
    desk.sync()
    desk.write("guide.md", "new guide")
    desk.write("prices.txt", "new prices")

    report = desk.sync()

    assert not report.outcome.failed
    assert report.summary()["updated"] == 2
    assert {"new guide", "new prices"} <= {source.content for source in desk.ours.values()}
    uploads = [r for r in desk.simulator.requests if r.operation == "updateFileSource"]
    assert len(uploads) == 1, "an upload was tried while the source trained"


def test_all_that_train_are_waited_for_together(desk):
    desk = desk(training_seconds=1000)
    for page in range(5):
        desk.write(f"{page}.md", "text")
    desk.sync()
    for page in range(5):
        desk.write(f"{page}.md", "new text")
    waits = []
    patience = SyncPatience(busy=10.0, poll=5.0, sleep=waits.append, clock=lambda: sum(waits))

    report = desk.syncer(patience=patience).apply(desk.declare())

    assert sum(waits) <= 15
    assert report.failures().count("It still trains after 10 s") == 5
    assert report.mendable


def test_a_failed_item_does_not_stop_the_others_and_is_named(desk):
    desk = desk()
    fill(desk)
    desk.write("empty.md", "")
    desk.write("broken.md", b"\xff\xfe\xff")
    desk.simulator.faults.add(
        Fault(
            kind="status",
            operation="createSource",
            status=422,
            code="SOURCE_SIZE_LIMIT_EXCEEDED",
            where=lambda request: b"green button" in request.body,
        )
    )

    report = desk.sync(prune=True)

    assert desk.keys == ["manual.pdf", "pages/index.html", "prices.txt"]
    assert {key for key, _ in report.sections()["failed"]} == {"empty.md", "broken.md", "guide.md"}
    assert not report.mendable


def test_an_older_version_is_kept_when_the_new_one_cannot_be_written(desk):
    desk = desk()
    desk.write("guide.md", "good")
    desk.write("other.md", "good")
    desk.sync()
    desk.write("guide.md", "")

    report = desk.sync(prune=True)

    assert desk.keys == ["guide.md", "other.md"]
    assert report.summary()["failed"] == 1


def test_a_wrong_key_stops_at_once(desk):
    desk = desk()
    fill(desk)
    desk.simulator.faults.add(
        Fault(kind="status", operation="createSource", status=403, code="AUTH_INSUFFICIENT_PERMISSIONS")
    )
    report = desk.sync()
    assert len(report.outcome.done) == 1
    assert report.outcome.stopped
    assert not report.mendable


def test_a_failed_training_is_tried_again_and_waited_for(desk):
    desk = desk()
    desk.write("guide.md", "sim:fail-training")
    desk.sync()
    desk.settle()

    report = desk.sync()

    assert report.summary()["updated"] == 1
    assert report.ids_to_wait_for() == [next(iter(desk.ours.values())).id]


def test_what_still_trains_is_waited_for_although_it_was_not_written(desk):
    desk = desk(training_seconds=30)
    desk.write("guide.md", "text")
    written = desk.sync().ids_to_wait_for()
    assert desk.sync().ids_to_wait_for() == written


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="drop_items", operation="listSources", amount=2), ChatbaseIncompleteListingError),
        (Fault(kind="status", operation="listSources"), ChatbaseServerError),
    ],
)
def test_a_broken_listing_changes_nothing(desk, fault, error):
    desk = desk()
    fill(desk)
    desk.sync()
    (desk.folder / "guide.md").unlink()
    desk.write("new.md", "new")
    desk.simulator.reset_log()
    desk.simulator.faults.add(fault)

    with pytest.raises(error):
        desk.sync(prune=True)

    assert desk.writes == []


def test_a_listing_that_breaks_once_is_read_again(desk):
    desk = desk()
    fill(desk)
    desk.sync()
    desk.simulator.reset_log()
    desk.simulator.faults.add(Fault(kind="drop_items", operation="listSources", amount=2, times=1))
    assert desk.sync(prune=True).plan.in_step
    assert desk.writes == []


def test_a_folder_that_is_not_there(desk):
    desk = desk()
    desk.folder.rmdir()
    with pytest.raises(ChatbaseDeclarationError, match="is no folder"):
        desk.sync(prune=True)


@pytest.mark.parametrize("operation", ["createSource", "createFileSource"])
@pytest.mark.parametrize("kind", ["reset_after", "truncate", "not_json", "status"])
def test_a_lost_reply_makes_no_duplicate(desk, operation, kind):
    desk = desk()
    fill(desk)
    desk.simulator.faults.add(Fault(kind=kind, operation=operation, times=1, after=True))

    report = desk.sync([QNA, LINK])

    assert not report.outcome.failed
    assert len(desk.ours) == 5
    assert desk.links() == ["https://mine.example/help"]
    assert sorted(desk.writes) == ["createFileSource"] * 2 + ["createSource"] * 4, "none was sent twice"


@pytest.mark.parametrize("kind", ["reset_before", "status"])
def test_a_create_that_was_not_done_is_tried_again(desk, kind):
    desk = desk()
    fill(desk)
    desk.simulator.faults.add(Fault(kind=kind, operation="createSource", times=1, after=False))
    assert not desk.sync().outcome.failed
    assert len(desk.ours) == 4
    assert len(desk.writes) == 5


def test_a_request_that_arrives_late_is_cleared_up_after(desk):
    desk = desk()
    desk.write("guide.md", "text")
    desk.simulator.faults.add(Fault(kind="reset_after", operation="createSource", times=1))
    sources = desk.simulator.store.agents[desk.agent_id].sources
    on_its_way = {}

    def arrive_late(request):
        if request.operation == "listSources" and "type" in request.query:
            on_its_way.update(
                {id_: sources.pop(id_) for id_ in list(sources) if "docs:" in sources[id_].name}
            )
        elif request.operation == "createSource":
            sources.update(on_its_way)

    desk.simulator.on_request = arrive_late
    report = desk.sync()

    assert not report.outcome.failed
    names = [source.name for source in desk.simulator.store.sources(desk.agent_id)]
    assert sum(name.startswith("docs:") for name in names) == 1
    assert desk.writes == ["createSource", "createSource", "deleteSource"]


def test_a_source_being_deleted_is_made_anew(desk):
    desk = desk(purge_seconds=60)
    desk.write("guide.md", "old")
    desk.sync()
    (source,) = desk.ours.values()
    plan, _ = desk.syncer().plan(desk.declare())
    assert plan.in_step
    desk.write("guide.md", "new")
    plan, _ = desk.syncer().plan(desk.declare())
    desk.simulator.run(lambda: setattr(source, "purge_at", desk.simulator._world.clock.time() + 60))

    outcome = PlanRunner(desk.client, desk.client, desk.agent_id, "docs", UploadPacer("x", 0.0)).run(plan)

    assert not outcome.failed
    assert sorted(s.content for s in desk.ours.values()) == ["new", "old"]
    desk.simulator.advance(61)
    assert [s.content for s in desk.ours.values()] == ["new"]


def test_duplicates_of_our_own_are_cleared_away(desk):
    desk = desk()
    desk.write("guide.md", "text")
    desk.sync()
    (name,) = desk.ours
    desk.client.send(create_text_source(desk.agent_id, name, "text"))
    report = desk.sync()
    assert report.summary()["deleted"] == 1
    assert [s.name for s in desk.simulator.store.sources(desk.agent_id)].count(name) == 1


def test_v1_says_what_it_cannot_do(desk):
    desk = desk()
    settings = replace(desk.client.settings, api_version="v1")
    with (
        ChatbaseClient(settings) as desk.client,
        pytest.raises(ChatbaseUnsupportedError, match="source_text"),
    ):
        desk.sync()


def test_the_summary_stays_small(desk):
    desk = desk()
    for number in range(60):
        desk.write("長" * 30 + f"/{number:03}" + "長" * 25 + ".md", f"{number}")
    report = desk.sync()
    assert len(json.dumps(report.summary())) < 2000
    assert len(report.as_json()["created"]) == 60
