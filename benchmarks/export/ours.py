"""Our export, in a process of its own: seconds, CPU and memory as JSON."""

from __future__ import annotations

import argparse
import json
import resource
import time
from datetime import UTC, datetime, timedelta

from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client import AsyncChatbaseClient
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.exports.directory import ExportDirectory
from airflow_provider_chatbase.exports.formats import choose_tables
from airflow_provider_chatbase.exports.job import export
from airflow_provider_chatbase.exports.manifest import Layout
from airflow_provider_chatbase.exports.spec import ExportSpec
from airflow_provider_chatbase.exports.window import Window


def main() -> None:
    """Export everything of an agent."""
    parser = argparse.ArgumentParser()
    for name in ("url", "key", "agent", "path"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--format", default="jsonl")
    parser.add_argument("--concurrency", type=int, default=32)
    options = parser.parse_args()

    async def client() -> AsyncChatbaseClient:
        return AsyncChatbaseClient(ClientSettings(api_key=options.key, host=options.url))

    now = datetime.now(tz=UTC).replace(microsecond=0)
    tables = tuple(table.name for table in choose_tables(options.format, "conversations", None))
    layout = Layout("conversations", options.agent, options.format, None, tables)
    spec = ExportSpec(layout, Window(now - timedelta(days=400), now), concurrency=options.concurrency)
    directory = ExportDirectory(LocalFileSystem(), options.path, f"file://{options.path}")
    started, cpu = time.monotonic(), time.process_time()
    outcome = export(client, directory, spec)
    print(
        json.dumps(
            {
                "rows": outcome.commit.rows,
                "seconds": time.monotonic() - started,
                "cpu": time.process_time() - cpu,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
