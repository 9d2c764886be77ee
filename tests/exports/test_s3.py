"""Exports into a bucket, over the real S3 protocol."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from matrix import matrix
from s3 import without_deleting

from airflow_provider_chatbase.exports.window import Window, floor_day
from airflow_provider_chatbase.files import ChatbaseStorageError
from airflow_provider_chatbase.files.directory import Directory

pytest.importorskip("moto")
s3fs = pytest.importorskip("s3fs")

DAY = timedelta(days=1)
TODAY = floor_day(datetime.now(tz=UTC))
OLD, NEW = Window(TODAY - 6 * DAY, TODAY - 3 * DAY), Window(TODAY - 10 * DAY, TODAY)


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


OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in ("a b", "a*b", "a#b")]


@pytest.mark.parametrize("name", ["a?b", "a[1]b", "a%20b", "ä", *OTHERS])
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


@pytest.fixture
def lake(exports, bucket, s3_url, airflow_db, monkeypatch):
    """Return what exports by the operator, with Airflow connections to the simulator and to S3."""
    pytest.importorskip("airflow.providers.amazon")
    from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator

    export = exports(conversations=50, months=1)
    connection = {"conn_type": "chatbase", "host": export.simulator.url, "password": export.simulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(connection))

    def run(path: str, url: str = s3_url, conn_id: str = "LAKE", **more):
        extra = {"endpoint_url": url, "region_name": "us-east-1"}
        storage = {"conn_type": "aws", "login": "test", "password": "test", "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id}", json.dumps(storage))
        arguments = {"agent_id": export.simulator.agent_id, "start": NEW.start, "end": NEW.end, **more}
        operator = ChatbaseExportConversationsOperator(task_id="export", output_path=path, **arguments)
        return operator.execute({})

    run.export = export
    return run


def test_the_operator_writes_through_an_airflow_connection(lake, bucket):
    _, name = bucket
    for number, path in enumerate((f"s3://lake@{name}/deep/export", f"s3://{name}/deep/export")):
        result = lake(path, storage_conn_id="lake" if number else None)
        assert result["manifest_path"] == f"s3://{name}/deep/export/_manifests/{NEW.name}.json"
    lake.export.run(NEW)
    assert content(bucket) == lake.export.everything()


@pytest.mark.parametrize(
    ("name", "file_format"), matrix(["a b", "a?b", "a*b", "a[1]b", "a#b", "100%"], ["jsonl", "delta"])
)
def test_names_in_the_url_are_names(lake, bucket, name, file_format):
    fs, bucket_name = bucket
    fs.pipe_file(f"{bucket_name}/axb/x", b"of somebody else")
    assert lake(f"s3://lake@{bucket_name}/{name}/out", file_format=file_format)["rows"] > 10
    fs.invalidate_cache()
    tops = {tuple(path.split("/")[1:3]) for path in fs.find(bucket_name)}
    assert tops == {(name, "out"), ("axb", "x")}


def test_where_deleting_is_denied_it_is_told_before_the_reading(lake, bucket, s3_url):
    _, name = bucket
    with without_deleting(s3_url) as (url, asked):
        with pytest.raises(Exception, match=r"the right to delete \(s3:DeleteObject") as raised:
            lake(f"s3://guarded@{name}/deep/export", url, "GUARDED")
        assert "Nothing was exported" in str(raised.value)
        assert [each for each in asked if each.startswith("DELETE")]
        paths = [each.path for each in lake.export.simulator.requests]
        assert not [each for each in paths if each.endswith("/conversations/export")]
