"""Exports into a bucket, over the real S3 protocol."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.exports import publishing
from airflow_provider_chatbase.exports.directory import ExportDirectory
from airflow_provider_chatbase.exports.errors import ChatbaseReplacedExportError, ChatbaseStorageError
from airflow_provider_chatbase.exports.publishing import exclusive
from airflow_provider_chatbase.exports.window import Window, floor_day

pytest.importorskip("moto")
s3fs = pytest.importorskip("s3fs")

DAY = timedelta(days=1)
TODAY = floor_day(datetime.now(tz=UTC))
OLD, NEW = Window(TODAY - 6 * DAY, TODAY - 3 * DAY), Window(TODAY - 10 * DAY, TODAY)


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Start an S3 server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def bucket(s3_url, request):
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    fs = s3fs.S3FileSystem(
        key="test",
        secret="test",
        endpoint_url=s3_url,
        skip_instance_cache=True,
    )
    fs.mkdir(name)
    return fs, name


def stored(export, bucket):
    fs, name = bucket
    return replace(export, directory=ExportDirectory(fs, f"{name}/deep/export", f"s3://{name}/deep/export"))


def content(bucket) -> dict[str, bytes]:
    fs, name = bucket
    fs.invalidate_cache()
    return {path.removeprefix(f"{name}/deep/export/"): fs.cat_file(path) for path in fs.find(name)}


@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_a_bucket_holds_what_a_disk_holds(exports, bucket, file_format):
    export = exports(conversations=150, months=1)
    in_bucket = stored(export, bucket)
    for window in (OLD, NEW, OLD):
        export.run(window, file_format=file_format, partition_by="day")
        in_bucket.run(window, file_format=file_format, partition_by="day")
    assert content(bucket) == export.everything()


def test_a_failure_leaves_the_export_before(exports, bucket, monkeypatch):
    export = stored(exports(conversations=60, months=1), bucket)
    export.run(OLD)
    before = content(bucket)

    def failing(*_args, **_kwargs):
        raise TimeoutError("the bucket does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(ExportDirectory, "move", failing)
        with pytest.raises(ChatbaseStorageError, match="does not answer"):
            export.run(NEW)
    after = content(bucket)
    assert {name: after[name] for name in before} == before
    assert [name for name in after if name.startswith("_staging-")]
    export.run(NEW)
    assert {name.split("/")[0] for name in content(bucket)} == {"_manifest.json", "conversations"}


def test_only_staged_objects_are_ever_partial(exports, bucket, monkeypatch):
    export = stored(exports(conversations=60, months=1), bucket)
    export.run(OLD)
    before = content(bucket)
    from airflow_provider_chatbase.exports.assembly import HashingStream

    def failing(self, piece):
        self._stream.write(piece[:10])
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(HashingStream, "write", failing)
        with pytest.raises(ChatbaseStorageError):
            export.run(NEW)
    after = content(bucket)
    assert {name: value for name, value in after.items() if not name.startswith("_staging-")} == before


def test_of_two_that_want_the_lock_one_waits(exports, bucket, monkeypatch):
    export = stored(exports(conversations=5), bucket)
    monkeypatch.setattr(publishing, "LOCK_PATIENCE", 0.2)
    monkeypatch.setattr(publishing, "LOCK_POLL", 0.05)
    with exclusive(export.directory) as lock:
        with pytest.raises(FileExistsError):
            export.directory.create(publishing.LOCK, b"mine")
        with exclusive(export.directory):
            monkeypatch.setattr(publishing, "LOCK_RENEWAL", 0.0)
            with pytest.raises(ChatbaseReplacedExportError):
                lock.renew()
    assert content(bucket) == {}


def test_the_operator_writes_through_an_airflow_connection(
    exports, bucket, s3_url, airflow_db, monkeypatch, tmp_path
):
    pytest.importorskip("airflow.providers.amazon")
    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    export = exports(conversations=50, months=1)
    connection = {"conn_type": "chatbase", "host": export.simulator.url, "password": export.simulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(connection))
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    storage = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", json.dumps(storage))
    arguments = {"agent_id": export.simulator.agent_id, "start": NEW.start, "end": NEW.end}
    _, name = bucket
    for number, path in enumerate((f"s3://lake@{name}/deep/export", f"s3://{name}/deep/export")):
        result = ChatbaseExportConversationsOperator(
            task_id="export", output_path=path, storage_conn_id="lake" if number else None, **arguments
        ).execute({})
        assert result["manifest_path"] == f"{path}/_manifest.json"
    export.run(NEW)
    assert content(bucket) == export.everything()
