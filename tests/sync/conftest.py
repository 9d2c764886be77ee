"""A simulator, a folder and a way to sync them; uploads are not paced unless a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings, RetryPolicy
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Simulator
from airflow_provider_chatbase.sync.apply import SyncPatience
from airflow_provider_chatbase.sync.declaration import Declaration, combine, read_folder, read_records
from airflow_provider_chatbase.sync.inventory import LinkRecord
from airflow_provider_chatbase.sync.plan import SyncOptions
from airflow_provider_chatbase.sync.sync import SourceSync, SyncReport

QUICK = SyncPatience(busy=5.0, poll=0.02, doubt=0.05)
WRITES = ("POST", "PUT", "PATCH", "DELETE")


class Desk:
    """One agent on a simulator, and what we do with its sources."""

    def __init__(self, simulator: Simulator, client: ChatbaseClient, folder: Path) -> None:
        self.simulator = simulator
        self.client = client
        self.folder = folder
        self.agent_id = simulator.agent_id

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def declare(self, records: Sequence[Any] = (), **folder: Any) -> Declaration:
        root = str(self.folder)
        return combine(
            [read_folder(Directory(LocalFileSystem(), root, root), **folder), read_records(records)]
        )

    def sync(self, records: Sequence[Any] = (), *, sync_id: str = "docs", **options: Any) -> SyncReport:
        return self.syncer(sync_id=sync_id, **options).apply(self.declare(records))

    def syncer(
        self, *, sync_id: str = "docs", record: bool = False, patience: SyncPatience = QUICK, **options: Any
    ) -> SourceSync:
        parent = str(self.folder.parent)
        directory = Directory(LocalFileSystem(), parent, parent)
        remembered = LinkRecord(directory, "links.json", self.agent_id, sync_id) if record else None
        return SourceSync(
            self.client, self.agent_id, SyncOptions(sync_id, **options), remembered, 0.0, patience
        )

    def settle(self) -> None:
        """Let everything be trained."""
        self.simulator.advance(60)

    @property
    def ours(self) -> dict[str, Any]:
        """The sources that a sync made, by name."""
        sources = self.simulator.store.sources(self.agent_id)
        return {source.name: source for source in sources if source.name.startswith("docs:")}

    @property
    def keys(self) -> list[str]:
        return sorted(name.removeprefix("docs:").rsplit(" #", 1)[0] for name in self.ours)

    def links(self) -> list[str]:
        sources = self.simulator.store.sources(self.agent_id)
        return sorted(source.name for source in sources if source.type == "link" and "mine" in source.name)

    @property
    def writes(self) -> list[str]:
        return [request.operation for request in self.simulator.requests if request.method in WRITES]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Set up a desk with the given switches of the simulator."""
    with ExitStack() as stack:

        def set_up(max_attempts: int = 4, **switches: Any) -> Desk:
            defaults = {
                "conversations": 0,
                "leads": 0,
                "contacts": 0,
                "upload_limit": 1000,
                "training_seconds": 0,
            }
            simulator = stack.enter_context(Simulator(**{**defaults, **switches}))
            settings = ClientSettings("simulator-key", simulator.url, simulator.url, timeout=5.0)
            policy = RetryPolicy(max_attempts=max_attempts, first_wait=0.01, longest_backoff=0.05)
            client = stack.enter_context(ChatbaseClient(settings, policy))
            folder = tmp_path / "docs"
            folder.mkdir(exist_ok=True)
            return Desk(simulator, client, folder)

        yield set_up
