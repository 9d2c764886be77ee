"""A directory's table of contents."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.exports.manifest import (
    Commit,
    ExportedFile,
    Layout,
    Manifest,
    read_manifest,
)
from airflow_provider_chatbase.exports.window import Window

START = datetime(2026, 1, 1, tzinfo=UTC)


def days(first: int, last: int) -> Window:
    return Window(START + timedelta(days=first), START + timedelta(days=last))


def daily(window: Window) -> list[ExportedFile]:
    count = (window.end - window.start).days
    slices = [
        Window(window.start + timedelta(days=n), window.start + timedelta(days=n + 1)) for n in range(count)
    ]
    return [ExportedFile(f"{each.name}.{window.name}", "conversations", 2, 9, "", each) for each in slices]


def test_what_is_written_is_read_again():
    manifest = Manifest(Layout("conversations", "agent-ü", "csv", "gzip", ("messages",), "day"))
    manifest = manifest.with_export(Commit(days(0, 2), 4, 4, 1), daily(days(0, 2)), START)
    manifest = manifest.with_export(Commit(None, 1, 1, 0, "conversation", "c1"), [], None)
    assert read_manifest(manifest.as_bytes()) == manifest
    assert manifest.as_bytes().endswith(b"}\n")


def test_the_order_of_exports_does_not_show():
    layout = Layout("conversations", "a")
    first = (Commit(days(0, 1), 2, 2), daily(days(0, 1)), days(0, 1).end)
    second = (Commit(days(1, 3), 4, 4), daily(days(1, 3)), days(1, 3).end)
    forward = Manifest(layout).with_export(*first).with_export(*second)
    backward = Manifest(layout).with_export(*second).with_export(*first)
    assert forward.as_bytes() == backward.as_bytes()


def test_an_export_of_which_days_were_replaced_keeps_the_rest():
    manifest = Manifest(Layout("conversations", "a", partition_by="day"))
    manifest = manifest.with_export(Commit(days(0, 10), 20, 20), daily(days(0, 10)), None)
    manifest = manifest.with_export(Commit(days(3, 5), 4, 4), daily(days(3, 5)), None)
    assert [(each.window, each.rows, each.api_total) for each in manifest.commits] == [
        (days(0, 3), 6, None),
        (days(3, 5), 4, 4),
        (days(5, 10), 10, None),
    ]
    assert len(manifest.files) == 10
    assert manifest.rows == 20


@pytest.mark.parametrize("content", [b"", b"[]", b'{"version": 7}', b'{"version": 1}', b"\xff", b"null"])
def test_what_is_no_manifest_of_ours(content):
    assert read_manifest(content) is None
