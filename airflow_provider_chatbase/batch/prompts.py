"""The prompts of a batch: checked one by one, and kept on disk for many passes."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from typing import Any, Self

import msgspec

from airflow_provider_chatbase.batch.expectations import (
    NAMES,
    NOTHING,
    Expectations,
    WrongExpectationError,
    read_expectations,
)
from airflow_provider_chatbase.batch.outcome import PromptRecord
from airflow_provider_chatbase.client.decoding import decode_json, sound_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import require_text, require_user_id
from airflow_provider_chatbase.files import ChatbaseStorageError
from airflow_provider_chatbase.files.records import UnreadableRecord

_KNOWN = frozenset({"id", "message", "conversation_id", "user_id", "metadata", "expect", *NAMES})


class Prompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One question of a batch."""

    index: int  # its place in the input, from 0
    id: str  # the user's id for it; by default its place
    message: str = ""
    conversation_id: str | None = None  # the conversation to continue; ``None`` begins a new one
    user_id: str | None = None  # the user's tag for a new conversation
    metadata: dict[str, Any] = {}  # what is copied to the result
    expect: Expectations = NOTHING
    problem: str | None = None  # why it cannot be sent
    has_id: bool = False  # whether the user gave it
    key: str = ""  # the same for the same id, message, conversation and user, wherever it stands

    @property
    def question(self) -> list[Any] | None:
        """What prompts have in common that one answer could serve; ``None`` inside a conversation."""
        if self.problem is not None or self.conversation_id is not None:
            return None
        return [self.message, self.user_id]

    @property
    def queue(self) -> list[Any] | None:
        """
        What prompts have in common that are told apart only when they go one after the other.

        They continue the same conversation, or say the same under the same user id.
        """
        if self.conversation_id is not None:
            return ["conversation", self.conversation_id]
        return ["user", self.user_id, self.message] if self.user_id is not None else None


def read_prompt(index: int, given: Any) -> Prompt:
    """Read a prompt; what cannot be sent becomes one with a ``problem``, and the others go on."""
    try:
        return _read(index, given)
    except (ChatbaseInputError, WrongExpectationError, TypeError, ValueError, RecursionError) as error:
        why = str(error).removesuffix(" Nothing was sent.")
        message = given.get("message") if isinstance(given, Mapping) else None
        return Prompt(
            index, f"#{index}", message if isinstance(message, str) else "", problem=sound_text(why)
        )


def _read(index: int, given: Any) -> Prompt:
    if isinstance(given, UnreadableRecord):
        raise ChatbaseInputError(given.why)
    if isinstance(given, str):
        given = {"message": given}
    if not isinstance(given, Mapping):
        raise ChatbaseInputError(f"a prompt must be a text or an object, not {type(given).__name__}")
    prompt_id = _id(given.get("id"))
    prompt = Prompt(
        index,
        id=str(index) if prompt_id is None else prompt_id,
        has_id=prompt_id is not None,
        message=sound_text(given["message"]) if isinstance(given.get("message"), str) else "",
    )
    try:
        prompt = msgspec.structs.replace(prompt, metadata=_metadata(given))
        return _checked(prompt, given)
    except (ChatbaseInputError, WrongExpectationError) as error:
        return msgspec.structs.replace(prompt, problem=str(error).removesuffix(" Nothing was sent."))


def _id(given: Any) -> str | None:
    if given is None or (isinstance(given, str) and not given):
        return None
    if isinstance(given, bool) or not isinstance(given, str | int | float) or given != given:
        raise ChatbaseInputError(f"id must be text or a number, not {str(given)[:80]!r}")
    return sound_text(str(given))


def _checked(prompt: Prompt, given: Mapping[str, Any]) -> Prompt:
    require_text("message", given.get("message"))
    user_id = _optional_text("user_id", given.get("user_id"))
    if user_id is not None:
        require_user_id(user_id)
    return msgspec.structs.replace(
        prompt,
        conversation_id=_optional_text("conversation_id", given.get("conversation_id")),
        user_id=user_id,
        expect=read_expectations(_expected(given)),
    )


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None or value == "" else require_text(name, value)


def _expected(given: Mapping[str, Any]) -> dict[str, Any]:
    together = given.get("expect") or {}
    if not isinstance(together, Mapping):
        raise WrongExpectationError("expect must be an object")
    return {**together, **{name: given[name] for name in NAMES if given.get(name) not in (None, "")}}


