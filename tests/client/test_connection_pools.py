"""Clients are opened when all others are busy, and used again."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseUnreachableError
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import Pools, Transport
from airflow_provider_chatbase.client.v2.agents import get_agent


@pytest.fixture
def pools() -> Pools[object]:
    return Pools(object)


def test_one_client_serves_one_after_the_other(pools):
    taken = set()
    for _ in range(3):
        with pools.client() as client:
            taken.add(client)
    assert taken == set(pools.clients())
    assert len(taken) == 1


def test_another_is_opened_when_all_are_busy(pools):
    with ExitStack() as stack:
        taken = [stack.enter_context(pools.client()) for _ in range(3)]
    assert len(set(taken)) == 3


def test_the_one_that_is_free_is_used_again(pools):
    with ExitStack() as stack:
        with ExitStack() as released:
            first = released.enter_context(pools.client())
            stack.enter_context(pools.client())
        assert stack.enter_context(pools.client()) is first
    assert len(pools.clients()) == 2


def test_the_one_that_was_used_last_comes_first_since_its_connection_is_open(pools):
    with ExitStack() as stack:
        first, last = (stack.enter_context(pools.client()) for _ in range(2))
        stack.pop_all().close()
    with pools.client() as again:
        assert again is first
    assert pools.clients() == [first, last]


def test_a_place_is_given_back_when_the_block_fails(pools):
    for _ in range(2):
        with pytest.raises(RuntimeError), pools.client():
            raise RuntimeError
    assert len(pools.clients()) == 1


def test_a_place_is_given_back_when_a_request_fails():
    transport = Transport(ClientSettings(api_key="k", host="http://127.0.0.1:9"))

    async def fail_often():
        for _ in range(2):
            with pytest.raises(ChatbaseUnreachableError):
                await transport.open(get_agent("a1"))
        await transport.close()

    asyncio.run(fail_often())
    assert len(transport.pools.clients()) == 1


def test_a_place_is_given_back_with_the_reply(simulator):
    transport = Transport(ClientSettings(api_key=simulator.api_key, host=simulator.url))

    async def succeed_often():
        for _ in range(2):
            reply = await transport.open(get_agent(simulator.agent_id))
            await reply.close()
        await transport.close()

    asyncio.run(succeed_often())
    assert len(transport.pools.clients()) == 1
