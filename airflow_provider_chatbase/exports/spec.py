"""What an export is asked to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.exports.formats import Format, open_format
from airflow_provider_chatbase.exports.manifest import CREATED, Commit, Layout, Manifest
from airflow_provider_chatbase.exports.redaction import Redaction
from airflow_provider_chatbase.exports.schema import SCHEMA_VERSION
from airflow_provider_chatbase.exports.window import Window, floor_day


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """
    An export.

    :param layout: how its files look, and whose conversations they hold.
    :param window: what it covers; ``None`` for a single conversation.
    :param by: what the window speaks of: ``created``, ``updated``, or ``conversation``.
    :param conversation_id: the single conversation.
    :param api_version: the API version that is spoken.
    :param channels: only these; all when empty.
    :param summary: leave the messages out.
    :param exclude_user_prefix: leave out conversations whose user begins with this.
    :param redaction: what is hidden.
    :param escape_formulas: for CSV.
    :param concurrency: how many parts are read at the same time.
    :param attempt_of: stands for the window where it ends at the present, so that a retry finds the attempt
        before it; the run's id.
    """

    layout: Layout
    window: Window | None
    by: str = CREATED
    conversation_id: str | None = None
    api_version: str = "v2"
    channels: tuple[str, ...] = ()
    summary: bool = False
    exclude_user_prefix: str | None = None
    redaction: Redaction = field(default_factory=lambda: Redaction({}))
    escape_formulas: bool = True
    concurrency: int = 32
    attempt_of: str | None = None

    def open_format(self) -> Format:
        """Return the format of its files."""
        return open_format(
            self.layout.file_format,
            self.layout.kind,
            self.layout.agent_id,
            None if self.layout.file_format == "jsonl" else self.layout.tables,
            self.layout.compression,
            self.escape_formulas,
        )

    def fingerprint(self) -> str:
        """Return a name for everything that the export's bytes depend on."""
        window = self.window.as_json() if self.window and self.attempt_of is None else self.attempt_of
        facts = [
            SCHEMA_VERSION,
            self.layout.as_json(),
            window,
            self.by,
            self.conversation_id,
            self.api_version,
            self.channels,
            self.summary,
            self.exclude_user_prefix,
            self.redaction.fingerprint(),
            self.escape_formulas,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

    def commit(self, rows: int, api_total: int | None, excluded: int) -> Commit:
        """Describe the finished export."""
        return Commit(self.window, rows, api_total, excluded, self.by, self.conversation_id)

    def facts(self) -> Mapping[str, Any]:
        """Return what the manifest says besides: what was hidden."""
        return {"redacted": dict(sorted(self.redaction.actions.items()))} if self.redaction.actions else {}


def cover_files(window: Window, manifest: Manifest | None, by: str, partition_by: str | None) -> Window:
    """
    Widen a window so that files of earlier exports are replaced whole, or not at all.

    Else conversations of the part that both have would be there twice.
    """
    if by != CREATED:
        return window
    if partition_by == "day":
        window = Window(floor_day(window.start), window.end)
    there = [file.window for file in manifest.files if file.by == by and file.window] if manifest else []
    widened = True
    while widened:
        widened = False
        for each in there:
            if window.meets(each) and not window.covers(each):
                window = Window(min(window.start, each.start), max(window.end, each.end))
                widened = True
    return window
