"""What an agent knows: which of its sources are ours, and in which version."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.v2.sources import list_sources
from airflow_provider_chatbase.sync.errors import ChatbaseIncompleteListingError
from airflow_provider_chatbase.sync.naming import read_name
from airflow_provider_chatbase.sync.payloads import link_key

if TYPE_CHECKING:
    from airflow_provider_chatbase.client import Steps
    from airflow_provider_chatbase.client.request import JsonObject

DYING = frozenset({"toBeDeleted", "deleted"})
TRAINING = frozenset({"untrained", "updated"})

_LISTINGS = 3


@dataclass(frozen=True, slots=True)
class ExistingSource:
    """
    A source that the agent has.

    :param source_id: its id.
    :param kind: its type.
    :param key: our key in its name; for a link, what tells it from others.
    :param digest: the beginning of its content's SHA-256, from its name; empty for a link.
    :param status: its training status.
    :param created_at: when it was made, as Chatbase writes it.
    :param metadata: a link's type and options.
    """

    source_id: str
    kind: str
    key: str
    digest: str
    status: str
    created_at: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inventory:
    """
    The sources of an agent.

    :param owned: those of our owner, by their names.
    :param links: all links; whose they are, their names do not say.
    :param foreign: how many others there are.
    :param last_upload: when the newest file was made, of any owner; empty if there is none.
    """

    owned: tuple[ExistingSource, ...] = ()
    links: tuple[ExistingSource, ...] = ()
    foreign: int = 0
    last_upload: str = ""


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
            found.update((str(source.get("id")), source) for source in page.items)
        if len(found) >= total:
            return list(found.values())
    raise ChatbaseIncompleteListingError(
        f"Chatbase counts {total} sources of agent {agent_id} and lists {len(found)}. What is missing from "
        "the list would be written twice or deleted, so nothing was changed. Run the task again.",
        operation="listSources",
    )


def take_inventory(sources: Iterable[JsonObject], owner: str) -> Inventory:
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
        existing = _existing(source, owner)
        if existing is None:
            foreign += 1
        elif existing.kind == "link":
            links.append(existing)
        else:
            owned.append(existing)
    return Inventory(tuple(owned), tuple(links), foreign, max(uploads))


def _existing(source: JsonObject, owner: str) -> ExistingSource | None:
    kind, metadata = str(source.get("type")), source.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if kind == "link":
        key, digest = link_key(str(source.get("name")), str(metadata.get("type") or "individual")), ""
    else:
        name = read_name(source.get("name"))
        if name is None or name.owner != owner or kind not in ("text", "qna", "file"):
            return None
        key, digest = name.key, name.digest
    return ExistingSource(
        source_id=str(source["id"]),
        kind=kind,
        key=key,
        digest=digest,
        status=str(source.get("status")),
        created_at=str(source.get("createdAt") or ""),
        metadata=metadata,
    )
