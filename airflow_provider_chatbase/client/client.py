"""Runs requests and steps under one policy: one driver, over a transport that blocks or on an event loop."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
)

from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import ChatbaseApiError, ChatbaseError, ChatbaseRateLimitError
from airflow_provider_chatbase.client.rate_limiter import shared_limiter
from airflow_provider_chatbase.client.replies import Page, PageWalk, read_reply
from airflow_provider_chatbase.client.request import JsonObject, Pause, Request, Steps, StreamReader
from airflow_provider_chatbase.client.settings import ClientSettings
from airflow_provider_chatbase.client.transport import (
    AsyncTransport,
    BlockingTransport,
    OpenReply,
    StreamBrokenError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to repeat a request."""

    max_attempts: int = 8
    max_wait: float = 60.0  # seconds that one wait may last, whatever the reply asks for
    deadline: float = 300.0  # seconds after which no further attempt is begun
    first_wait: float = 0.5  # doubled each time, where the reply asks for none
    longest_backoff: float = 30.0  # where the doubling stops

    def repeats(self, request: Request[Any], error: BaseException) -> bool:
        """
        Say whether to send a request again.

        A refusal before anything was done is repeated for any method; a failure after which the work
        may have been done only where doing it twice is the same as doing it once.
        """
        if not isinstance(error, ChatbaseError) or not error.transient:
            return False
        return request.repeatable or not error.ambiguous

    def wait(self, error: BaseException | None, attempt: int, jitter: float) -> float:
        """Return the seconds to wait before the next attempt."""
        asked = error.retry_after if isinstance(error, ChatbaseError) else None
        if asked is not None:
            return min(asked + 0.25 * jitter, self.max_wait)
        backoff = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_backoff)
        return min(backoff * (0.5 + 0.5 * jitter), self.max_wait)

    def hold(self, error: ChatbaseError) -> float:
        """Return how long all requests of the key hold, when one was refused for their number."""
        return min(self.first_wait if error.retry_after is None else error.retry_after, self.max_wait)


def retrying(
    policy: RetryPolicy, request: Request[Any], sleep: Callable[[float], Awaitable[None]]
) -> AsyncRetrying:
    """Put a policy into tenacity's terms."""

    def wait(state: RetryCallState) -> float:
        return policy.wait(_error(state), state.attempt_number, random.random())  # noqa: S311

    def report(state: RetryCallState) -> None:
        seconds = state.next_action.sleep if state.next_action else 0.0
        log.warning(
            "%s failed (attempt %d of %d); trying again in %.1f s: %s",
            request.operation,
            state.attempt_number,
            policy.max_attempts,
            seconds,
            _error(state),
        )

    def give_up(state: RetryCallState) -> NoReturn:
        error = _error(state)
        if error is None:
            raise RuntimeError("tenacity gave up without an error")
        if isinstance(error, ChatbaseError):
            error.attempts = state.attempt_number
        raise error

    return AsyncRetrying(
        sleep=sleep,
        retry=retry_if_exception(lambda error: policy.repeats(request, error)),
        wait=wait,
        stop=stop_any(stop_after_attempt(policy.max_attempts), stop_before_delay(policy.deadline)),
        before_sleep=report,
        retry_error_callback=give_up,
    )


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


Result = TypeVar("Result")
Taken = TypeVar("Taken")


class Attempts(Generic[Result]):
    """The attempts at one request."""

    def __init__(
        self, settings: ClientSettings, hold: Callable[[ChatbaseError], float], request: Request[Result]
    ) -> None:
        Api(settings.api_version).require(request)
        self.request = request
        self.limiter = shared_limiter(settings, request.host)
        self._hold = hold
        self._fate_unknown = False
        self._went_at = time.monotonic()

    async def read(self, reply: OpenReply) -> Result:
        """Read a reply to its end, and let the limiter learn from it."""
        try:
            whole = await reply.whole()
        finally:
            await reply.close()
        self.learn(whole.headers)
        return read_reply(self.request, whole, time.time())

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


