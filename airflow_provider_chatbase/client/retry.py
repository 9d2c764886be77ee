"""One policy for every request, sync or async: whether to try again, and after how long."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_any,
    stop_before_delay,
)

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.client.request import Request

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
