"""
Measure what waiting sensors cost a triggerer: shared polls against one request per sensor.

``python benchmarks/sensors/measure.py --sensors 1000 --interval 10 --seconds 60``

The simulator runs in a process of its own, the triggers in another, on one event loop as in a triggerer.
Each sensor waits for an agent of its own, or for a source of its own of one agent; none gets trained
meanwhile. Requests and CPU are counted from when all wait. "Loop held up" is the longest work, from the first
start on, between two turns of the event loop: the CPU time of its thread while a task sleeps for 5 ms. Unlike
the time on the clock, it does not depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import resource
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

CONNECTION = "chatbase_default"
HEARTBEAT = 0.005


@dataclass(frozen=True)
class Load:
    """What is measured: how many sensors wait, on what, how often they poll, and for how long."""

    sensors: int
    on: str
    interval: float
    seconds: float


@dataclass(frozen=True)
class Cost:
    """What it took."""

    requests: int
    cpu_seconds: float
    peak_mb: float
    held_up_ms: float


def serve(load: Load, pipe: Connection) -> None:
    """Run a simulator in which nothing gets trained, until told to stop."""
    from airflow_provider_chatbase.simulator import Simulator
    from airflow_provider_chatbase.simulator import agents as simulated

    small = {"conversations": 0, "leads": 0, "contacts": 0}
    with Simulator(training_seconds=1e6, rate_limit=10**6, record_limit=1, **small) as simulator:
        world, things = simulator._world, []
        agent = simulator.store.agents[simulator.agent_id]
        for number in range(load.sensors):
            if load.on == "agents":
                agent = simulated.create_agent(world, f"agent {number}")
            source = simulated.add_source(world, agent, "text", f"source {number}", "text")
            things.append((agent.id, None if load.on == "agents" else [source.id]))
        pipe.send((simulator.url, simulator.api_key, things))
        pipe.recv()


def wait(load: Load, shared: bool, url: str, key: str, things: list[Any], pipe: Connection) -> None:
    """Run the triggers on one event loop, and send back what it cost."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    extra = {"api_version": "v2"}
    connection = {"conn_type": "chatbase", "host": url, "password": key, "extra": extra}
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps(connection)
    pipe.send(asyncio.run(_measure(load, shared, url, things)))


async def _measure(load: Load, shared: bool, url: str, things: list[Any]) -> Cost:
    from airflow_provider_chatbase.triggers.training import ChatbaseTrainingTrigger

    gc.collect()  # of what importing Airflow left behind: over 100 ms, and no matter of the sensors
    deadline = time.time() + 10 * load.seconds + 600
    waits: list[asyncio.Task[Any]] = []
    gaps: list[float] = []
    probe = asyncio.create_task(_feel_the_loop(gaps))
    for agent_id, source_ids in things:
        arguments = (CONNECTION, agent_id, source_ids, load.interval, deadline, 10)
        if shared:
            waits.append(asyncio.create_task(anext(ChatbaseTrainingTrigger(*arguments).run())))
        else:
            waits.append(asyncio.create_task(_poll_alone(*arguments[:4])))
        await asyncio.sleep(load.interval / load.sensors / 4)  # tasks do not all begin at one moment
    await asyncio.sleep(load.interval)
    requests, cpu = await asyncio.to_thread(_requests, url), time.process_time()
    await asyncio.sleep(load.seconds)
    cpu = time.process_time() - cpu
    requests = await asyncio.to_thread(_requests, url) - requests
    probe.cancel()
    unfinished = sum(not each.done() for each in waits)
    if unfinished != load.sensors:
        raise RuntimeError(f"only {unfinished} of {load.sensors} sensors were still waiting")
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Cost(requests, round(cpu, 2), round(peak, 1), round(1000 * max(gaps), 1))


async def _poll_alone(conn_id: str, agent_id: str, source_ids: list[str] | None, interval: float) -> None:
    """Wait as a sensor that shares nothing: a client and a request of its own."""
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
    from airflow_provider_chatbase.training import POLL_POLICY, TrainingOutcome, poll_training

    async with await ChatbaseHook(conn_id).open_async_client(POLL_POLICY) as client:
        while True:
            await asyncio.sleep(interval)
            verdict = await client.run(poll_training(client.api, agent_id, source_ids))
            if verdict.outcome is not TrainingOutcome.WAITING:
                return


async def _feel_the_loop(gaps: list[float]) -> None:
    while True:
        before = time.thread_time()
        await asyncio.sleep(HEARTBEAT)
        gaps.append(time.thread_time() - before)


def _requests(url: str) -> int:
    with urllib.request.urlopen(f"{url}/_simulator/state") as reply:
        counts = json.load(reply)["requests"]
    return sum(sum(by_status.values()) for by_status in counts.values())


def measure(load: Load, *, shared: bool) -> Cost:
    """Set up both processes, and return what the one with the triggers took."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    server = spawn.Process(target=serve, args=(load, there))
    server.start()
    url, key, things = here.recv()
    mine, its = spawn.Pipe()
    triggerer = spawn.Process(target=wait, args=(load, shared, url, key, things, its))
    triggerer.start()
    its.close()
    try:
        cost: Cost = mine.recv()
    finally:
        here.send("stop")
        triggerer.join()
        server.join()
    return cost


def main() -> None:
    """Print a table of both ways."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n", 1)[0])
    parser.add_argument("--sensors", type=int, default=1000)
    parser.add_argument("--on", choices=["agents", "sources"], default="agents")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between polls of a sensor")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to measure")
    load = Load(**vars(parser.parse_args()))
    print(f"{load.sensors} sensors on {load.on}, polling every {load.interval:g} s, for {load.seconds:g} s")
    print("| way | requests | requests per interval | CPU (s) | peak memory (MB) | loop held up (ms) |")
    print("|---|---|---|---|---|---|")
    for name, shared in (("shared polls", True), ("one request per sensor", False)):
        cost = asdict(measure(load, shared=shared))
        per_interval = cost["requests"] * load.interval / load.seconds
        cells = [name, cost["requests"], f"{per_interval:.0f}"]
        cells += [cost["cpu_seconds"], cost["peak_mb"], cost["held_up_ms"]]
        print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
