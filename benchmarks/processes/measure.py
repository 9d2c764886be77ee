"""
How close many processes with one key come to its rate limit, without talking to each other.

Each reads an agent again and again: ``python -m benchmarks.processes.measure 2 10 50``. It tells the seconds
that they took together, those that the limit allows at best, and how many requests were refused.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What one process has to do."""

    url: str
    key: str
    agent_id: str
    requests: int


def work(load: Load) -> None:
    """Send the requests of one process."""
    from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings, RetryPolicy
    from airflow_provider_chatbase.client.v2.agents import get_agent

    logging.getLogger("airflow_provider_chatbase").setLevel(logging.ERROR)
    policy = RetryPolicy(max_attempts=50, deadline=3600.0)
    with ChatbaseClient(ClientSettings(load.key, load.url), policy) as client:
        for _ in range(load.requests):
            client.send(get_agent(load.agent_id))


def measure(processes: int, limit: int, window: float, windows: int) -> str:
    """Let many processes do together what the limit allows in some windows."""
    from airflow_provider_chatbase.simulator import Simulator

    each = max(limit * windows // processes, 1)
    context = multiprocessing.get_context("spawn")
    with Simulator(rate_limit=limit, rate_window=window) as simulator:
        load = Load(simulator.url, simulator.api_key, simulator.agent_id, each)
        workers = [context.Process(target=work, args=(load,)) for _ in range(processes)]
        for worker in workers:
            worker.start()
        while not simulator.requests:
            time.sleep(0.01)
        began = time.monotonic()
        for worker in workers:
            worker.join()
        took = time.monotonic() - began
        refused = sum(request.status == 429 for request in simulator.requests)
    total = each * processes
    ideal = (total / limit - 1) * window
    return (
        f"{processes:3} processes, {total} requests, {limit} allowed in {window:g} s: {took:.1f} s "
        f"({took / ideal:.2f} of the {ideal:.1f} s that the limit allows), {refused} refused"
    )


def main() -> None:
    """Measure with the numbers of processes that were given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("processes", type=int, nargs="*", default=[2, 10, 50])
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--window", type=float, default=10.0)
    parser.add_argument("--windows", type=int, default=5)
    options = parser.parse_args()
    for processes in options.processes:
        print(measure(processes, options.limit, options.window, options.windows), flush=True)


if __name__ == "__main__":
    main()
