from __future__ import annotations

import time

import httpx
import pytest

from airflow_provider_chatbase.simulator.access import SlidingWindow


def test_window_slides():
    window = SlidingWindow(2, 10)
    assert [window.take(at).granted for at in (0, 1, 2, 10, 11)] == [True, True, False, True, True]
    assert window.take(12).seconds_to_slot == pytest.approx(8)


def test_refused_calls_prolong_the_block_when_they_count():
    window = SlidingWindow(2, 10, count_refused=True)
    assert [window.take(at).granted for at in (0, 1, 9, 10.5, 18)] == [True, True, False, False, False]


def test_headers_and_refusal(start, connect):
    simulator = start(rate_limit=3, rate_window=30)
    client = connect(simulator)
    remaining = [client.get("/agents").headers["X-RateLimit-Remaining"] for _ in range(3)]
    assert remaining == ["2", "1", "0"]
    refused = client.get("/agents")
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "RATE_LIMIT_TOO_MANY_REQUESTS"
    assert 28 <= int(refused.headers["Retry-After"]) <= 30
    reset_in = int(refused.headers["X-RateLimit-Reset"]) / 1000 - time.time()
    assert 28 < reset_in <= 30.1
    simulator.advance(31)
    assert client.get("/agents").status_code == 200


def test_reset_in_seconds_and_no_retry_after(start, connect):
    client = connect(start(rate_limit=1, reset_unit="seconds", retry_after=False))
    client.get("/agents")
    refused = client.get("/agents")
    assert 0 < int(refused.headers["X-RateLimit-Reset"]) - time.time() < 12
    assert "Retry-After" not in refused.headers


def test_limit_is_per_key_and_health_is_free(start, connect):
    simulator = start(rate_limit=1)
    other = simulator.add_key("second-key")
    client = connect(simulator)
    assert client.get("/agents").status_code == 200
    assert client.get("/agents").status_code == 429
    assert client.get("/agents", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    assert httpx.get(f"{simulator.url}/api/v2/health").json()["status"] == "ok"


def test_uploads_have_their_own_limit_and_refused_ones_count(simulator, v2, agent):
    def upload() -> int:
        files = {"file": ("a.txt", b"some text")}
        return v2.post(f"{agent}/sources", data={"name": "a"}, files=files).status_code

    assert [upload() for _ in range(11)] == [201] * 10 + [429]
    simulator.advance(59)
    assert upload() == 429
    simulator.advance(2)
    assert upload() == 201
