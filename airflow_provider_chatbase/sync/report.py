"""What a sync did, or would do, whatever it keeps in step: each action and what became of it, in words."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import floor
from typing import Any, ClassVar

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.sync.payloads import normal_key

Entries = list[tuple[str, str]]
"""Keys, each with a note."""

LOST_AND_FOUND = "found after its reply was lost"
BY_ANOTHER_RUN = "another run of this sync wrote it meanwhile"

MOST_NAMES = 3
MOST_IDS = 15
NAME_ROOM = 40
MOST_LINES = 200
TEXT_ROOM = 160


def most_deletes(max_deletes: float, of: int) -> int:
    """Return how many of so many may be deleted: a count as it is; of a share, one always may."""
    return max_deletes if isinstance(max_deletes, int) else max(1, floor(max_deletes * of + 1e-9))


def require_max_deletes(given: Any) -> None:
    """Refuse what is neither a count nor a share, such as a count as a float: it would be a share of many."""
    if given is None or not 0 <= given <= (1 if isinstance(given, float) else given):
        raise ChatbaseInputError(
            f"max_deletes must be a whole number from 0, or a share from 0.0 to 1.0, not {given!r}."
        )


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of one action of a plan."""

    action: str  # create, update or delete
    kind: str
    key: str
    source_id: str | None = None
    note: str = ""  # what was special about it
    error: str | None = None  # why it failed
    mendable: bool = True  # whether a failure may be gone at the next try
    in_doubt: bool = False  # whether a failure leaves open what became of it
    code: str | None = None  # the API's error code


@dataclass(slots=True)
class SyncResult:
    """What became of a plan."""

    done: list[ActionResult] = field(default_factory=list)  # failed ones too, in their order
    stopped: str = ""  # why the rest was not tried; empty if all was
    withheld: str = ""  # why deletes of the plan were not done; empty if they were

    def of(self, action: str) -> list[ActionResult]:
        """Return the actions of one sort that worked."""
        return [each for each in self.done if each.action == action and each.error is None]

    @property
    def failed(self) -> list[ActionResult]:
        """The actions that did not work."""
        return [each for each in self.done if each.error is not None]

    @property
    def written_ids(self) -> list[str]:
        """The ids of the sources that were written."""
        written = [*self.of("create"), *self.of("update")]
        return [each.source_id for each in written if each.source_id is not None]


@dataclass(frozen=True, slots=True)
class ChangeReport(ABC):
    """What became of a plan, or what it would do: in words, and line by line."""

    noun: ClassVar[str]  # what is kept in step

    agent_id: str

    @property
    @abstractmethod
    def outcome(self) -> SyncResult | None:
        """What became of the plan; ``None`` where it was only planned."""

    @abstractmethod
    def sections(self) -> dict[str, Entries]:
        """Return keys and notes by what became of them."""

    @property
    @abstractmethod
    def foreign(self) -> int:
        """How many belong to somebody else."""

    @property
    @abstractmethod
    def withheld(self) -> str:
        """Why deletes that were asked for were not done; empty if they were."""

    def whose(self) -> str:
        """Say whose they are."""
        return f"{self.noun} of agent {self.agent_id}"

    def remarks(self) -> list[str]:
        """Say what else is worth telling."""
        return []

    def as_text(self) -> str:
        """Return the report for people, a line for each that is not as it was."""
        did = "would be done to" if self.outcome is None else "was done to"
        lines = [f"What {did} the {self.whose()}:"]
        for name, entries in self.sections().items():
            shown = entries[:MOST_LINES] if name != "unchanged" else []
            lines += [f"{name}: {len(entries)}"] if entries else []
            lines += [f"  {one_line(key)}" + (f": {one_line(note)}" if note else "") for key, note in shown]
            lines += (
                [f"  and {len(entries) - MOST_LINES} more"] if len(entries) > MOST_LINES and shown else []
            )
        lines.append(f"of others, not touched: {self.foreign}")
        return "\n".join(lines)

    def in_words(self) -> str:
        """Say in a sentence or two what was done, what was not, and why."""
        to_do = ("create", "update", "delete")
        sections = self.sections()
        counts = ", ".join(
            f"{len(entries)} {'to ' if name in to_do else ''}{name.replace('_', ' ')}"
            for name, entries in sections.items()
            if entries
        )
        head = "Planned only, nothing was sent" if self.outcome is None else "Synced"
        undone = self.failures() or ("Nothing is left undone" if self.outcome is not None else "")
        told = [f"{head}: {counts or f'no {self.noun} are declared or there'}", undone, *self.remarks()]
        return " ".join(f"{each.rstrip(' .')}." for each in told if each)

    def failures(self) -> str:
        """Name what failed and why; empty if nothing did."""
        failed = self.sections()["failed"]
        sentences = [f"{one_line(key, 80)}: {one_line(why).rstrip('.')}" for key, why in failed[:10]]
        if len(failed) > 10:
            sentences.append(f"and {len(failed) - 10} more")
        if self.withheld:
            sentences.append(f"Nothing was deleted: {one_line(self.withheld)}")
        if self.outcome is not None and self.outcome.stopped:
            sentences.append("The rest was not tried")
        return "; ".join(sentences)


def named(keys: Iterable[str], most: int = 3) -> str:
    """Name a few of many."""
    found = list(keys)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def one_line(text: str, most: int = 500) -> str:
    """Return a text as a part of one line, whatever somebody else wrote into it."""
    shown = normal_key(_told(text))
    return shown if len(shown) <= most else f"{shown[:most]}..."


def _told(text: str) -> str:
    """Return a text with what is no character in it, such as in a file's name, written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def shortened(text: str, room: int) -> str:
    """Shorten a text to what it takes as JSON, where a letter beyond ASCII takes six."""
    text = _told(text)
    if len(json.dumps(text)) <= room + len('""'):
        return text
    while len(json.dumps(text)) + len("...") > room + len('""'):
        text = text[:-1]
    return f"{text}..."
