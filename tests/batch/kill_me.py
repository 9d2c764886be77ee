"""A batch in a process of its own, to be killed: ``kill_me.py URL KEY AGENT OUTPUT COUNT CONCURRENCY``."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_provider_chatbase.batch.settings import read_settings
from airflow_provider_chatbase.files.lock import LockTimes


def main(url: str, key: str, agent_id: str, output: str, count: str, concurrency: str) -> None:
    from fsspec.implementations.local import LocalFileSystem

    from airflow_provider_chatbase.batch.batch import Batch
    from airflow_provider_chatbase.client.settings import ClientSettings
    from airflow_provider_chatbase.files.directory import Directory

    batch = Batch(
        connection=ClientSettings(api_key=key, host=url, files_host=url),
        agent_id=agent_id,
        run="dag run task -1",
        output=Directory(LocalFileSystem(), output, Path(output).as_uri()),
        settings=read_settings(
            concurrency=int(concurrency),
            patience=2.0,
            patience_after_timeout=2.0,
            lock_times=LockTimes(beat=0.5, stale=5.0),
        ),
    )
    batch.ask_all({"id": f"q{n}", "message": f"Question {n}"} for n in range(int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
