from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import httpx
import pytest

from airflow_provider_chatbase.simulator.__main__ import main, parse_fault

COMMAND = [sys.executable, "-m", "airflow_provider_chatbase.simulator"]


@pytest.fixture
def run():
    running = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    printed = ""
    while text not in printed:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        printed += line
    return printed


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_says_how_to_connect_and_stops_cleanly(run, ending):
    process = run("--port", "0", "--conversations", "5", "--api-key", "my-key", "--fault", "418:getAgent:1")
    printed = read_until(process, "Ctrl+C")
    connection = json.loads(re.search(r"CHATBASE_DEFAULT='(.*)'", printed).group(1))
    headers = {"Authorization": f"Bearer {connection['password']}"}
    assert connection["password"] == "my-key"
    base = f"{connection['host']}/api/v2/agents"
    agent_id = connection["extra"]["agent_id"]
    listed = httpx.get(base, headers=headers).json()["data"]
    assert [each["id"] for each in listed] == [agent_id]
    assert httpx.get(f"{base}/{agent_id}", headers=headers).status_code == 418
    process.send_signal(ending)
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""


def test_quiet_prints_the_address_alone(run):
    process = run("--port", "0", "--conversations", "1", "--quiet")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+\n", process.stdout.readline())


def test_any_setting_can_be_given(run):
    latency = 'latency={"getHealth": 0.2, "*": 0}'
    process = run("--port", "0", "--quiet", "--unkind", "--set", "conversations=7", "--set", latency)
    url = process.stdout.readline().strip()
    assert httpx.get(f"{url}/_simulator/state").json()["agents"][0]["conversations"] == 7
    assert httpx.get(f"{url}/api/v2/health").elapsed.total_seconds() >= 0.2


def test_port_in_use(simulator, capsys):
    assert main(["--port", simulator.url.rsplit(":", 1)[1], "--conversations", "1"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("Cannot listen on 127.0.0.1:")
    assert "give another port with --port" in told


def test_help_names_faults_and_control(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for word in ("reset_after", "--training-seconds", "/_simulator/faults", "default: 8756"):
        assert word in printed


def test_faults_of_the_command_line():
    fault = parse_fault("503:*:0.05")
    assert (fault.kind, fault.status, fault.code) == ("status", 503, "SERVICE_UNDER_MAINTENANCE")
    assert (fault.operation, fault.probability) == (None, 0.05)
    slow = parse_fault("slow=2.5:getAgent")
    assert (slow.kind, slow.seconds, slow.operation, slow.probability) == ("slow", 2.5, "getAgent", 1)
    for bad in (["--fault", "explode"], ["--set", "colour=red"]):
        with pytest.raises(SystemExit):
            main(bad)
