"""A simulator whose answers take a while: ``service.py LATENCY RATE_LIMIT``; prints its URL and its agent."""

from __future__ import annotations

import signal
import sys
import threading

from airflow_provider_chatbase.simulator import Simulator

if __name__ == "__main__":
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    latency = {"chatWithAgent": float(sys.argv[1])}
    with Simulator(
        conversations=3, latency=latency, rate_limit=int(sys.argv[2]), record_limit=100
    ) as simulator:
        print(simulator.url, simulator.agent_id, flush=True)
        stopped.wait()
