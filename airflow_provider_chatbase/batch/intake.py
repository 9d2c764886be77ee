"""What a batch sends: taken in record by record, and kept on disk for many passes."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec

from airflow_provider_chatbase.batch.expectations import NOTHING, Expectations
from airflow_provider_chatbase.batch.outcome import PromptRecord, Words
from airflow_provider_chatbase.client.decoding import decode_json, sound_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.files import ChatbaseStorageError


class Outgoing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes out once: a prompt to an agent, or a message to a customer."""

    words: ClassVar[Words]

    index: int  # its place in the input, from 0
    id: str  # the user's id for it; by default its place
    metadata: dict[str, Any] = {}  # what is copied to the result
    expect: Expectations = NOTHING  # of the answer
    problem: str | None = None  # why it cannot be sent
    has_id: bool = False  # whether the user gave it
    key: str = ""  # the same for the same identity, wherever it stands

    @property
    def identity(self) -> list[Any]:
        """What makes it the same one in another try, wherever it stands."""
        raise NotImplementedError

    @property
    def may_repeat(self) -> bool:
        """Whether others may have the same identity; they are counted then."""
        return not self.has_id

    @property
    def question(self) -> list[Any] | None:
        """What those have in common of which one could stand for all; ``None`` where none could."""
        return None

    @property
    def queue(self) -> list[Any] | None:
        """What those have in common that are told apart only when they go one after the other."""
        return None


OutgoingT = TypeVar("OutgoingT", bound=Outgoing)


def read_id(given: Any) -> str | None:
    """Read the user's id for a record."""
    if given is None or (isinstance(given, str) and not given):
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | float) or given != given:
        raise ChatbaseInputError(f"id must be text or a number, not {str(given)[:80]!r}")
    return sound_text(str(given))


