"""Delta tables on S3, over the real protocol; what a connection becomes for each kind of storage."""

from __future__ import annotations

import http.server
import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from delta_lake import JANUARY, at_once, conversation, merge, seen, tables, truth, watermark
from s3 import s3_fs

from airflow_provider_chatbase.exports.delta import erase
from airflow_provider_chatbase.files import ChatbaseOutputError, ChatbaseStorageError
from airflow_provider_chatbase.files.delta_storage import find_storage

SECRET = "top+secret/word"


@pytest.fixture
def connect(monkeypatch):
    def make(conn_id: str, **fields) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return make


@pytest.fixture
def bucket(s3_url, request, connect):
    pytest.importorskip("airflow.providers.amazon")
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    extra = {"endpoint_url": s3_url, "region_name": "us-east-1"}
    connect("lake", conn_type="aws", login="test", password=SECRET, extra=extra)
    return s3_fs(s3_url, name), name


def content(bucket) -> bytes:
    fs, name = bucket
    fs.invalidate_cache()
    return b"".join(fs.cat_file(path) for path in fs.find(name))


def test_a_bucket_holds_what_a_disk_holds(bucket, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    place = find_storage(f"s3://lake@{bucket[1]}/deep/a b#c?d[e]*ü +&=")
    assert place.url == f"s3://{bucket[1]}/deep/a b#c?d[e]*ü +&="
    old, new = ([conversation(n, state) for n in range(30)] for state in (0, 1))
    for items in (old, new, old):
        merge(place, items, JANUARY)
    assert seen(place) == truth(new)
    assert watermark(place) == JANUARY.end
    assert {path.split("/")[2] for path in bucket[0].find(bucket[1])} == {"a b#c?d[e]*ü +&="}
    assert SECRET not in caplog.text
    assert SECRET.encode() not in content(bucket)


@pytest.mark.long
def test_writers_at_once_lose_nothing(bucket):
    place = find_storage(f"s3://{bucket[1]}/lake", "lake")
    states = [[conversation(n, s, messages=1 + (n + s) % 3) for n in range(10)] for s in range(3)]
    at_once(*[lambda items=items: merge(place, items, JANUARY) for items in [*states, *states]])
    assert seen(place) == truth(states[-1])
    assert watermark(place) == JANUARY.end


def test_what_is_erased_is_gone_from_the_bucket(bucket):
    place = find_storage(f"s3://{bucket[1]}/lake", "lake")
    merge(place, [conversation(n, userId=f"person-{n}") for n in range(3)], compression="gzip")
    erase(place, ["person-1"], [])
    assert len(seen(place)["conversations"]) == 2
    assert b"person-1" not in content(bucket)


def test_a_damaged_table_in_a_bucket_is_left_alone(bucket):
    fs, name = bucket
    place = find_storage(f"s3://{name}/lake", "lake")
    merge(place, [conversation(1)])
    (last,) = (
        path for path in fs.find(name) if path.endswith("conversations/_delta_log/00000000000000000001.json")
    )
    fs.pipe_file(last, b"")
    before = content(bucket)
    with pytest.raises(ChatbaseOutputError, match="is empty"):
        tables(place).check()
    assert content(bucket) == before
    fs.pipe_file(last, b"\0")
    with pytest.raises(ChatbaseOutputError, match="conversations is left alone"):
        tables(place).check()
    assert len(content(bucket)) == len(before) + 1


def test_a_store_that_does_not_answer_is_no_empty_one(connect):
    extra = {"endpoint_url": "http://127.0.0.1:1", "config_kwargs": {"retries": {"total_max_attempts": 1}}}
    connect("lake", conn_type="aws", login="test", password=SECRET, extra=extra)
    with pytest.raises(ChatbaseStorageError, match="failed") as told:
        tables(find_storage("s3://lake@bucket/x")).check()
    assert not isinstance(told.value, ChatbaseOutputError)
    assert SECRET not in str(told.value)


class Careless(http.server.BaseHTTPRequestHandler):
    """A store that answers every PUT alike, whatever its condition."""

    status = 200

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def serving(status: int) -> Iterator[str]:
    handler = type("Answering", (Careless,), {"status": status})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "told"), [(200, "ignores If-None-Match"), (501, "which Delta tables need")]
)
def test_a_store_without_conditional_writes_is_refused_before_the_reading(connect, status, told):
    with serving(status) as url:
        connect("lake", conn_type="aws", login="test", password=SECRET, extra={"endpoint_url": url})
        with pytest.raises(ChatbaseOutputError, match=told):
            tables(find_storage("s3://lake@bucket/x")).check()


# -- what a connection becomes


