"""A Chatbase that writes down what was paid, and how work there is looked at from outside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from cluster import Cluster, Run
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_chatbase.simulator import Simulator

PROMPTS, SOURCES, CONVERSATIONS = 40, 40, 1500
TODAY = datetime.now(tz=UTC).replace(hour=0, minute=0, second=0, microsecond=0)
MIDDLE = {"batch": 6, "local": 6, "export": 8, "sync": 4}
"""How many requests of a task are enough for it to be in the middle of its work."""


class Latency(Mapping[str, float]):
    """Answers soon at first; then so slowly that work stays in its middle, until it is told to hurry."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.hurries = False

    def __getitem__(self, operation: str) -> float:
        self.asked[operation] += 1
        works = operation in ("chatWithAgent", "exportConversations", "createSource")
        if self.hurries or not works:
            return 0.02
        if self.asked[operation] <= 2 * max(MIDDLE.values()):
            return 0.5
        return 3.0 if operation == "createSource" else 10.0  # Airflow gives 5 s to a task that is to end

    def get(self, operation: str, _default: object = None) -> float:  # type: ignore[override]
        return self[operation]

    def __iter__(self) -> Iterator[str]:
        return iter(self.asked)

    def __len__(self) -> int:
        return len(self.asked)


class PaidWork:
    """The service of one case, slow until it is told to hurry; a context manager."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self.name = cluster, name
        self._latency = Latency()
        self.simulator = Simulator(
            conversations=CONVERSATIONS, latency=self._latency, seed_sources=False, agent_id=name
        )

    def __enter__(self) -> Self:
        self.simulator.start()
        self._cluster.connect(self.name, self.simulator)
        return self

    def __exit__(self, *_: object) -> None:
        self.simulator.stop()

    def start(self) -> Run:
        """Start a run of the case's DAG; it exports what is older than what its batch makes."""
        return self._cluster.trigger(self.name, end=TODAY.isoformat())

    def hurry(self) -> None:
        """Answer fast from now on."""
        self._latency.hurries = True

    def requests(self) -> Counter[str]:
        """Count what each task sent that changes something or reads a page."""
        found: Counter[str] = Counter()
        for each in self.simulator.requests:
            if each.operation == "chatWithAgent":
                found["local" if b"local" in each.body else "batch"] += 1
            elif each.operation == "exportConversations":
                found["export"] += 1
            elif each.operation == "createSource":
                found["sync"] += 1
        return found

    def wait_for_the_middle(self, tasks: Collection[str], before: Counter[str] | None = None) -> Counter[str]:
        """Wait until each task is in the middle of its work; return what was sent until then."""

        def there() -> bool:
            return all(self.requests()[task] >= MIDDLE[task] + (before or Counter())[task] for task in tasks)

        self._cluster.wait(there, lambda: (self.name, self.requests()))
        return self.requests()

    def require_all_done(self, run: Run) -> str:
        """Check that a run is green, that nothing is missing, and that nothing was paid twice; say how."""
        tasks = {each["task_id"]: each for each in run.wait()}
        assert {name: each["state"] for name, each in tasks.items()} == dict.fromkeys(tasks, "success"), tasks
        sent, told = self.requests(), []
        batches = [name for name in ("batch", "local") if name in tasks]
        for name in batches:
            rows = self._rows(name)
            assert [row["outcome"] for row in rows] == ["answered"] * PROMPTS
            told.append(f"{name} {len(rows)} answers of {sent[name]} requests")
        assert self.simulator.prompts_charged == PROMPTS * len(batches), self.simulator.prompts_charged
        if any(name.startswith("export") for name in tasks):
            there = self.simulator.store.conversations(self.name)
            ids = [row["id"] for row in self._rows("export")]
            assert sorted(ids) == sorted(each.id for each in there if each.created_at < TODAY.timestamp())
            told.append(f"export {len(ids)} rows of {sent['export']} pages")
        if "sync" in tasks:
            names = Counter(each.name.rsplit(" #", 1)[0] for each in self.simulator.store.sources(self.name))
            assert len(names) == SOURCES
            assert set(names.values()) == {1}, names
            told.append(f"sync {len(names)} sources of {sent['sync']} requests")
        tried = sorted({each["try_number"] for each in tasks.values()})
        return f"{', '.join(told)}; tries {tried}"

    def _rows(self, task: str) -> list[dict[str, Any]]:
        if task == "local":
            return rows_of(LocalFileSystem(), f"{self._cluster.bee.disk}/local")
        self._cluster.fs.invalidate_cache()
        return rows_of(self._cluster.fs, f"cases/{self.name}/{task}")


def rows_of(fs: AbstractFileSystem, output: str) -> list[dict[str, Any]]:
    """Return the rows that the manifest of an output promises."""
    manifests = [each for each in fs.find(output) if "/_manifest" in each]
    [manifest] = [json.loads(fs.cat_file(each)) for each in manifests]
    files = [each["path"] if isinstance(each, dict) else each for each in manifest["files"]]
    contents = [fs.cat_file(f"{output}/{file}").decode() for file in files]
    return [json.loads(line) for content in contents for line in content.split("\n")[:-1]]
