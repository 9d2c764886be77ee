"""What tasks wrote into their log files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

PROVIDER = "airflow_provider_chatbase"


class Line(NamedTuple):
    """One thing that the provider logged."""

    time: datetime
    text: str


def provider_lines(logs: Path, task_id: str) -> list[Line]:
    """Return what the provider logged for a task, in its worker and in the triggerer, in order of time."""
    lines = [
        Line(datetime.fromisoformat(record["timestamp"]), record["event"])
        for record in _records(logs, task_id)
        if PROVIDER in record.get("logger", "")
    ]
    return sorted(lines)


def error_line(logs: Path, task_id: str) -> str | None:
    """Return the last error that ended a task, None when its log has none."""
    errors = [
        f"{details[0]['exc_type']}: {details[0]['exc_value']}"
        for record in _records(logs, task_id)
        if (details := record.get("error_detail"))
    ]
    return errors[-1] if errors else None


def _records(logs: Path, task_id: str) -> Iterator[dict[str, Any]]:
    for file in sorted(logs.glob(f"dag_id=*/run_id=*/task_id={task_id}/attempt=*.log*")):
        for line in file.read_text(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # what a process printed outside of the log
            if isinstance(record, dict):
                yield record
