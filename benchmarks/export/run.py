"""
Compare ways to export conversations, against one simulator, and print a table of ratios.

    python benchmarks/export/run.py             # 4,000 and 20,000 conversations, 150 ms, 1,000 per 10 s
    python benchmarks/export/run.py --memory    # ours alone: memory at 20,000 and 200,000, and CPU
    python benchmarks/export/run.py --runs 1000 # ours alone: what the first and the last of many runs cost

Needs, besides this package with its extras simulator, parquet and delta: apache-airflow-providers-http, dlt.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHECKOUT = HERE.parent.parent
LATENCY = 0.15
LIMIT = 1000
WINDOW = 10.0
PAGE = 20
KEY = "simulator-key"


@contextmanager
def simulator(conversations: int, latency: float, limit: int, *more: str) -> Iterator[tuple[str, str]]:
    """Run a simulator in a process of its own; give its URL and its agent."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "airflow_provider_chatbase.simulator", "--port", "0"),
            *("--conversations", str(conversations), "--latency", str(latency)),
            *("--rate-limit", str(limit), "--api-key", KEY, *more),
        ],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    try:
        told = ""
        while not (re.search(r"http://\S+:\d+", told) and re.search(r"\bag[0-9a-f]{10,}\b", told)):
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the simulator did not start: {told}")
            told += line
        yield re.findall(r"http://[\w.]+:\d+", told)[0], re.findall(r"\bag[0-9a-f]{10,}\b", told)[0]
    finally:
        process.terminate()
        process.wait()


def environment() -> dict[str, str]:
    """Return the environment of the processes: this checkout first, and Airflow's files out of the way."""
    home = Path(tempfile.gettempdir()) / "benchmark-airflow"
    paths = [str(CHECKOUT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "AIRFLOW_HOME": str(home)}


def measure(contender: str, url: str, agent: str, file_format: str = "jsonl", *more: str) -> dict[str, Any]:
    """Run one contender and return its figures."""
    with tempfile.TemporaryDirectory() as path:
        done = subprocess.run(
            [
                *(sys.executable, str(HERE / "contenders.py"), "--contender", contender, "--url", url),
                *("--key", KEY, "--agent", agent, "--path", path, "--format", file_format),
                *more,
            ],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"{contender} failed:\n{done.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare(conversations: int) -> None:
    """Print the table for so many conversations."""
    ceiling = max(conversations / PAGE * WINDOW / LIMIT, LATENCY)
    print(f"\n{conversations:,} conversations, {LATENCY * 1000:.0f} ms a reply, {LIMIT:,} requests per 10 s")
    print(f"the limit alone takes {ceiling:.1f} s for {conversations // PAGE:,} pages\n")
    print("| contender | seconds | ours is faster by | of the ceiling | CPU s per 1,000 | peak MB |")
    print("|---|---|---|---|---|---|")
    with simulator(conversations, LATENCY, LIMIT) as (url, agent):
        best = None
        for contender, file_format in (
            ("ours", "jsonl"),
            ("ours", "delta"),
            ("httpx loop", "jsonl"),
            ("HttpOperator", "jsonl"),
            ("dlt", "jsonl"),
        ):
            time.sleep(WINDOW + 1)  # the window of the one before is empty again
            figures = measure(contender, url, agent, file_format)
            assert figures["rows"] == conversations, (contender, figures)
            best = best or figures["seconds"]
            print(
                f"| {contender}, {file_format} | {figures['seconds']:.1f} | "
                f"{figures['seconds'] / best:.1f} | "
                f"{ceiling / figures['seconds']:.0%} | {figures['cpu'] / conversations * 1000:.2f} | "
                f"{figures['peak_mb']:.0f} |",
                flush=True,
            )


def memory() -> None:
    """Print the memory and the CPU of ours, on a fast network without a limit."""
    print("\nours, no latency, no limit\n")
    print("| conversations | format | peak MB | seconds | CPU s per 1,000 |")
    print("|---|---|---|---|---|")
    for conversations in (20_000, 200_000):
        with simulator(conversations, 0.0, 10**9) as (url, agent):
            for file_format in ("jsonl", "parquet", "delta"):
                figures = measure("ours", url, agent, file_format)
                assert figures["rows"] == conversations, figures
                print(
                    f"| {conversations:,} | {file_format} | {figures['peak_mb']:.0f} | "
                    f"{figures['seconds']:.1f} | {figures['cpu'] / conversations * 1000:.2f} |",
                    flush=True,
                )


def runs(number: int) -> None:
    """Print what runs cost that had few, some and many before them: the median of ten around each."""
    print(f"\nours, no latency, no limit, {number:,} runs of 20 conversations each into one place\n")
    named = [each for each in (1, 100, 1_000) if each <= number]
    print(f"| format | {' | '.join(f'run {each:,}, ms' for each in named)} |\n|---|{'---|' * len(named)}")
    with simulator(20 * number, 0.0, 10**9, "--set", f"months={number // 90 + 1}") as (url, agent):
        for file_format in ("jsonl", "parquet", "delta"):
            seconds = measure("ours", url, agent, file_format, "--runs", str(number))["seconds"]
            around = [seconds[1:11] if each == 1 else seconds[max(each - 10, 0) : each] for each in named]
            shown = [f"{statistics.median(each) * 1000:.0f}" for each in around]
            print(f"| {file_format} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--conversations", type=int, nargs="*", default=[4_000, 20_000])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--runs", type=int)
    options = parser.parse_args()
    if options.memory:
        memory()
        return
    if options.runs:
        runs(options.runs)
        return
    for conversations in options.conversations:
        compare(conversations)


if __name__ == "__main__":
    main()
