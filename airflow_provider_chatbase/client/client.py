"""The two drivers, sync and async, that run the same requests under the same policy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from airflow_provider_chatbase.client import transport
from airflow_provider_chatbase.client.attempts import Attempts, Whole
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.paging import PageWalk, Walk
from airflow_provider_chatbase.client.rate_limiter import wait_to_go, wait_to_go_async
from airflow_provider_chatbase.client.request import JsonObject, Request, StreamReader
from airflow_provider_chatbase.client.retry import RetryPolicy, retry_arguments
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.shapes import Page
from airflow_provider_chatbase.client.steps import Pause, Steps

Result = TypeVar("Result")


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
        Send a request, repeat it where that is safe, and read the reply, a streamed one to its end.

        :param request: from one of the endpoint modules.
        :return: what the request's reader makes of the reply.
        :raises ChatbaseError: one of its tree, see :mod:`~airflow_provider_chatbase.client.errors`.
        """
        if request.stream is not None:
            return self._send_streamed(request, request.stream())
        attempts = Attempts(self.settings, self.policy.hold, request)

        def attempt() -> Result:
            wait_to_go(attempts.limiter)
            with attempts.on_its_way():
                return attempts.read(transport.send(self._http, self.settings, request))

        try:
            return Retrying(**retry_arguments(self.policy, request))(attempt)
        except ChatbaseError as error:
            return attempts.settled_by(error)

    def stream(self, request: Request[Result], reader: StreamReader[Result]) -> Iterator[str]:
        """
        Send a request and return the texts of its reply as they arrive.

        It is repeated where that is safe until the reply begins, and not after.

        :param request: from one of the endpoint modules, asked for as a stream.
        :param reader: has the result, when all texts were taken.
        :return: the texts.
        :raises ChatbaseError: one of its tree; what breaks the stream is raised while iterating.
        """
        attempts = Attempts(self.settings, self.policy.hold, request)

        def attempt() -> transport.StreamedReply | Whole[Result]:
            wait_to_go(attempts.limiter)
            with attempts.on_its_way():
                return self._open_stream(request, attempts)

        reply = Retrying(**retry_arguments(self.policy, request))(attempt)
        if isinstance(reply, Whole):
            yield reader.take_whole(reply.result)
            return
        try:
            for piece in reply.pieces():
                if text := reader.take(piece):
                    yield text
        except transport.StreamBrokenError as broken:
            raise reader.interrupted(str(broken)) from broken
        finally:
            reply.close()

    def run(self, steps: Steps[Result]) -> Result:
        """
        Send the requests of several steps, one after the other.

        :param steps: yields requests; an error is raised inside it, at the request that failed.
        :return: what the steps return.
        """
        try:
            step = next(steps)
            while True:
                try:
                    result = self._take(step)
                except ChatbaseError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            outcome: Result = end.value
            return outcome

    def pages(self, first: Request[Page]) -> Iterator[Page]:
        """
        Walk over the pages of a listing.

        :param first: the request for the first page.
        :return: the pages, each fetched when it is asked for.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
        return self.follow(PageWalk(first))

    def follow(self, walk: Walk) -> Iterator[Page]:
        """
        Walk over the pages of a listing.

        :param walk: decides which page comes next.
        :return: the pages, each fetched when it is asked for.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
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

    def _take(self, step: Request[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        return self.send(step)

    def _send_streamed(self, request: Request[Result], reader: StreamReader[Result]) -> Result:
        for text in self.stream(request, reader):
            if request.on_text is not None:
                request.on_text(text)
        return reader.result()

    def _open_stream(
        self, request: Request[Result], attempts: Attempts[Result]
    ) -> transport.StreamedReply | Whole[Result]:
        reply = transport.open_stream(self._http, self.settings, request)
        if reply.streams:
            attempts.limiter.learn(reply.headers)
            return reply
        try:
            return Whole(attempts.read(reply.whole()))
        finally:
            reply.close()


class AsyncChatbaseClient:
    """
    Runs requests of the API on an event loop.

    :param settings: where and how to reach Chatbase.
    :param policy: when to repeat a request; by default as often as the settings say.
    :param before_send: told of each attempt at a request when it is about to go out; what it raises keeps the
        attempt from going.
    """

    def __init__(
        self,
        settings: ClientSettings,
        policy: RetryPolicy | None = None,
        before_send: Callable[[Request[Any]], None] | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_attempts=settings.max_attempts)
        self._before_send = before_send or (lambda _: None)
        self._http: transport.AsyncPools = transport.open_async_pools(settings)

    async def send(self, request: Request[Result]) -> Result:
        """
        Send a request, repeat it where that is safe, and read the reply, a streamed one to its end.

        :param request: from one of the endpoint modules.
        :return: what the request's reader makes of the reply.
        :raises ChatbaseError: one of its tree, see :mod:`~airflow_provider_chatbase.client.errors`.
        """
        if request.stream is not None:
            return await self._send_streamed(request, request.stream())
        attempts = Attempts(self.settings, self.policy.hold, request)

        async def attempt() -> Result:
            await wait_to_go_async(attempts.limiter)
            with attempts.on_its_way():
                self._before_send(request)
                return attempts.read(await transport.send_async(self._http, self.settings, request))

        try:
            return await AsyncRetrying(**retry_arguments(self.policy, request))(attempt)
        except ChatbaseError as error:
            return attempts.settled_by(error)

    async def stream(self, request: Request[Result], reader: StreamReader[Result]) -> AsyncIterator[str]:
        """
        Send a request and return the texts of its reply as they arrive.

        It is repeated where that is safe until the reply begins, and not after.

        :param request: from one of the endpoint modules, asked for as a stream.
        :param reader: has the result, when all texts were taken.
        :return: the texts.
        :raises ChatbaseError: one of its tree; what breaks the stream is raised while iterating.
        """
        attempts = Attempts(self.settings, self.policy.hold, request)

        async def attempt() -> transport.StreamedReply | Whole[Result]:
            await wait_to_go_async(attempts.limiter)
            with attempts.on_its_way():
                self._before_send(request)
                return await self._open_stream(request, attempts)

        retrying = AsyncRetrying(**retry_arguments(self.policy, request))
        reply: transport.StreamedReply | Whole[Result] = await retrying(attempt)
        if isinstance(reply, Whole):
            yield reader.take_whole(reply.result)
            return
        try:
            async for piece in reply.pieces_async():
                if text := reader.take(piece):
                    yield text
        except transport.StreamBrokenError as broken:
            raise reader.interrupted(str(broken)) from broken
        finally:
            await reply.close_async()

    async def run(self, steps: Steps[Result]) -> Result:
        """
        Send the requests of several steps, one after the other.

        :param steps: yields requests; an error is raised inside it, at the request that failed.
        :return: what the steps return.
        """
        try:
            step = next(steps)
            while True:
                try:
                    result = await self._take(step)
                except ChatbaseError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as end:
            outcome: Result = end.value
            return outcome

    async def pages(self, first: Request[Page]) -> AsyncIterator[Page]:
        """
        Walk over the pages of a listing.

        :param first: the request for the first page.
        :return: the pages, each fetched when it is asked for.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
        async for page in self.follow(PageWalk(first)):
            yield page

    async def follow(self, walk: Walk) -> AsyncIterator[Page]:
        """
        Walk over the pages of a listing.

        :param walk: decides which page comes next.
        :return: the pages, each fetched when it is asked for.
        :raises ChatbasePagingError: when the listing does not move forward.
        """
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

    async def close(self) -> None:
        """Close the connections."""
        await transport.close_async(self._http)

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()

    async def _take(self, step: Request[Any] | Pause) -> Any:
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        return await self.send(step)

    async def _send_streamed(self, request: Request[Result], reader: StreamReader[Result]) -> Result:
        async for text in self.stream(request, reader):
            if request.on_text is not None:
                request.on_text(text)
        return reader.result()

    async def _open_stream(
        self, request: Request[Result], attempts: Attempts[Result]
    ) -> transport.StreamedReply | Whole[Result]:
        reply = await transport.open_stream_async(self._http, self.settings, request)
        if reply.streams:
            attempts.limiter.learn(reply.headers)
            return reply
        try:
            return Whole(attempts.read(await reply.whole_async()))
        finally:
            await reply.close_async()
