"""
What is written into a source, by its kind, and the name that it gets.

``docs:guides/setup.md #3f2a9c1b7d40`` belongs to the sync ``docs``, holds what is declared under the key
``guides/setup.md``, and was made from content whose SHA-256 begins with ``3f2a9c1b7d40``. So the next run
needs no record of its own to see what has changed. Where there is room, ``/7c1e`` at its end tells the task
that wrote it, so that two tasks of one ``sync_id`` do not delete each other's sources.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.v2 import sources

Kind = Literal["text", "qna", "link", "file"]

QNA_BODY_SIZE = 4_500_000
LINK_OPTIONS = {
    "excludePaths": "exclude_paths",
    "includeOnlyPaths": "include_only_paths",
    "slowScraping": "slow_scraping",
}

NAME_LENGTH = 100
"""The most that Chatbase takes for the name of a text, counted here in UTF-16 units, as browsers count."""

DIGEST_LENGTH = 12
_KEY_DIGEST_LENGTH = 10
_SYNC_ID = re.compile(r"[^\s:#](?:[^:#\x00-\x1f]{0,38}[^\s:#])?\Z")
_OURS = re.compile(
    rf"(?P<sync_id>[^:]+):(?P<key>.+) "
    rf"#(?P<digest>[0-9a-f]{{{DIGEST_LENGTH}}})(?:/(?P<task>[0-9a-f]{{4}}))?\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class TextPayload:
    """A text."""

    content: str = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, the same with any line ends."""
        return hashlib.sha256(_unix(self.content).encode("utf-8", "surrogatepass")).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for an empty or too long text."""
        sources.check_content(self.content)

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:
        """Return the request for a new text source."""
        return sources.create_text_source(agent_id, name, self.content)

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:
        """Return the request that replaces name and text."""
        return sources.update_source(agent_id, source_id, {"name": name, "content": self.content})


@dataclass(frozen=True, slots=True)
class QnaPayload:
    """Ways to ask, with the answer."""

    questions: tuple[str, ...]
    answer: str = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of questions and answer."""
        texts = [[_unix(question) for question in self.questions], _unix(self.answer)]
        return hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for empty texts, and for too much of them."""
        sources.check_qna(self.questions, self.answer)
        size = len(json.dumps([self.questions, self.answer]).encode())
        if size > QNA_BODY_SIZE:
            raise ChatbaseInputError(
                f"questions and answer have {size:,} bytes; Chatbase takes {QNA_BODY_SIZE:,}."
            )

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:
        """Return the request for a new Q&A source."""
        return sources.create_qna_source(agent_id, name, self.questions, self.answer)

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:
        """Return the request that replaces name, questions and answer."""
        changes = {"name": name, "questions": list(self.questions), "answer": self.answer}
        return sources.update_source(agent_id, source_id, changes)


@dataclass(frozen=True, slots=True)
class FilePayload:
    """A file to upload."""

    filename: str  # without folders; the ending tells its format
    content: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes; of plain text, the same with any line ends."""
        is_plain = self.filename.lower().endswith(".txt")
        content = self.content.replace(b"\r\n", b"\n") if is_plain else self.content
        return hashlib.sha256(content).hexdigest()

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:
        """Return the upload of a new file source."""
        return sources.create_file_source(agent_id, name, self.filename, self.content)

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:
        """Return the upload that replaces name and file."""
        return sources.update_file_source(
            agent_id, source_id, name=name, filename=self.filename, content=self.content
        )


