"""The error tree as a whole."""

from __future__ import annotations

import copy
import pickle

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.errors import ChatbaseError

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ChatbaseError)]


def _named_in(text: str) -> set[str]:
    return {word for word in text.split() if word.startswith("Chatbase") and word.endswith("Error")}


def test_the_drawing_of_the_tree_names_every_error():
    assert _named_in(errors.__doc__) == {error.__name__ for error in ALL}


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_a_chatbase_error(error):
    assert issubclass(error, ChatbaseError)


@pytest.mark.parametrize("error", ALL)
def test_every_error_survives_a_copy_to_another_process(error):
    original = error("It broke.", operation="getAgent", status=500, code="X", request_id="req_1")
    for twin in (pickle.loads(pickle.dumps(original)), copy.copy(original)):
        assert type(twin) is error
        assert (str(twin), twin.code, twin.request_id) == ("It broke.", "X", "req_1")


def test_says_how_often_it_was_tried():
    error = ChatbaseError("It broke.")
    assert str(error) == "It broke."
    error.attempts = 3
    assert str(error) == "It broke. Gave up after 3 attempts."


def test_a_wrong_argument_is_a_value_error_too():
    assert issubclass(errors.ChatbaseInputError, ValueError)


TRANSIENT = {
    errors.ChatbaseConnectionError,
    errors.ChatbaseUnreachableError,
    errors.ChatbaseTimeoutError,
    errors.ChatbaseConnectionLostError,
    errors.ChatbaseDamagedReplyError,
    errors.ChatbaseRateLimitError,
    errors.ChatbaseMaintenanceError,
    errors.ChatbaseServerError,
}
AMBIGUOUS = {
    errors.ChatbaseConnectionError,
    errors.ChatbaseTimeoutError,
    errors.ChatbaseConnectionLostError,
    errors.ChatbaseReplyError,
    errors.ChatbaseDamagedReplyError,
    errors.ChatbaseInterruptedAnswerError,
    errors.ChatbaseServerError,
}
PERMANENT = {
    errors.ChatbaseInputError,
    errors.ChatbaseConfigurationError,
    errors.ChatbaseUnsupportedError,
    errors.ChatbaseAmbiguousError,
    errors.ChatbaseAnswerError,
    errors.ChatbaseToolCallError,
    errors.ChatbaseValidationError,
    errors.ChatbaseAuthenticationError,
    errors.ChatbasePermissionError,
    errors.ChatbasePlanError,
    errors.ChatbaseCreditsError,
    errors.ChatbaseNotFoundError,
}


@pytest.mark.parametrize("error", ALL)
def test_what_a_caller_may_do_about_it(error):
    assert error.transient is (error in TRANSIENT)
    assert error.ambiguous is (error in AMBIGUOUS)
    assert error.permanent is (error in PERMANENT)
