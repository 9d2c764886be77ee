"""An S3 server in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

SERVER = """
import threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


@pytest.fixture(scope="module")
def s3_url() -> Iterator[str]:
    """Start the server, and stop it when the tests of the module are through."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"},
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def s3_fs(url: str, bucket: str, *, new: bool = True) -> Any:
    """Connect to the server, and make a bucket."""
    import s3fs

    fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=url, skip_instance_cache=True)
    if new:
        fs.mkdir(bucket)
    return fs