def _metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    rest = {str(name): value for name, value in given.items() if name not in _KNOWN}
    metadata = given.get("metadata")
    if isinstance(metadata, Mapping):
        rest = {**metadata, **rest}
    elif metadata is not None and metadata != "":
        rest["metadata"] = metadata
    try:
        return dict(decode_json(json.dumps(rest, default=str), mend=True))
    except (TypeError, ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ChatbaseInputError(f"what stands beside the message cannot be kept as JSON: {why}") from None


# -- taken in

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE prompts (at INTEGER PRIMARY KEY, prompt BLOB);
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


class Intake:
    """The prompts of a batch and what became of them, in a file that vanishes with the process."""

    def __init__(self, given: Iterable[Any]) -> None:
        self.count = 0
        self.invalid = 0
        self.duplicates = 0
        self.expecting = 0
        with _on_local_disk(), tempfile.NamedTemporaryFile(prefix="chatbase-batch-") as file:
            self._database = sqlite3.connect(file.name, check_same_thread=False)
            self._database.executescript(_TABLES)
        try:
            for value in given:
                self._take(read_prompt(self.count, value))
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[Prompt]:
        """Iterate over the prompts, in the order of the input."""
        for (prompt,) in self._database.execute("SELECT prompt FROM prompts ORDER BY at"):
            yield msgspec.json.decode(prompt, type=Prompt)

    def place_of(self, key: str) -> int | None:
        """Return the place of the prompt with a key."""
        found = self._first("SELECT at FROM keys WHERE key = ?", key)
        return None if found is None else int(found)

    def first_like(self, prompt: Prompt) -> tuple[int, str]:
        """Return the place and the id of the first prompt with the same question; often its own."""
        if (question := prompt.question) is None:
            return prompt.index, prompt.id
        found = self._execute("SELECT at, id FROM questions WHERE key = ?", _digest(question)).fetchone()
        return int(found[0]), str(found[1])

    def shares_queue(self, prompt: Prompt) -> bool:
        """Say whether other prompts must not be on their way at the same time as this one."""
        if (queue := prompt.queue) is None:
            return False
        return (self._first("SELECT prompts FROM queues WHERE key = ?", _digest(queue)) or 0) > 1

    @property
    def has_queues(self) -> bool:
        """Whether any prompts share a queue."""
        return self._first("SELECT 1 FROM queues WHERE prompts > 1 LIMIT 1") is not None

    def keep(self, index: int, record: PromptRecord) -> None:
        """Keep what became of a prompt."""
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

    def _take(self, prompt: Prompt) -> None:
        if not self._adds("INSERT OR IGNORE INTO ids VALUES (?)", _digest(prompt.id)):
            raise ChatbaseInputError(
                f"Two prompts have the id {prompt.id[:100]!r}; the second is number {prompt.index + 1}. "
                "Answers could not be told apart. Nothing was sent."
            )
        prompt = self._keyed(prompt)
        self._execute("INSERT INTO prompts VALUES (?, ?)", prompt.index, msgspec.json.encode(prompt))
        self._execute("INSERT INTO keys VALUES (?, ?)", prompt.key, prompt.index)
        self.count += 1
        self.expecting += bool(prompt.expect)
        self.invalid += prompt.problem is not None
        if prompt.problem is None and prompt.queue is not None:
            self._first(_COUNT.format("queues"), _digest(prompt.queue))
        if prompt.question is not None:
            row = (_digest(prompt.question), prompt.index, prompt.id)
            self.duplicates += not self._adds("INSERT OR IGNORE INTO questions VALUES (?, ?, ?)", *row)

    def _keyed(self, prompt: Prompt) -> Prompt:
        """Give a prompt its key; where the user gave no ids, equal ones are counted."""
        given_id = prompt.id if prompt.has_id else None
        where = prompt.conversation_id, prompt.user_id
        parts = [given_id, prompt.message, *where, prompt.problem is None]
        alike = None if prompt.has_id else self._first(_COUNT.format("alike"), _digest(parts))
        return msgspec.structs.replace(prompt, key=_digest([*parts, alike]).hex())

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
            f"The temporary directory of the worker cannot be written: {error}. The prompts are kept there "
            "while they are asked. Make room in it, or set TMPDIR to a directory that can be written, and "
            "run the task again; it goes on from what is answered."
        ) from error


def _digest(value: Any) -> bytes:
    return sha256(json.dumps(value, default=str).encode()).digest()[:16]
