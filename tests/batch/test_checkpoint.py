"""The checkpoint on a local disk and on an object store, whole, torn and damaged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_chatbase.batch import checkpoint as checkpoint_module
from airflow_provider_chatbase.batch.checkpoint import Checkpoint, Journal, Line, SegmentLog, Sent, encode
from airflow_provider_chatbase.batch.outcome import Outcome, PromptRecord
from airflow_provider_chatbase.batch.prompts import take_in
from airflow_provider_chatbase.files import ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Simulator
from tests.batch.conftest import new_batch, questions, rows_of, storage_of

FOLDER = "_checkpoint/x"


@pytest.fixture
def memory() -> Iterator[Directory]:
    fs = MemoryFileSystem()
    fs.store.clear()
    yield Directory(fs, "/bucket/out", "memory://bucket/out")
    fs.store.clear()


@pytest.fixture(params=["local", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, memory: Directory) -> Directory:
    return storage_of(tmp_path / "out") if request.param == "local" else memory


def _key(n: int) -> str:
    with take_in(questions(n + 1)) as intake:
        return list(intake)[n].key


def _line(n: int, **said: object) -> Line:
    return Line(_key(n), **said)


def _answered(text: str, cost: float = 1) -> PromptRecord:
    return PromptRecord(Outcome.ANSWERED, text=text, credits=cost, final=True)


def _opened(storage: Directory, count: int = 5) -> tuple[SegmentLog, Checkpoint]:
    segments = SegmentLog(storage, FOLDER)
    return segments, Checkpoint(segments, take_in(questions(count)))


def test_what_was_written_is_known_to_the_next_process(storage: Directory):
    segments, _ = _opened(storage)
    segments.append(encode(_line(0, sent=5.0, since=5.0)) + encode(_line(1, sent=6.0, since=6.0)))
    segments.append(encode(_line(0, item=_answered("zero", 2.5))))
    segments.append(encode(_line(2, sent=7.0, since=7.0)) + encode(_line(2, unsent=True)))
    _, later = _opened(storage)
    assert [later.is_final(n) for n in range(3)] == [True, False, False]
    assert [later.in_flight(n) for n in range(3)] == [None, Sent(6.0, 6.0, is_told=True), None]
    assert later.record(0).text == "zero"
    assert later.record(1).outcome == Outcome.AMBIGUOUS
    assert later.record(2).outcome == Outcome.NOT_SENT
    assert (later.spent, later.priced) == (2.5, 1)
    assert (later.sent_count(), later.resumed) == (2, 1)


def test_what_may_have_cost_something_is_counted(storage: Directory):
    segments, _ = _opened(storage)
    recovered = PromptRecord(Outcome.ANSWERED, text="zero", sent_at=5.0, recovered=True, final=True)
    segments.append(encode(_line(0, sent=5.0, since=5.0)) + encode(_line(0, item=recovered)))
    segments.append(encode(_line(1, sent=6.0, since=6.0)) + encode(_line(2, sent=7.0, since=7.0)))
    segments.append(encode(_line(2, unsent=True)))
    _, later = _opened(storage)
    assert (later.spent, later.priced, later.unpriced) == (0, 0, 2)


def test_a_full_segment_becomes_one_file(storage: Directory, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checkpoint_module, "SEGMENT_BYTES", 1000)
    segments, checkpoint = _opened(storage, 50)
    for n in range(50):
        segments.append(encode(_line(n, item=_answered(f"text {n}"))))
        checkpoint.note(n, _line(n, item=_answered(f"text {n}")))
    segments.finish_segment()
    names = storage.names(FOLDER)
    assert 5 < len(names) < 26
    assert not [name for name in names if "-" in name]
    assert [checkpoint.record(n).text for n in range(50)] == [f"text {n}" for n in range(50)]
    _, later = _opened(storage, 50)
    assert [later.record(n).text for n in (49, 0, 25)] == ["text 49", "text 0", "text 25"]


def test_parts_whose_segment_was_made_do_not_count_twice(memory: Directory):
    memory.write(f"{FOLDER}/000001-0000.jsonl", encode(_line(0, item=_answered("part"))))
    memory.write(f"{FOLDER}/000001.jsonl", encode(_line(0, item=_answered("whole"))))
    memory.write(f"{FOLDER}/000002-0000.jsonl", encode(_line(1, item=_answered("one"))))
    _, checkpoint = _opened(memory)
    assert (checkpoint.record(0).text, checkpoint.record(1).text) == ("whole", "one")
    assert (checkpoint.spent, checkpoint.priced) == (2, 2)


@pytest.mark.parametrize("cut", [1, 10, 100])
def test_a_torn_end_is_passed_over(tmp_path: Path, cut: int):
    storage = storage_of(tmp_path)
    last = encode(_line(1, item=_answered("one")))
    sent = encode(_line(0, sent=1.0, since=1.0)) + encode(_line(1, sent=1.0, since=1.0))
    storage.write(f"{FOLDER}/000001.jsonl", sent + encode(_line(0, item=_answered("zero"))) + last[:-cut])
    segments, checkpoint = _opened(storage)
    assert checkpoint.in_flight(2) is None  # it does not count as damaged
    assert checkpoint.record(0).text == "zero"
    assert checkpoint.in_flight(1) == Sent(1.0, 1.0, is_told=True)
    segments.append(encode(_line(1, item=_answered("again"))))  # after a torn line, in a file of its own
    _, later = _opened(storage)
    assert later.record(1).text == "again"


def test_damage_in_the_middle_makes_unknown_prompts_be_looked_for(simulator: Simulator, output: Directory):
    new_batch(simulator, output).ask_all(questions(6))
    folder = next(name for name in output.names("_checkpoint") if not name.startswith("_"))
    path = Path(output.path(f"_checkpoint/{folder}/000001.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        b"".join(line if _key(3).encode() not in line else b"\x00\x00garbage\n" for line in lines)
    )
    new_batch(simulator, output).ask_all(questions(6))
    rows = rows_of(output)
    assert [row["outcome"] for row in rows] == ["answered"] * 6
    assert rows[3]["recovered"]
    assert simulator.prompts_charged == 6


def test_on_an_object_store_a_batch_resumes(start: Callable[..., Simulator], memory: Directory):
    with start() as simulator:
        new_batch(simulator, memory, max_items=30).ask_all(questions(60))
        ended = new_batch(simulator, memory).ask_all(questions(60))
        assert ended.tally.outcomes["answered"] == 60
        assert simulator.prompts_charged == 60
        assert [row["id"] for row in rows_of(memory)] == [str(n) for n in range(60)]


def test_nothing_is_written_over_by_who_listed_the_segments_long_ago(storage: Directory):
    first = SegmentLog(storage, FOLDER)
    first.claim()
    first.append(encode(_line(0, sent=5.0, since=5.0)))
    frozen, slow = SegmentLog(storage, FOLDER), SegmentLog(storage, FOLDER)
    slow.claim()
    second = SegmentLog(storage, FOLDER)
    second.claim()
    second.append(encode(_line(1, sent=6.0, since=6.0)))
    slow.append(encode(_line(2, sent=7.0, since=7.0)))
    if storage.local:
        with pytest.raises(ChatbaseStorageError):
            frozen.claim()
    else:
        frozen.claim()  # which its batch does before it looks whether the lock is still its own
    _, later = _opened(storage)
    assert [later.in_flight(n) is not None for n in range(4)] == [True, True, True, False]


def test_many_wait_for_one_write(storage: Directory, monkeypatch: pytest.MonkeyPatch):
    segments, checkpoint = _opened(storage, 100)
    writes: list[int] = []
    real = segments.append
    monkeypatch.setattr(segments, "append", lambda data: writes.append(data.count(b"\n")) or real(data))

    async def write() -> None:
        journal = Journal(segments, checkpoint, 0.0)
        await asyncio.gather(*(journal.add(n, _line(n, sent=1.0, since=1.0)) for n in range(100)))
        await journal.flush()

    asyncio.run(write())
    assert sum(writes) == 100
    assert len(writes) <= 3
    assert checkpoint.sent_count() == 100
