"""kill -9 at random moments, until the batch is through: each prompt is answered once and charged once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from airflow_provider_chatbase.files.directory import Directory
from airflow_provider_chatbase.simulator import Fault, Simulator
from tests.batch.conftest import KILL_ME, rows_of, run_and_kill

PROMPTS = 400
CONCURRENCY = 8
KILLS = int(os.environ.get("CHATBASE_TEST_KILLS", "10"))

QUIET: list[Fault] = []
STORM = [
    *(
        Fault(kind=kind, operation="chatWithAgent", probability=0.02)
        for kind in ("reset_after", "reset_before", "truncate", "truncate_json")
    ),
    Fault(kind="status", status=500, probability=0.02),
    Fault(kind="status", status=502, operation="chatWithAgent", probability=0.02, after=True),
    Fault(kind="status", status=429, retry_after=0, probability=0.05),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seed", "faults"),
    [
        pytest.param(1, QUIET, id="calm"),
        pytest.param(2, STORM, id="storm", marks=pytest.mark.long),
    ],
)
def test_every_prompt_is_answered_once_and_charged_once(output: Directory, seed: int, faults: list[Fault]):
    rng = random.Random(seed)
    latency = {"chatWithAgent": 0.05}
    with Simulator(conversations=3, latency=latency, rate_limit=1_000_000) as simulator:
        simulator.faults.add(*faults)
        killed_at = []
        while run_and_kill(simulator, output, _next_kill(rng, simulator, killed_at), PROMPTS, CONCURRENCY):
            killed_at.append(simulator.prompts_charged)
        assert len(killed_at) == KILLS
        rows = rows_of(output)
        assert [row["id"] for row in rows] == [f"q{n}" for n in range(PROMPTS)]
        assert {row["outcome"] for row in rows} == {"answered"}
        assert len({row["conversation_id"] for row in rows}) == PROMPTS
        assert simulator.prompts_charged == PROMPTS
        assert any(row["recovered"] for row in rows)


def _next_kill(rng: random.Random, simulator: Simulator, killed_at: list[int]) -> int | None:
    """Return after how many further requests to kill: while sending, while looking, right at the start."""
    return rng.randint(1, PROMPTS // KILLS) if len(killed_at) < KILLS else None


def test_a_process_that_was_frozen_goes_on_or_says_so(output: Directory):
    """Frozen for longer than its lock lasts, and nobody took over: all prompts are asked."""
    with Simulator(conversations=3, latency={"chatWithAgent": 0.05}, rate_limit=1_000_000) as simulator:
        reached = threading.Event()
        simulator.on_request = lambda request: (
            reached.set() if len(simulator.requests_for("chatWithAgent")) == 60 else None
        )
        arguments = [simulator.url, simulator.api_key, simulator.agent_id, output.root, "200", "4"]
        process = subprocess.Popen(
            [sys.executable, str(KILL_ME), *arguments],
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert reached.wait(120)
        process.send_signal(signal.SIGSTOP)
        time.sleep(6)  # its lock lasts for 5
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()[-3000:]
        assert [row["outcome"] for row in rows_of(output)] == ["answered"] * 200
        assert simulator.prompts_charged == 200
