"""What the provider promises, put to the proof: a lost reply, a killed export, and the books at the end."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil

from quickstart_demo.errors import DemoError

EXPORT = "exportConversations"
PAGES_BEFORE = 6  # of the export, that arrive before one hangs
FAULTS = (
    {"kind": "reset_after", "operation": "chatWithAgent", "times": 1},
    {"kind": "slow", "operation": EXPORT, "skip": PAGES_BEFORE, "times": 1, "seconds": 600, "after": False},
)


@dataclasses.dataclass(frozen=True)
class Proof:
    """One row: what is promised, what was done against it, what came of it."""

    promise: str
    done: str
    outcome: str


class Promises:
    """
    Do harm to one run of the DAG, and read in the simulator's books what came of it.

    :param base_url: of the simulator.
    """

    def __init__(self, base_url: str) -> None:
        self._http = httpx.Client(base_url=f"{base_url}/_simulator", trust_env=False, timeout=30)
        self._port = httpx.URL(base_url).port
        self._pages_before_kill: int | None = None
        # Airflow 3.0 does not try a killed task again by itself.
        self._may_kill = not version("apache-airflow").startswith("3.0.")
        self._there = self._books()["agents"][0]["conversations"]  # an export ends where its run began
        self._http.post("/faults", json=list(FAULTS[: 1 + self._may_kill])).raise_for_status()

    def kill_the_export(self, folder: Path) -> str | None:
        """Kill the export's process once it is half-way, and say so; None where it is not."""
        if not self._may_kill or self._pages_before_kill is not None or not self._export_hangs():
            return None
        self._pages_before_kill = self._requests(EXPORT)
        for process in self._connected():
            process.send_signal(signal.SIGKILL)
        _hold(not list(folder.glob("_manifests/*")), "half an export has a manifest")
        return f"The demo kills the export with kill -9, half-way, after {self._pages_before_kill} pages"

    def proofs(
        self, answer: Mapping[str, Any], export_folder: Path, manifest: Mapping[str, Any]
    ) -> list[Proof]:
        """Compare what the run left behind with the simulator's books; a promise that is broken raises."""
        books = self._books()
        there = self._there
        ids = [json.loads(line)["id"] for line in _lines(export_folder, manifest)]
        charged, asked = books["prompts_charged"], self._requests("chatWithAgent")
        _hold(answer["recovered"] and charged == asked == 1, f"asked {asked} times, charged {charged} times")
        _hold(len(ids) == len(set(ids)) == there, f"{len(ids)} exported, {there} there")
        found = [
            Proof(
                "Each answer is paid for once",
                "The reply was cut off after Chatbase had answered and charged",
                f"Found again, not asked again: {asked} question, {charged} answer charged",
            )
        ]
        if self._pages_before_kill is not None:
            pages = self._requests(EXPORT) - self._pages_before_kill
            found.append(
                Proof(
                    "A killed export goes on",
                    f"kill -9 after {self._pages_before_kill} pages",
                    f"Airflow tried it again, and it asked for {pages} more; no manifest showed half of it",
                )
            )
        return [
            *found,
            Proof(
                "No conversation is lost or doubled",
                "All of the above",
                f"{there:,} at Chatbase, {len(ids):,} exported, {len(set(ids)):,} different ones",
            ),
        ]

    def _export_hangs(self) -> bool:
        return any(each["kind"] == "slow" and each["fired"] for each in self._books()["faults"])

    def _connected(self) -> list[psutil.Process]:
        """Find the processes below this one that hold a connection to the simulator: the task alone does."""
        found = [
            process
            for process in psutil.Process().children(recursive=True)
            for connection in _connections(process)
            if connection.raddr and connection.raddr.port == self._port
        ]
        if not found:
            raise DemoError("The export's process could not be found, to kill it.")
        return list(dict.fromkeys(found))

    def _books(self) -> dict[str, Any]:
        books: dict[str, Any] = self._http.get("/state").raise_for_status().json()
        return books

    def _requests(self, operation: str) -> int:
        return sum(self._books()["requests"].get(operation, {}).values())


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections(kind="tcp")) if process.pid != os.getpid() else []
    except psutil.Error:
        return []


def _lines(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    return [
        line for file in manifest["files"] for line in (folder / file["path"]).read_text("utf-8").splitlines()
    ]


def _hold(kept: bool, seen: str) -> None:
    if not kept:
        raise DemoError(f"A promise is broken: {seen}.")
