"""One batch, measured: ``one_batch.py URL KEY AGENT PROMPTS OUTPUT CONCURRENCY``; prints JSON."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time

from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
from airflow_provider_chatbase.batch.settings import read_settings
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.records import read_record_file


def main(url: str, key: str, agent_id: str, prompts: str, output: str, concurrency: str) -> None:
    """Ask all prompts of a file, and say how long that took and how much memory."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    files = LocalFileSystem()
    batch = PromptBatch(
        connection=ClientSettings(api_key=key, host=url, files_host=url),
        agent_id=agent_id,
        run="benchmark",
        output=Directory(files, output, f"file://{output}"),
        settings=read_settings(concurrency=int(concurrency), seconds_between_reports=30.0),
    )
    began = time.monotonic()
    folder, _, name = prompts.rpartition("/")
    given = read_record_file(Directory(files, folder, f"file://{folder}"), name, argument="prompts_path")
    report = batch.ask_all(given)
    result = {
        "seconds": time.monotonic() - began,
        "answered": report.manifest["outcomes"]["answered"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
