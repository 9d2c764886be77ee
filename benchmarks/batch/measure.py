"""
How fast and how lean batches are, against the simulator in a process of its own.

``python benchmarks/batch/measure.py [a b c d]`` from the checkout, with the provider installed; c also needs
apache-airflow-providers-http. Prints a table in Markdown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KEY = "simulator-key"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    ceiling: str
    verdict: str

    def __str__(self) -> str:
        return f"| {self.what} | {self.measured} | {self.ceiling} | {self.verdict} |"


@contextmanager
def service(latency: float, rate_limit: int) -> Iterator[tuple[str, str]]:
    """Run a simulator; give its URL and its agent. Only answers take the latency."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "service.py"), str(latency), str(rate_limit)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url, agent_id = (process.stdout or sys.stdin).readline().split()
        yield url, agent_id
    finally:
        process.terminate()
        process.wait()


def counts(url: str) -> dict[str, Any]:
    """Return what the simulator counted."""
    with urllib.request.urlopen(f"{url}/_simulator/state") as reply:
        return json.load(reply)


def refusals(url: str) -> int:
    """Return how many requests were answered 429."""
    return sum(by_status.get("429", 0) for by_status in counts(url)["requests"].values())


def run_batch(url: str, agent_id: str, count: int, concurrency: int) -> dict[str, float]:
    """Run a batch in a process of its own; return its seconds and its peak memory in MiB."""
    with tempfile.TemporaryDirectory() as directory:
        prompts = Path(directory) / "prompts.jsonl"
        with prompts.open("w") as file:
            for n in range(count):
                file.write(json.dumps({"id": f"q{n}", "message": f"Question {n}"}) + "\n")
        arguments = [url, KEY, agent_id, str(prompts), str(Path(directory) / "out"), str(concurrency)]
        done = subprocess.run(
            [sys.executable, str(HERE / "one_batch.py"), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert result["answered"] == count, result
    return result


def concurrency_ceiling(concurrency: int) -> Row:
    """Measure (a): 1,000 prompts, answers of 2 s, far below the rate limit."""
    count, latency = 1000, 2.0
    with service(latency, 1000) as (url, agent_id):
        seconds = run_batch(url, agent_id, count, concurrency)["seconds"]
    ceiling = count / concurrency * latency
    what = f"a: {count:,} prompts, answers of {latency:g} s, {concurrency} at a time, limit 1,000 per 10 s"
    over = seconds / ceiling - 1
    return Row(what, f"{seconds:.1f} s", f"{ceiling:.1f} s", f"{over:+.1%} (at most +15 %)")


def rate_ceiling() -> Row:
    """Measure (b): 950 prompts, limit 100 per 10 s: the last 50 can go when nine windows are over."""
    count, limit = 950, 100
    with service(0.1, limit) as (url, agent_id):
        seconds = run_batch(url, agent_id, count, 50)["seconds"]
        refused = refusals(url)
    ceiling = count // limit * 10.0
    what = f"b: {count:,} prompts, limit {limit} per 10 s"
    verdict = f"{seconds / ceiling - 1:+.1%} (at most +5 %), {refused} times 429"
    return Row(what, f"{seconds:.1f} s", f"{ceiling:.1f} s", verdict)


def against_mapped_tasks() -> Row:
    """Measure (c): 100 prompts as one task, and as 100 mapped tasks, under one LocalExecutor."""
    with service(2.0, 1000) as (url, agent_id):
        done = subprocess.run(
            [sys.executable, str(HERE / "mapped_tasks.py"), url, KEY, agent_id],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    what = "c: 100 prompts, answers of 2 s, LocalExecutor with 10 places: one batch task, 10 at a time"
    ratio = found["mapped"] / found["batch"]
    measured, other = f"{found['batch']:.1f} s", f"{found['mapped']:.1f} s with 100 mapped HttpOperator tasks"
    return Row(what, measured, other, f"{ratio:.1f} times as fast")


def memory() -> Row:
    """Measure (d): peak memory at 1,000 and at 100,000 prompts."""
    peaks = {}
    for count in (1_000, 100_000):
        with service(0.0, 100_000_000) as (url, agent_id):
            peaks[count] = run_batch(url, agent_id, count, 20)["peak_mib"]
    few, many = peaks[1_000], peaks[100_000]
    what = "d: peak memory, instant answers, 100,000 prompts"
    return Row(what, f"{many:.0f} MiB", f"{few:.0f} MiB at 1,000 prompts", f"{many - few:+.0f} MiB")


MEASURES: dict[str, list[Callable[[], Row]]] = {
    "a": [lambda: concurrency_ceiling(50), lambda: concurrency_ceiling(100)],
    "b": [rate_ceiling],
    "c": [against_mapped_tasks],
    "d": [memory],
}


def main() -> None:
    """Measure, and print the table."""
    wanted = sys.argv[1:] or list(MEASURES)
    load = os.getloadavg()[0]
    rows = []
    for name in wanted:
        began = time.monotonic()
        rows += [measure() for measure in MEASURES[name]]
        print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    print("| What | Measured | Ceiling, or compared to | Verdict |\n|---|---|---|---|")
    print("\n".join(map(str, rows)))
    print(f"\n{os.cpu_count()} cores; load average when it began: {load:.1f}.")


if __name__ == "__main__":
    main()
