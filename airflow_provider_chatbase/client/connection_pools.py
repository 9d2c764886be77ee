"""
Many small pools of connections in place of a large one.

The HTTP library looks at all connections of a pool for each of them, at every request: with a few hundred at
once that takes all of a core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Client = TypeVar("Client")

POOL_SIZE = 10


class Pool(Generic[Client]):
    """
    A client with connections of its own.

    :param client: the HTTP library's client.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.busy = 0

    def release(self) -> None:
        """Give back a place that was taken."""
        self.busy -= 1


class Pools(Generic[Client]):
    """
    Pools that are opened as they are needed. For one event loop.

    :param open_client: opens a client.
    """

    def __init__(self, open_client: Callable[[], Client]) -> None:
        self._open_client = open_client
        self._pools = [Pool(open_client())]

    def take(self) -> Pool[Client]:
        """Take a place in the first pool that has one; it is released in the end."""
        pool = next((pool for pool in self._pools if pool.busy < POOL_SIZE), None)
        if pool is None:
            pool = Pool(self._open_client())
            self._pools.append(pool)
        pool.busy += 1
        return pool

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Take a client for the time of a block."""
        pool = self.take()
        try:
            yield pool.client
        finally:
            pool.release()

    def clients(self) -> list[Client]:
        """Return all clients, to close them."""
        return [pool.client for pool in self._pools]