def read_metadata(given: Mapping[str, Any], known: AbstractSet[str]) -> dict[str, Any]:
    """Read what stands in a record beside what is known, to be copied to the result."""
    rest = {str(name): value for name, value in given.items() if name not in known}
    metadata = given.get("metadata")
    if isinstance(metadata, Mapping):
        rest = {**metadata, **rest}
    elif metadata is not None and metadata != "":
        rest["metadata"] = metadata
    try:
        return dict(decode_json(json.dumps(rest, default=str), mend=True))
    except (TypeError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ChatbaseInputError(f"what stands beside it cannot be kept as JSON: {why}") from None


_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE outgoing (at INTEGER PRIMARY KEY, record BLOB);
CREATE TABLE records (at INTEGER PRIMARY KEY, record BLOB);
CREATE TABLE ids (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE keys (key TEXT PRIMARY KEY, at INTEGER) WITHOUT ROWID;
CREATE TABLE questions (key BLOB PRIMARY KEY, at INTEGER, id TEXT) WITHOUT ROWID;
CREATE TABLE alike (key BLOB PRIMARY KEY, prompts INTEGER) WITHOUT ROWID;
CREATE TABLE queues (key BLOB PRIMARY KEY, prompts INTEGER) WITHOUT ROWID;
"""
_COUNT = (
    "INSERT INTO {} VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET prompts = prompts + 1 RETURNING prompts"
)


class Intake(Generic[OutgoingT]):
    """What a batch sends and what became of it, in a file that vanishes with the process."""

    def __init__(
        self, given: Iterable[Any], read: Callable[[int, Any], OutgoingT], kind: type[OutgoingT]
    ) -> None:
        self._kind = kind
        self.count = 0
        self.invalid = 0
        self.duplicates = 0
        self.expecting = 0
        with _on_local_disk(), tempfile.NamedTemporaryFile(prefix="chatbase-batch-") as file:
            self._database = sqlite3.connect(file.name, check_same_thread=False)
            self._database.executescript(_TABLES)
        try:
            for value in given:
                self._take(read(self.count, value))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[OutgoingT]:
        """Iterate over what is to be sent, in the order of the input."""
        for (record,) in self._database.execute("SELECT record FROM outgoing ORDER BY at"):
            yield msgspec.json.decode(record, type=self._kind)

    def place_of(self, key: str) -> int | None:
        """Return the place of the record with a key."""
        found = self._first("SELECT at FROM keys WHERE key = ?", key)
        return None if found is None else int(found)

    def first_like(self, outgoing: Outgoing) -> tuple[int, str]:
        """Return the place and the id of the first with the same question; often its own."""
        if (question := outgoing.question) is None:
            return outgoing.index, outgoing.id
        found = self._execute("SELECT at, id FROM questions WHERE key = ?", _digest(question)).fetchone()
        return int(found[0]), str(found[1])

    def let_stand(self, began: Callable[[int], bool]) -> None:
        """Let one that was begun stand for all of its question, wherever the input has it now."""
        for outgoing in self if self.duplicates else ():
            if outgoing.question is not None and began(outgoing.index):
                row = (outgoing.index, outgoing.id, _digest(outgoing.question))
                self._execute("UPDATE questions SET at = ?, id = ? WHERE key = ?", *row)

    def shares_queue(self, outgoing: Outgoing) -> bool:
        """Say whether others must not be on their way at the same time as this one."""
        if (queue := outgoing.queue) is None:
            return False
        return (self._first("SELECT prompts FROM queues WHERE key = ?", _digest(queue)) or 0) > 1

    @property
    def has_queues(self) -> bool:
        """Whether any share a queue."""
        return self._first("SELECT 1 FROM queues WHERE prompts > 1 LIMIT 1") is not None

    def keep(self, index: int, record: PromptRecord) -> None:
        """Keep what became of one."""
        self._execute("INSERT OR REPLACE INTO records VALUES (?, ?)", index, msgspec.json.encode(record))

    def kept(self, index: int) -> PromptRecord:
        """Return what :meth:`keep` took last."""
        found = self._first("SELECT record FROM records WHERE at = ?", index)
        return msgspec.json.decode(found, type=PromptRecord)

    def close(self) -> None:
        """Remove the file."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return the intake, whose file is removed at the end of the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Remove the file."""
        self.close()

    def _take(self, outgoing: OutgoingT) -> None:
        if not self._adds("INSERT OR IGNORE INTO ids VALUES (?)", _digest(outgoing.id)):
            raise ChatbaseInputError(
                f"Two {outgoing.words.noun} have the id {outgoing.id[:100]!r}; the second is number "
                f"{outgoing.index + 1}. Their results could not be told apart. Nothing was sent."
            )
        outgoing = self._keyed(outgoing)
        self._execute("INSERT INTO outgoing VALUES (?, ?)", outgoing.index, msgspec.json.encode(outgoing))
        self._execute("INSERT INTO keys VALUES (?, ?)", outgoing.key, outgoing.index)
        self.count += 1
        self.expecting += bool(outgoing.expect)
        self.invalid += outgoing.problem is not None
        if outgoing.problem is None and outgoing.queue is not None:
            self._first(_COUNT.format("queues"), _digest(outgoing.queue))
        if outgoing.question is not None:
            row = (_digest(outgoing.question), outgoing.index, outgoing.id)
            self.duplicates += not self._adds("INSERT OR IGNORE INTO questions VALUES (?, ?, ?)", *row)

    def _keyed(self, outgoing: OutgoingT) -> OutgoingT:
        identity = outgoing.identity
        alike = self._first(_COUNT.format("alike"), _digest(identity)) if outgoing.may_repeat else None
        return msgspec.structs.replace(outgoing, key=_digest([*identity, alike]).hex())

    def _first(self, statement: str, *row: Any) -> Any:
        found = self._execute(statement, *row).fetchone()
        return None if found is None else found[0]

    def _adds(self, statement: str, *row: Any) -> bool:
        return self._execute(statement, *row).rowcount == 1

    def _execute(self, statement: str, *row: Any) -> sqlite3.Cursor:
        with _on_local_disk():
            return self._database.execute(statement, row)


@contextmanager
def _on_local_disk() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise ChatbaseStorageError(
            f"The temporary directory of the worker cannot be written: {error}. What the batch sends is "
            "kept there meanwhile. Make room in it, or set TMPDIR to a directory that can be written, and "
            "run the task again; it goes on from where it was."
        ) from error


def _digest(value: Any) -> bytes:
    return sha256(json.dumps(value, default=str).encode()).digest()[:16]
