"""A simulator, a directory, and a way to export from one into the other without Airflow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client import AsyncChatbaseClient, RetryPolicy
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.exports.export import Exported, ExportSettings, export
from airflow_provider_chatbase.exports.files_target import FileSettings, FilesTarget
from airflow_provider_chatbase.exports.manifest import read_watermark
from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Simulator

PATIENT = RetryPolicy(max_attempts=8, first_wait=0.01, longest_backoff=0.05)
LOOK = ("file_format", "compression", "tables", "partition_by", "csv_style")


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    with ExitStack() as stack:
        yield lambda **switches: stack.enter_context(Simulator(**{"conversations": 200, **switches}))


@dataclass
class Exports:
    """Exports of one simulator into one directory."""

    simulator: Simulator
    directory: Directory

    def settings(self, **more: Any) -> ClientSettings:
        return ClientSettings(api_key=self.simulator.api_key, host=self.simulator.url, **more)

    def target(self, settings: ExportSettings, **look: Any) -> FilesTarget:
        return FilesTarget(self.directory, settings, FileSettings(**look))

    def run(self, window: Window | None = None, **more: Any) -> Exported:
        async def client() -> AsyncChatbaseClient:
            return AsyncChatbaseClient(self.settings(), PATIENT)

        look = {name: more.pop(name) for name in LOOK if name in more}
        named = {"kind": "conversations", "agent_id": self.simulator.agent_id, **more}
        settings = ExportSettings(window=window, **named)
        return export(client, self.target(settings, **look), settings)

    @property
    def path(self) -> Path:
        return Path(self.directory.root)

    def truth(self, window: Window | None = None) -> dict[str, Any]:
        """Return the conversations of a window: by id, the ids of their messages."""
        return {
            each.id: [message.id for message in each.messages]
            for each in self.simulator.store.conversations(self.simulator.agent_id)
            if window is None or window.holds(each.created_at)
        }

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(each.read_bytes()) for each in sorted((self.path / "_manifests").glob("*.json"))]

    def objects(self) -> list[dict[str, Any]]:
        """Return what a reader sees who goes by the manifests; fail when one promises what is not there."""
        found = []
        for manifest in self.manifests()[::-1]:
            for file in manifest["files"]:
                content = (self.path / file["path"]).read_bytes()
                assert hashlib.sha256(content).hexdigest() == file["sha256"]
                assert len(content) == file["bytes"]
                lines = content.splitlines()
                assert len(lines) == file["rows"]
                found += [json.loads(line) for line in lines]
        return found

    def seen(self) -> dict[str, Any]:
        """Return the exported conversations as :meth:`truth` does; fail when one is there twice."""
        found = {each["id"]: [message["id"] for message in each["messages"]] for each in self.objects()}
        assert len(found) == len(self.objects())
        return found

    def files(self) -> dict[str, bytes]:
        """Return the files with rows."""
        return {name: content for name, content in self.everything().items() if not name.startswith("_")}

    @property
    def watermark(self) -> datetime | None:
        return read_watermark(self.directory, "created")

    def everything(self) -> dict[str, bytes]:
        return {
            str(each.relative_to(self.path)): each.read_bytes()
            for each in self.path.rglob("*")
            if each.is_file()
        }


@pytest.fixture
def exports(tmp_path: Path, simulate: Callable[..., Simulator]) -> Callable[..., Exports]:
    def make(simulator: Simulator | None = None, path: str = "out", **switches: Any) -> Exports:
        target = tmp_path / path
        directory = Directory(LocalFileSystem(), str(target), f"file://{target}")
        return Exports(simulator or simulate(**switches), directory)

    return make


@pytest.fixture
def year() -> Window:
    """Everything that a simulator has at its start."""
    today = floor_day(datetime.now(tz=UTC))
    return Window(today.replace(year=today.year - 1, day=1), today)
