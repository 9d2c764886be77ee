from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.files.directory import Directory
from tests.support.buckets import Bucket, bucket

__all__ = ["bucket"]  # a fixture


@pytest.fixture(params=["local", "bucket"])
def directory(request: pytest.FixtureRequest, tmp_path: Path, bucket: Bucket) -> Directory:
    if request.param == "local":
        return Directory(LocalFileSystem(), str(tmp_path / "out"), f"file://{tmp_path}/out")
    return Directory(bucket, "/bucket/out", "memory://bucket/out")
