"""
Names of sources that say whose they are, what they hold, and in which version.

``docs:guides/setup.md #3f2a9c1b7d40`` belongs to the owner ``docs``, holds what is declared under the key
``guides/setup.md``, and was made from content whose SHA-256 begins with ``3f2a9c1b7d40``. So the next run
needs no record of its own to see what has changed.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass

from airflow_provider_chatbase.client.errors import ChatbaseInputError

NAME_LENGTH = 100
"""The most that Chatbase takes for the name of a text, counted here in UTF-16 units, as browsers count."""

DIGEST_LENGTH = 12
_KEY_DIGEST_LENGTH = 10
_OWNER = re.compile(r"[^\s:#](?:[^:#\x00-\x1f]{0,38}[^\s:#])?\Z")
_OURS = re.compile(rf"(?P<owner>[^:]+):(?P<key>.+) #(?P<digest>[0-9a-f]{{{DIGEST_LENGTH}}})\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SourceName:
    """
    A name that a sync gave to a source.

    :param owner: whose source it is.
    :param key: the key as it stands in the name; a long one is shortened.
    :param digest: the first characters of the content's SHA-256.
    """

    owner: str
    key: str
    digest: str

    def __str__(self) -> str:
        """Return the name as Chatbase shows it."""
        return f"{self.owner}:{self.key} #{self.digest}"


def source_name(owner: str, key: str, digest: str) -> SourceName:
    """Name a source."""
    return SourceName(owner, key_in_name(owner, key), digest[:DIGEST_LENGTH])


def read_name(name: str | None) -> SourceName | None:
    """Read a source's name."""
    found = _OURS.match(name or "")
    return SourceName(**found.groupdict()) if found else None


def key_in_name(owner: str, key: str) -> str:
    """Return a key as it stands in a name: normalised, and shortened where the name would be too long."""
    plain = normal_key(key)
    room = NAME_LENGTH - utf16_length(owner) - len(": #") - DIGEST_LENGTH
    if utf16_length(plain) <= room:
        return plain
    mark = "~" + hashlib.sha256(plain.encode()).hexdigest()[:_KEY_DIGEST_LENGTH]
    return _tail(plain, room - len(mark)) + mark


def normal_key(key: str) -> str:
    """Return a key in the one form in which it is compared: NFC, and without control characters."""
    return "".join(
        f"%{ord(character):02X}" if unicodedata.category(character) == "Cc" else character
        for character in unicodedata.normalize("NFC", key)
    )


def require_owner(owner: str) -> str:
    """Check an owner's name."""
    if not isinstance(owner, str) or not _OWNER.match(owner) or utf16_length(owner) > 40:
        raise ChatbaseInputError(
            f"owner {owner!r} must be 1 to 40 characters without a colon, a hash sign or a line break: it is "
            "the beginning of the names of all sources that this task makes. Nothing was sent."
        )
    return owner


def utf16_length(text: str) -> int:
    """Count characters as a browser does."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _tail(text: str, room: int) -> str:
    """Keep the end of a path: it is the end that people know a file by."""
    while utf16_length(text) > room:
        text = text[1:]
    return text
