"""The two drivers, sync and async, that run the same requests under the same policy."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import httpx
from tenacity import AsyncRetrying, Retrying

from airflow_provider_chatbase.client import transport
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseError,
    ChatbaseRateLimitError,
)
from airflow_provider_chatbase.client.paging import PageWalk
from airflow_provider_chatbase.client.rate_limiter import shared_limiter, wait_to_go, wait_to_go_async
from airflow_provider_chatbase.client.replies import Page, Reply, read_reply
from airflow_provider_chatbase.client.request import JsonObject, Pause, Request, Steps, StreamReader
from airflow_provider_chatbase.client.retry import RetryPolicy, retry_arguments
from airflow_provider_chatbase.client.settings import ClientSettings

Result = TypeVar("Result")


class Attempts(Generic[Result]):
    """The attempts at one request."""

    def __init__(
        self,
        settings: ClientSettings,
        hold: Callable[[ChatbaseError], float],
        request: Request[Result],
    ) -> None:
        Api(settings.api_version).require(request)
        self.request = request
        self.limiter = shared_limiter(settings, request.host)
        self._hold = hold
        self._fate_unknown = False
        self._went_at = time.monotonic()

    def read(self, reply: Reply) -> Result:
        """Read a reply, and let the limiter learn from it."""
        self.learn(reply.headers)
        return read_reply(self.request, reply, time.time())

    def learn(self, headers: Mapping[str, str]) -> None:
        """Let the limiter learn from the beginning of a reply."""
        self.limiter.learn(headers, time.monotonic() - self._went_at)

    @contextmanager
    def on_its_way(self) -> Iterator[None]:
        """Send within this block, once the limiter has let it go: takes note of how that ends."""
        self._went_at = time.monotonic()
        try:
            yield
        except ChatbaseRateLimitError as error:
            self.limiter.hold(self._hold(error))
            raise
        except ChatbaseError as error:
            if error.ambiguous:
                self._fate_unknown = True
            raise
        finally:
            self.limiter.done()

    def settled_by(self, error: ChatbaseError) -> Result:
        """Return the result, when a refusal says that the wanted state is already there."""
        code = error.code if isinstance(error, ChatbaseApiError) else None
        if code is not None and code in self.request.means_done:
            return self.request.means_done[code]
        if code is not None and self._fate_unknown and code in self.request.means_done_on_repeat:
            return self.request.means_done_on_repeat[code]
        raise error


class ChatbaseClient:
    """Runs requests of the API, one at a time."""

    def __init__(self, settings: ClientSettings, policy: RetryPolicy | None = None) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_attempts=settings.max_attempts)
        self._http: httpx.Client = transport.open_client(settings)

    @property
    def api(self) -> Api:
        """The verbs as the connection's API version answers them."""
        return Api(self.settings.api_version)

    def send(self, request: Request[Result]) -> Result:
        """Send a request, repeat it where that is safe, and read the reply, a streamed one to its end."""
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
        """
        attempts = Attempts(self.settings, self.policy.hold, request)

        def attempt() -> transport.StreamedReply | str:
            wait_to_go(attempts.limiter)
            with attempts.on_its_way():
                return self._open_stream(request, reader, attempts)

        reply = Retrying(**retry_arguments(self.policy, request))(attempt)
        if isinstance(reply, str):
            yield reply
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
        """Send the requests of several steps, one after the other."""
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
        """Walk over the pages of a listing."""
        walk = PageWalk(first)
        while (request := walk.next_request()) is not None:
            page = self.send(request)
            walk.take(page)
            yield page

    def items(self, first: Request[Page]) -> Iterator[JsonObject]:
        """Walk over the objects of a listing."""
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
        self, request: Request[Result], reader: StreamReader[Result], attempts: Attempts[Result]
    ) -> transport.StreamedReply | str:
        reply = transport.open_stream(self._http, self.settings, request)
        if reply.streams:
            attempts.learn(reply.headers)
            return reply
        try:
            return reader.take_whole(attempts.read(reply.whole()))
        finally:
            reply.close()


class AsyncChatbaseClient:
    """Runs requests of the API on an event loop."""

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

    @property
    def api(self) -> Api:
        """The verbs as the connection's API version answers them."""
        return Api(self.settings.api_version)

    async def send(self, request: Request[Result]) -> Result:
        """Send a request, repeat it where that is safe, and read the reply, a streamed one to its end."""
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
        """
        attempts = Attempts(self.settings, self.policy.hold, request)

        async def attempt() -> transport.StreamedReply | str:
            await wait_to_go_async(attempts.limiter)
            with attempts.on_its_way():
                self._before_send(request)
                return await self._open_stream(request, reader, attempts)

        retrying = AsyncRetrying(**retry_arguments(self.policy, request))
        reply: transport.StreamedReply | str = await retrying(attempt)
        if isinstance(reply, str):
            yield reply
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
        """Send the requests of several steps, one after the other."""
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
        """Walk over the pages of a listing."""
        walk = PageWalk(first)
        while (request := walk.next_request()) is not None:
            page = await self.send(request)
            walk.take(page)
            yield page

    async def items(self, first: Request[Page]) -> AsyncIterator[JsonObject]:
        """Walk over the objects of a listing."""
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
        self, request: Request[Result], reader: StreamReader[Result], attempts: Attempts[Result]
    ) -> transport.StreamedReply | str:
        reply = await transport.open_stream_async(self._http, self.settings, request)
        if reply.streams:
            attempts.learn(reply.headers)
            return reply
        try:
            return reader.take_whole(attempts.read(await reply.whole_async()))
        finally:
            await reply.close_async()
