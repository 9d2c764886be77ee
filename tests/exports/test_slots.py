"""Who gets the next slot."""

from __future__ import annotations

import asyncio

from airflow_provider_chatbase.exports.parallel import Slots


async def settle() -> None:
    """Let everybody do what can be done now."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_the_lowest_rank_comes_first_and_equals_in_the_order_of_their_arrival():
    async def run() -> list[str]:
        slots, order, door = Slots(1), [], asyncio.Event()

        async def work(name: str, rank: float) -> None:
            async with slots.take(rank):
                order.append(name)
                await door.wait()

        tasks = [asyncio.create_task(work(*each)) for each in (("first", 9), ("c", 3), ("a", 1), ("b", 1))]
        await settle()
        assert order == ["first"]
        door.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()) == ["first", "a", "b", "c"]


def test_no_more_at_a_time_than_there_are_slots():
    async def run() -> int:
        slots, inside, most = Slots(3), 0, 0

        async def work() -> None:
            nonlocal inside, most
            async with slots.take(0):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        await asyncio.gather(*(work() for _ in range(20)))
        return most

    assert asyncio.run(run()) == 3


def test_who_is_cancelled_takes_no_place_along():
    async def run() -> None:
        slots, door = Slots(1), asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        async def hold() -> None:
            async with slots.take(0):
                await door.wait()
            tasks[1].cancel()  # it has been given the place, and has not woken yet

        async def work() -> None:
            async with slots.take(0):
                raise AssertionError("it was cancelled")

        tasks += [asyncio.create_task(each) for each in (hold(), work(), work())]
        await settle()
        tasks[2].cancel()  # it waits
        door.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in done[1:]] == [asyncio.CancelledError] * 2
        async with asyncio.timeout(5), slots.take(0):
            pass

    asyncio.run(run())
