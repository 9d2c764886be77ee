"""An export's table of contents."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from airflow_provider_chatbase.exports.manifest import ExportedFile, Manifest
from airflow_provider_chatbase.exports.window import Window

WINDOW = Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
MANIFEST = Manifest(
    agent_id="agent-ü",
    window=WINDOW,
    files=(ExportedFile("a.jsonl", 2, 100, "aa"), ExportedFile("b.jsonl", 1, 50, "bb")),
    rows=3,
    api_total=3,
)


def test_says_what_the_export_consists_of():
    assert MANIFEST.as_json() == {
        "version": 1,
        "kind": "conversations",
        "format": "jsonl",
        "agent_id": "agent-ü",
        "window": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
        "rows": 3,
        "bytes": 150,
        "api_total": 3,
        "files": [
            {"path": "a.jsonl", "rows": 2, "bytes": 100, "sha256": "aa"},
            {"path": "b.jsonl", "rows": 1, "bytes": 50, "sha256": "bb"},
        ],
    }


def test_the_file_holds_just_that_and_ends_its_last_line():
    assert json.loads(MANIFEST.as_bytes()) == MANIFEST.as_json()
    assert MANIFEST.as_bytes().endswith(b"}\n")


def test_the_same_export_has_the_same_manifest():
    again = Manifest(MANIFEST.agent_id, WINDOW, MANIFEST.files, MANIFEST.rows, MANIFEST.api_total)
    assert again.as_bytes() == MANIFEST.as_bytes()


def test_it_is_small_enough_for_xcom():
    assert len(MANIFEST.as_bytes()) < 2048