def options(url: str, conn_id: str | None = None) -> dict[str, str]:
    found = find_storage(url, conn_id).options()
    return {name: value for name, value in found.items() if "timeout" not in name}


def test_an_aws_connection(connect):
    extra = {
        "aws_session_token": "token",
        "region_name": "eu-central-1",
        "endpoint_url": "https://s3.example.com",
        "config_kwargs": {"s3": {"addressing_style": "virtual"}},
        "verify": False,
    }
    connect("lake", conn_type="aws", login="id", password=SECRET, extra=extra)
    assert options("s3://lake@bucket/x") == {
        "aws_access_key_id": "id",
        "aws_secret_access_key": SECRET,
        "aws_session_token": "token",
        "aws_region": "eu-central-1",
        "aws_endpoint_url": "https://s3.example.com",
        "aws_allow_http": "false",
        "aws_virtual_hosted_style_request": "true",
        "aws_conditional_put": "etag",
        "allow_invalid_certificates": "true",
    }


def test_a_role_is_assumed(s3_url, connect):
    extra = {
        "role_arn": "arn:aws:iam::123456789012:role/lake",
        "region_name": "us-east-1",
        "service_config": {"sts": {"endpoint_url": s3_url}, "s3": {"endpoint_url": s3_url}},
    }
    connect("lake", conn_type="aws", login="test", password=SECRET, extra=extra)
    found = options("s3://lake@bucket/x")
    assert found["aws_access_key_id"] not in ("test", "")
    assert found["aws_session_token"]
    assert found["aws_endpoint_url"] == s3_url


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ({"key_path": "/keys/k.json"}, {"google_service_account_path": "/keys/k.json"}),
        ({"keyfile_dict": '{"a": 1}'}, {"google_service_account_key": '{"a": 1}'}),
        (
            {"extra__google_cloud_platform__keyfile_dict": {"a": 1}},
            {"google_service_account_key": '{"a": 1}'},
        ),
        ({}, {}),
    ],
)
def test_a_google_connection(connect, extra, wanted):
    connect("lake", conn_type="google_cloud_platform", extra=extra)
    assert options("gs://lake@bucket/x") == options("gcs://bucket/x", "lake") == wanted


def test_what_a_google_connection_cannot_pass_on(connect):
    connect("lake", conn_type="google_cloud_platform", extra={"impersonation_chain": "a@b"})
    with pytest.raises(ChatbaseOutputError, match="impersonation_chain"):
        find_storage("gs://lake@bucket/x")


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"login": "acc", "password": "key"}, {"account_name": "acc", "account_key": "key"}),
        (
            {"login": "acc", "extra": {"sas_token": "?sv=1&sig=x"}},
            {"account_name": "acc", "sas_key": "sv=1&sig=x"},
        ),
        (
            {"host": "https://acc.blob.core.windows.net/?sv=1", "extra": {"account_key": "key"}},
            {"account_name": "acc", "account_key": "key"},
        ),
        (
            {"host": "acc", "login": "app", "password": "word", "extra": {"tenant_id": "t"}},
            {"account_name": "acc", "tenant_id": "t", "client_id": "app", "client_secret": "word"},
        ),
        (
            {
                "extra": {
                    "connection_string": "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a+b/c==;"
                }
            },
            {"account_name": "acc", "account_key": "a+b/c=="},
        ),
        (
            {
                "extra": {
                    "connection_string": "AccountName=acc;AccountKey=k;BlobEndpoint=http://127.0.0.1:10000/acc"
                }
            },
            {"account_name": "acc", "account_key": "k", "endpoint": "http://127.0.0.1:10000/acc"},
        ),
    ],
)
def test_an_azure_connection(connect, fields, wanted):
    connect("lake", conn_type="wasb", **fields)
    found = options("abfs://lake@container/x")
    found.pop("azure_allow_http", None)
    assert {name.removeprefix("azure_storage_"): value for name, value in found.items()} == wanted


def test_azure_names_the_account_in_the_url_too(connect):
    place = find_storage("abfss://container@acc.dfs.core.windows.net/a/b")
    assert place.uri == "az://container/a/b"
    assert place.options()["azure_storage_account_name"] == "acc"


def test_secrets_are_taken_out_of_errors(connect):
    connect("lake", conn_type="wasb", login="acc", extra={"sas_token": "sv=1&sig=abc/d"})
    place = find_storage("abfs://lake@container/x")
    assert "abc" not in place.without_secrets(
        "GET https://acc/x?sv=1&sig=abc/d failed; sv%3D1%26sig%3Dabc%2Fd"
    )


@pytest.mark.parametrize("path", ["", "  ", "file://", "ftp://host/x", "file:///data/a%41b"])
def test_paths_that_cannot_be(path):
    with pytest.raises(ChatbaseOutputError):
        find_storage(path)
