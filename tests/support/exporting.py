"""Exports as a user runs them, by the operator: in this process, or in one that can be killed."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

NEVER = -1


def export(output_path: Path | str, **arguments: Any) -> dict[str, Any]:
    """Export with the default connection; return what the task returns."""
    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    url = output_path if isinstance(output_path, str) else output_path.as_uri()
    arguments = {"task_id": "export", "start": "2000-01-01", "end": "2100-01-01", **arguments}
    return ChatbaseExportConversationsOperator(output_path=url, **arguments).execute({})


def manifest_at(path: Path) -> dict[str, Any]:
    [manifest] = (path / "_manifests").glob("*.json")
    return json.loads(manifest.read_bytes())


def own_files(path: Path) -> set[str]:
    """Return what an output consists of, by its manifest."""
    watermarks = {f"_watermark/{each.name}" for each in (path / "_watermark").iterdir()}
    manifests = {f"_manifests/{each.name}" for each in (path / "_manifests").iterdir()}
    return {"_output.json", *watermarks, *manifests, *(file["path"] for file in manifest_at(path)["files"])}


def rows_at(path: Path) -> list[dict[str, Any]]:
    """Return the rows that the manifest promises; fail when a file is missing or is not what it promises."""
    rows: list[dict[str, Any]] = []
    for file in manifest_at(path)["files"]:
        content = (path / file["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        found = [json.loads(line) for line in content.decode().split("\n")[:-1]]
        assert len(found) == file["rows"]
        rows += found
    return rows


def shown_at(path: Path) -> list[str] | None:
    """Return the ids that a reader sees, who goes by the manifest; ``None`` without one."""
    return [row["id"] for row in rows_at(path)] if list((path / "_manifests").glob("*.json")) else None


def files_below(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


class ExportProcess:
    """
    An export in a process of its own.

    It stops before the given file takes its place, counted from 0, and waits there to be killed.
    """

    _context = multiprocessing.get_context("forkserver")
    _context.set_forkserver_preload(
        [
            "exporting",
            "airflow_provider_chatbase.operators.exports",
            "airflow_provider_chatbase.hooks.chatbase",
            "airflow.sdk.execution_time.supervisor",
        ]
    )

    def __init__(self, output_path: Path, stop_before_move: int = NEVER, **arguments: Any) -> None:
        self._said, child = self._context.Pipe()
        environment = {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW")}
        self._process = self._context.Process(
            target=_export_and_say, args=(child, environment, output_path, stop_before_move, arguments)
        )
        self._process.start()
        child.close()

    def says(self) -> Any:
        """Return ``stopped``, or the most memory that the process had, in bytes, at its end."""
        return self._said.recv()

    def kill(self) -> None:
        """Let it die at once, with no chance to clean up."""
        self._process.kill()
        self._process.join()


def _export_and_say(
    said: Connection,
    environment: dict[str, str],
    output_path: Path,
    stop_before_move: int,
    arguments: dict[str, Any],
) -> None:
    from airflow_provider_chatbase.files.directory import Directory

    os.environ |= environment
    moves = itertools.count()
    bring_in = Directory._bring_in

    def brought_in(self: Directory, *args: Any) -> None:
        if next(moves) == stop_before_move:
            said.send("stopped")
            time.sleep(600)
        bring_in(self, *args)

    Directory._bring_in = brought_in
    export(output_path, **arguments)
    said.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
