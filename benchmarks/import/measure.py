"""
Measure what importing a module of operators costs over ``airflow.sdk``, beside other providers.

    python benchmarks/import/measure.py

Needs, for the comparison: apache-airflow-providers-http, apache-airflow-providers-openai.
Each figure is the median of several fresh interpreters whose bytecode is compiled.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

RUNS = 7
OURS = "airflow_provider_chatbase"
MODULES = (
    f"{OURS}.operators.chat",
    f"{OURS}.operators.batch",
    f"{OURS}.operators.sources",
    f"{OURS}.operators.agents",
    f"{OURS}.operators.exports",
    f"{OURS}.sensors.training",
    f"{OURS}.hooks.managed_agent",
    "airflow.providers.http.operators.http",
    "airflow.providers.openai.operators.openai",
)
TIMED = """
import importlib, sys, time
from airflow.sdk import DAG, BaseOperator, task, task_group
task.branch  # what any DAG file has loaded
began = time.process_time()
try:
    importlib.import_module(sys.argv[1])
except ModuleNotFoundError as error:
    print(error)
else:
    print((time.process_time() - began) * 1000)
"""


def main() -> None:
    """Print a line for each module."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AIRFLOW_HOME": home}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        print("| module | CPU ms over airflow.sdk |\n|---|---|")
        for module in MODULES:
            command = [sys.executable, "-c", TIMED, module]
            told = [
                subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
                for _ in range(RUNS + 1)
            ]
            try:
                figure = f"{statistics.median(float(line.split()[-1]) for line in told[1:]):.1f}"
            except ValueError:
                figure = told[-1].strip()
            print(f"| {module} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
