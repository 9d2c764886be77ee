"""What is written into a source, by its kind: its digest, and the requests that write it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
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


class Payload(Protocol):
    """What one source is to hold."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for what Chatbase would refuse."""

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:
        """Return the request for a new source."""

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:
        """Return the request that puts this into an existing source."""


@dataclass(frozen=True, slots=True)
class TextPayload:
    """
    A text.

    :param content: the text.
    """

    content: str = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of the text."""
        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for an empty or too long text."""
        self.create("any", "any")

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:
        """Return the request for a new text source."""
        return sources.create_text_source(agent_id, name, self.content)

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:
        """Return the request that replaces name and text."""
        return sources.update_source(agent_id, source_id, {"name": name, "content": self.content})


@dataclass(frozen=True, slots=True)
class QnaPayload:
    """
    Questions with their answer.

    :param questions: 1 to 50 ways to ask.
    :param answer: the answer.
    """

    questions: tuple[str, ...]
    answer: str = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of questions and answer."""
        return hashlib.sha256(json.dumps([self.questions, self.answer]).encode()).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for empty texts, and for too much of them."""
        self.create("any", "any")
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
    """
    A file to upload.

    :param filename: its name without folders; the ending tells its format.
    :param content: its bytes.
    """

    filename: str
    content: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for another format, an empty file, or a too big one."""
        sources.check_file(self.filename, len(self.content))

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
    """
    A link. Its URL and type are its identity: neither can be changed, and it has no name of its own.

    :param url: where to start.
    :param link_type: ``individual``, ``sitemap`` or ``crawl``.
    :param options: the options that are declared, by the API's names.
    """

    url: str
    link_type: str = "individual"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The SHA-256 of the options."""
        return hashlib.sha256(json.dumps(dict(self.options), sort_keys=True).encode()).hexdigest()

    def check(self) -> None:
        """Raise ``ChatbaseInputError`` for what is no URL of a web page, and for an unknown type."""
        self.create("any", "")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChatbaseInputError(f"{self.url!r} is no http or https URL.")

    def create(self, agent_id: str, name: str) -> Request[JsonObject]:  # noqa: ARG002 - it has none
        """Return the request for a new link source."""
        options = {LINK_OPTIONS[option]: value for option, value in self.options.items()}
        return sources.create_link_source(agent_id, self.url, self.link_type, **options)

    def change(self, agent_id: str, source_id: str, name: str) -> Request[JsonObject]:  # noqa: ARG002
        """Return the request that sets the options, which reads the pages again."""
        return sources.update_source(agent_id, source_id, dict(self.options) or {"slowScraping": False})


def link_key(url: str, link_type: str) -> str:
    """Return what tells one link from another."""
    parts = urlsplit(url.strip())
    plain = urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path.rstrip("/"), parts.query, ""))
    return f"{link_type} {plain}"


def rename(agent_id: str, source_id: str, kind: Kind, name: str) -> Request[JsonObject]:
    """Return the request that gives a source another name and leaves its content alone."""
    if kind == "file":
        return sources.update_file_source(agent_id, source_id, name=name)
    return sources.update_source(agent_id, source_id, {"name": name})
