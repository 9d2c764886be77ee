"""Which Chatbase the demo talks to: the simulator, or the service that the environment names."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from airflow_provider_chatbase.client.settings import DEFAULT_HOST
from quickstart_demo.child_processes import ChildProcesses
from quickstart_demo.errors import DemoError
from quickstart_demo.ports import free_port

SIMULATOR_KEY = "simulator-key"
SECONDS_TO_START = 30
TRAINING_SECONDS = "6"  # long enough to see the sensor wait


@dataclasses.dataclass(frozen=True)
class ChatbaseService:
    """
    Where a Chatbase is, and the agent to work with.

    :param base_url: None is the provider's own default.
    """

    agent_id: str
    api_key: str = dataclasses.field(repr=False)
    base_url: str | None

    @property
    def address(self) -> str:
        """Its base URL, also where that is the default."""
        return (self.base_url or DEFAULT_HOST).rstrip("/")

    def airflow_connection(self) -> str:
        """Return the connection as Airflow reads it from an environment variable."""
        fields: dict[str, object] = {"conn_type": "chatbase", "password": self.api_key}
        if self.base_url:
            fields["host"] = self.base_url
        return json.dumps(fields)


def service_of(environment: Mapping[str, str]) -> ChatbaseService | None:
    """Return the service that the environment names, None when it names none."""
    api_key = environment.get("CHATBASE_API_KEY")
    if not api_key:
        return None
    agent_id = environment.get("CHATBASE_AGENT_ID")
    if not agent_id:
        raise DemoError(
            "CHATBASE_API_KEY is set, CHATBASE_AGENT_ID is not: set it to the agent to change and ask."
        )
    return ChatbaseService(agent_id, api_key, environment.get("CHATBASE_BASE_URL") or None)


def check_that_it_answers(service: ChatbaseService) -> None:
    """Raise ``DemoError`` when nothing answers there: known at once here, and after all retries in a task."""
    try:
        httpx.get(f"{service.address}/api/v2/health", timeout=SECONDS_TO_START)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DemoError(
            f"{service.address} does not answer: {str(error).rstrip('.')}. Is CHATBASE_BASE_URL right?"
        ) from error


def start_simulator(
    children: ChildProcesses, folder: Path, environment: Mapping[str, str]
) -> ChatbaseService:
    """Start the simulator on a free port, and return it once it answers."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "airflow_provider_chatbase.simulator", "--port", str(port)]
    # Odd texts are there for tests; in a demo one of them would look like an attack.
    command += ["--training-seconds", TRAINING_SECONDS, "--quiet", "--set", "odd_data=false"]
    children.start("simulator", command, env=environment, cwd=folder)
    with httpx.Client(base_url=f"{base_url}/api/v2", trust_env=False) as http:
        _wait_until_it_answers(http, children)
        agents = http.get("/agents", headers={"Authorization": f"Bearer {SIMULATOR_KEY}"})
        agent_id = agents.raise_for_status().json()["data"][0]["id"]
    return ChatbaseService(agent_id, SIMULATOR_KEY, base_url)


def _wait_until_it_answers(http: httpx.Client, children: ChildProcesses) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        children.check()
        try:
            http.get("/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise DemoError(f"The simulator did not answer within {SECONDS_TO_START} s.")
