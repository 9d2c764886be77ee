"""Syncs a folder in a process of its own, to be killed: ``syncing.py URL AGENT_ID FOLDER RECORD``."""

from __future__ import annotations

import sys

from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings
from airflow_provider_chatbase.sync.declaration import combine
from airflow_provider_chatbase.sync.folder import Folder, read_folder
from airflow_provider_chatbase.sync.links import LinkRecord
from airflow_provider_chatbase.sync.plan import Options
from airflow_provider_chatbase.sync.records import read_records
from airflow_provider_chatbase.sync.sync import SourceSync


def main(url: str, agent_id: str, folder: str, record: str) -> int:
    fs = LocalFileSystem()
    links = [{"url": f"https://mine.example/{number}"} for number in range(4)]
    with ChatbaseClient(ClientSettings("simulator-key", url, url)) as client:
        sync = SourceSync(
            client,
            agent_id,
            Options("docs", prune=True),
            LinkRecord(fs, record, record, agent_id, "docs"),
            upload_interval=0.0,
        )
        report = sync.apply(combine([read_folder(Folder(fs, folder, folder)), read_records(links)]))
    print(report.as_markdown())
    return len(report.outcome.failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
