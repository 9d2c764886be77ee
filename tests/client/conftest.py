"""What the tests of messages share: clients of the stand-in that do not wait long."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stand_in import KEY, StandIn

from airflow_provider_chatbase.client import ChatbaseClient, RetryPolicy, lookup
from airflow_provider_chatbase.client.settings import ClientSettings


@pytest.fixture
def client(chatbase: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatbaseClient]:
    monkeypatch.setattr(lookup, "FIRST_PAUSE", 0.02)
    settings = ClientSettings(api_key=KEY, host=chatbase.url, timeout=0.5)
    with ChatbaseClient(settings, RetryPolicy(max_attempts=2, first_wait=0.01)) as opened:
        yield opened


@pytest.fixture
def client_v1(chatbase: StandIn) -> Iterator[ChatbaseClient]:
    settings = ClientSettings(api_key=KEY, host=chatbase.url, timeout=0.5, api_version="v1")
    with ChatbaseClient(settings, RetryPolicy(max_attempts=2, first_wait=0.01)) as opened:
        yield opened
