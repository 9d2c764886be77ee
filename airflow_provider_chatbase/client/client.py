"""The two drivers, sync and async, that run the same requests under the same policy."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from airflow_provider_chatbase.client import transport
from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseRateLimitError
from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.rate_limiter import (
    shared_limiter,
    wait_for_place,
    wait_for_place_async,
)
from airflow_provider_chatbase.client.replies import Reply, read_reply
from airflow_provider_chatbase.client.request import JsonObject, Request
from airflow_provider_chatbase.client.retry import RetryPolicy, retry_arguments, settled
from airflow_provider_chatbase.client.settings import ClientSettings, require_version
from airflow_provider_chatbase.client.shapes import Page

Result = TypeVar("Result")

Steps = Generator[Request[Any], Any, Result]
"""Several requests that belong together: yields each, is sent its result, returns the outcome."""


class _Attempts:
    """What the attempts at one request have in common: their limiter, and the fate of the earlier ones."""

    def __init__(self, settings: ClientSettings, policy: RetryPolicy, request: Request[Any]) -> None:
        require_version(settings, request)
        self.request = request
        self.limiter = shared_limiter(settings, request.host)
        self._policy = policy
        self._fate_unknown = False

    def read(self, reply: Reply) -> Any:
        """Read a reply, and let the limiter learn from it."""
        self.limiter.learn(reply.headers)
        return read_reply(self.request, reply, time.time())

    def result_of(self, error: ChatbaseError) -> Any:
        """Return the result when a refusal means that the work is done; else raise it."""
        if isinstance(error, ChatbaseRateLimitError):
            self.limiter.hold(self._policy.hold(error))
        code = settled(self.request, error, earlier_fate_unknown=self._fate_unknown)
        if code is None:
            self._fate_unknown = self._fate_unknown or error.ambiguous
            raise error
        return {**self.request.means_done_on_repeat, **self.request.means_done}[code]


class ChatbaseClient:
    """
    Runs requests of the API, one at a time.

    :param settings: where and how to reach Chatbase.
    :param policy: when to repeat a request; by default as often as the settings say.
    """

    def __init__(self, settings: ClientSettings, policy: RetryPolicy | None = None) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_attempts=settings.max_attempts)
        self._http: httpx.Client = transport.open_client(settings)

    def send(self, request: Request[Result]) -> Result:
        """
        Send a request, repeat it where that is safe, and read the reply.

        :param request: from one of the endpoint modules.
        :return: what the request's reader makes of the reply.
        :raises ChatbaseError: one of its tree, see :mod:`~airflow_provider_chatbase.client.errors`.
        """
        attempts = _Attempts(self.settings, self.policy, request)

        def attempt() -> Result:
            wait_for_place(attempts.limiter)
            try:
                result: Result = attempts.read(transport.send(self._http, self.settings, request))
            except ChatbaseError as error:
                result = attempts.result_of(error)
            return result

        return Retrying(**retry_arguments(self.policy, request))(attempt)

    def pages(self, first: Request[Page]) -> Iterator[Page]:
        """
        Walk over the pages of a listing.

        :param first: the request for the first page.
        :return: the pages, each fetched when it is asked for.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
        walk = PageWalk(first)
        while (request := walk.next_request()) is not None:
            page = self.send(request)
            walk.take(page)
            yield page

    def items(self, first: Request[Page]) -> Iterator[JsonObject]:
        """
        Walk over the objects of a listing.

        :param first: the request for the first page.
        """
        for page in self.pages(first):
            yield from page.items

    def run(self, steps: Steps[Result]) -> Result:
        """
        Send the requests of several steps, one after the other.

        :param steps: yields requests; an error is raised inside it, at the request that failed.
        :return: what the steps return.
        """
        try:
            request = next(steps)
            while True:
                try:
                    result = self.send(request)
                except ChatbaseError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(result)
        except StopIteration as end:
            outcome: Result = end.value
            return outcome

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()


class AsyncChatbaseClient:
    """
    Runs requests of the API on an event loop.

    :param settings: where and how to reach Chatbase.
    :param policy: when to repeat a request; by default as often as the settings say.
    """

    def __init__(self, settings: ClientSettings, policy: RetryPolicy | None = None) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_attempts=settings.max_attempts)
        self._http: httpx.AsyncClient = transport.open_async_client(settings)

    async def send(self, request: Request[Result]) -> Result:
        """
        Send a request, repeat it where that is safe, and read the reply.

        :param request: from one of the endpoint modules.
        :return: what the request's reader makes of the reply.
        :raises ChatbaseError: one of its tree, see :mod:`~airflow_provider_chatbase.client.errors`.
        """
        attempts = _Attempts(self.settings, self.policy, request)

        async def attempt() -> Result:
            await wait_for_place_async(attempts.limiter)
            try:
                reply = await transport.send_async(self._http, self.settings, request)
                result: Result = attempts.read(reply)
            except ChatbaseError as error:
                result = attempts.result_of(error)
            return result

        return await AsyncRetrying(**retry_arguments(self.policy, request))(attempt)

    async def pages(self, first: Request[Page]) -> AsyncIterator[Page]:
        """
        Walk over the pages of a listing.

        :param first: the request for the first page.
        :return: the pages, each fetched when it is asked for.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
        walk = PageWalk(first)
        while (request := walk.next_request()) is not None:
            page = await self.send(request)
            walk.take(page)
            yield page

    async def items(self, first: Request[Page]) -> AsyncIterator[JsonObject]:
        """
        Walk over the objects of a listing.

        :param first: the request for the first page.
        """
        async for page in self.pages(first):
            for item in page.items:
                yield item

    async def run(self, steps: Steps[Result]) -> Result:
        """
        Send the requests of several steps, one after the other.

        :param steps: yields requests; an error is raised inside it, at the request that failed.
        :return: what the steps return.
        """
        try:
            request = next(steps)
            while True:
                try:
                    result = await self.send(request)
                except ChatbaseError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(result)
        except StopIteration as end:
            outcome: Result = end.value
            return outcome

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()
