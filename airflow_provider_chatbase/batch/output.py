"""The data set that a batch leaves: the results, and a manifest that is written last."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from airflow_provider_chatbase.batch.rows import Columns, Result
from airflow_provider_chatbase.batch.settings import FileFormat
from airflow_provider_chatbase.batch.storage import Storage
from airflow_provider_chatbase.batch.tally import Tally
from airflow_provider_chatbase.batch.writers import open_writer
from airflow_provider_chatbase.exports.manifest import MANIFEST

log = logging.getLogger(__name__)

FORMATS: tuple[FileFormat, ...] = ("jsonl", "parquet")


def results_file(file_format: FileFormat) -> str:
    """Return the name of the file with the results."""
    return f"results.{file_format}"


def write_results(
    storage: Storage, rows: Iterable[Result], columns: Columns, file_format: FileFormat
) -> Tally:
    """Write the results in place of those that are there; without a manifest they do not count yet."""
    tally = Tally()
    with storage.replacing(results_file(file_format)) as stream:
        with open_writer(stream, file_format) as writer:
            for result in rows:
                writer.write(columns.row(result))
                tally.add(result)
        storage.remove(MANIFEST)
    for other in FORMATS:
        if other != file_format:
            storage.remove(results_file(other))
    return tally


def write_manifest(storage: Storage, manifest: dict[str, Any]) -> None:
    """Write the manifest; from now on the results count."""
    storage.write(MANIFEST, json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n")


def report_other_run(storage: Storage, run: str) -> None:
    """Say in the log when the results of another run are about to be replaced."""
    found = storage.read_json(MANIFEST)
    if found is not None and found.get("run") != run:
        log.warning(
            "%s holds the results of another run (%s); they are replaced. Give each run a path of its own, "
            "for example with {{ run_id }} or {{ ds }} in it, to keep both.",
            storage.url,
            found.get("run"),
        )
