"""The exported set is the API's own, in the API's own order, whatever happens while it is read."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.exports import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.export import _to_its_end
from airflow_provider_chatbase.exports.manifest import partitions_of
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.simulator import Fault

NOON = datetime(2026, 5, 5, 12, tzinfo=UTC)


def test_the_set_is_the_truth_by_id_and_by_message(exports, year):
    export = exports(conversations=900)
    outcome = export.run(year)
    assert export.seen() == export.truth(year)
    assert (outcome.rows, outcome.api_total) == (900, 900)


def test_it_is_read_in_parts_at_once_and_has_the_bytes_of_one_walk(exports, year):
    export = exports(conversations=900)
    export.run(year, concurrency=16)
    in_parts = export.everything()
    firsts = [each for each in export.simulator.requests if "cursor" not in each.query]
    assert len(firsts) > 5
    ids = [each["id"] for each in export.objects()]
    assert ids == [each.id for each in export.simulator.store.conversations(export.simulator.agent_id)]

    alone = exports(export.simulator, "alone")
    alone.run(year, concurrency=1)
    assert alone.everything() == in_parts


def test_windows_side_by_side_have_each_conversation_once(exports):
    export = exports(conversations=0)
    for offset in (-1, 0, 0, 1):
        export.simulator.create_conversations(at=NOON.timestamp() + offset, count=3)
    export.run(Window(NOON - timedelta(hours=1), NOON))
    assert len(export.seen()) == 3
    export.run(Window(NOON, NOON + timedelta(hours=1)))
    assert export.seen() == export.truth()


def test_many_conversations_in_one_second(exports):
    export = exports(conversations=0)
    export.simulator.create_conversations(at=NOON.timestamp(), count=700)
    export.simulator.create_conversations(at=NOON.timestamp() + 1, count=30)
    export.run(Window(NOON, NOON + timedelta(seconds=1)))
    assert len(export.seen()) == 700
    wide = exports(export.simulator, "wide")
    wide.run(Window(NOON - timedelta(days=30), NOON + timedelta(days=30)))
    assert wide.seen() == export.truth()


@pytest.mark.parametrize("cursor_mode", ["keyset", "offset"])
def test_conversations_come_and_grow_meanwhile(exports, year, cursor_mode):
    export = exports(
        conversations=600, create_while_exporting=2, grow_while_exporting=3, cursor_mode=cursor_mode
    )
    before = export.truth(year)
    export.run(year)
    seen = export.seen()
    assert set(seen) == set(before)
    assert all(ids[: len(before[each])] == before[each] for each, ids in seen.items())


def test_an_open_window_has_what_was_there_when_it_began(exports, year):
    export = exports(conversations=300, create_while_exporting=1)
    before = set(export.truth())
    export.run(Window(year.start, datetime.now(tz=UTC).replace(microsecond=0)))
    assert before <= set(export.seen()) <= set(export.truth())


def test_faults_of_every_kind_in_many_replies(exports, year):
    export = exports(conversations=800, trailing_empty_page=True)
    chance = {"probability": 0.05 / 9}
    export.simulator.faults.add(
        Fault(kind="status", status=500, **chance),
        Fault(kind="status", status=429, retry_after=0, **chance),
        Fault(kind="status", status=503, **chance),
        Fault(kind="not_json", **chance),
        Fault(kind="redirect", status=302, **chance),
        Fault(kind="reset_before", **chance),
        Fault(kind="reset_after", **chance),
        Fault(kind="truncate", **chance),
        Fault(kind="truncate_json", **chance),
        Fault(kind="repeat_cursor", **chance),
        Fault(kind="wrong_total", **chance),
        Fault(kind="drop_items", **chance),
        Fault(kind="empty_page", **chance),
    )
    export.run(year)
    assert export.seen() == export.truth(year)
    assert sum(fault.fired for fault in export.simulator.faults.active) > 0


@pytest.mark.parametrize("kind", ["drop_items", "empty_page", "repeat_cursor", "wrong_total"])
def test_one_bad_page_is_read_again(exports, year, kind):
    export = exports(conversations=100)
    export.simulator.faults.add(Fault(kind=kind, times=1, skip=2))
    export.run(year)
    assert export.seen() == export.truth(year)


def test_a_shortage_that_stays_fails_and_leaves_nothing(exports, year, tmp_path):
    export = exports(conversations=50)
    export.simulator.faults.add(Fault(kind="drop_items", where=lambda each: "cursor" not in each.query))
    with pytest.raises(ChatbaseIncompleteExportError, match=r"counts \d+ from .* and \d+ arrived in 6 walks"):
        export.run(year)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_export_before(exports, year):
    export = exports(conversations=100)
    export.run(year)
    before = export.everything()
    export.simulator.faults.add(Fault(kind="status", status=401))
    with pytest.raises(ChatbaseError, match="AUTH_INVALID_API_KEY"):
        export.run(year)
    assert export.everything() == before


def test_what_is_being_published_is_not_cleared_up_however_often_it_is_interrupted():
    ended = threading.Event()

    async def interrupt_it():
        publishing = asyncio.create_task(_to_its_end(ended.wait, 60))
        for number in range(20):
            await asyncio.sleep(0)
            if number in (5, 10):
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
        was_left = publishing.done()
        ended.set()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        return was_left

    assert not asyncio.run(interrupt_it())


def test_a_window_without_conversations_is_an_export(exports):
    export = exports(conversations=10)
    window = Window(NOON - timedelta(days=4000), NOON - timedelta(days=3999))
    outcome = export.run(window)
    assert (outcome.rows, outcome.api_total, export.objects()) == (0, 0, [])


def test_the_objects_are_those_of_the_api(exports, year):
    export = exports(conversations=60)
    export.run(year)
    raw = {each.id: each for each in export.simulator.store.conversations(export.simulator.agent_id)}
    for found in export.objects():
        truth = raw[found["id"]]
        assert (found["title"], found["source"], found["status"]) == (truth.title, truth.source, truth.status)
        texts = [
            part["text"] for each in found["messages"] for part in each["parts"] if part["type"] == "text"
        ]
        assert texts == [
            part["text"] for each in truth.messages for part in each.parts if part["type"] == "text"
        ]
        assert "country" in found


def test_channels_summary_and_excluded_users(exports, year):
    export = exports(conversations=200)
    outcome = export.run(year, channels=("WhatsApp", "Widget or Iframe"), summary=True)
    found = export.objects()
    assert {each["source"] for each in found} == {"WhatsApp", "Widget or Iframe"}
    assert all("messages" not in each for each in found)
    assert outcome.api_total == len(found)


def test_what_our_own_batch_sent_can_be_left_out(exports):
    export = exports(conversations=0)
    export.simulator.create_conversations(at=NOON.timestamp(), user_id="airflow-batch-1", count=2)
    export.simulator.create_conversations(at=NOON.timestamp(), user_id="somebody", count=3)
    outcome = export.run(Window(NOON, NOON + timedelta(days=1)), exclude_user_prefix="airflow-batch-")
    assert {each["userId"] for each in export.objects()} == {"somebody"}
    assert (outcome.rows, outcome.excluded, outcome.api_total) == (3, 2, 5)


def test_one_conversation_by_its_id(exports):
    export = exports(conversations=20)
    wanted = export.simulator.store.conversations(export.simulator.agent_id)[7]
    outcome = export.run(None, by="conversation", conversation_id=wanted.id)
    assert [each["id"] for each in export.objects()] == [wanted.id]
    assert outcome.watermark is None
    before = export.everything()
    export.run(None, by="conversation", conversation_id=wanted.id)
    assert export.everything() == before


def test_the_name_of_a_conversation_s_partition_fits_on_any_disk():
    ids = ("a" * 300, "a" * 301, "é" * 100, "a")
    names = {partitions_of(None, "conversations", "conversation", each, False)[0].name for each in ids}
    assert len(names) == len(ids)
    assert max(map(len, names)) < 150


def test_a_conversation_that_is_not_there(exports, tmp_path):
    with pytest.raises(ChatbaseError, match=r"no conversation 'nope' of agent"):
        exports().run(None, by="conversation", conversation_id="nope")
    assert not list(tmp_path.iterdir())


def test_content_is_not_logged(exports, year, caplog):
    caplog.set_level("INFO", "airflow_provider_chatbase")
    export = exports(conversations=60)
    export.run(year)
    for conversation in export.objects():
        for message in conversation["messages"]:
            for part in message["parts"]:
                assert len(part.get("text", "")) < 10 or part["text"] not in caplog.text


def test_requests_are_not_logged_one_by_one(exports, year, caplog):
    caplog.set_level("INFO")
    export = exports(conversations=100)
    export.run(year)
    assert "Chatbase counts 100" in caplog.text
    assert "HTTP Request" not in caplog.text


def test_the_manifest_says_what_there_is(exports, year):
    export = exports(conversations=30)
    outcome = export.run(year)
    [manifest] = export.manifests()
    [file] = outcome.files
    assert outcome.manifests == (f"_manifests/{year.name}.json",)
    assert manifest == {
        "version": 2,
        "kind": "conversations",
        "agent_id": export.simulator.agent_id,
        "scope": "windows",
        "api_version": "v2",
        "channels": None,
        "include": "messages",
        "exclude_user_prefix": None,
        "redacted": None,
        "salt": None,
        "format": "jsonl",
        "compression": None,
        "tables": ["conversations"],
        "partition_by": None,
        "by": "created",
        "window": year.as_json(),
        "rows": 30,
        "bytes": file.size,
        "api_total": 30,
        "excluded": 0,
        "files": [file.as_json()],
    }
