"""Runs requests and steps under one policy, on an event loop; the client that blocks has one in a thread."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.api import Api
from airflow_provider_chatbase.client.errors import (
    ChatbaseApiError,
    ChatbaseConfigurationError,
    ChatbaseError,
    ChatbaseRateLimitError,
    ChatbaseReplyError,
    quoted,
)
from airflow_provider_chatbase.client.loop_thread import shared_loop
from airflow_provider_chatbase.client.rate_limiter import RateLimiter, shared_limiter
from airflow_provider_chatbase.client.replies import RAW_ERRORS, Page, PageWalk, read_reply
from airflow_provider_chatbase.client.request import (
    JsonObject,
    Pause,
    Request,
    ServerTime,
    Step,
    Steps,
    StreamReader,
)
from airflow_provider_chatbase.client.settings import HIDDEN, ClientSettings
from airflow_provider_chatbase.client.transport import OpenReply, StreamBrokenError, Transport

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to repeat a request."""

    max_attempts: int = 8
    max_wait: float = 60.0  # seconds that one wait may last; who is asked for more gives up
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
        if asked is not None and asked >= self.first_wait:
            return asked + 0.25 * jitter
        backoff = min(self.first_wait * 2.0 ** (attempt - 1), self.longest_backoff)
        return max(min(backoff * (0.5 + 0.5 * jitter), self.max_wait), asked or 0.0)

    def hold(self, error: ChatbaseError) -> float:
        """Return how long all requests of the key hold, when one was refused for their number."""
        return min(max(self.first_wait, error.retry_after or 0.0), self.max_wait)


async def repeated(
    policy: RetryPolicy,
    request: Request[Any],
    attempt: Callable[[], Awaitable[Taken]],
    sleep: Callable[[float], Awaitable[None]] | None = None,
) -> Taken:
    """Make attempts at a request as its policy says, until one succeeds."""
    began, number = time.monotonic(), 1
    while True:
        try:
            return await attempt()
        except ChatbaseError as error:
            error.attempts = number
            error.__context__ = None  # the frames of the HTTP library hold the key
            wait = policy.wait(error, number, random.random())  # noqa: S311
            if number >= policy.max_attempts or not policy.repeats(request, error):
                raise
            if (error.retry_after or 0.0) > policy.max_wait:
                error.message += (
                    f" It asks to wait {error.retry_after:g} s, which is left to the task's retry delay."
                )
                raise
            if time.monotonic() - began + wait >= policy.deadline:
                raise
            log.warning(
                "%s failed (attempt %d of %d); trying again in %.1f s: %s",
                request.operation,
                number,
                policy.max_attempts,
                wait,
                error.message,
            )
        await (sleep or asyncio.sleep)(wait)
        number += 1


class Attempts:
    """What the attempts at one request have in common: their limiter, and whether one may have worked."""

    def __init__(self, request: Request[Any], limiter: RateLimiter, policy: RetryPolicy) -> None:
        self.request = request
        self.limiter = limiter
        self._policy = policy
        self._fate_unknown = False

    def note(self, error: ChatbaseError) -> None:
        """Take note of how an attempt failed."""
        self._fate_unknown = self._fate_unknown or error.ambiguous
        if isinstance(error, ChatbaseRateLimitError):
            self.limiter.hold(self._policy.hold(error))

    def settled_by(self, error: ChatbaseError) -> Any:
        """Return the result, when a refusal says that the wanted state is already there."""
        code = (error.code or f"HTTP_{error.status}") if isinstance(error, ChatbaseApiError) else None
        says = {
            **self.request.means_done,
            **(self.request.means_done_on_repeat if self._fate_unknown else {}),
        }
        if code not in says:
            raise error
        return says[code]


