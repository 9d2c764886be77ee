"""The prompts of a batch: read from what the user gives, checked, and kept on disk for many passes."""

from __future__ import annotations

import csv
import io
import json
import lzma
import posixpath
import sqlite3
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from typing import IO, Any, Self

from airflow_provider_chatbase.batch.expectations import (
    NAMES,
    NOTHING,
    Expectations,
    WrongExpectationError,
    read_expectations,
)
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import require_text, require_user_id
from airflow_provider_chatbase.files.directory import Directory

_KNOWN = frozenset({"id", "message", "conversation_id", "user_id", "metadata", "expect", *NAMES})


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question of a batch."""

    index: int  # its place in the input, from 0
    id: str  # the user's id for it; by default its place
    message: str = ""
    conversation_id: str | None = None  # the conversation to continue; ``None`` begins a new one
    user_id: str | None = None  # the user's tag for a new conversation
    metadata: dict[str, Any] = field(default_factory=dict)  # what is copied to the result
    expect: Expectations = NOTHING
    problem: str | None = None  # why it cannot be sent

    @property
    def identity(self) -> list[Any]:
        """What makes it this prompt: where one of these differs, another answer is asked for."""
        return [self.id, self.message, self.conversation_id, self.user_id, self.problem is None]

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

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "expect": self.expect.as_json()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what :meth:`as_json` returned."""
        expect = values["expect"]
        return cls(**{**values, "expect": read_expectations(expect) if expect else NOTHING})


class Unreadable:
    """Stands for a line of the input that cannot be read."""

    def __init__(self, why: str) -> None:
        self.why = why


def read_prompt(index: int, given: Any) -> Prompt:
    """Read a prompt; what cannot be sent becomes one with a ``problem``."""
    if isinstance(given, Unreadable):
        return Prompt(index, f"#{index}", problem=given.why)
    if isinstance(given, str):
        given = {"message": given}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        return Prompt(index, f"#{index}", problem=f"a prompt must be a text or an object, not {kind}")
    prompt_id = given.get("id")
    prompt = Prompt(
        index,
        id=str(index) if prompt_id is None or prompt_id == "" else str(prompt_id),
        message=given["message"] if isinstance(given.get("message"), str) else "",
        metadata=_metadata(given),
    )
    return _checked(prompt, given)


def _checked(prompt: Prompt, given: Mapping[str, Any]) -> Prompt:
    try:
        require_text("message", given.get("message"))
        conversation_id = _optional_text("conversation_id", given.get("conversation_id"))
        user_id = _optional_text("user_id", given.get("user_id"))
        if user_id is not None:
            require_user_id(user_id)
        expect = read_expectations(_expected(given))
    except (ChatbaseInputError, WrongExpectationError) as error:
        return replace(prompt, problem=str(error).removesuffix(" Nothing was sent."))
    return replace(prompt, conversation_id=conversation_id, user_id=user_id, expect=expect)


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
    if metadata is None or metadata == "":
        return rest
    return {**metadata, **rest} if isinstance(metadata, Mapping) else {**rest, "metadata": metadata}


# -- from a file

