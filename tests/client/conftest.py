"""What the tests of the client share: servers to speak to, and clients that do not wait long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from acting import KEY, Acting

from airflow_provider_chatbase.client import (
    AsyncChatbaseClient,
    ChatbaseClient,
    ClientSettings,
    Request,
    RetryPolicy,
)
from airflow_provider_chatbase.client import question as lookup
from airflow_provider_chatbase.simulator import Simulator

QUICK = RetryPolicy(max_attempts=4, first_wait=0.001, longest_backoff=0.01)
"""Four attempts, and hardly a wait between them."""

PATIENT, IMPATIENT = 30.0, 1.0
"""Seconds of silence that the clients put up with: few only in a test that makes them wait in vain."""


@pytest.fixture(params=["sync", "async"])
def send(request: pytest.FixtureRequest, simulator: Simulator) -> Callable[..., Any]:
    """Return a function that sends requests with a new client of either kind, and returns the last result.

    Its arguments: the requests; ``policy``; and the settings that differ from those for the simulator.
    """

    def send(*requests: Request[Any], policy: RetryPolicy = QUICK, **settings: Any) -> Any:
        chosen = {"api_key": simulator.api_key, "host": simulator.url, "files_host": simulator.url}
        arguments = (ClientSettings(**{**chosen, **settings}), policy)
        return (
            run(requests, *arguments) if request.param == "sync" else asyncio.run(arun(requests, *arguments))
        )

    return send


def run(requests: tuple[Request[Any], ...], settings: ClientSettings, policy: RetryPolicy) -> Any:
    with ChatbaseClient(settings, policy) as client:
        return [client.send(request) for request in requests][-1]


async def arun(requests: tuple[Request[Any], ...], settings: ClientSettings, policy: RetryPolicy) -> Any:
    async with AsyncChatbaseClient(settings, policy) as client:
        return [await client.send(request) for request in requests][-1]


@pytest.fixture
def timeout(request: pytest.FixtureRequest) -> float:
    return IMPATIENT if request.node.get_closest_marker("impatient") else PATIENT


@pytest.fixture
def client(chatbase: Acting, timeout: float, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatbaseClient]:
    monkeypatch.setattr(lookup, "FIRST_PAUSE", 0.02)
    settings = ClientSettings(api_key=KEY, host=chatbase.url, timeout=timeout)
    with ChatbaseClient(settings, RetryPolicy(max_attempts=2, first_wait=0.01)) as opened:
        yield opened


@pytest.fixture
def client_v1(chatbase: Acting, timeout: float) -> Iterator[ChatbaseClient]:
    settings = ClientSettings(api_key=KEY, host=chatbase.url, timeout=timeout, api_version="v1")
    with ChatbaseClient(settings, RetryPolicy(max_attempts=2, first_wait=0.01)) as opened:
        yield opened
