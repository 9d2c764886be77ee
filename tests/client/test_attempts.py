"""What the attempts at one request have in common."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.client import AsyncChatbaseClient, Attempts, RetryPolicy
from airflow_provider_chatbase.client.rate_limiter import shared_limiter
from airflow_provider_chatbase.client.request import Request
from airflow_provider_chatbase.client.settings import ClientSettings

GONE = {"status": "gone"}
GOING = {"status": "going"}


@pytest.fixture
def attempts():
    request = Request(
        operation="deleteThing",
        method="DELETE",
        path="/thing",
        read=lambda reply: reply,
        means_done={"ALREADY_GOING": GOING},
        means_done_on_repeat={"THING_NOT_FOUND": GONE},
    )
    limiter = shared_limiter(ClientSettings(api_key=uuid.uuid4().hex), "main")
    return Attempts(request, limiter, RetryPolicy())


def fail(attempts: Attempts, error: errors.ChatbaseError) -> None:
    attempts.note(error)


def refusal(code: str | None, cls=errors.ChatbaseNotFoundError) -> errors.ChatbaseError:
    return cls("Refused.", code=code, status=404)


def test_what_is_already_so_is_done(attempts):
    assert attempts.settled_by(refusal("ALREADY_GOING", errors.ChatbaseConflictError)) == GOING


@pytest.mark.parametrize(
    "earlier",
    [
        errors.ChatbaseTimeoutError("Nothing came."),
        errors.ChatbaseConnectionLostError("It broke."),
        errors.ChatbaseServerError("It failed."),
        errors.ChatbaseDamagedReplyError("It was cut."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_gone_after_an_attempt_of_unknown_fate_is_done(attempts, earlier):
    fail(attempts, earlier)
    assert attempts.settled_by(refusal("THING_NOT_FOUND")) == GONE


@pytest.mark.parametrize(
    "earlier",
    [
        None,
        errors.ChatbaseUnreachableError("Nobody is there."),
        errors.ChatbaseRateLimitError("Wait."),
        errors.ChatbaseMaintenanceError("Later."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_gone_without_such_an_attempt_never_was_there(attempts, earlier):
    if earlier is not None:
        fail(attempts, earlier)
    error = refusal("THING_NOT_FOUND")
    with pytest.raises(errors.ChatbaseNotFoundError) as raised:
        attempts.settled_by(error)
    assert raised.value is error


@pytest.mark.parametrize("code", ["OTHER_NOT_FOUND", None], ids=["another code", "a proxy's 404"])
def test_another_refusal_settles_nothing(attempts, code):
    fail(attempts, errors.ChatbaseTimeoutError("Nothing came."))
    with pytest.raises(errors.ChatbaseNotFoundError):
        attempts.settled_by(refusal(code))


def test_one_refusal_for_their_number_holds_all_requests_of_the_key(attempts):
    fail(attempts, errors.ChatbaseRateLimitError("Wait.", retry_after=7.0))
    assert attempts.limiter.try_to_go() == pytest.approx(7.0, abs=0.5)


def test_a_wrong_version_is_refused_before_the_first_attempt():
    request = Request(operation="x", method="GET", path="/x", read=lambda reply: reply)
    client = AsyncChatbaseClient(ClientSettings(api_key="k", api_version="v1"))
    with pytest.raises(errors.ChatbaseUnsupportedError):
        asyncio.run(client.send(request))