class Driver:
    """Runs requests and steps over a transport: the one definition behind both clients."""

    def __init__(
        self,
        settings: ClientSettings,
        policy: RetryPolicy | None,
        transport: BlockingTransport | AsyncTransport,
        before_send: Callable[[Request[Any]], None] | None = None,
    ) -> None:
        self.settings = settings
        self.policy = policy or RetryPolicy(max_attempts=settings.max_attempts)
        self._transport = transport
        self.api = Api(settings.api_version)
        self._before_send = before_send or (lambda _: None)

    async def send(self, request: Request[Result]) -> Result:
        """Send a request, repeat it where that is safe, and read the reply, a streamed one to its end."""
        if request.stream is not None:
            reader = request.stream()
            async for text in self.stream(request, reader):
                if request.on_text is not None:
                    request.on_text(text)
            return reader.result()
        attempts = Attempts(self.settings, self.policy.hold, request)
        try:
            return await self._attempt(attempts, attempts.read)
        except ChatbaseError as error:
            return attempts.settled_by(error)

    async def stream(self, request: Request[Result], reader: StreamReader[Result]) -> AsyncGenerator[str]:
        """
        Send a request and return the texts of its reply as they arrive.

        It is repeated where that is safe until the reply begins, and not after.
        """
        attempts = Attempts(self.settings, self.policy.hold, request)

        async def begin(reply: OpenReply) -> OpenReply | str:
            if reply.streams:
                attempts.learn(reply.headers)
                return reply
            return reader.take_whole(await attempts.read(reply))

        reply = await self._attempt(attempts, begin)
        if isinstance(reply, str):
            yield reply
            return
        try:
            async for piece in reply.pieces():
                if text := reader.take(piece):
                    yield text
        except StreamBrokenError as broken:
            raise reader.interrupted(str(broken)) from broken
        finally:
            await reply.close()

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

    async def pages(self, first: Request[Page]) -> AsyncGenerator[Page]:
        """Walk over the pages of a listing."""
        walk = PageWalk(first)
        while (request := walk.next_request()) is not None:
            page = await self.send(request)
            walk.take(page)
            yield page

    async def items(self, first: Request[Page]) -> AsyncGenerator[JsonObject]:
        """Walk over the objects of a listing."""
        async for page in self.pages(first):
            for item in page.items:
                yield item

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _take(self, step: Request[Any] | Pause) -> Any:
        return await (self._transport.sleep(step.seconds) if isinstance(step, Pause) else self.send(step))

    async def _attempt(self, attempts: Attempts[Any], take: Callable[[OpenReply], Awaitable[Taken]]) -> Taken:
        """Send a request, again where that is safe, until there is a reply that can be taken."""

        async def attempt() -> Taken:
            while (seconds := attempts.limiter.try_to_go()) > 0:
                await self._transport.sleep(seconds)
            with attempts.on_its_way():
                self._before_send(attempts.request)
                return await take(await self._transport.open(attempts.request))

        return await retrying(self.policy, attempts.request, self._transport.sleep)(attempt)


class AsyncChatbaseClient(Driver):
    """Runs requests of the API on an event loop."""

    def __init__(
        self,
        settings: ClientSettings,
        policy: RetryPolicy | None = None,
        before_send: Callable[[Request[Any]], None] | None = None,
    ) -> None:
        super().__init__(settings, policy, AsyncTransport(settings), before_send)

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.close()


class ChatbaseClient:
    """
    Runs requests of the API, one at a time.

    Each method is the driver's of that name. Over a blocking transport nothing in it waits for an event loop,
    so it ends when it is begun, whether or not a loop is running.
    """

    def __init__(self, settings: ClientSettings, policy: RetryPolicy | None = None) -> None:
        transport = BlockingTransport(settings)
        self._driver = Driver(settings, policy, transport)
        self._http = transport.client
        self.settings, self.policy, self.api = settings, self._driver.policy, self._driver.api

    def send(self, request: Request[Result]) -> Result:
        """Send a request, repeat it where that is safe, and read the reply, a streamed one to its end."""
        return _ended(self._driver.send(request))

    def stream(self, request: Request[Result], reader: StreamReader[Result]) -> Iterator[str]:
        """Send a request and return the texts of its reply as they arrive."""
        return _each(self._driver.stream(request, reader))

    def run(self, steps: Steps[Result]) -> Result:
        """Send the requests of several steps, one after the other."""
        return _ended(self._driver.run(steps))

    def pages(self, first: Request[Page]) -> Iterator[Page]:
        """Walk over the pages of a listing."""
        return _each(self._driver.pages(first))

    def items(self, first: Request[Page]) -> Iterator[JsonObject]:
        """Walk over the objects of a listing."""
        return _each(self._driver.items(first))

    def close(self) -> None:
        """Close the connections."""
        _ended(self._driver.close())

    def __enter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()


def _ended(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine that does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
    raise RuntimeError("A blocking transport waited for an event loop.")


def _each(values: AsyncGenerator[Result]) -> Iterator[Result]:
    try:
        while True:
            yield _ended(anext(values))
    except StopAsyncIteration:
        return
    finally:
        _ended(values.aclose())
