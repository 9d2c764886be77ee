"""``python -m tests.campaign.time_outs``: Airflow's own time-out strikes real tasks at random moments."""

from __future__ import annotations

import argparse
import contextvars
import dataclasses
import faulthandler
import json
import logging
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, timeout
from airflow.sdk.bases.operator import ExecutorSafeguard

from airflow_provider_chatbase.client import question
from airflow_provider_chatbase.client.asking import Rules
from airflow_provider_chatbase.decorators.chat import _ChatbaseDecoratedOperator
from airflow_provider_chatbase.operators.batch import ChatbaseBatchPromptOperator
from airflow_provider_chatbase.operators.chat import ChatbaseSendMessageOperator
from airflow_provider_chatbase.operators.exports import ChatbaseExportConversationsOperator
from airflow_provider_chatbase.operators.sources import ChatbaseSyncSourcesOperator
from airflow_provider_chatbase.simulator import Simulator

PATIENCE = {
    "patience": 0.6,
    "patience_after_timeout": 0.6,
}  # seconds; the simulator is through with all by then
LONGEST = 20.0  # seconds that a task may take to put things in order, on a busy machine
HANGS = 90.0
MOST_STRIKES = 4  # on one task, which is then left to end


class QuickSend(ChatbaseSendMessageOperator):
    """Looks for a message as long as this simulator can take."""

    def _rules(self) -> Rules:
        return dataclasses.replace(super()._rules(), **PATIENCE)


class QuickFunction(_ChatbaseDecoratedOperator, QuickSend):
    """``@task.chatbase``, which looks as long."""


class QuickBatch(ChatbaseBatchPromptOperator):
    """Looks for a prompt as long as this simulator can take."""

    def _new_batch(self, *given: Any) -> Any:
        batch = super()._new_batch(*given)
        batch.settings = dataclasses.replace(batch.settings, **PATIENCE)
        return batch


@dataclass
class Strikes:
    """Strikes tasks, and counts how they took it."""

    simulator: Simulator
    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    lasting: dict[str, float] = field(default_factory=dict)  # how long a task takes when nothing strikes it

    @property
    def number(self) -> int:
        """How often it struck."""
        return sum(count for name, count in self.counts.items() if name.endswith("struck"))

    def run(self, name: str, number: int, make: Callable[[], Any]) -> None:
        """Run a task until it is through, struck some times on its way."""
        began = datetime.now(UTC)
        for tries in range(1, MOST_STRIKES + 2):
            struck = tries <= MOST_STRIKES and name in self.lasting
            seconds = self.random.uniform(0.001, self.lasting.get(name, 0.0)) if struck else HANGS
            context = _context(f"{name}{number}", tries, began)
            how, took = self._try(partial(_execute, make(), context), seconds)
            if how == "struck":
                self.counts[f"{name} struck"] += 1
                if took - seconds > LONGEST:
                    self.wrong.append(f"{name} {number} ended {took - seconds:.1f} s after its time-out")
            elif how == "through":
                if took > seconds + 0.5:
                    self.wrong.append(
                        f"{name} {number} swallowed its time-out: {took:.2f} of {seconds:.2f} s"
                    )
                self.lasting[name] = min(self.lasting.get(name, took), took)
                self.counts[f"{name} through"] += 1
                return
            else:
                self.wrong.append(f"{name} {number}, struck at {seconds:.3f} s, after {took:.3f} s: {how}")
        raise AssertionError(f"{name} {number} never got through: {self.wrong[-1:]}")

    def _try(self, work: Callable[[], Any], seconds: float) -> tuple[str, float]:
        """Work in a process of its own, as Airflow does: what a time-out leaves locked ends with it."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, json.dumps(_told(work, seconds)).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        how, took, lost = json.loads(said or f'["it hung", {HANGS}, []]')
        self.unseen += lost
        return how, took


class _Timeout(timeout):
    """Airflow's own, which keeps where it struck."""

    where = ""

    def handle_timeout(self, signum: Any, frame: Any) -> None:
        self.where = "".join(traceback.format_stack(frame)[-8:])
        super().handle_timeout(signum, frame)


def _told(work: Callable[[], Any], seconds: float) -> tuple[str, float, list[str]]:
    """Tell how work ended, how long it took, and what Python could raise to nobody."""
    lost: list[str] = []
    sys.unraisablehook = lambda what: lost.append(f"{what.exc_value!r} in {what.object!r}"[:200])
    faulthandler.dump_traceback_later(HANGS + 30, exit=True)
    start, how, limit = time.monotonic(), "through", _Timeout(seconds)
    try:
        with limit:
            work()
        if limit.where:
            how = f"swallowed in {limit.where}"
    except AirflowTaskTimeout:
        how = "struck"
    except BaseException as error:  # noqa: BLE001 - told
        how = repr(error)[:300]
    return how, time.monotonic() - start, lost[:3]


def _execute(task: Any, context: dict[str, Any]) -> Any:
    """Execute a task as Airflow does: without it Airflow warns, and its own alarm in that log hangs."""
    run = contextvars.copy_context()
    run.run(ExecutorSafeguard.tracker.set, task)
    return run.run(task.execute, context)


def _context(run: str, tries: int, began: datetime) -> dict[str, Any]:
    ti = SimpleNamespace(try_number=tries, dag_id="dag", run_id=run, task_id="task", map_index=-1)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=began, run_after=began, clear_number=0)}