class AsyncChatbaseClient:
    """Runs requests of the API on an event loop."""

    def __init__(
        self,
        settings: ClientSettings,
        policy: RetryPolicy | None = None,
        before_send: Callable[[Request[Any]], None] | None = None,
    ) -> None:
        if settings.api_key == HIDDEN:
            raise ChatbaseConfigurationError(
                "These settings come out of a pickle, which holds no API key: read the connection again."
            )
        self.settings = settings
        self.policy = policy or RetryPolicy(max_attempts=settings.max_attempts)
        self.api = Api(settings.api_version)
        self._transport = Transport(settings)
        self.last_error: ChatbaseError | None = None  # of the latest attempt, for who gives up waiting
        self._before_send = before_send or (lambda _: None)
        self._observer = settings.observer

    async def send(self, request: Request[Result]) -> Result:
        """Send a request, repeat it where that is safe, and read the reply, a streamed one to its end."""
        if request.stream is not None:
            reader = request.stream()
            async with aclosing(self.stream(request, reader)) as texts:
                async for text in texts:
                    if request.on_text is not None:
                        request.on_text(text)
            return reader.result()
        return await self._attempt(request, lambda reply: self._read(request, reply))

    async def stream(self, request: Request[Result], reader: StreamReader[Result]) -> AsyncGenerator[str]:
        """
        Send a request and return the texts of its reply as they arrive.

        It is repeated where that is safe until the reply begins, and not after.
        """

        async def begin(reply: OpenReply) -> OpenReply | str:
            return reply if reply.streams else reader.take_whole(await self._read(request, reply))

        reply = await self._attempt(request, begin)
        if isinstance(reply, str):
            yield reply
            return
        try:
            async for piece in reply.pieces():
                if text := reader.take(piece):
                    yield text
            self._note_paid(request, reader.result())
        except StreamBrokenError as broken:
            broken.__context__ = None
            raise reader.interrupted(str(broken)) from None
        except RAW_ERRORS as raw:
            raise reader.interrupted(
                f"an event is not what the API promises ({quoted(repr(raw), 200)})"
            ) from raw
        finally:
            await reply.close()

    async def run(self, steps: Steps[Result]) -> Result:
        """Send the requests of several steps, one after the other."""
        walk = StepsWalk(steps)
        while (step := walk.step) is not None:
            try:
                result = await self.take(step)
            except ChatbaseError as error:
                walk.go_on(error=error)
            else:
                walk.go_on(result)
        outcome: Result = walk.outcome
        return outcome

    def server_now(self) -> float:
        """Return the present in seconds since the epoch, by the server's clock where a reply told it."""
        return shared_limiter(self.settings, "main").server_now().timestamp()

    async def take(self, step: Step) -> Any:
        """Take one of several steps."""
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, ServerTime):
            return shared_limiter(self.settings, "main").server_time()
        return await self.send(step)

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

    async def __aenter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self.close()

    async def _read(self, request: Request[Result], reply: OpenReply) -> Result:
        try:
            whole = await reply.whole()
        finally:
            await reply.close()
        result = read_reply(request, whole, time.time())
        self._note_paid(request, result)
        return result

    def _note_paid(self, request: Request[Any], result: Any) -> None:
        if self._observer is not None and isinstance(result, Answer) and result.credits is not None:
            self._observer.paid(request, result.credits)

    def _note_sent(self, request: Request[Any], error: ChatbaseError | None) -> None:
        self.last_error = error
        if self._observer is not None:
            self._observer.sent(request, error)

    def _note_waited(self, request: Request[Any], seconds: float) -> None:
        if self._observer is not None:
            self._observer.waited(request, seconds)

    async def _take_place(self, request: Request[Any], limiter: RateLimiter) -> None:
        began, seconds = time.monotonic(), limiter.try_to_go()
        if seconds <= 0:
            return
        while seconds > 0:
            await asyncio.sleep(seconds)
            seconds = limiter.try_to_go()
        self._note_waited(request, time.monotonic() - began)

    async def _attempt(self, request: Request[Any], take: Callable[[OpenReply], Awaitable[Taken]]) -> Taken:
        """Send a request, again where that is safe, until there is a reply that can be taken."""
        self.api.require(request)
        limiter = shared_limiter(self.settings, request.host)
        attempts = Attempts(request, limiter, self.policy)

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            self._note_waited(request, seconds)

        async def attempt() -> Taken:
            await self._take_place(request, limiter)
            went = time.monotonic()
            try:
                self._before_send(request)
                reply = await self._transport.open(request)
                limiter.learn(reply.headers, time.monotonic() - went)
                taken = await take(reply)
            except ChatbaseError as error:
                self._note_sent(request, error)
                attempts.note(error)
                raise
            else:
                self._note_sent(request, None)
                return taken
            finally:
                limiter.done()

        try:
            return await repeated(self.policy, request, attempt, wait)
        except ChatbaseError as error:
            settled: Taken = attempts.settled_by(error)
            return settled


