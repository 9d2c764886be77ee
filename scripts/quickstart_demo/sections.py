"""What is shown of which task, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from quickstart_demo import report, task_logs
from quickstart_demo.dag_run import DagRun

Section = tuple[str, RenderableType]
CONVERSATIONS_SHOWN = 5


class Sections:
    """
    The story of a DAG run, task by task in the DAG's order, each once its task has succeeded.

    :param run: the run.
    :param logs: Airflow's log folder.
    :param export_folder: where the DAG exports to.
    """

    def __init__(self, run: DagRun, logs: Path, export_folder: Path) -> None:
        self._run = run
        self._logs = logs
        self._export_folder = export_folder
        self._succeeded: set[str] = set()
        self._to_show: list[tuple[str, Callable[[], Sequence[Section]]]] = [
            ("update_agent", self._changes),
            ("add_source", self._source),
            ("wait_for_training", self._training),
            ("ask", self._answer),
            ("export", self._export),
        ]

    def after(self, task_id: str) -> Iterator[Section]:
        """Yield the titles and contents that can be shown now that this task has succeeded as well."""
        self._succeeded.add(task_id)
        while self._to_show and self._to_show[0][0] in self._succeeded:
            _, sections = self._to_show.pop(0)
            yield from sections()

    def _changes(self) -> Sequence[Section]:
        return [("What changed on the agent", report.changes(self._run.returned("update_agent")["changed"]))]

    def _source(self) -> Sequence[Section]:
        return [("The source that was added", report.source(self._run.returned("add_source")))]

    def _training(self) -> Sequence[Section]:
        lines = task_logs.provider_lines(self._logs, "wait_for_training")
        return [("The training, as the sensor saw it", report.training(lines))]

    def _answer(self) -> Sequence[Section]:
        question = str(self._run.rendered_fields("ask").get("message"))
        return [("The question and the answer", report.answer(question, self._run.returned("ask")))]

    def _export(self) -> Sequence[Section]:
        exported = self._run.returned("export")
        name = exported["manifest_path"].removeprefix(f"{exported['output_path']}/")
        manifest = json.loads((self._export_folder / name).read_bytes())
        rows = _rows(self._export_folder, manifest)
        return [
            ("The export's manifest", report.manifest({**exported, **manifest})),
            (
                "The first conversations",
                report.conversations(rows, shown=CONVERSATIONS_SHOWN, total=manifest["rows"]),
            ),
        ]


def _rows(folder: Path, manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for exported in manifest["files"]:
        with (folder / exported["path"]).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
