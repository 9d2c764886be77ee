"""Tables that are always current: merged by id, the newest state wins, whoever writes and whenever."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from delta_lake import (
    DAY,
    JANUARY,
    SELECTION,
    START,
    at_once,
    chunks_of,
    conversation,
    everything,
    merge,
    rows,
    seen,
    tables,
    truth,
    versions,
    watermark,
)
from matrix import matrix

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.exports import (
    ChatbaseExportError,
    ChatbaseReplacedExportError,
    delta,
    delta_table,
    delta_target,
)
from airflow_provider_chatbase.exports.delta import erase
from airflow_provider_chatbase.exports.redaction import Redaction
from airflow_provider_chatbase.exports.window import Window
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.delta_storage import find_storage


@pytest.fixture
def place(tmp_path: Path):
    return find_storage(f"file://{tmp_path}/lake")


def test_a_first_load_and_a_rerun(place):
    items = [conversation(n) for n in range(50)]
    merged = merge(place, items, JANUARY)
    assert seen(place) == truth(items)
    assert merged.rows == {"conversations": 50, "messages": 100, "tool_calls": 50}
    assert watermark(place) == JANUARY.end
    before = versions(place)
    merge(place, items, JANUARY)
    assert versions(place) == before
    assert seen(place) == truth(items)


def test_the_newest_state_wins_and_takes_what_belongs_to_it_along(place):
    old = [conversation(n, 0, messages=3, tools=2) for n in range(20)]
    new = [conversation(n, 5, messages=1 + n % 3, tools=n % 2) for n in range(10)]
    merge(place, old)
    merge(place, new)
    assert seen(place) == truth(new + old[10:])
    merge(place, old)
    assert seen(place) == truth(new + old[10:])


def test_of_equal_states_the_last_one_stays(place):
    merge(place, [conversation(1, 3, messages=3), conversation(2, 3)])
    merge(place, [conversation(1, 3, messages=2, title="other")])
    assert seen(place) == truth([conversation(1, 3, messages=2, title="other"), conversation(2, 3)])


def test_a_conversation_without_messages_loses_the_old_ones(place):
    merge(place, [conversation(1, 0), conversation(2, 0)])
    merge(place, [conversation(1, 1, messages=0)])
    merge(place, [conversation(1, 0)])
    assert seen(place) == truth([conversation(1, 1, messages=0), conversation(2, 0)])


def test_an_object_read_twice_is_there_once(place):
    items = [conversation(1, 0, messages=4), conversation(1, 2, messages=1), conversation(1, 1, messages=2)]
    for number, order in enumerate(itertools.permutations(items)):
        target = place.below(str(number))
        merge(target, order)
        assert seen(target) == truth(items[1:2])


def test_many_chunks_make_what_one_makes(place, monkeypatch):
    items = [conversation(n, day=n // 20) for n in range(200)]
    merge(place.below("one"), items, JANUARY)
    monkeypatch.setattr(delta_target, "CHUNK_BYTES", 10_000)
    merged = merge(place.below("many"), items, JANUARY)
    assert merged.commits > 5
    assert everything(place.below("many")) == everything(place.below("one"))
    files = list(Path(place.below("many").uri).rglob("conversations/conversation_date=*/*.parquet"))
    assert len(files) == 10  # chunks end with a day


def test_random_orders_end_alike(place, monkeypatch):
    monkeypatch.setattr(delta_target, "CHUNK_BYTES", 5_000)
    chance = random.Random(7)
    states = {
        n: [conversation(n, s, messages=chance.randrange(4), tools=chance.randrange(3)) for s in range(4)]
        for n in range(12)
    }
    wanted = truth([each[-1] for each in states.values()])
    for number in range(6):
        target = place.below(str(number))
        runs = [item for each in states.values() for item in each]
        chance.shuffle(runs)
        while runs:
            size = chance.randrange(1, 20)
            merge(target, runs[:size])
            runs = runs[size:]
        assert seen(target) == wanted


def test_odd_values_are_sound(place):
    odd = conversation(1, title="half \ud83d of a pair", extra={"raw": "\udc00", "n": [1]}, status=7)
    odd["messages"][0]["parts"][0]["text"] = "\ud83d\ude00 \x00 'quoted' \"text\" "
    odd["messages"][0]["metadata"] = {"score": float("nan")}
    without = conversation(2, createdAt=None, updatedAt=None)
    merge(place, [odd, without])
    merge(place, [odd, without])
    assert len(rows(place)) == 2
    assert {row["title"]: row["conversation_date"].isoformat() for row in rows(place)} == {
        "half \ufffd of a pair": "2026-01-02",
        "Title 0": "1970-01-01",
    }
    assert versions(place) == [1, 1, 1]


def test_leads_and_contacts(place):
    lead = {"id": "l1", "created_at": "2026-01-05T10:00:00Z", "name": "A", "email": "a@example.com"}
    merge(place, [lead, {**lead, "id": "l2"}], JANUARY, kind="leads")
    merge(place, [{**lead, "name": "B"}], kind="leads")
    assert [(row["lead_id"], row["name"]) for row in rows(place, "leads")] == [("l1", "B"), ("l2", "A")]
    assert watermark(place, kind="leads") == JANUARY.end
    contact = {"id": "k1", "created_at": 1768000000, "updated_at": 1768000100, "name": "new"}
    merge(place, [contact], kind="contacts")
    merge(place, [{**contact, "updated_at": 1768000050, "name": "old"}], kind="contacts")
    assert [row["name"] for row in rows(place, "contacts")] == ["new"]


# -- the watermark


def window(first: int, last: int) -> Window:
    return Window(START + first * DAY, START + last * DAY)


@pytest.mark.parametrize(
    ("windows", "end"),
    [
        ([(0, 5)], 5),
        ([(0, 5), (5, 6)], 6),
        ([(0, 5), (2, 9)], 9),
        ([(0, 5), (0, 3)], 5),
        ([(0, 5), (7, 8)], 5),
        ([(0, 5), (7, 8), (5, 7)], 7),
        ([(5, 6), (3, 5), (1, 2)], 6),
        ([(5, 6), (4, 9)], 9),
    ],
)
def test_the_watermark_moves_neither_back_nor_over_a_gap(place, windows, end):
    for each in windows:
        merge(place, [], window(*each))
    assert watermark(place) == START + end * DAY


def test_an_export_that_brings_nothing_makes_tables(place):
    merge(place, [], JANUARY)
    assert everything(place) == {"conversations": [], "messages": [], "tool_calls": []}
    assert watermark(place) == JANUARY.end


@pytest.mark.parametrize("commits", range(3))
def test_a_kill_between_two_commits_is_mended_by_the_rerun(place, monkeypatch, commits):
    old = [conversation(n, 0, messages=3, tools=2) for n in range(10)]
    new = [conversation(n, 1, messages=2, tools=n % 2) for n in range(10)]
    merge(place, old, window(0, 3))
    counter = itertools.count()
    change = delta_table.CurrentTable.change

    def killed(self, *arguments):
        if next(counter) == commits:
            raise KeyboardInterrupt
        return change(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(delta_table.CurrentTable, "change", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(place, new, window(3, 5))
    assert watermark(place) == START + 3 * DAY
    merge(place, new, window(3, 5))
    assert seen(place) == truth(new)
    assert watermark(place) == START + 5 * DAY


# -- several writers


def test_first_loads_at_once_make_one(place):
    items = [conversation(n) for n in range(30)]
    at_once(*[lambda: merge(place, items, JANUARY)] * 4)
    assert seen(place) == truth(items)
    assert watermark(place) == JANUARY.end


def test_tables_that_others_make_twice_and_fill_are_not_taken_for_what_is_left(place, monkeypatch):
    """Two that make a table at once leave it at version 1, and the other tables are made after it."""
    target, other = tables(place), tables(place)
    opened, looks = delta.open_table, itertools.count()

    def overtaken(storage, kind):
        found = opened(storage, kind)
        if next(looks) == 0:  # this run has seen no table of objects
            with monkeypatch.context() as patch:
                patch.setattr(delta, "open_table", opened)
                other.check()
                for chunk in chunks_of(other, [conversation(1)])[0]:
                    other.merge(chunk)
                other.finish(chunks_of(other, [conversation(1)])[1], JANUARY)
        return found

    monkeypatch.setattr(delta, "open_table", overtaken)
    assert target.check() == JANUARY.end


def test_older_and_newer_states_at_once(place):
    states = [
        [conversation(n, s, messages=1 + (n + s) % 3, tools=(n + s) % 2) for n in range(10)] for s in range(4)
    ]
    at_once(*[lambda items=items: merge(place, items) for items in states])
    assert seen(place) == truth(states[-1])


def test_a_backfill_by_days_at_once(place):
    days = [[conversation(10 * n + day, day=day) for n in range(20)] for day in range(8)]
    at_once(*[lambda day=day: merge(place, days[day], window(day, day + 1)) for day in range(8)])
    assert seen(place) == truth([item for day in days for item in day])


@pytest.mark.parametrize("moment", range(3))
def test_a_newer_state_that_comes_between_two_commits_wins(place, monkeypatch, moment):
    """The newer state has no tool call: nothing in the table of calls tells the older run that it is late."""
    base, new = conversation(1, 0, tools=0), conversation(1, 2, messages=1, tools=0)
    merge(place, [base])
    change = delta_table.CurrentTable.change
    counter = itertools.count()

    def interrupted(self, *arguments):
        if next(counter) == moment:
            merge(place, [new])
        return change(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(delta_table.CurrentTable, "change", interrupted)
        merge(place, [conversation(1, 1, messages=3, tools=2)])
    assert seen(place) == truth([new])


@pytest.mark.parametrize("moment", range(3))
def test_an_older_state_that_comes_between_two_commits_loses(place, monkeypatch, moment):
    base, new = conversation(1, 0, tools=0), conversation(1, 2, messages=1, tools=0)
    merge(place, [base])
    change = delta_table.CurrentTable.change
    counter = itertools.count()

    def interrupted(self, *arguments):
        if next(counter) == moment:
            merge(place, [conversation(1, 1, messages=3, tools=2)])
        return change(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(delta_table.CurrentTable, "change", interrupted)
        merge(place, [new])
    assert seen(place) == truth([new])


def test_who_always_loses_says_so(place, monkeypatch):
    merge(place, [conversation(1)])
    monkeypatch.setattr(delta, "TRIES", 3)
    monkeypatch.setattr(delta, "LONGEST_PAUSE", 0.0)

    def losing(*_arguments):
        raise delta_table.CommitFailedError("another one was faster")

    monkeypatch.setattr(delta_table.CurrentTable, "change", losing)
    with pytest.raises(ChatbaseStorageError, match="3 times in a row"):
        merge(place, [conversation(1, 1)])


# -- what Chatbase no longer lists


def test_what_is_missing_of_the_window_goes(place):
    items = [conversation(n) for n in range(40)]
    merge(place, items, JANUARY)
    left = [item for n, item in enumerate(items) if n % 4]
    assert merge(place, left[:20], remove_in=window(20, 25)).removed == 0
    assert seen(place) == truth(items)
    merged = merge(place, left, JANUARY, remove_in=JANUARY)
    assert merged.removed == 10
    assert seen(place) == truth(left)


def test_only_the_window_is_looked_at(place):
    items = [conversation(n) for n in range(40)]
    merge(place, items)
    merge(place, [], remove_in=window(2, 4))
    assert seen(place) == truth([item for n, item in enumerate(items) if n % 10 not in (2, 3)])


def test_what_came_or_changed_while_we_read_stays(place):
    items = [conversation(n) for n in range(4)]
    merge(place, items)
    late = tables(place)
    late.check()
    late.note_window(JANUARY)
    merge(place, [conversation(0, 1), conversation(9)])
    assert late.finish(chunks_of(late, [])[1], None).removed == 3
    assert seen(place) == truth([conversation(0, 1), conversation(9)])


def test_an_empty_list_is_a_question(place):
    items = [conversation(n) for n in range(150)]
    merge(place, items)
    with pytest.raises(ChatbaseExportError, match="does not list 150 of the 150"):
        merge(place, [], remove_in=JANUARY)
    assert seen(place) == truth(items)


# -- what is refused


def damage(path: Path, how: str) -> None:
    log = path / "_delta_log"
    last = max(log.glob("*.json"))
    if how == "cut":
        last.write_bytes(last.read_bytes()[:-30])
    elif how == "empty":
        last.write_bytes(b"")
    elif how == "not JSON":
        last.write_bytes(b"\0\0\0")
    elif how == "another JSON":
        last.write_text("[]")
    elif how == "a gap":
        (log / "00000000000000000001.json").unlink()
    elif how == "no log":
        shutil.rmtree(log)
    elif how == "an empty log":
        for each in log.iterdir():
            each.unlink()
    elif how == "a newer protocol":
        protocol = {"minReaderVersion": 9, "minWriterVersion": 9, "readerFeatures": [], "writerFeatures": []}
        last.write_text(json.dumps({"protocol": protocol}))
    elif how == "a feature that we do not know":
        protocol = {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking"]}
        last.write_text(json.dumps({"protocol": protocol}))


DAMAGES = ("cut", "empty", "not JSON", "another JSON", "a gap", "no log", "an empty log", "a newer protocol")


@pytest.mark.parametrize(
    ("how", "table"),
    matrix([*DAMAGES, "a feature that we do not know"], ["conversations", "tool_calls"]),
)
def test_a_damaged_table_is_refused_and_left_alone(place, how, table):
    for state in range(3):
        merge(place, [conversation(n, state, tools=1 + state) for n in range(3)])
    path = Path(place.uri)
    damage(path / table, how)
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    with pytest.raises(ChatbaseOutputError, match="is left alone") as told:
        tables(place).check()
    assert str(path / table) in told.value.message
    assert "\n" not in told.value.message
    assert {each: each.read_bytes() for each in path.rglob("*") if each.is_file()} == before


@pytest.mark.parametrize("table", ["conversations", "messages", "tool_calls"])
def test_a_table_that_is_gone_is_refused(place, table):
    merge(place, [conversation(1, tools=1)])
    shutil.rmtree(Path(place.uri) / table)
    with pytest.raises(ChatbaseOutputError, match=f"{table} is gone"):
        tables(place).check()
    assert not (Path(place.uri) / table).exists()


def test_files_of_something_else_are_refused(place):
    folder = Path(place.uri) / "messages"
    folder.mkdir(parents=True)
    (folder / "20260101.parquet").write_bytes(b"PAR1")
    with pytest.raises(ChatbaseOutputError, match=r"holds '20260101.parquet' and no Delta table"):
        tables(place).check()


def test_a_foreign_table_is_refused(place):
    deltalake.write_deltalake(place.below("conversations").uri, pa.table({"conversation_id": ["1"]}))
    with pytest.raises(ChatbaseOutputError, match="not made by this provider"):
        tables(place).check()


def test_a_table_with_other_columns_is_refused(place):
    merge(place, [conversation(1)])
    table = deltalake.DeltaTable(place.below("conversations").uri)
    table.alter.add_columns([deltalake.Field("mine", deltalake.schema.PrimitiveType("string"))])
    with pytest.raises(ChatbaseOutputError, match="columns are not those of this version: mine"):
        tables(place).check()


def test_another_selection_is_refused_by_name(place):
    merge(place, [conversation(1)])
    other = {**SELECTION, "channels": ["API"], "salt": None}
    with pytest.raises(ChatbaseOutputError, match=r"channels is \[\] there and \['API'\] here") as told:
        tables(place, other).check()
    assert "agent_id" not in told.value.message
    assert tables(place, {**SELECTION, "channels": ()}).check() is None


def test_a_missing_file_of_rows_is_told(place):
    merge(place, [conversation(1)])
    for each in Path(place.uri).rglob("messages/*/*.parquet"):
        each.unlink()
    with pytest.raises(ChatbaseStorageError, match="a file that its log names is not there"):
        merge(place, [conversation(1, 1)])


# -- erasing and tidying up


def holds(path: Path, *words: str) -> list[str]:
    content = [each.read_bytes() for each in path.rglob("*") if each.is_file()]
    return [word for word in words if any(word.encode() in each for each in content)]


def test_what_is_erased_is_gone_from_every_file(place, monkeypatch):
    plain = {"compression": None}
    monkeypatch.setitem(delta.CODECS, None, "UNCOMPRESSED")
    items = [conversation(n, title=f"secret-{n}-title", userId=f"person-{n}-name") for n in range(6)]
    for n, item in enumerate(items):
        item["messages"][0]["parts"][0]["text"] = f"spoken-{n}-words"
    for state in range(2):
        merge(place, [{**item, "updatedAt": item["updatedAt"] + state} for item in items], JANUARY, **plain)
    path = Path(place.uri)
    words = [
        word
        for n in (1, 2)
        for word in (f"secret-{n}-title", f"person-{n}-name", f"spoken-{n}-words", f"c000{n}")
    ]
    assert holds(path, *words) == words
    counted = erase(place, ["person-1-name"], ["c0002"], dry_run=True).rows
    assert counted == {"conversations": 2, "messages": 4, "tool_calls": 2}
    assert holds(path, *words) == words
    assert erase(place, ["person-1-name"], ["c0002"]).rows == counted
    assert holds(path, *words) == []
    assert holds(path, "secret-3-title", "spoken-0-words") == ["secret-3-title", "spoken-0-words"]
    assert watermark(place) == JANUARY.end
    again = erase(place, ["person-1-name"], ["c0002"])
    assert (again.rows, again.files_changed) == (dict.fromkeys(counted, 0), 0)


def test_erasing_takes_along_what_a_killed_run_left(place, monkeypatch):
    monkeypatch.setitem(delta.CODECS, None, "UNCOMPRESSED")
    merge(place, [conversation(1, title="secret-title")])
    path = Path(place.uri)
    (leftover,) = path.glob("conversations/*/*.parquet")
    (leftover.parent / "part-00000-never-committed.parquet").write_bytes(leftover.read_bytes())
    erase(place, [], ["c0001"])
    assert holds(path, "secret-title") == []


def test_a_run_that_read_before_the_erasing_does_not_bring_it_back(place):
    items = [conversation(n) for n in range(4)]
    merge(place, items)
    late = tables(place)
    late.check()
    erase(place, [], ["c0001"])
    with pytest.raises(ChatbaseReplacedExportError, match="erased"):
        late.finish(chunks_of(late, items)[1], JANUARY)
    assert len(rows(place)) == 3


def test_no_run_begins_while_rows_are_erased(place, monkeypatch):
    merge(place, [conversation(1), conversation(2)])

    vacuum = delta_table.CurrentTable.vacuum

    def meanwhile(self, hours):
        with pytest.raises(ChatbaseStorageError, match="just being erased"):
            tables(place).check()
        return vacuum(self, hours)

    with monkeypatch.context() as patch:
        patch.setattr(delta_table.CurrentTable, "vacuum", meanwhile)
        erase(place, [], ["c0001"])
    merge(place, [conversation(3)])
    assert len(rows(place)) == 2


def test_users_are_found_as_the_table_writes_them(place):
    hashes = Redaction({"user_id": "hash"}, "salt")
    selection = {**SELECTION, **hashes.as_json()}
    merge(place, [hashes.apply(conversation(n)) for n in range(2)], selection=selection)
    for salt in (None, "another"):
        with pytest.raises(ChatbaseInputError, match="These exports hash users"):
            erase(place, ["user-1"], [], salt)
    assert erase(place, ["user-1"], [], "salt").conversations == 1
    assert [row["conversation_id"] for row in rows(place)] == ["c0000"]


def test_users_that_are_hidden_cannot_be_erased_by_name(place):
    merge(place, [conversation(1)], selection={**SELECTION, "redacted": {"user_id": "mask"}})
    with pytest.raises(ChatbaseInputError, match="Give conversation_ids"):
        erase(place, ["user-1"], [])
    assert erase(place, [], ["c0001"]).conversations == 1


def test_many_files_become_few_and_old_ones_go(place):
    for n in range(12):
        merged = tables(place)
        merged.check()
        merged.finish(chunks_of(merged, [conversation(n, day=1)])[1], None)
    assert len(deltalake.DeltaTable(place.below("messages").uri).file_uris()) == 12
    merged.maintain(compact=True, vacuum_days=None)
    assert len(deltalake.DeltaTable(place.below("messages").uri).file_uris()) == 1
    path = Path(place.uri) / "messages"
    assert len(list(path.glob("*/*.parquet"))) == 13
    merged.maintain(compact=True, vacuum_days=7)
    assert len(list(path.glob("*/*.parquet"))) == 13  # a reader may still need them
    assert len(rows(place)) == 12
