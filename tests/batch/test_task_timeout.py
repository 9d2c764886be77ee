"""``execution_timeout`` strikes a batch at any moment: it ends at once, and pays nothing twice."""

from __future__ import annotations

import random
import signal
import time

import pytest

from airflow_provider_chatbase.batch.prompt_batch import PromptBatch
from airflow_provider_chatbase.batch.settings import BatchSettings
from airflow_provider_chatbase.client import ClientSettings
from airflow_provider_chatbase.files.directory import open_directory


class TaskTimeoutError(BaseException):
    """What Airflow raises on the main thread."""


@pytest.fixture
def alarm():
    def ring(*_: object) -> None:
        raise TaskTimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("seed", range(4))
def test_each_prompt_is_paid_once_however_often_the_task_s_time_is_over(
    start_simulator, tmp_path, alarm, seed
):
    simulator, rng = start_simulator(latency=0.05), random.Random(seed)
    output = open_directory(tmp_path.as_uri())  # a signal within Airflow's own set-up leaves it half done
    prompts = [f"Question {number}?" for number in range(20)]

    def ask_all():
        return PromptBatch(
            connection=ClientSettings(simulator.api_key, simulator.url),
            agent_id=simulator.agent_id,
            run="run",
            output=output,
            settings=BatchSettings(concurrency=3),
        ).ask_all(prompts)

    for _ in range(3):
        seconds = rng.uniform(0.1, 0.6)
        began = time.monotonic()
        alarm(seconds)
        try:
            ask_all()
        except TaskTimeoutError:
            assert time.monotonic() - began < seconds + 30
        finally:
            alarm(0)
    ask_all()
    assert simulator.prompts_charged == len(prompts)
