"""What the demo shows of each task, for a reader who sees it for the first time."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from quickstart_demo.promises import Proof
from quickstart_demo.task_logs import Line

DAG_RUN = "DAG run"


def changes(changed: Mapping[str, Mapping[str, Any]]) -> RenderableType:
    """Show which settings of the agent changed."""
    if not changed:
        return Text("Nothing: the agent had these settings already.")
    table = Table("setting", "before", "after")
    for name, values in changed.items():
        table.add_row(
            Text(name, "bold"), Text(_plain(values["from"]), "red"), Text(_plain(values["to"]), "green")
        )
    return table


def source(added: Mapping[str, Any]) -> RenderableType:
    """Show the knowledge that was added to the agent."""
    return Text.assemble(
        (str(added.get("name")), "bold"),
        f" ({added.get('type')}, {added.get('size')} bytes), id {added.get('id')}",
    )


def training(lines: Sequence[Line]) -> RenderableType:
    """Show the states of the training as the sensor and its trigger logged them, the same in a row once."""
    table = Table("from (UTC)", "to (UTC)", "seen")
    for text, same in itertools.groupby(lines, key=lambda line: line.text):
        times = [f"{line.time:%H:%M:%S}" for line in same]
        table.add_row(times[0], times[-1], Text(text))
    return table


def answer(question: str, reply: Mapping[str, Any]) -> RenderableType:
    """Show a question and what the agent answered."""
    charged = reply.get("credits")
    cost = "not told of an answer that was found again" if charged is None else charged
    facts = f"credits: {cost}, finish reason: {reply.get('finish_reason')}"
    return Group(
        Panel(Text(question, "cyan"), title="question", title_align="left"),
        Panel(Text(str(reply.get("text")), "green"), title="answer", title_align="left"),
        Text(f"{facts}, conversation {reply.get('conversation_id')}", "dim"),
    )


def manifest(exported: Mapping[str, Any]) -> RenderableType:
    """Show what the export left behind."""
    window = exported["window"]
    table = Table.grid(padding=(0, 2))
    table.add_row("window", Text(f"{window['start']} to {window['end']}"))
    table.add_row("conversations", Text(f"{exported['rows']:,}", "bold"))
    table.add_row("bytes", Text(f"{exported['bytes']:,}"))
    for file in exported["files"]:
        table.add_row("file", Text(f"{file['path']}, {file['rows']:,} rows, SHA-256 {file['sha256'][:16]}…"))
    table.add_row("manifest", Text(str(exported["manifest_path"])))
    return table


def conversations(rows: Iterable[Mapping[str, Any]], shown: int, total: int) -> RenderableType:
    """Show conversations as a table."""
    table = Table("created (UTC)", "source", "status", "messages", "first message")
    for row in itertools.islice(rows, shown):
        messages = row.get("messages") or []
        table.add_row(
            Text(_time(row.get("createdAt"))),
            Text(str(row.get("source"))),
            Text(str(row.get("status"))),
            str(len(messages)),
            Text(_first_text(messages), overflow="ellipsis", no_wrap=True),
        )
    return (
        Group(table, Text(f"The first {min(shown, total)} of {total:,}.", "dim"))
        if total
        else Text("None in this window.")
    )


def proofs(found: Iterable[Proof]) -> RenderableType:
    """Show what is promised, what was done against it, and what came of it."""
    table = Table("promise", "what was done to it", "what came of it", show_lines=True)
    for each in found:
        table.add_row(Text(each.promise, "bold"), Text(each.done, "yellow"), Text(each.outcome, "green"))
    return table


def draw(content: RenderableType, file: Path) -> None:
    """Draw something as on a terminal, in a picture that loads nothing from elsewhere."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(content)
    without_fonts = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(file), title="scripts/demo", code_format=without_fonts, unique_id="demo")


def seconds(phases: Mapping[str, float], tasks: Mapping[str, float]) -> RenderableType:
    """Show where the time went: in all, and within the DAG run."""
    between_tasks = phases[DAG_RUN] - sum(tasks.values())
    return Group(
        Text(f"{_seconds(phases)}; {sum(phases.values()):.1f} s in all"),
        Text(f"in the DAG run: {_seconds(tasks)}, Airflow between the tasks {between_tasks:.1f} s", "dim"),
    )


def _seconds(spent: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _time(epoch_seconds: Any) -> str:
    if not isinstance(epoch_seconds, int | float):
        return str(epoch_seconds)
    return f"{datetime.fromtimestamp(epoch_seconds, UTC):%Y-%m-%d %H:%M}"


def _first_text(messages: Sequence[Mapping[str, Any]]) -> str:
    return next(_texts(messages), "")


def _texts(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for message in messages:
        for part in message.get("parts") or []:
            if part.get("type") == "text":
                yield " ".join(part["text"].split())
