"""A staged export takes its place: its files first, the manifest in one move, the files it replaces last."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_provider_chatbase.exports.directory import ExportDirectory
from airflow_provider_chatbase.exports.errors import ChatbaseOutputError, ChatbaseReplacedExportError
from airflow_provider_chatbase.exports.manifest import (
    CREATED,
    MANIFEST,
    Commit,
    ExportedFile,
    Layout,
    Manifest,
)
from airflow_provider_chatbase.exports.staging import Staging, clear_leftovers, process_runs

log = logging.getLogger(__name__)

LOCK = "_publishing.lock"
LOCK_PATIENCE = 120.0
"""Seconds after which a lock that nobody renews counts as left behind."""
LOCK_RENEWAL = 20.0
LOCK_POLL = 0.5


class Lock:
    """The right to change the manifest."""

    def __init__(self, directory: ExportDirectory) -> None:
        self._directory = directory
        self._token = f"{uuid.uuid4().hex} {os.getpid()} {socket.gethostname()} ".encode()
        self._renewed = time.monotonic()

    def take(self) -> None:
        """Wait for the lock; one whose process has died, or that nobody renews, is broken."""
        seen, since = None, time.monotonic()
        while True:
            try:
                self._directory.create(LOCK, self._token)
            except FileExistsError:
                held = self._directory.read_if_there(LOCK)
                if held != seen:
                    seen, since = held, time.monotonic()
                if time.monotonic() - since > LOCK_PATIENCE or _holder_died(held):
                    log.warning("Breaking the lock of a run that died: %s/%s", self._directory.url, LOCK)
                    self._directory.remove(LOCK)
                    continue
                time.sleep(LOCK_POLL)
            else:
                self._renewed = time.monotonic()
                return

    def renew(self) -> None:
        """Show that we are alive."""
        if time.monotonic() - self._renewed < LOCK_RENEWAL:
            return
        self._require()
        self._token += b"."
        self._directory.put(LOCK, self._token)
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Give the lock back."""
        with suppress(OSError):
            if self._directory.read_if_there(LOCK) == self._token:
                self._directory.remove(LOCK)

    def _require(self) -> None:
        if self._directory.read_if_there(LOCK) != self._token:
            raise ChatbaseReplacedExportError(
                f"Another run took over {self._directory.url} while this one was publishing. "
                "Run the task again."
            )


def _holder_died(token: bytes | None) -> bool:
    """Say whether a lock is held by a process of this machine that is no more."""
    _, pid, host, *_ = [*(token or b"").decode(errors="replace").split(" "), "", "", ""]
    return host == socket.gethostname() and pid.isdigit() and not process_runs(int(pid))


@contextmanager
def exclusive(directory: ExportDirectory) -> Iterator[Lock]:
    """Let nobody else change the manifest meanwhile."""
    lock = Lock(directory)
    lock.take()
    try:
        yield lock
    finally:
        lock.release()


def publish(
    directory: ExportDirectory,
    staging: Staging,
    layout: Layout,
    commit: Commit,
    outputs: Mapping[str, ExportedFile],
    watermark: datetime | None,
    extra: Mapping[str, Any],
) -> Manifest:
    """Publish an export."""
    with exclusive(directory) as lock:
        old = directory.read_manifest()
        base = base_manifest(directory, old, layout, commit)
        _require_cover(base, commit)
        new = replace(base.with_export(commit, outputs.values(), watermark), extra=extra)
        replace_manifest(directory, staging, lock, old, new, outputs)
        clear_leftovers(directory, staging.name)
    staging.remove()
    return new


def replace_manifest(
    directory: ExportDirectory,
    staging: Staging,
    lock: Lock,
    old: Manifest | None,
    new: Manifest,
    outputs: Mapping[str, ExportedFile],
) -> None:
    """Bring in the new files, then the manifest, then remove what it no longer names."""
    there = old.paths if old else set()
    obsolete = (there | staging.noted_commit()) - new.paths
    coming = {name: file.path for name, file in outputs.items() if file.path not in there}
    staging.note_commit({*obsolete, *coming.values()})
    try:
        for name, path in coming.items():
            lock.renew()
            directory.move(name, path)
        directory.put(MANIFEST, new.as_bytes())
    except BaseException:
        _withdraw(directory, coming.values())
        raise
    for path in obsolete:
        lock.renew()
        directory.remove_file_and_empty_parents(path)


def _withdraw(directory: ExportDirectory, paths: Iterable[str]) -> None:
    """Remove what came, unless the manifest arrived although its writing failed, or cannot be read now."""
    with suppress(OSError):  # what stays is noted, and removed by the next attempt
        for path in {*paths} - directory.published():
            directory.remove_file_and_empty_parents(path)


def base_manifest(
    directory: ExportDirectory, old: Manifest | None, layout: Layout, commit: Commit
) -> Manifest:
    """Return the manifest to add an export to."""
    if old is None:
        return Manifest(layout)
    if old.layout == layout:
        return old
    if (old.layout.kind, old.layout.agent_id) != (layout.kind, layout.agent_id):
        raise ChatbaseOutputError(
            f"{directory.url} holds {old.layout.kind} of agent {old.layout.agent_id}, and this export is of "
            f"{layout.kind} of agent {layout.agent_id}. Give each a path of its own, for example with "
            "{agent_id} in output_path. Nothing was exported."
        )
    if all(each.window and commit.window and commit.window.covers(each.window) for each in old.commits):
        return Manifest(layout, watermark=old.watermark)
    theirs, ours = old.layout.as_json(), layout.as_json()
    differing = [name for name in ours if ours[name] != theirs[name]]
    raise ChatbaseOutputError(
        f"{directory.url} holds exports with other settings ("
        + ", ".join(f"{name}: {theirs[name]}, now {ours[name]}" for name in differing)
        + "). Give this export a path of its own, or export the whole of "
        f"{old.as_json()['window']} anew. Nothing was exported."
    )


def _require_cover(manifest: Manifest, commit: Commit) -> None:
    """Refuse an export that overlaps one which came in between, or rows would be there twice."""
    if commit.by != CREATED or commit.window is None:
        return
    for file in manifest.files:
        meets = file.by == CREATED and file.window is not None and commit.window.meets(file.window)
        if meets and file.window is not None and not commit.window.covers(file.window):
            raise ChatbaseReplacedExportError(
                f"Another run exported an overlapping window meanwhile ({file.window.as_json()}). "
                "Run the task again."
            )