_ENDINGS = {"jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "parquet": "parquet", "pq": "parquet"}
_COMPRESSIONS = ("gz", "bz2", "xz", "zst", "zip")
_LONGEST_CSV_FIELD = 10_000_000


def read_file(directory: Directory, name: str) -> Iterator[Any]:
    """Read the prompts of a file as a stream: JSON lines, CSV, Parquet."""
    url = posixpath.join(directory.url, name)
    read = _READERS[_format_of(name, url)]
    try:
        with directory.open(name) as stream:
            yield from read(stream, name, url)
    except _DAMAGED as error:
        raise ChatbaseInputError(f"prompts_path {url} cannot be read: {error} Nothing was sent.") from error


def _format_of(name: str, url: str) -> str:
    endings = name.lower().split(".")[1:]
    if endings and endings[-1] in _COMPRESSIONS:
        endings.pop()
    found = _ENDINGS.get(endings[-1]) if endings else None
    if found is None:
        raise ChatbaseInputError(
            f"prompts_path {url} does not say its format. It must end in .jsonl, .ndjson, .csv or .parquet. "
            "Nothing was sent."
        )
    return found


def _decompressed(stream: IO[bytes], name: str, url: str) -> IO[bytes]:
    from fsspec.compression import compr
    from fsspec.utils import infer_compression

    compression = infer_compression(name)
    if compression not in compr:
        raise ChatbaseInputError(
            f"prompts_path {url} needs a package to be unpacked: pip install "
            "'airflow-provider-chatbase[zstd]'. Nothing was sent."
        )
    found: IO[bytes] = stream if compression is None else compr[compression](stream, mode="r")
    return found


def _jsonl(stream: IO[bytes], name: str, url: str) -> Iterator[Any]:
    for number, line in enumerate(_decompressed(stream, name, url), 1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not text.strip():
            continue
        try:
            yield json.loads(text)
        except ValueError as error:
            yield Unreadable(f"line {number} is no JSON: {error}")


def _csv(stream: IO[bytes], name: str, url: str) -> Iterator[Any]:
    csv.field_size_limit(_LONGEST_CSV_FIELD)
    text = io.TextIOWrapper(_decompressed(stream, name, url), encoding="utf-8-sig", newline="")
    reader: csv.DictReader[Any] = csv.DictReader(text)
    if "message" not in (reader.fieldnames or ()):
        raise ChatbaseInputError(
            f"prompts_path {url} has no column 'message' in its first line. Nothing was sent."
        )
    for row in reader:
        if row.pop(None, None):  # where the reader keeps what is too much
            yield Unreadable(f"line {reader.line_num} has more fields than the first line")
        else:
            yield row


def _parquet(stream: IO[bytes], _name: str, _url: str) -> Iterator[Any]:
    from airflow_provider_chatbase.files.parquet import read_rows

    yield from read_rows(stream, needed="message")


_READERS: dict[str, Callable[[IO[bytes], str, str], Iterator[Any]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
}
_DAMAGED = (EOFError, OSError, UnicodeDecodeError, csv.Error, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a file that is cut, or in another encoding, raises."""


# -- taken in

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE ids (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE questions (key BLOB PRIMARY KEY, at INTEGER, id TEXT) WITHOUT ROWID;
CREATE TABLE queues (key BLOB PRIMARY KEY, prompts INTEGER) WITHOUT ROWID;
"""


class Intake:
    """The prompts of a batch, in files that vanish with the process; memory stays small."""

    def __init__(self, given: Iterable[Any]) -> None:
        self.count = 0
        self.invalid = 0
        self.duplicates = 0
        self.expecting = 0
        self._digest = sha256()
        self._spool = tempfile.TemporaryFile(prefix="chatbase-batch-")  # noqa: SIM115 - closed by close()
        self._index = sqlite3.connect("")  # an empty name: a file on disk that nobody else sees
        self._index.executescript(_TABLES)
        try:
            for value in given:
                self._take(read_prompt(self.count, value))
        except BaseException:
            self.close()
            raise

    @property
    def digest(self) -> str:
        """The checksum of all that is asked."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Prompt]:
        """Iterate over the prompts, in the order of the input; one pass at a time."""
        self._spool.seek(0)
        for line in self._spool:
            yield Prompt.from_json(json.loads(line))

    def first_like(self, prompt: Prompt) -> tuple[int, str]:
        """Return the place and the id of the first prompt with the same question; often its own."""
        if (question := prompt.question) is None:
            return prompt.index, prompt.id
        query = "SELECT at, id FROM questions WHERE key = ?"
        at, first_id = self._index.execute(query, (_key(question),)).fetchone()
        return int(at), str(first_id)

    def shares_queue(self, prompt: Prompt) -> bool:
        """Say whether other prompts must not be on their way at the same time as this one."""
        if (queue := prompt.queue) is None:
            return False
        found = self._index.execute("SELECT prompts FROM queues WHERE key = ?", (_key(queue),)).fetchone()
        return bool(found and found[0] > 1)

    @property
    def has_queues(self) -> bool:
        """Whether any prompts share a queue."""
        return self._index.execute("SELECT 1 FROM queues WHERE prompts > 1 LIMIT 1").fetchone() is not None

    def close(self) -> None:
        """Remove the files."""
        self._spool.close()
        self._index.close()

    def __enter__(self) -> Self:
        """Return the intake, whose files are removed at the end of the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Remove the files."""
        self.close()

    def _take(self, prompt: Prompt) -> None:
        self._refuse_known_id(prompt)
        self._spool.write(json.dumps(prompt.as_json(), default=str).encode() + b"\n")
        self._digest.update(_key(prompt.identity))
        self.count += 1
        self.expecting += bool(prompt.expect)
        if prompt.problem is not None:
            self.invalid += 1
            return
        if prompt.question is not None:
            row = (_key(prompt.question), prompt.index, prompt.id)
            self.duplicates += not self._add("INSERT OR IGNORE INTO questions VALUES (?, ?, ?)", row)
        if prompt.queue is not None:
            self._index.execute(
                "INSERT INTO queues VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET prompts = prompts + 1",
                (_key(prompt.queue),),
            )

    def _refuse_known_id(self, prompt: Prompt) -> None:
        if not self._add("INSERT OR IGNORE INTO ids VALUES (?)", (_key(prompt.id),)):
            raise ChatbaseInputError(
                f"Two prompts have the id {prompt.id[:100]!r}; the second is number {prompt.index + 1}. "
                "Answers could not be told apart. Nothing was sent."
            )

    def _add(self, statement: str, row: tuple[Any, ...]) -> bool:
        return self._index.execute(statement, row).rowcount == 1


def _key(value: Any) -> bytes:
    return sha256(json.dumps(value, default=str).encode()).digest()[:16]
