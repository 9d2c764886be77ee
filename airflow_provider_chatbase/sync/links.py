"""Links: whether their options are as declared, and which of them are ours."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError
from airflow_provider_chatbase.sync.payloads import LinkPayload, Payload

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def options_differ(declared: Payload, metadata: dict[str, Any]) -> bool:
    """Say whether a link's options are others than declared. What is not declared or shown is not compared."""
    if not isinstance(declared, LinkPayload):
        return False
    return any(name in metadata and metadata[name] != value for name, value in declared.options.items())


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """
    A small file that remembers which links a sync made: unlike other sources they have no name to tell.

    A link is written down before it is made, so that a run that was killed in between knows it for its own.

    :param fs: the file system.
    :param path: the file's path on it.
    :param url: the file as the user wrote it, for messages.
    :param agent_id: the agent.
    :param owner: whose links they are.
    """

    fs: AbstractFileSystem
    path: str
    url: str
    agent_id: str
    owner: str

    def read(self) -> frozenset[str]:
        """Return the keys of our links; none where there is no file yet."""
        try:
            self.fs.invalidate_cache()
            found = json.loads(self.fs.cat_file(self.path))
            mine = found["agent_id"] == self.agent_id and found["owner"] == self.owner
            links = frozenset(str(key) for key in found["links"])
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ChatbaseDeclarationError(
                f"The record of links {self.url} cannot be read: {error!r}. Nothing was sent."
            ) from error
        if not mine:
            raise ChatbaseDeclarationError(
                f"The record of links {self.url} belongs to agent {found['agent_id']} and owner "
                f"{found['owner']!r}. Give each task a state_path of its own. Nothing was sent."
            )
        return links

    def write(self, keys: Iterable[str]) -> None:
        """Replace the record."""
        record = {"agent_id": self.agent_id, "owner": self.owner, "links": sorted(keys)}
        parent = posixpath.dirname(self.path)
        temporary = f"{self.path}.tmp"
        self.fs.makedirs(parent, exist_ok=True)
        self.fs.pipe_file(temporary, json.dumps(record, indent=1).encode())
        self.fs.mv(temporary, self.path)
