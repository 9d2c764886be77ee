"""The input, taken in once: checked, summed up, and kept on disk for the passes over it."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

from airflow_provider_chatbase.batch.prompts import Prompt, as_json, from_json, read_prompt
from airflow_provider_chatbase.client.errors import ChatbaseInputError

_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -2000;
CREATE TABLE ids (key BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE questions (key BLOB PRIMARY KEY, at INTEGER, id TEXT) WITHOUT ROWID;
CREATE TABLE lanes (key BLOB PRIMARY KEY, prompts INTEGER) WITHOUT ROWID;
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
            yield from_json(json.loads(line))

    def first_like(self, prompt: Prompt) -> tuple[int, str]:
        """Return the place and the id of the first prompt with the same question; often its own."""
        if (question := prompt.question) is None:
            return prompt.index, prompt.id
        query = "SELECT at, id FROM questions WHERE key = ?"
        at, first_id = self._index.execute(query, (_key(question),)).fetchone()
        return int(at), str(first_id)

    def shares_lane(self, prompt: Prompt) -> bool:
        """Say whether other prompts must not be on their way at the same time as this one."""
        if (lane := prompt.lane) is None:
            return False
        found = self._index.execute("SELECT prompts FROM lanes WHERE key = ?", (_key(lane),)).fetchone()
        return bool(found and found[0] > 1)

    @property
    def has_lanes(self) -> bool:
        """Whether any prompts share a lane."""
        return self._index.execute("SELECT 1 FROM lanes WHERE prompts > 1 LIMIT 1").fetchone() is not None

    def close(self) -> None:
        """Remove the files."""
        self._spool.close()
        self._index.close()

    def __enter__(self) -> Self:
        """Return the intake, whose files are removed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the files."""
        self.close()

    def _take(self, prompt: Prompt) -> None:
        self._refuse_known_id(prompt)
        try:
            line = json.dumps(as_json(prompt)).encode() + b"\n"
        except (TypeError, ValueError):
            line = json.dumps(as_json(prompt), default=str).encode() + b"\n"
        self._spool.write(line)
        self._digest.update(_key(prompt.identity))
        self.count += 1
        self.expecting += bool(prompt.expect)
        if prompt.problem is not None:
            self.invalid += 1
            return
        if prompt.question is not None:
            row = (_key(prompt.question), prompt.index, prompt.id)
            self.duplicates += not self._add("INSERT OR IGNORE INTO questions VALUES (?, ?, ?)", row)
        if prompt.lane is not None:
            self._index.execute(
                "INSERT INTO lanes VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET prompts = prompts + 1",
                (_key(prompt.lane),),
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
