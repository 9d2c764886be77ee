from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque

import pytest

from airflow_provider_chatbase.client import AsyncChatbaseClient, ChatbaseClient
from airflow_provider_chatbase.client import rate_limiter as limits
from airflow_provider_chatbase.client.rate_limiter import RateLimiter, shared_limiter, wait_for_place
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.v2.agents import get_agent
from airflow_provider_chatbase.simulator import Fault, Simulator

WINDOW = limits.WINDOW


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Counts in a sliding window, as Chatbase does, and says how many are left."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.times: deque[float] = deque()
        self.refused = 0

    def take(self, at: float) -> dict[str, str]:
        while self.times and self.times[0] <= at - WINDOW:
            self.times.popleft()
        if len(self.times) >= self.limit:
            self.refused += 1
        else:
            self.times.append(at)
        left = self.limit - len(self.times)
        return {"x-ratelimit-limit": str(self.limit), "x-ratelimit-remaining": str(left)}


def _send(
    limiter: RateLimiter, clock: Clock, server: Server, *, way: float = 0.01, reply: float = 0.02
) -> None:
    """Let one request go, come after ``way`` seconds, and be answered after ``reply`` more."""
    while (at := limiter.book()) is None:
        clock.now += limits.PATIENCE_FOR_FIRST_REPLY
    clock.now += max(limiter.delay(at), 0.0)
    went = limiter.leave(at)
    headers = server.take(clock.now + way)
    clock.now += way + reply
    limiter.learn(headers, went)


def test_before_the_first_reply_only_a_few_go():
    limiter = RateLimiter(Clock())
    assert [limiter.book() for _ in range(limits.FIRST_BURST)].count(None) == 0
    assert limiter.book() is None
    limiter.learn({"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "980"})
    assert limiter.book() is not None


def test_without_headers_nothing_holds_back():
    limiter = RateLimiter(Clock())
    limiter.learn({})
    places = [limiter.book() for _ in range(5000)]
    assert set(places) == {1000.0}


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_the_limit_is_used_and_not_passed(limit: int):
    clock, server = Clock(), Server(limit)
    limiter = RateLimiter(clock)
    began = clock.now
    count = limit * 5
    for _ in range(count):
        _send(limiter, clock, server, way=0.005, reply=0.0)
    assert server.refused == 0
    assert clock.now - began < (count / limit - 1) * WINDOW * 1.05 + WINDOW / 2


def test_requests_that_come_late_are_counted_late():
    clock, server, rng = Clock(), Server(50), random.Random(1)
    limiter = RateLimiter(clock)
    for _ in range(400):
        _send(limiter, clock, server, way=rng.choice([0.001, 0.01, 0.25]), reply=0.001)
    assert server.refused == 0


def test_one_that_leaves_late_is_counted_from_then():
    clock = Clock()
    limiter = RateLimiter(clock)
    limiter.learn({"x-ratelimit-limit": "1", "x-ratelimit-remaining": "1"})
    at = limiter.book()
    assert at == clock.now
    clock.now += 3.0
    assert limiter.leave(at) == clock.now
    following = limiter.book()
    assert following is not None
    assert following >= clock.now + WINDOW


def test_what_others_send_with_the_key_takes_places():
    clock, server = Clock(), Server(100)
    limiter = RateLimiter(clock)
    for _ in range(90):
        server.take(clock.now)
    for _ in range(30):
        _send(limiter, clock, server)
    assert server.refused == 0
    assert clock.now > 1000.0 + WINDOW


def test_a_limit_that_changes_is_followed():
    clock, server = Clock(), Server(1000)
    limiter = RateLimiter(clock)
    for _ in range(10):
        _send(limiter, clock, server)
    server.limit = 20
    for _ in range(60):
        _send(limiter, clock, server)
    assert server.refused == 0


def test_when_one_is_told_to_wait_all_do():
    clock = Clock()
    limiter = RateLimiter(clock)
    limiter.learn({"x-ratelimit-limit": "1000", "x-ratelimit-remaining": "999"})
    booked = limiter.book()
    assert booked is not None
    limiter.hold(4.0)
    assert limiter.delay(booked) == pytest.approx(4.0)
    later = limiter.book()
    assert later is not None
    assert later >= clock.now + 4.0


def test_after_a_refusal_fewer_go_and_slowly_more_again():
    clock = Clock()
    limiter = RateLimiter(clock)
    headers = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "100"}
    limiter.learn(headers)
    limiter.hold(0.0)
    assert _places(limiter, clock) == 70
    clock.now += 2 * WINDOW
    for _ in range(200):
        limiter.learn(headers)
        clock.now += WINDOW
    assert _places(limiter, clock) == 100


def _places(limiter: RateLimiter, clock: Clock) -> int:
    """Return how many may go within less than a window."""
    count = 0
    while (at := limiter.book()) is not None and at < clock.now + WINDOW / 2:
        count += 1
    return count


def test_odd_headers_are_passed_over():
    limiter = RateLimiter(Clock())
    for limit in ("", "many", "0", "-3", "inf", "nan"):
        limiter.learn({"x-ratelimit-limit": limit, "x-ratelimit-remaining": limit})
    assert limiter.book() is not None


def test_a_key_has_one_limiter_for_each_host():
    one, other = ClientSettings(api_key="a"), ClientSettings(api_key="b")
    assert shared_limiter(one, "main") is shared_limiter(ClientSettings(api_key="a"), "main")
    assert shared_limiter(one, "main") is not shared_limiter(one, "files")
    assert shared_limiter(one, "main") is not shared_limiter(other, "main")


def test_threads_share_the_places():
    limiter = RateLimiter()
    limiter.learn({"x-ratelimit-limit": "10", "x-ratelimit-remaining": "10"})
    went: list[float] = []
    threads = [
        threading.Thread(target=lambda: went.append(wait_for_place(limiter)), daemon=True) for _ in range(11)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads[:11]:
        thread.join(0.3)
    assert sum(1 for at in went if at < began + 1) == 10


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    """Count over one second in place of ten, on both sides."""
    monkeypatch.setattr(limits, "WINDOW", 1.0)
    return 1.0


def test_against_a_server_without_a_429(quick: float):
    with Simulator(conversations=2, rate_limit=40, rate_window=quick) as simulator:
        settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)

        async def ask() -> float:
            async with AsyncChatbaseClient(settings) as client:
                began = time.monotonic()
                await asyncio.gather(*(client.send(get_agent(simulator.agent_id)) for _ in range(160)))
                return time.monotonic() - began

        seconds = asyncio.run(ask())
        assert len(simulator.requests) == 160
        assert {request.status for request in simulator.requests} == {200}
        assert seconds < 4.5


def test_a_client_that_is_refused_makes_the_others_wait(quick: float):
    with Simulator(conversations=2) as simulator:
        simulator.faults.add(Fault(kind="status", status=429, retry_after=1, times=1))
        settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)
        with ChatbaseClient(settings) as one, ChatbaseClient(settings) as other:
            thread = threading.Thread(target=lambda: one.send(get_agent(simulator.agent_id)))
            thread.start()
            limiter = shared_limiter(settings, "main")
            while limiter.delay(time.monotonic()) < 0.5:  # the refusal has come
                time.sleep(0.005)
            began = time.monotonic()
            other.send(get_agent(simulator.agent_id))
            assert time.monotonic() - began > 0.8
            thread.join()