def send(strikes: Strikes, number: int, _folder: Path) -> None:
    """A message is paid once."""
    before = strikes.simulator.prompts_charged
    text = f"[sim:answer] Message {number}"
    how = {"task_id": "task", "stream": strikes.random.random() < 0.3}
    if strikes.random.random() < 0.3:
        strikes.run("send", number, lambda: QuickFunction(python_callable=lambda: text, **how))
    else:
        strikes.run("send", number, lambda: QuickSend(message=text, **how))
    assert strikes.simulator.prompts_charged - before == 1, f"message {number} is not paid once"


def batch(strikes: Strikes, number: int, folder: Path) -> None:
    """Each prompt is paid once, and answered."""
    before = strikes.simulator.prompts_charged
    prompts = [f"[sim:answer] Prompt {number} {each}" for each in range(20)]
    output = f"file://{folder}/batch{number}"
    strikes.run(
        "batch",
        number,
        lambda: QuickBatch(task_id="task", prompts=prompts, output_path=output, concurrency=3),
    )
    rows = _rows(folder / f"batch{number}" / "results.jsonl")
    assert [row["outcome"] for row in rows] == ["answered"] * 20, f"batch {number} lacks answers"
    assert strikes.simulator.prompts_charged - before == 20, f"batch {number} is not paid once"


def export(strikes: Strikes, number: int, folder: Path) -> None:
    """Each conversation is there once."""
    simulator, output = strikes.simulator, folder / f"export{number}"
    start, end = OLDEST, OLDEST + timedelta(days=60)
    how = {"start": start, "end": end, "output_path": f"file://{output}", "concurrency": 4}
    strikes.run("export", number, lambda: ChatbaseExportConversationsOperator(task_id="task", **how))
    found = sorted(row["id"] for each in output.rglob("*.jsonl") for row in _rows(each))
    truth = [
        each.id
        for each in simulator.store.conversations(simulator.agent_id)
        if start.timestamp() <= each.created_at < end.timestamp()
    ]
    assert found == sorted(truth), f"export {number} has {len(found)} of {len(truth)}"


def sync(strikes: Strikes, number: int, folder: Path) -> None:
    """The sources are as declared, and each is there once."""
    docs, sync_id = folder / f"docs{number}", f"docs{number}"
    docs.mkdir()
    for page in range(6):
        (docs / f"{page}.md").write_text(f"Page {page} of {number}")
    how = {"path": f"file://{docs}", "sync_id": sync_id, "prune": True, "upload_interval": 0.0}
    strikes.run("sync", number, lambda: ChatbaseSyncSourcesOperator(task_id="task", **how))
    sources = strikes.simulator.store.sources(strikes.simulator.agent_id)
    names = [each.name for each in sources if each.name.startswith(f"{sync_id}:")]
    pages = sorted(name.partition(":")[2].partition(" ")[0] for name in names)
    assert pages == [f"{page}.md" for page in range(6)], f"sync {number} left {pages}"


CASES: dict[str, Callable[[Strikes, int, Path], None]] = {
    "send": send,
    "batch": batch,
    "export": export,
    "sync": sync,
}
OLDEST = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=61)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def strike(number: int, seed: int, cases: tuple[str, ...], minutes: float) -> Strikes:
    """Strike so many times, in turn in each case, or until so many minutes are over."""
    end = time.monotonic() + 60 * minutes
    question.FIRST_PAUSE, question.LONGEST_PAUSE = 0.05, 0.2
    switches = {"conversations": 400, "months": 2, "latency": {"*": 0.003, "chatWithAgent": 0.03}}
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulator(**switches, rate_limit=10**6, upload_limit=10**6, training_seconds=0.0) as simulator,
    ):
        extra = {"agent_id": simulator.agent_id, "timeout": 10}
        connection = {"conn_type": "chatbase", "host": simulator.url, "password": simulator.api_key}
        os.environ["AIRFLOW_CONN_CHATBASE_DEFAULT"] = json.dumps({**connection, "extra": extra})
        strikes, task = Strikes(simulator, random.Random(seed)), 0
        while strikes.number < number and time.monotonic() < end:
            name = cases[task % len(cases)]
            try:
                CASES[name](strikes, task, Path(folder))
            except AssertionError as error:
                strikes.wrong.append(str(error))
            task += 1
        return strikes


def main(arguments: list[str] | None = None) -> int:
    """Strike as the command line says; tell what came of it."""
    parser = argparse.ArgumentParser(prog="scripts/campaign time-outs", description=__doc__)
    parser.add_argument("--strikes", type=int, default=200, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides the moments (default: %(default)s)")
    parser.add_argument("--what", choices=CASES, action="append", help="which tasks; all without it")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop then (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began, spent = time.monotonic(), time.process_time()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):  # the tasks log there
        cases = tuple(options.what or CASES)
        strikes = strike(options.strikes, options.seed, cases, options.minutes)
    told = ", ".join(f"{count} {name}" for name, count in sorted(strikes.counts.items()))
    print(f"{told}; {time.monotonic() - began:.0f} s, {time.process_time() - spent:.0f} s of CPU")
    print("\n".join([*strikes.wrong, *(f"swallowed by Python: {each}" for each in strikes.unseen)]))
    print(
        f"{len(strikes.wrong)} wrong, {len(strikes.unseen)} swallowed by Python where nothing can be raised"
    )
    return 1 if strikes.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
