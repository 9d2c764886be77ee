"""What is shown of which task, and in which order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from quickstart_demo import report, task_logs
from quickstart_demo.dag_run import DagRun

Section = tuple[str, RenderableType]
CONVERSATIONS_SHOWN = 5
SAYS = {
    "update_agent": "The agent is read first, and what differs is written: a rerun changes nothing.",
    "add_source": "The agent is taught a text. Until it is trained, no answer knows of it.",
    "wait_for_training": "The wait takes no worker, and a state that is not known never counts as trained.",
    "ask": "Each answer costs. Where its reply is lost, the task looks for it before it would ask again.",
    "export": "The manifest is written last: readers see a whole export or none.",
}
"""What each task of the DAG shows."""


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
            name, sections = self._to_show.pop(0)
            (title, content), *more = sections()
            yield title, Group(Text(SAYS[name], "italic"), content)
            yield from more

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
        manifest = json.loads(manifest_of(exported, self._export_folder).read_bytes())
        rows = _rows(self._export_folder, manifest)
        return [
            ("The export's manifest", report.manifest({**exported, **manifest})),
            (
                "The first conversations",
                report.conversations(rows, shown=CONVERSATIONS_SHOWN, total=manifest["rows"]),
            ),
        ]


def manifest_of(exported: Mapping[str, Any], folder: Path) -> Path:
    """Return the file that says what an export wrote."""
    name = str(exported["manifest_path"]).removeprefix(f"{exported['output_path']}/")
    return folder / name


def _rows(folder: Path, manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for exported in manifest["files"]:
        with (folder / exported["path"]).open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
