"""Syncs a folder in a process of its own, to be killed: ``syncing.py URL AGENT_ID FOLDER RECORD``."""

from __future__ import annotations

import sys
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.sync.declaration import combine, read_folder, read_records
from airflow_provider_chatbase.sync.inventory import LinkRecord
from airflow_provider_chatbase.sync.plan import SyncOptions
from airflow_provider_chatbase.sync.sync import SourceSync


def main(url: str, agent_id: str, folder: str, record: str) -> int:
    fs = LocalFileSystem()
    links = [{"url": f"https://mine.example/{number}"} for number in range(4)]
    with ChatbaseClient(ClientSettings("simulator-key", url, url)) as client:
        sync = SourceSync(
            client,
            agent_id,
            SyncOptions("docs", prune=True, max_deletes=1000),
            LinkRecord(Directory(fs, str(Path(record).parent), record), Path(record).name, agent_id, "docs"),
            upload_interval=0.0,
        )
        report = sync.apply(combine([read_folder(Directory(fs, folder, folder)), read_records(links)]))
    print(report.as_text())
    return len(report.outcome.failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