class StepsWalk:
    """Goes through steps, one request or pause after the other; both clients follow it."""

    def __init__(self, steps: Steps[Any]) -> None:
        self._steps = steps
        self.step: Step | None = None
        self.outcome: Any = None
        self.go_on()

    def go_on(self, result: Any = None, error: ChatbaseError | None = None) -> None:
        """Hand in what a step brought, and go to the next one; after the last there is none."""
        asked = self.step
        try:
            self.step = self._steps.send(result) if error is None else self._steps.throw(error)
        except StopIteration as end:
            self.step, self.outcome = None, end.value
        except ChatbaseError:
            raise
        except RAW_ERRORS as raw:
            operation = asked.operation if isinstance(asked, Request) else None
            raise ChatbaseReplyError(
                f"What came for {operation} is not what the API promises: {quoted(repr(raw), 200)}.",
                operation=operation,
            ) from raw


class ChatbaseClient:
    """
    Runs requests of the API, one at a time, for code that blocks.

    Each method is the async client's of that name. Its event loop is in a thread of its own, so it works
    whether or not a loop runs on the caller's.
    """

    def __init__(self, settings: ClientSettings, policy: RetryPolicy | None = None) -> None:
        self._client = AsyncChatbaseClient(settings, policy)
        self.settings, self.policy, self.api = settings, self._client.policy, self._client.api

    def send(self, request: Request[Result]) -> Result:
        """Send a request, repeat it where that is safe, and read the reply, a streamed one to its end."""
        if request.stream is None:
            return shared_loop().run(self._client.send(request))
        reader = request.stream()
        for text in self.stream(request, reader):
            if request.on_text is not None:  # on the caller's thread, since it may call this client
                request.on_text(text)
        return reader.result()

    def stream(self, request: Request[Result], reader: StreamReader[Result]) -> Iterator[str]:
        """Send a request and return the texts of its reply as they arrive."""
        return _each(self._client.stream(request, reader))

    def run(self, steps: Steps[Result]) -> Result:
        """Send the requests of several steps, one after the other."""
        walk = StepsWalk(steps)
        while (step := walk.step) is not None:
            try:
                result = (
                    self.send(step)
                    if isinstance(step, Request)
                    else shared_loop().run(self._client.take(step))
                )
            except ChatbaseError as error:
                walk.go_on(error=error)
            else:
                walk.go_on(result)
        outcome: Result = walk.outcome
        return outcome

    def pages(self, first: Request[Page]) -> Iterator[Page]:
        """Walk over the pages of a listing."""
        return _each(self._client.pages(first))

    def items(self, first: Request[Page]) -> Iterator[JsonObject]:
        """Walk over the objects of a listing."""
        for page in self.pages(first):
            yield from page.items

    def close(self) -> None:
        """Close the connections."""
        shared_loop().run(self._client.close())

    def __enter__(self) -> Self:
        """Return the client, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()


def _each(values: AsyncGenerator[Result]) -> Iterator[Result]:
    async def following() -> list[Result]:
        async for value in values:
            return [value]
        return []

    try:
        while found := shared_loop().run(following()):
            yield found[0]
    finally:
        shared_loop().run(values.aclose())
