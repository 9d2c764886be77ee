"""The limiter against a server that counts, on a clock of its own: no network and no waiting."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from airflow_provider_chatbase.client.rate_limiter import RateLimiter, shared_limiter
from airflow_provider_chatbase.client.settings import ClientSettings


@dataclass
class Clock:
    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """Counts requests in a sliding window, as they arrive."""

    limit: int
    window: float
    says_when: bool = True
    arrivals: deque[float] = field(default_factory=deque)
    refused: int = 0

    def take(self, at: float) -> dict[str, str]:
        while self.arrivals and self.arrivals[0] <= at - self.window:
            self.arrivals.popleft()
        headers = {"x-ratelimit-limit": str(self.limit)}
        if len(self.arrivals) >= self.limit:
            self.refused += 1
            headers["retry-after"] = str(self.arrivals[0] + self.window - at)
        else:
            self.arrivals.append(at)
        headers["x-ratelimit-remaining"] = str(self.limit - len(self.arrivals))
        if self.says_when:
            headers["x-ratelimit-reset"] = str(self.arrivals[0] + self.window)
        return headers


def run(server: Server, *, requests: int, workers: int, latency: float, processes: int = 1) -> float:
    """
    Send requests with several workers at once, each of them again when refused; return the seconds.

    With several processes, each has a limiter of its own, and sends as many requests with as many workers.
    """
    clock, rng = Clock(), random.Random(1)
    random.seed(1)
    limiters = [RateLimiter(clock=clock, now=clock) for _ in range(processes)]
    began, left = clock.now, [requests] * processes
    order = itertools.count()
    events: list[tuple[float, int, str, int, dict[str, str], float]] = []

    def later(
        seconds: float, what: str, at: int, headers: dict[str, str] | None = None, went: float = 0.0
    ) -> None:
        heapq.heappush(events, (clock.now + seconds, next(order), what, at, headers or {}, went))

    for at in range(processes):
        begins = rng.uniform(0, 2) * (processes > 1)
        for _ in range(workers):
            later(begins, "ready", at)
    while events:
        clock.now, _, what, at, headers, went = heapq.heappop(events)
        limiter = limiters[at]
        there = min(latency, 0.2) * rng.uniform(0.2, 0.8)  # the way; the rest is the server's work
        if what == "arrive":
            later(latency * rng.uniform(0.5, 1.0), "reply", at, server.take(clock.now), went)
            continue
        if what == "reply":
            limiter.learn(headers, clock.now - went)
            limiter.done()
            if "retry-after" in headers:
                limiter.hold(float(headers["retry-after"]))
                left[at] += 1
        if left[at] > 0:
            wait = limiter.try_to_go()
            left[at] -= wait == 0
            later(wait or there, "ready" if wait else "arrive", at, went=clock.now)
    return clock.now - began


THOUSANDS = pytest.param(1000, 1000, marks=pytest.mark.long)


@pytest.mark.parametrize("latency", [0.01, 0.15, 2.0])
@pytest.mark.parametrize("says_when", [True, False], ids=["with reset", "without reset"])
@pytest.mark.parametrize(("limit", "workers"), [(100, 20), (100, 100), (1000, 100), THOUSANDS])
def test_alone_it_is_never_refused_and_close_to_the_limit(limit, workers, says_when, latency):
    windows = 6 if workers < 1000 else 3  # a thousand that wait take seconds of work to play
    server = Server(limit, window=10.0, says_when=says_when)
    seconds = run(server, requests=limit * windows, workers=workers, latency=latency)
    assert server.refused == 0
    by_limit = (windows - 1) * 10.0 + limit / workers * latency
    by_workers = limit * windows / workers * latency
    assert seconds < max(by_limit, by_workers) * 1.05 + 2 * latency


@pytest.mark.parametrize("window", [1.0, 2.0])
def test_a_shorter_window_than_documented_is_learned_from_the_replies(window):
    server = Server(50, window)
    seconds = run(server, requests=400, workers=20, latency=0.05)
    assert server.refused == 0
    assert seconds < 7 * (window + 0.5)


def test_a_longer_window_than_documented_is_learned_from_a_refusal():
    server = Server(50, window=60.0)
    run(server, requests=150, workers=20, latency=0.05)
    assert server.refused <= 2 * 20


def test_a_limit_below_the_first_burst_costs_one_round_of_refusals():
    server = Server(5, window=10.0)
    run(server, requests=30, workers=20, latency=0.1)
    assert server.refused <= 20


@pytest.mark.parametrize(
    ("processes", "limit", "each", "workers"),
    [(2, 100, 300, 20), (10, 15, 8, 1), (10, 100, 60, 4), (50, 100, 12, 2)],
)
def test_many_processes_share_the_limit_without_talking_to_each_other(processes, limit, each, workers):
    server = Server(limit, window=10.0)
    seconds = run(server, requests=each, workers=workers, latency=0.3, processes=processes)
    ideal = (processes * each / limit - 1) * 10.0
    assert seconds < ideal * 1.4
    assert server.refused < processes * each * 0.45


def test_what_others_send_with_the_key_is_counted():
    clock = Clock()
    limiter = RateLimiter(clock=clock, now=clock)
    assert limiter.try_to_go() == 0
    limiter.learn({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "2"})
    limiter.done()
    # Others see the same room of two, and would take it too: it is left to who comes and knows nothing.
    assert all(limiter.try_to_go() > 0 for _ in range(3))


def test_all_hold_when_one_is_told_to_and_go_on_more_slowly():
    clock = Clock()
    limiter = RateLimiter(clock=clock, now=clock)
    assert limiter.try_to_go() == 0
    limiter.learn({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "99"})
    limiter.hold(3.0)
    assert limiter.try_to_go() == pytest.approx(3.0)
    clock.now += 3.0
    went = sum(1 for _ in range(200) if limiter.try_to_go() == 0)
    assert went == 69  # 70 of 100 in a window, and one went before
    clock.now += 11
    limiter.learn({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "100"})
    assert sum(1 for _ in range(200) if limiter.try_to_go() == 0) > 85


def test_before_the_first_reply_only_a_few_are_on_their_way():
    clock = Clock()
    limiter = RateLimiter(clock=clock, now=clock)
    assert sum(1 for _ in range(100) if limiter.try_to_go() == 0) == 20
    limiter.done()  # the first failed without a reply: the next may try
    assert limiter.try_to_go() == 0


def test_without_a_stated_limit_there_is_none():
    clock = Clock()
    limiter = RateLimiter(clock=clock, now=clock)
    assert limiter.try_to_go() == 0
    limiter.learn({})
    assert all(limiter.try_to_go() == 0 for _ in range(5_000))


@pytest.mark.parametrize("value", ["", "many", "nan", "inf", "-1", "0"])
def test_a_limit_that_is_no_number_is_none(value):
    clock = Clock()
    limiter = RateLimiter(clock=clock, now=clock)
    limiter.learn({"x-ratelimit-limit": value, "x-ratelimit-remaining": value})
    assert all(limiter.try_to_go() == 0 for _ in range(100))


def test_a_limit_of_a_billion_is_not_counted_one_by_one():
    limiter = RateLimiter(Clock())
    limiter.learn({"x-ratelimit-limit": "1000000000", "x-ratelimit-remaining": "0"})
    assert limiter.try_to_go() == 0


def test_one_limiter_for_all_that_is_sent_with_a_key():
    ours = ClientSettings(api_key="sk-one", host="https://a.example", files_host="https://a.example")
    theirs = ClientSettings(api_key="sk-two", host="https://a.example", files_host="https://a.example")
    assert shared_limiter(ours, "main") is shared_limiter(ours, "main")
    assert shared_limiter(ours, "main") is not shared_limiter(theirs, "main")
    assert shared_limiter(ours, "main") is not shared_limiter(ours, "files")


def test_among_others_one_that_sent_nothing_for_long_may_send_while_a_slow_reply_is_on_its_way():
    clock = Clock()
    limiter = RateLimiter(clock=clock, now=clock)
    for _ in range(2):
        assert limiter.try_to_go() == 0
    limiter.learn({"x-ratelimit-limit": "100", "x-ratelimit-remaining": "2"})
    limiter.done()
    assert limiter.try_to_go() > 0, "the rest of the room is left to the others"
    clock.now += 60
    assert limiter.try_to_go() == 0
    assert limiter.try_to_go() > 0
