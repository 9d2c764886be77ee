"""Exports into a bucket, over the real S3 protocol."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.files.errors import ChatbaseStorageError

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
    name += f"-{zlib.crc32(request.node.name.encode())}"
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
    return replace(export, directory=Directory(fs, f"{name}/deep/export", f"s3://{name}/deep/export"))


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
    with monkeypatch.context() as patch:
        replacing = Directory.replacing

        def failing(self, name):
            if name.startswith("conversations/"):
                raise ChatbaseStorageError("the bucket does not answer")
            return replacing(self, name)

        patch.setattr(Directory, "replacing", failing)
        with pytest.raises(ChatbaseStorageError, match="does not answer"):
            export.run(NEW)
    after = content(bucket)
    assert {name: after[name] for name in before} == before
    assert [name for name in after if name.startswith("_staging/")]
    export.run(NEW)
    assert {name.split("/")[0] for name in content(bucket)} == {
        "_manifests",
        "_output.json",
        "_watermark",
        "conversations",
    }


def test_sixty_days_are_written_at_the_same_time_and_nothing_is_copied(exports, bucket, monkeypatch):
    fs, _ = bucket
    calls: list[str] = []
    at_once, most = 0, 0
    call = type(fs)._call_s3

    async def counted(self, method, *args, **kwargs):
        nonlocal at_once, most
        calls.append(method)
        at_once += 1
        most = max(most, at_once)
        try:
            return await call(self, method, *args, **kwargs)
        finally:
            at_once -= 1

    monkeypatch.setattr(type(fs), "_call_s3", counted)
    export = stored(exports(conversations=300, months=2), bucket)
    export.run(Window(TODAY - 60 * DAY, TODAY), file_format="parquet", partition_by="day")
    assert (
        sum(len(json.loads(each)["files"]) for name, each in content(bucket).items() if "_manifests" in name)
        > 150
    )
    assert "copy_object" not in calls
    assert most > 8


@pytest.mark.parametrize("name", ["a b", "a?b", "a*b", "a[1]b", "a#b", "a%20b", "ä"])
def test_names_are_names(exports, bucket, name):
    fs, bucket_name = bucket
    fs.pipe_file(f"{bucket_name}/axb/x", b"of somebody else")
    export = exports(conversations=30, months=1)
    export = replace(export, directory=Directory(fs, f"{bucket_name}/{name}", f"s3://{bucket_name}/{name}"))
    for _ in range(2):
        export.run(NEW, partition_by="day")
        export.simulator.create_conversations(at=(TODAY - DAY).timestamp())
    fs.invalidate_cache()
    keys = [path.removeprefix(f"{bucket_name}/") for path in fs.find(bucket_name)]
    assert {key.split("/")[0] for key in keys} == {name, "axb"}
    named = [
        file["path"]
        for key in keys
        if "/_manifests/" in key
        for file in json.loads(fs.cat_file(f"{bucket_name}/{key}"))["files"]
    ]
    assert sorted(f"{name}/{each}" for each in named) == sorted(
        key for key in keys if key.startswith(f"{name}/conversations/")
    )


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
        assert result["manifest_path"] == f"s3://{name}/deep/export/_manifests/{NEW.name}.json"
    export.run(NEW)
    assert content(bucket) == export.everything()
