"""Pools fill one after the other and are used again."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client.transport import POOL_SIZE, Pools


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
