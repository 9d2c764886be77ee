"""``python -m airflow_provider_chatbase.playground``: what it says when it cannot start, and a real start."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_chatbase import playground as page
from airflow_provider_chatbase.playground import __main__ as command_line
from airflow_provider_chatbase.simulator import Simulator

from .conftest import KEY, ask

REPOSITORY = Path(__file__).parents[2]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert command_line.main(arguments) == 1
    printed = capsys.readouterr()
    said = [line for line in (printed.out + printed.err).splitlines() if "airflow.models.crypto" not in line]
    (sentence,) = [line for line in said if "{crypto.py" not in line]
    return sentence


def test_an_unknown_connection_is_named(capsys: pytest.CaptureFixture[str], airflow_db: None) -> None:
    sentence = refused(capsys, "--connection", "nobody")
    assert sentence.startswith("There is no Airflow connection 'nobody': `airflow connections list` shows")
    assert "AIRFLOW_CONN_NOBODY" in sentence


def test_a_connection_of_another_type_is_not_sent_anywhere(
    capsys: pytest.CaptureFixture[str], simulator: Simulator, connect: Callable[..., Any]
) -> None:
    connect(simulator, conn_type="postgres")
    assert "is of the type 'postgres'" in refused(capsys, "--connection", "chatbase_default")
    assert not simulator.requests


def test_a_wrong_key_is_named_but_not_shown(
    capsys: pytest.CaptureFixture[str], simulator: Simulator, connect: Callable[..., Any]
) -> None:
    connect(simulator, password=KEY)
    sentence = refused(capsys, "--connection", "chatbase_default")
    assert sentence.startswith("The Airflow connection 'chatbase_default' does not work: ")
    assert "AUTH_INVALID_API_KEY" in sentence
    assert KEY not in sentence


def test_a_connection_without_a_key_is_named(
    capsys: pytest.CaptureFixture[str], simulator: Simulator, connect: Callable[..., Any]
) -> None:
    connect(simulator, password="")
    assert "has no API key" in refused(capsys, "--connection", "chatbase_default")


def test_an_unreachable_service_is_named(
    capsys: pytest.CaptureFixture[str], simulator: Simulator, connect: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    connect(simulator, host=f"http://127.0.0.1:{port}")
    assert "cannot be reached" in refused(capsys, "--connection", "chatbase_default")


def test_a_port_in_use_is_named(
    capsys: pytest.CaptureFixture[str], simulator: Simulator, connect: Callable[..., Any]
) -> None:
    connect(simulator)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        sentence = refused(capsys, "--connection", "chatbase_default", "--port", port)
    assert sentence.startswith(f"Cannot listen on port {port} (")
    assert sentence.endswith("give another one with --port, or 0 for any free one.")
    assert "Cannot listen" in refused(capsys, "--connection", "chatbase_default", "--port", "70000")


def test_without_swagger_ui_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "find_spec", lambda _: None)
    assert "pip install 'airflow-provider-chatbase[simulator]'" in refused(capsys, "--connection", "c")


def test_it_has_no_option_to_listen_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main(["--connection", "c", "--host", "0.0.0.0"])
    assert "unrecognized arguments: --host" in capsys.readouterr().err


def test_a_connection_of_the_database_is_served_to_this_machine_alone_until_it_is_told_to_stop(
    airflow_db: None, start_simulator: Callable[..., Simulator], tmp_path: Path
) -> None:
    simulator = start_simulator(api_key=KEY, stream_delay=0.5)
    _store_connection("in_the_database", simulator)
    log = tmp_path / "log"
    command = [sys.executable, "-m", "airflow_provider_chatbase.playground", "--port", "0"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--connection", "in_the_database"],
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **_as_a_user()},
        ) as process,
    ):
        try:
            lines = iter(process.stdout.readline, b"")  # type: ignore[union-attr]
            heard = [line.decode() for line in itertools.takewhile(lambda line: b"Ctrl+C" not in line, lines)]
            printed = heard[-3:]  # Airflow's own log comes before
            assert printed[:1] == ["Chatbase playground\n"], "".join(heard) + log.read_text()
            url = printed[1].split()[-1].rstrip("/")
            listening = [
                each for each in psutil.Process(process.pid).net_connections() if each.status == "LISTEN"
            ]
            assert [each.laddr.ip for each in listening] == ["127.0.0.1"]
            status, _, body = ask(url, "/api/v2/agents")
            assert (status, json.loads(body)["data"][0]["id"]) == (200, simulator.agent_id)
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as streaming:
                streaming.sendall(_chat_request(url, simulator.agent_id))
                assert streaming.recv(12) == b"HTTP/1.1 200"
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 0
            heard += [line.decode() for line in lines]
        finally:
            process.kill()
    everything = "".join(heard) + log.read_text()
    assert KEY not in everything
    assert "Traceback" not in everything


def _as_a_user() -> dict[str, str]:
    """Return what makes a new process read this one's database: in its test mode Airflow makes up its key."""
    from airflow.configuration import conf

    return {
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__FERNET_KEY": conf.get("core", "fernet_key"),
    }


def _store_connection(conn_id: str, simulator: Simulator) -> None:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session

    extra = json.dumps({"agent_id": simulator.agent_id})
    fields = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key, "extra": extra}
    with create_session() as session:
        session.add(Connection(conn_id=conn_id, **fields))


def _chat_request(url: str, agent_id: str) -> bytes:
    body = json.dumps({"message": "[sim:long=200]"})
    return (
        f"POST /api/v2/agents/{agent_id}/chat HTTP/1.1\r\nHost: {url.partition('//')[2]}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
