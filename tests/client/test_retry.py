"""Whether a request is sent again, and after how long: decisions only, nothing is sent and nobody waits."""

from __future__ import annotations

import asyncio
import logging

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.client import RetryPolicy, repeated
from airflow_provider_chatbase.client.request import Request

POLICY = RetryPolicy()


def request(*, repeatable: bool, **more) -> Request:
    return Request(
        operation="doThing",
        method="GET" if repeatable else "POST",
        path="/thing",
        read=lambda reply: reply,
        repeatable=repeatable,
        **more,
    )


READ, WRITE = request(repeatable=True), request(repeatable=False)

ALWAYS, WHERE_REPEATABLE, NEVER = (True, True), (True, False), (False, False)

DECISIONS = {
    errors.ChatbaseError: NEVER,
    errors.ChatbaseInputError: NEVER,
    errors.ChatbaseConfigurationError: NEVER,
    errors.ChatbaseUnsupportedError: NEVER,
    errors.ChatbaseConnectionError: WHERE_REPEATABLE,
    errors.ChatbaseUnreachableError: ALWAYS,
    errors.ChatbaseTimeoutError: WHERE_REPEATABLE,
    errors.ChatbaseConnectionLostError: WHERE_REPEATABLE,
    errors.ChatbaseReplyError: NEVER,
    errors.ChatbaseDamagedReplyError: WHERE_REPEATABLE,
    errors.ChatbaseAmbiguousError: NEVER,
    errors.ChatbasePagingError: NEVER,
    errors.ChatbaseAnswerError: NEVER,
    errors.ChatbaseInterruptedAnswerError: NEVER,
    errors.ChatbaseUnansweredError: NEVER,
    errors.ChatbaseToolCallError: NEVER,
    errors.ChatbaseApiError: NEVER,
    errors.ChatbaseValidationError: NEVER,
    errors.ChatbaseAuthenticationError: NEVER,
    errors.ChatbasePermissionError: NEVER,
    errors.ChatbasePlanError: NEVER,
    errors.ChatbaseCreditsError: NEVER,
    errors.ChatbaseNotFoundError: NEVER,
    errors.ChatbaseConflictError: NEVER,
    errors.ChatbaseRateLimitError: ALWAYS,
    errors.ChatbaseMaintenanceError: ALWAYS,
    errors.ChatbaseServerError: WHERE_REPEATABLE,
}


def test_there_is_a_decision_for_every_error():
    assert set(DECISIONS) == {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.ChatbaseError)
    }


@pytest.mark.parametrize(("error", "decision"), DECISIONS.items())
def test_decision(error, decision):
    happened = error("It broke.")
    assert (POLICY.repeats(READ, happened), POLICY.repeats(WRITE, happened)) == decision


@pytest.mark.parametrize("error", [ValueError("ours"), OSError("disk"), KeyboardInterrupt()], ids=repr)
def test_what_is_not_about_chatbase_is_never_repeated(error):
    assert not POLICY.repeats(READ, error)


def refusal(retry_after: float | None) -> errors.ChatbaseRateLimitError:
    return errors.ChatbaseRateLimitError("Wait.", retry_after=retry_after)


@pytest.mark.parametrize(
    ("asked", "jitter", "expected"),
    [
        pytest.param(3.0, 0.0, 3.0, id="as asked"),
        pytest.param(3.0, 1.0, 3.25, id="as asked, and a little more"),
        pytest.param(0.0, 0.0, 0.25, id="at once, which is never meant: the backoff"),
        pytest.param(0.3, 0.0, 0.3, id="less than the first wait"),
    ],
)
def test_waits_as_long_as_asked(asked, jitter, expected):
    assert POLICY.wait(refusal(asked), 1, jitter) == expected


@pytest.mark.parametrize(
    ("attempt", "least", "most"),
    [(1, 0.25, 0.5), (2, 0.5, 1.0), (3, 1.0, 2.0), (6, 8.0, 16.0), (7, 15.0, 30.0), (60, 15.0, 30.0)],
)
def test_backs_off_where_nothing_is_asked(attempt, least, most):
    for error in (refusal(None), ValueError(), None):
        assert POLICY.wait(error, attempt, 0.0) == least
        assert POLICY.wait(error, attempt, 1.0) == most


def test_never_waits_less_than_asked():
    assert all(POLICY.wait(refusal(2.0), 1, jitter / 10) >= 2.0 for jitter in range(11))


def test_a_cap_below_the_backoff_holds_for_it_too():
    assert RetryPolicy(max_wait=0.1).wait(None, 9, 1.0) == 0.1


@pytest.mark.parametrize(("asked", "expected"), [(None, 0.5), (0.0, 0.5), (3.0, 3.0), (3600.0, 60.0)])
def test_all_requests_of_a_key_hold_as_long_as_one_is_asked_to_wait(asked, expected):
    assert POLICY.hold(refusal(asked)) == expected


class Time:
    """Stands in for the clock and for sleeping, so that hours pass at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch):
    return Time(monkeypatch)


def attempts(time: Time, policy: RetryPolicy, request: Request, error: Exception, duration=0.0) -> int:
    """Let every attempt fail, and count them."""
    made = 0

    async def attempt() -> None:
        nonlocal made
        made += 1
        time.now += duration
        raise error

    with pytest.raises(type(error)) as raised:
        asyncio.run(repeated(policy, request, attempt, time.sleep))
    assert raised.value is error
    return made


def test_gives_up_after_the_most_attempts_and_says_so(time):
    error = refusal(1.0)
    assert attempts(time, RetryPolicy(max_attempts=4), READ, error) == 4
    assert len(time.slept) == 3
    assert str(error) == "Wait. Gave up after 4 attempts."


def test_a_single_attempt_is_a_single_attempt(time):
    error = refusal(1.0)
    assert attempts(time, RetryPolicy(max_attempts=1), READ, error) == 1
    assert str(error) == "Wait."


def test_begins_no_attempt_after_the_deadline(time):
    assert attempts(time, RetryPolicy(max_attempts=99, deadline=10.0), READ, refusal(3.0)) == 4
    assert sum(time.slept) < 10.0


def test_does_not_wait_for_what_lies_beyond_the_deadline(time):
    assert attempts(time, RetryPolicy(deadline=10.0), READ, refusal(11.0)) == 1
    assert time.slept == []


def test_does_not_hold_a_worker_for_a_wait_beyond_the_cap(time):
    error = refusal(75.0)
    assert attempts(time, POLICY, READ, error) == 1
    assert time.slept == []


def test_a_wait_of_nothing_does_not_burn_all_attempts_at_once(time):
    assert attempts(time, POLICY, READ, refusal(0.0)) == 8
    assert sum(time.slept) > 15


def test_slow_attempts_count_towards_the_deadline(time):
    timeout = errors.ChatbaseTimeoutError("Nothing came.")
    assert attempts(time, RetryPolicy(max_attempts=99, deadline=100.0), READ, timeout, duration=30.0) == 4


def test_an_error_that_is_not_repeated_comes_through_at_once(time):
    error = errors.ChatbaseTimeoutError("Nothing came.")
    assert attempts(time, POLICY, WRITE, error) == 1
    assert time.slept == []


def test_says_in_the_log_what_it_waits_for(time, caplog):
    with caplog.at_level(logging.WARNING):
        attempts(time, RetryPolicy(max_attempts=2), READ, refusal(5.0))
    [line] = caplog.text.splitlines()
    assert "doThing failed (attempt 1 of 2); trying again in 5." in line
    assert line.endswith("s: Wait.")
