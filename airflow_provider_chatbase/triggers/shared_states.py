"""States of many things, fetched once for all who ask at about the same time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.request import JsonObject

log = logging.getLogger(__name__)

States = Mapping[str, JsonObject]
Key = TypeVar("Key", bound=Hashable)
Fetched = TypeVar("Fetched")

FEW = 3
"""Up to so many things are asked for one by one; with more, a listing is cheaper."""

RELEASED_AT_ONCE = 20
"""Of a thousand waiting tasks, so many go on before the event loop has its turn again."""


@dataclass(slots=True)
class _Fetch:
    """A fetch under way, or done; what it brings is as new as its beginning."""

    began: float
    states: States | None = None
    error: ChatbaseError | None = None


@dataclass(slots=True)
class _Waiter:
    not_before: float
    future: asyncio.Future[_Fetch] = field(repr=False)


class SharedFetches(Generic[Key, Fetched]):
    """Things that are fetched one by one, each once for all who ask for it at about the same time."""

    def __init__(self) -> None:
        self._tasks: dict[Key, tuple[float, asyncio.Task[Fetched]]] = {}

    async def get(
        self,
        key: Key,
        fetch: Callable[[Key], Coroutine[Any, Any, Fetched]],
        not_before: float,
        *,
        join: bool = False,
    ) -> Fetched:
        """Return what a fetch brings that began at a time or later, or that is still under way (``join``)."""
        began, task = self._tasks.get(key, (float("-inf"), None))
        if task is None or (began < not_before and (task.done() or not join)) or _has_failed(task):
            task = asyncio.create_task(fetch(key))
            task.add_done_callback(_take_exception)
            self._tasks[key] = asyncio.get_running_loop().time(), task
        return await asyncio.shield(task)

    def forget(self, key: Key) -> None:
        """Keep a thing no longer."""
        self._tasks.pop(key, None)

    def forget_before(self, moment: float) -> None:
        """Keep nothing that was fetched before a moment."""
        old = {key for key, (began, task) in self._tasks.items() if began < moment and task.done()}
        for key in old:
            del self._tasks[key]

    def close(self) -> None:
        """Stop what is under way; nobody waits for it any more."""
        for _, task in self._tasks.values():
            task.cancel()


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class SharedStates:
    """The states of the things of one listing: of all agents, or of one agent's sources."""

    def __init__(
        self,
        fetch_listing: Callable[[frozenset[str]], Awaitable[States]],
        fetch_one: Callable[[str], Coroutine[Any, Any, JsonObject]],
        few: int = FEW,
    ) -> None:
        self._fetch_listing = fetch_listing
        self._fetch_one = fetch_one
        self._few = few
        self._wanted: Counter[str] = Counter()
        self._waiters: list[_Waiter] = []
        self._latest: _Fetch | None = None
        self._worker: asyncio.Task[None] | None = None
        self._singles: SharedFetches[str, JsonObject] = SharedFetches()

    @contextmanager
    def watching(self, ids: Iterable[str]) -> Iterator[None]:
        """Take part for a block: the listing looks for these things too."""
        watched = list(ids)
        self._wanted.update(watched)
        try:
            yield
        finally:
            self._wanted.subtract(watched)
            self._wanted += Counter()
            for gone in set(watched) - self._wanted.keys():
                self._singles.forget(gone)

    @property
    def watched(self) -> bool:
        """Whether anybody takes part."""
        return bool(self._wanted)

    def close(self) -> None:
        """Stop the fetch that is under way; nobody waits for it any more."""
        if self._worker is not None:
            self._worker.cancel()

    async def get(self, ids: Iterable[str], not_before: float) -> list[JsonObject]:
        """Return the states of some things."""
        found: States = {}
        if len(self._wanted) > self._few:
            found = await self._listed(not_before)
        single = self._singles.get
        return [
            found[each] if each in found else await single(each, self._fetch_one, not_before) for each in ids
        ]

    async def _listed(self, not_before: float) -> States:
        fetch = self._latest
        if fetch is None or fetch.began < not_before or fetch.error is not None:
            waiter = _Waiter(not_before, asyncio.get_running_loop().create_future())
            self._waiters.append(waiter)
            if self._worker is None or self._worker.done():
                self._worker = asyncio.create_task(self._work())
                self._worker.add_done_callback(self._tell_waiters)
            fetch = await waiter.future
        if fetch.error is not None:
            if fetch.error.transient:
                raise fetch.error
            log.warning("The listing cannot be used, so each thing is asked for by itself: %s", fetch.error)
        return fetch.states or {}

    async def _work(self) -> None:
        """Fetch listings until nobody waits."""
        loop = asyncio.get_running_loop()
        while self._waiters:
            fetch = _Fetch(loop.time())
            try:
                fetch.states = await self._fetch_listing(frozenset(self._wanted))
            except ChatbaseError as error:
                fetch.error = error
            self._latest = fetch
            await self._release(fetch)

    def _tell_waiters(self, worker: asyncio.Task[None]) -> None:
        """Let nobody wait for a worker that is no more."""
        error = None if worker.cancelled() else worker.exception()
        for waiter in self._waiters:
            if error is not None and not waiter.future.done():
                waiter.future.set_exception(error)

    async def _release(self, fetch: _Fetch) -> None:
        served = [waiter for waiter in self._waiters if waiter.not_before <= fetch.began]
        self._waiters = [waiter for waiter in self._waiters if waiter.not_before > fetch.began]
        for number, waiter in enumerate(served, 1):
            if not waiter.future.done():  # a task that was cancelled meanwhile waits no more
                waiter.future.set_result(fetch)
            if number % RELEASED_AT_ONCE == 0:
                await asyncio.sleep(0)


def _take_exception(task: asyncio.Task[Any]) -> None:
    """Keep asyncio from reporting the failure of a fetch whose askers have all gone."""
    if not task.cancelled():
        task.exception()
