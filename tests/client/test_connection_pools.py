"""Pools fill one after the other and are used again."""

from __future__ import annotations

import asyncio

import pytest

from airflow_provider_chatbase.client.errors import ChatbaseUnreachableError
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import POOL_SIZE, AsyncTransport, Pools
from airflow_provider_chatbase.client.v2.agents import get_agent


@pytest.fixture
def pools() -> Pools[object]:
    return Pools(object)


def test_one_pool_serves_a_few(pools):
    taken = [pools.take() for _ in range(POOL_SIZE)]
    assert len({id(pool) for pool in taken}) == 1
    assert len(pools.clients()) == 1


def test_another_is_opened_when_all_are_busy(pools):
    taken = [pools.take() for _ in range(POOL_SIZE * 3)]
    assert [sum(pool is each for pool in taken) for each in dict.fromkeys(taken)] == [POOL_SIZE] * 3


def test_the_first_pool_with_a_place_is_used_again(pools):
    taken = [pools.take() for _ in range(POOL_SIZE * 2)]
    taken[3].release()
    assert pools.take() is taken[3]
    assert len(pools.clients()) == 2


def test_a_place_is_given_back_when_the_block_fails(pools):
    for _ in range(POOL_SIZE * 2):
        with pytest.raises(RuntimeError), pools.client():
            raise RuntimeError
    assert len(pools.clients()) == 1


def test_a_place_is_given_back_when_a_request_fails():
    transport = AsyncTransport(ClientSettings(api_key="k", host="http://127.0.0.1:9"))

    async def fail_often():
        for _ in range(POOL_SIZE * 2):
            with pytest.raises(ChatbaseUnreachableError):
                await transport.open(get_agent("a1"))
        await transport.close()

    asyncio.run(fail_often())
    assert len(transport.pools.clients()) == 1


def test_a_place_is_given_back_with_the_reply(simulator):
    transport = AsyncTransport(ClientSettings(api_key=simulator.api_key, host=simulator.url))

    async def succeed_often():
        for _ in range(POOL_SIZE * 2):
            reply = await transport.open(get_agent(simulator.agent_id))
            await reply.close()
        await transport.close()

    asyncio.run(succeed_often())
    assert len(transport.pools.clients()) == 1
