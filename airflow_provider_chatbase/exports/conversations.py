"""Exporting the conversations of one agent and one window."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.v2.conversations import export_conversations
from airflow_provider_chatbase.exports.directory import ExportDirectory, Staging
from airflow_provider_chatbase.exports.errors import ChatbaseIncompleteExportError
from airflow_provider_chatbase.exports.jsonl import encode_line
from airflow_provider_chatbase.exports.manifest import ExportedFile, Manifest
from airflow_provider_chatbase.exports.window import Window

log = logging.getLogger(__name__)

FILE = "conversations.jsonl"
MOST_WALKS = 3
SECONDS_BETWEEN_REPORTS = 10.0


@dataclass(slots=True)
class Walk:
    """
    What one walk over a window has seen.

    :param ids: the conversations that arrived.
    :param outside: how many of them the window's half-open end leaves out.
    :param total_at_start: the API's total when the walk began.
    :param total_at_end: the API's total when it ended.
    :param highest_total: the API's highest total on the way.
    """

    ids: set[str] = field(default_factory=set)
    outside: int = 0
    total_at_start: int | None = None
    total_at_end: int | None = None
    highest_total: int = 0

    def note_total(self, total: int | None) -> None:
        """
        Take note of a page's total.

        :param total: how many the API says there are now.
        """
        if self.total_at_start is None:
            self.total_at_start = total
        self.total_at_end = total
        self.highest_total = max(self.highest_total, total or 0)

    def is_new(self, conversation: dict[str, Any]) -> bool:
        """
        Take note of a conversation.

        :param conversation: as the API gave it.
        :return: whether it came for the first time.
        """
        identity = str(conversation.get("id"))
        if identity in self.ids:
            return False
        self.ids.add(identity)
        return True

    @property
    def complete(self) -> bool:
        """Whether all that the API counted on any page arrived: one that was removed may hide a lost one."""
        return len(self.ids) >= self.highest_total

    @property
    def complete_at_one_time(self) -> bool:
        """Whether all that the API had when the walk began, or when it ended, arrived."""
        return len(self.ids) >= min(self.total_at_start or 0, self.total_at_end or 0)

    @property
    def api_total(self) -> int | None:
        """How many the API says there are in the half-open window."""
        return None if self.total_at_end is None else self.total_at_end - self.outside


def export_window(
    client: ChatbaseClient, agent_id: str, window: Window, directory: ExportDirectory
) -> Manifest:
    """
    Export one window: files first, the manifest last; a rerun replaces it.

    :param client: the client, speaking API v2.
    :param agent_id: whose conversations.
    :param window: created when.
    :param directory: where to.
    :return: the manifest, as it was written.
    :raises ChatbaseIncompleteExportError: when fewer conversations arrive than the API's total.
    :raises ChatbaseOutputError: when the directory cannot be written.
    :raises ChatbaseError: when the API refuses. In each case what was there before is still there.
    """
    with directory.staging() as staging:
        walk, file = _read_until_complete(client, agent_id, window, staging)
        manifest = Manifest(agent_id, window, (file,), file.rows, walk.api_total)
        directory.publish(staging, manifest)
    return manifest


def _read_until_complete(
    client: ChatbaseClient, agent_id: str, window: Window, staging: Staging
) -> tuple[Walk, ExportedFile]:
    """Read the window again when it changed under the walk: pages shift when conversations come and go."""
    for attempt in range(1, MOST_WALKS + 1):
        walk = Walk()
        with staging.open(FILE) as file:
            for conversation in _walk_window(client, agent_id, window, walk):
                file.write_row(encode_line(conversation))
        if walk.complete or (attempt == MOST_WALKS and walk.complete_at_one_time):
            return walk, file.summary()
        log.warning(
            "Walk %d of %d brought %d conversations of %s that the API counts.",
            attempt,
            MOST_WALKS,
            len(walk.ids),
            walk.total_at_end,
        )
    raise ChatbaseIncompleteExportError(
        f"The export is not complete: the API counts {walk.total_at_end} conversations of agent {agent_id} "
        f"from {window.as_json()['start']} to {window.as_json()['end']}, and {len(walk.ids)} arrived, in "
        f"each of {MOST_WALKS} walks. Nothing was exported; run the task again, and report it to Chatbase "
        "if it stays.",
        operation="exportConversations",
    )


def _walk_window(
    client: ChatbaseClient, agent_id: str, window: Window, walk: Walk
) -> Iterator[dict[str, Any]]:
    # The API's end is inclusive, and ours is not: what was created at the very end is left out here.
    reported = time.monotonic()
    for page in client.pages(export_conversations(agent_id, start=window.start, end=window.end)):
        walk.note_total(page.total)
        for conversation in page.items:
            if not walk.is_new(conversation):
                continue
            if window.holds(conversation.get("createdAt")):
                yield conversation
            else:
                walk.outside += 1
        if time.monotonic() - reported >= SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            log.info("%d of %s conversations read.", len(walk.ids), page.total)
