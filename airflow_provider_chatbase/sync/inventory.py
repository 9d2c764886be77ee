"""What an agent knows: which of its sources are ours, and in which version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.client.replies import PageWalk
from airflow_provider_chatbase.client.v2.sources import list_sources
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError, ChatbaseIncompleteListingError
from airflow_provider_chatbase.sync.payloads import link_key, read_name

if TYPE_CHECKING:
    from airflow_provider_chatbase.client import Steps
    from airflow_provider_chatbase.client.request import JsonObject

DYING = frozenset({"toBeDeleted", "deleted"})
TRAINING = frozenset({"untrained", "updated"})

_LISTINGS = 3


@dataclass(frozen=True, slots=True)
class ExistingSource:
    """A source that the agent has."""

    source_id: str
    kind: str
    key: str  # our key in its name; for a link, what tells it from others
    digest: str  # the beginning of its content's SHA-256, from its name; empty for a link
    status: str
    created_at: str  # as Chatbase writes it
    metadata: dict[str, Any] = field(default_factory=dict)  # a link's type and options
    task: str = ""  # the mark of the task that wrote it, from its name, if it is told


@dataclass(frozen=True, slots=True)
class Inventory:
    """The sources of an agent."""

    owned: tuple[ExistingSource, ...] = ()  # those of our sync, by their names
    links: tuple[ExistingSource, ...] = ()  # all links; whose they are, their names do not say
    foreign: int = 0  # how many others there are
    last_upload: str = ""  # when the newest file was made, of anybody; empty if there is none


def list_all(agent_id: str, types: Sequence[str] = ()) -> Steps[list[JsonObject]]:
    """List an agent's sources as steps of a client, and make sure that none is missing."""
    found: dict[str, JsonObject] = {}
    total = 0
    for _ in range(_LISTINGS):
        walk = PageWalk(list_sources(agent_id, types=types))
        found, total = {}, 0
        while (request := walk.next_request()) is not None:
            page = yield request
            walk.take(page)
            total = page.total or 0
            found.update((_id_of(source), source) for source in page.items)
        if len(found) >= total:
            return list(found.values())
    raise ChatbaseIncompleteListingError(
        f"Chatbase counts {total} sources of agent {agent_id} and lists {len(found)}. What is missing from "
        "the list would be written twice or deleted, so nothing was changed. Run the task again.",
        operation="listSources",
    )


def _id_of(source: JsonObject) -> str:
    found = source.get("id")
    if not isinstance(found, str) or not found:
        raise ChatbaseIncompleteListingError(
            f"Chatbase lists a source whose id is {str(found)[:40]!r}. Nothing was changed. Run the "
            "task again.",
            operation="listSources",
        )
    return found


def take_inventory(sources: Iterable[JsonObject], sync_id: str) -> Inventory:
    """Sort an agent's sources. Those that are being deleted count as gone."""
    owned: list[ExistingSource] = []
    links: list[ExistingSource] = []
    foreign = 0
    uploads = [""]
    for source in sources:
        if source.get("type") == "file":
            uploads.append(str(source.get("createdAt") or ""))
        if source.get("status") in DYING:
            continue
        existing = _existing(source, sync_id)
        if existing is None:
            foreign += 1
        elif existing.kind == "link":
            links.append(existing)
        else:
            owned.append(existing)
    return Inventory(tuple(owned), tuple(links), foreign, max(uploads))


def _existing(source: JsonObject, sync_id: str) -> ExistingSource | None:
    kind, metadata = str(source.get("type")), source.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if kind == "link":
        key, digest = link_key(str(source.get("name")), str(metadata.get("type") or "individual")), ""
        task = ""
    else:
        name = read_name(source.get("name"))
        if name is None or name.sync_id != sync_id or kind not in ("text", "qna", "file"):
            return None
        key, digest, task = name.key, name.digest, name.task
    return ExistingSource(
        source_id=str(source["id"]),
        kind=kind,
        key=key,
        digest=digest,
        status=str(source.get("status")),
        created_at=str(source.get("createdAt") or ""),
        metadata=metadata,
        task=task,
    )


@dataclass(frozen=True, slots=True)
class LinkRecord:
    """
    A small file that remembers which links a sync made: unlike other sources they have no name to tell.

    A link is written down before it is made, so that a run that was killed in between knows it for its own.
    """

    directory: Directory
    name: str
    agent_id: str
    sync_id: str

    def read(self) -> frozenset[str]:
        """Return the keys of our links; none where there is no file yet."""
        found = self.directory.read_json(self.name)
        if found is None:
            return frozenset()
        links = found.get("links")
        if not isinstance(links, list) or not all(isinstance(key, str) for key in links):
            raise self.directory.damaged(self.name, "it holds no list of links")
        if (found.get("agent_id"), found.get("sync_id")) != (self.agent_id, self.sync_id):
            raise ChatbaseDeclarationError(
                f"The record of links {self.directory.url}/{self.name} belongs to agent "
                f"{found.get('agent_id')} and sync_id {found.get('sync_id')!r}. Give each task a state_path "
                "of its own. Nothing was sent."
            )
        return frozenset(links)

    def write(self, keys: Iterable[str]) -> None:
        """Replace the record."""
        record = {"agent_id": self.agent_id, "sync_id": self.sync_id, "links": sorted(keys)}
        self.directory.write_json(self.name, record)
