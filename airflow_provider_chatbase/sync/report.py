"""What a sync did, or would do: Markdown to read, JSON to pass on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.sync.apply import SyncResult
from airflow_provider_chatbase.sync.plan import SyncPlan

MOST_NAMES = 3
MOST_IDS = 15
NAME_ROOM = 40
MOST_LINES = 200
TEXT_ROOM = 160


@dataclass(frozen=True, slots=True)
class SyncReport:
    """A sync from beginning to end."""

    agent_id: str
    sync_id: str
    plan: SyncPlan
    result: SyncResult | None = None  # what became of the plan; None where it was only planned

    def sections(self) -> dict[str, list[tuple[str, str]]]:
        """Return names and reasons by what became of them."""
        plan, result = self.plan, self.result
        problems = [(problem.key, problem.reason) for problem in plan.problems]
        if result is None:
            written: dict[str, list[tuple[str, str]]] = {
                "create": [(each.declared.key, each.declared.kind) for each in plan.creates],
                "update": [(each.declared.key, each.reason) for each in plan.updates],
                "delete": [(each.existing.key, each.reason) for each in plan.deletes],
                "failed": problems,
            }
        else:
            written = {
                "created": [(each.key, each.note or each.kind) for each in result.of("create")],
                "updated": [(each.key, each.note) for each in result.of("update")],
                "deleted": [(each.key, each.note) for each in result.of("delete")],
                "failed": [*problems, *((each.key, each.error or "") for each in result.failed)],
            }
        return {
            **written,
            "unchanged": [(each.key, "") for each in plan.unchanged],
            "kept": [(key, "no longer declared; prune is off or withheld") for key in self._kept()],
            "skipped": [(key, "not a format for Chatbase") for key in plan.skipped],
            "failed_training": [(each.key, f"since {each.created_at}") for each in plan.failed_training],
        }

    def _kept(self) -> list[str]:
        kept = [each.key for each in self.plan.kept]
        if self.result is not None and self.result.withheld:
            kept += [each.existing.key for each in self.plan.deletes if each.pruned]
        return kept

    def _failed_training(self) -> list[JsonObject]:
        return [{"key": each.key, "since": each.created_at} for each in self.plan.failed_training]

    def as_markdown(self) -> str:
        """Return the report for people."""
        title = "Plan" if self.result is None else "Sync"
        lines = [f"## {title} of the sources of agent {self.agent_id}, sync_id {self.sync_id}", ""]
        sections = self.sections()
        lines += ["| what | sources |", "|---|---|"]
        lines += [f"| {name} | {len(entries)} |" for name, entries in sections.items()]
        lines += [f"| of others, not touched | {self.plan.foreign} |", ""]
        for name, entries in sections.items():
            if name not in ("unchanged", "skipped"):
                lines += _section(name, entries)
        if self.withheld:
            lines.append(f"**Nothing was deleted:** {self.withheld}.")
        if self.result is not None and self.result.stopped:
            lines.append(f"**Stopped early:** {self.result.stopped}")
        return "\n".join(lines).rstrip()

    def as_json(self) -> JsonObject:
        """Return everything, for a file."""
        return {
            "agent_id": self.agent_id,
            "sync_id": self.sync_id,
            "dry_run": self.result is None,
            **{
                name: [{"key": key, "note": note} for key, note in entries]
                for name, entries in self.sections().items()
            },
            "failed_training": self._failed_training(),
            "foreign": self.plan.foreign,
            "withheld": self.withheld,
            "stopped": self.result.stopped if self.result is not None else "",
            "source_ids": self.result.written_ids if self.result is not None else [],
        }

    def summary(self) -> JsonObject:
        """Return counts and the first names, under 2 kB, for XCom."""
        sections = self.sections()
        summary: JsonObject = {
            "agent_id": self.agent_id,
            "sync_id": self.sync_id,
            "dry_run": self.result is None,
            "in_step": self.plan.in_step,
            **{name: len(entries) for name, entries in sections.items()},
            "failed_training": [
                {**each, "key": _short(each["key"], NAME_ROOM)}
                for each in self._failed_training()[:MOST_NAMES]
            ],
            "foreign": self.plan.foreign,
            "first": {
                name: [_short(key, NAME_ROOM) for key, _ in entries[:MOST_NAMES]]
                for name, entries in sections.items()
                if entries and name not in ("unchanged", "skipped", "kept", "failed_training")
            },
        }
        if self.withheld:
            summary["withheld"] = _short(self.withheld, TEXT_ROOM)
        if self.result is not None and len(self.result.written_ids) <= MOST_IDS:
            summary["source_ids"] = self.result.written_ids
        return summary

    def in_words(self) -> str:
        """Say in a sentence or two what was done, what was not, and why."""
        to_do = ("create", "update", "delete")
        counts = ", ".join(
            f"{len(entries)} {'to ' if name in to_do else ''}{name.replace('_', ' ')}"
            for name, entries in self.sections().items()
            if entries
        )
        head = "Planned only, nothing was sent" if self.result is None else "Synced"
        undone = self.failures() or ("Nothing is left undone" if self.result is not None else "")
        said = f"{head}: {counts or 'no sources are declared or there'}. {undone}"
        return f"{said.rstrip(' .')}."

    def failures(self) -> str:
        """Name what failed and why; empty if nothing did."""
        failed = self.sections()["failed"]
        sentences = [f"{_short(key, 80)}: {why}" for key, why in failed[:10]]
        if len(failed) > 10:
            sentences.append(f"and {len(failed) - 10} more")
        if self.withheld:
            sentences.append(f"Nothing was deleted: {self.withheld}")
        if self.result is not None and self.result.stopped:
            sentences.append("The rest was not tried")
        return "; ".join(sentences)

    @property
    def withheld(self) -> str:
        """Why deletes that were asked for were not done; empty if they were."""
        return self.plan.withheld or (self.result.withheld if self.result is not None else "")

    @property
    def mendable(self) -> bool:
        """Whether another run may mend what failed, without anybody changing something."""
        return self.result is not None and any(each.mendable for each in self.result.failed)


def _section(name: str, entries: Sequence[tuple[str, str]]) -> Iterable[str]:
    if not entries:
        return []
    lines = [f"### {name} ({len(entries)})", ""]
    lines += [f"- `{key}`" + (f": {note}" if note else "") for key, note in entries[:MOST_LINES]]
    if len(entries) > MOST_LINES:
        lines.append(f"- … and {len(entries) - MOST_LINES} more")
    return [*lines, ""]


def _short(text: str, room: int) -> str:
    """Shorten a text to what it takes as JSON, where a letter beyond ASCII takes six."""
    if len(json.dumps(text)) <= room + len('""'):
        return text
    while len(json.dumps(text)) + len("...") > room + len('""'):
        text = text[:-1]
    return f"{text}..."
