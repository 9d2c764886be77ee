"""A batch in a process of its own, to be killed; a template makes it one of messages to customers."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_provider_chatbase.batch.settings import read_settings
from airflow_provider_chatbase.files.lock import LockTimes


def main(
    url: str, key: str, agent_id: str, output: str, count: str, concurrency: str, template: str = ""
) -> None:
    from fsspec.implementations.local import LocalFileSystem

    from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
    from airflow_provider_chatbase.batch.template_batch import TemplateBatch
    from airflow_provider_chatbase.batch.templates import Template
    from airflow_provider_chatbase.client.settings import ClientSettings
    from airflow_provider_chatbase.files.directory import Directory

    whose = {
        "connection": ClientSettings(api_key=key, host=url, files_host=url),
        "agent_id": agent_id,
        "run": "dag run task -1",
        "output": Directory(LocalFileSystem(), output, Path(output).as_uri()),
        "settings": read_settings(
            concurrency=int(concurrency),
            on_ambiguous="fail" if template else "reconcile",
            patience=2.0,
            patience_after_timeout=2.0,
            lock_times=LockTimes(beat=0.5, stale=5.0),
        ),
    }
    if template:
        recipients = ({"to": f"+4930{n:07d}", "body[name]": f"Ada {n}"} for n in range(int(count)))
        TemplateBatch(**whose, template=Template(template)).send_all(recipients)
    else:
        prompts = ({"id": f"q{n}", "message": f"Question {n}"} for n in range(int(count)))
        PromptBatch(**whose).send_all(prompts)


if __name__ == "__main__":
    main(*sys.argv[1:])
