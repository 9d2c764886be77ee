"""What an export consists of. It is written last: where it is, the export is whole."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from airflow_provider_chatbase.exports.window import Window

MANIFEST = "_manifest.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """
    A file of an export.

    :param path: relative to the export's directory.
    :param rows: how many rows it has.
    :param size: its bytes.
    :param sha256: the checksum of its bytes.
    """

    path: str
    rows: int
    size: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"path": self.path, "rows": self.rows, "bytes": self.size, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Manifest:
    """
    An export's table of contents. It holds no time of writing, so the same rows give the same bytes.

    :param agent_id: whose conversations.
    :param window: created when.
    :param files: the files, relative to the manifest.
    :param rows: conversations in all files.
    :param api_total: how many the API says there are in the window; ``None`` where it does not say.
    """

    agent_id: str
    window: Window
    files: tuple[ExportedFile, ...]
    rows: int
    api_total: int | None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "version": VERSION,
            "kind": "conversations",
            "format": "jsonl",
            "agent_id": self.agent_id,
            "window": self.window.as_json(),
            "rows": self.rows,
            "bytes": sum(file.size for file in self.files),
            "api_total": self.api_total,
            "files": [file.as_json() for file in self.files],
        }

    def as_bytes(self) -> bytes:
        """Return the manifest file's content."""
        return json.dumps(self.as_json(), indent=2, ensure_ascii=False).encode() + b"\n"
