"""What all scenarios have in common: a service, a network, a storage, and processes that try."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_chatbase.client import ClientSettings
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.exceptions import ChatbaseOutputBusyError
from airflow_provider_chatbase.simulator import Settings
from airflow_provider_chatbase.simulator.app import App
from airflow_provider_chatbase.simulator.seed import seed_world
from airflow_provider_chatbase.simulator.world import World
from tests.campaign.clockwork import Clockwork, Process, SimulatedThread, TaskTimeout, describe
from tests.campaign.network import CALM, SPARED, Network, Weather, carry
from tests.campaign.storage import ObjectStore, StorageWeather

MOST_TRIES = 12
CLEARING_UP = 90.0  # seconds that a task may take to put things in order when its time is over
SKEWS = (0.0, 0.0, 0.0, 0.0, 5.0, -5.0, 90.0, -90.0, 600.0, -600.0, 86_400.0)
MOST_SKEW_SPARED = 5.0


@dataclass
class Scenario:
    """A world of its own, made from a seed."""

    seed: int
    clockwork: Clockwork
    switches: dict[str, Any] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    wrong_pages: bool = False  # whether pages are often wrong
    most_skew: float = 86_400.0
    broken: list[str] = field(default_factory=list)  # what must not be so at any moment, and was
    before_try: Callable[[int], None] = lambda number: None

    def __post_init__(self) -> None:
        self.random = random.Random(f"scenario {self.seed}")
        settings = Settings(
            **{
                "now": None,
                "conversations": 3,
                "tickets": 0,
                "latency": {"chatWithAgent": 2.0, "*": 0.0},
                "rate_limit": self.random.choice([20, 1000]),
                "training_seconds": 5.0,
                "seed": self.seed % 1000,
                **self.switches,
            }
        )
        self.world = World(settings)
        self.agent = seed_world(self.world)
        self.app = App(self.world)
        self.network = Network(self.clockwork, self.app, self.seed)
        self.store = ObjectStore(self.clockwork, self.seed)
        carry(self.network)

    def connection(self, process: Process) -> ClientSettings:
        """Return a connection; each process has a key of its own, so that it has a limiter of its own."""
        key = f"key of {self.seed} {process.pid}"
        self.world.keys.add(key)
        return ClientSettings(key, "http://chatbase.test", "http://chatbase.test")

    def try_until_through(self, work: Callable[[Process], Any], *, at_once: float = 0.3) -> Process:
        """
        Run something until it succeeds, as Airflow does: after tries that were killed or failed come others.

        The first ones have bad weather; those that come after them have none, and one of them has to succeed.
        """
        rng = self.random
        bad = rng.randint(1, 4)
        skew = {machine: rng.choice(SKEWS) for machine in ("one", "two")}
        most = MOST_SKEW_SPARED if "skew" in SPARED else self.most_skew
        skew = {machine: max(-most, min(seconds, most)) for machine, seconds in skew.items()}
        for number in range(1, MOST_TRIES + 1):
            is_bad = number <= bad
            self.before_try(number)
            self.network.weather = Weather.of(rng) if is_bad else CALM
            if is_bad and self.wrong_pages and rng.random() < 0.5:
                self.network.weather.wrong_page = rng.uniform(0.1, 0.5)
            self.store.weather = StorageWeather.of(rng) if is_bad else StorageWeather()
            machine = rng.choice(["one", "two"])
            process = Process(self.clockwork, f"try {number}", machine, skew[machine])
            if is_bad and rng.random() < 0.5:
                process.kill_at = int(rng.expovariate(1 / 60)) + 1
                if rng.random() < 0.3:
                    process.kill_at_write = int(rng.expovariate(1 / 6)) + 1
            if is_bad and rng.random() < 0.25:
                process.freeze_at, process.freeze_for = (
                    rng.randint(1, 80),
                    rng.choice([20.0, 50.0, 90.0, 400.0]),
                )
            thread = self._start(process, work)
            if is_bad and rng.random() < 0.25:
                self.clockwork.time_out(thread, rng.expovariate(1 / rng.choice([2.0, 30.0])))
            if is_bad and rng.random() < at_once:
                self.clockwork.let_pass(rng.uniform(0, 60))  # Airflow has lost sight of it
                self.clockwork.note("two at once", process.name)
                continue
            self.clockwork.run(lambda process=process: process.ended)
            if not is_bad and not process.dead and process.error is None:
                self.clockwork.run(lambda: all(each.ended for each in self.processes))
                return process
            is_busy = isinstance(process.error, ChatbaseOutputBusyError)
            self.clockwork.let_pass(60.0 if is_busy else rng.choice([0.0, 1.0, 60.0, 600.0]))
        raise AssertionError(f"never through: {[describe(each) for each in self.processes]}")

    def try_calmly(self, *works: Callable[[Process], Any]) -> None:
        """Run something once more in good weather; several run at the same time."""
        self.network.weather, self.store.weather = CALM, StorageWeather()
        ones = [Process(self.clockwork, f"the next run {at}", "one") for at, _ in enumerate(works)]
        for process, work in zip(ones, works, strict=True):
            self._start(process, work)
        self.clockwork.run(lambda: all(process.ended for process in ones))
        for process in ones:
            assert process.error is None, describe(process)

    def _start(self, process: Process, work: Callable[[Process], Any]) -> SimulatedThread:
        self.processes.append(process)
        return self.clockwork.start(process, lambda: work(process))

    def require_sound(self) -> None:
        """Fail where something was broken, or a run ended in an error that nobody explains."""
        assert not self.broken, self.broken[0]
        for process in self.processes:
            if process.timed_out_at is not None and not process.dead:
                took = process.ended_at - process.timed_out_at - process.freeze_for
                assert took < CLEARING_UP, f"{process.name} went on for {took:.0f} s after its time-out"
                assert isinstance(process.error, TaskTimeout), f"{process.name} swallowed its time-out"
                continue
            if process.error is not None and not isinstance(process.error, ChatbaseError):
                raise AssertionError(f"{process.name} ended in a raw error") from process.error


def text_of(parts: Sequence[dict[str, Any]]) -> str:
    """Return the text of a message."""
    return "".join(part["text"] for part in parts if part["type"] == "text")
