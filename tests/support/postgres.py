"""A PostgreSQL server of the tests' own, on a free port."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def postgres_port() -> Iterator[int]:
    """Start a server, and stop it when the tests of the module are through."""
    with postgres_server() as port:
        yield port


@contextmanager
def postgres_server(*options: str, parent: str = "/tmp") -> Iterator[int]:
    """Start a server with an empty cluster, give its port, and stop it."""
    found = shutil.which("initdb") or next(
        iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    if found is None:
        pytest.fail("PostgreSQL is missing: apt-get install postgresql")
    tools = Path(found).resolve().parent
    # It refuses to run as root, and its user must be able to reach the cluster.
    as_user = ["runuser", "-u", "postgres", "--"] if getpass.getuser() == "root" else []
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="pg-", dir=parent) as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        if as_user:
            shutil.chown(folder, "postgres")
        cluster, environment = f"{folder}/cluster", {**os.environ, "LC_ALL": "C.UTF-8", "HOME": folder}

        def run(tool: str, *arguments: str) -> None:
            command = [*as_user, str(tools / tool), "-D", cluster, *arguments]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, cwd=folder)

        run("initdb", "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync")
        given = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off -c timezone=UTC"
        run("pg_ctl", "-w", "-t", "120", "-l", f"{folder}/log", "-o", " ".join((given, *options)), "start")
        try:
            yield port
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