@dataclass(frozen=True, slots=True)
class LinkPayload:
    """A link. Its URL and type are its identity: neither can be changed, and it has no name of its own."""

    url: str
    link_type: str = "individual"
    options: Mapping[str, Any] = field(default_factory=dict)  # those declared, by the API's names

    @property
    def digest(self) -> str:
        """The SHA-256 of the options."""
        return hashlib.sha256(json.dumps(dict(self.options), sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for what is no URL of a web page, and for an unknown type."""
        sources.check_link(self.url, self.link_type)
        if not _is_web_page(self.url):
            raise ChatbaseInputError(f"{self.url!r} is no http or https URL.")

    def differs_from(self, metadata: Mapping[str, Any]) -> bool:
        """Say whether a link has other options than declared, as far as both are told."""
        return any(
            name in metadata and not _is_same_option(value, metadata[name])
            for name, value in self.options.items()
        )

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:  # noqa: ARG002 - it has none
        """Return the request for a new link source."""
        options = {LINK_OPTIONS[option]: value for option, value in self.options.items()}
        return sources.create_link_source(agent_id, self.url, self.link_type, **options)

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:  # noqa: ARG002
        """Return the request that sets the options, which reads the pages again."""
        return sources.update_source(agent_id, source_id, dict(self.options))


DeclaredText = TextPayload | QnaPayload | LinkPayload
Payload = DeclaredText | FilePayload
"""What one source is to hold: its digest, and the requests that make a source of it or put it into one."""


def _is_same_option(declared: Any, told: Any) -> bool:
    """Compare by effect: paths in any order, and none of them as Chatbase may write it."""
    if isinstance(declared, list) and isinstance(told, list):
        return set(declared) == {str(path) for path in told}
    return bool(declared == told) or not (declared or told)


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_web_page(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no address
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def link_key(url: str, link_type: str) -> str:
    """Return what tells one link from another."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # somebody else's, perhaps: it is told from others as it stands
        return f"{link_type} {url.strip()}"
    plain = urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))
    return f"{link_type} {plain}"


def rename(agent_id: str, source_id: str, kind: Kind, name: str) -> Request[JsonObject]:
    """Return the request that gives a source another name and leaves its content alone."""
    if kind == "file":
        return sources.update_file_source(agent_id, source_id, name=name)
    return sources.update_source(agent_id, source_id, {"name": name})


@dataclass(frozen=True, slots=True)
class SourceName:
    """A name that a sync gave to a source."""

    sync_id: str
    key: str  # as it stands in the name; a long one is shortened
    digest: str  # the first characters of the content's SHA-256
    task: str = ""  # the mark of the task that wrote it, if it is told

    def __str__(self) -> str:
        name = f"{self.sync_id}:{self.key} #{self.digest}"
        marked = f"{name}/{self.task}"
        return marked if self.task and utf16_length(marked) <= NAME_LENGTH else name


def source_name(sync_id: str, key: str, digest: str, task: str = "") -> SourceName:
    """Name a source."""
    return SourceName(sync_id, key_in_name(sync_id, key), digest[:DIGEST_LENGTH], task)


def task_mark(*identity: str) -> str:
    """Return what tells one task from another in a name."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:4]


def read_name(name: object) -> SourceName | None:
    """Read a source's name; ``None`` for one that no sync gave."""
    found = _OURS.match(name) if isinstance(name, str) else None
    return SourceName(**found.groupdict("")) if found else None


def key_in_name(sync_id: str, key: str) -> str:
    """Return a key as it stands in a name: normalised, and shortened where the name would be too long."""
    plain = normal_key(key)
    room = NAME_LENGTH - utf16_length(sync_id) - len(": #") - DIGEST_LENGTH
    if utf16_length(plain) <= room:
        return plain
    mark = "~" + hashlib.sha256(plain.encode()).hexdigest()[:_KEY_DIGEST_LENGTH]
    while utf16_length(plain) > room - len(mark):
        plain = plain[1:]  # it is the end that people know a file by
    return plain + mark


def normal_key(key: str) -> str:
    """Return a key in the one form in which it is compared: NFC, and without control characters."""
    return "".join(
        f"%{ord(character):02X}" if unicodedata.category(character) == "Cc" else character
        for character in unicodedata.normalize("NFC", key)
    )


def require_sync_id(sync_id: str) -> str:
    """Check what begins the names of a sync's sources."""
    if not isinstance(sync_id, str) or not _SYNC_ID.match(sync_id) or utf16_length(sync_id) > 40:
        raise ChatbaseInputError(
            f"sync_id {sync_id!r} must be 1 to 40 characters without a colon, a hash sign or a line break: "
            "it is the beginning of the names of all sources that this task makes. Nothing was sent."
        )
    return sync_id


def utf16_length(text: str) -> int:
    """Count characters as a browser does."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
