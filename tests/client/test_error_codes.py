"""The API's error codes, one by one, as its documentation lists them."""

from __future__ import annotations

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.errors import advice, error_class
from airflow_provider_chatbase.simulator.description import operations

NEVER_KNOWN = [400, 403, 409]
"""Statuses to try where no source says which one comes with a code."""

CODES = [
    ("VALIDATION_INVALID_BODY", [400], errors.ChatbaseValidationError),
    ("VALIDATION_INVALID_JSON", [400], errors.ChatbaseValidationError),
    ("VALIDATION_INVALID_DATE_RANGE", [400], errors.ChatbaseValidationError),
    ("VALIDATION_CURSOR_QUERY_MISMATCH", [400], errors.ChatbaseValidationError),
    ("AUTH_MISSING_API_KEY", [401], errors.ChatbaseAuthenticationError),
    ("AUTH_INVALID_API_KEY", [401], errors.ChatbaseAuthenticationError),
    ("AUTH_EXPIRED_API_KEY", [401], errors.ChatbaseAuthenticationError),
    ("API_KEY_EXPIRED", [401], errors.ChatbaseAuthenticationError),
    ("AUTH_INSUFFICIENT_PERMISSIONS", [403], errors.ChatbasePermissionError),
    ("PERMISSION_DENIED", [403], errors.ChatbasePermissionError),
    ("SUBSCRIPTION_API_RESTRICTED_PLAN", [403], errors.ChatbasePlanError),
    ("SUBSCRIPTION_PLAN_REQUIRED", [403], errors.ChatbasePlanError),
    ("PLAN_FEATURE_NOT_AVAILABLE", [403], errors.ChatbasePlanError),
    ("AGENT_LIMIT_REACHED", [403], errors.ChatbasePlanError),
    ("CONVERSATION_SEARCH_UNAVAILABLE", [403], errors.ChatbasePlanError),
    ("CHAT_MODEL_NOT_ALLOWED", NEVER_KNOWN, errors.ChatbasePlanError),
    ("CHAT_CREDITS_EXHAUSTED", [402], errors.ChatbaseCreditsError),
    ("CHAT_AGENT_CREDITS_EXHAUSTED", [402, *NEVER_KNOWN], errors.ChatbaseCreditsError),
    ("CHAT_CONVERSATION_MISMATCH", NEVER_KNOWN, errors.ChatbaseConflictError),
    ("CHAT_CONVERSATION_NOT_ONGOING", NEVER_KNOWN, errors.ChatbaseConflictError),
    ("CHAT_RETRY_MESSAGE_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("CHAT_RETRY_NO_USER_MESSAGE", [400], errors.ChatbaseValidationError),
    ("CHAT_STREAMING_ERROR", [500], errors.ChatbaseServerError),
    ("CONVERSATION_USER_MISMATCH", NEVER_KNOWN, errors.ChatbaseConflictError),
    ("AGENT_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("RESOURCE_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("RESOURCE_MESSAGE_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("RESOURCE_MESSAGE_NOT_ASSISTANT", [422], errors.ChatbaseValidationError),
    ("RESOURCE_TOOL_CALL_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("AGENT_NOT_TRAINED", [409], errors.ChatbaseConflictError),
    ("AGENT_ALREADY_TRAINING", [409], errors.ChatbaseConflictError),
    ("SOURCE_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("SOURCE_DUPLICATE", [409], errors.ChatbaseConflictError),
    ("SOURCE_IS_TRAINING", [409], errors.ChatbaseConflictError),
    ("SOURCE_PENDING_DELETION", [409], errors.ChatbaseConflictError),
    ("SOURCE_ALREADY_PENDING_DELETION", [409], errors.ChatbaseConflictError),
    ("SOURCE_NOT_RESTORABLE", [409], errors.ChatbaseConflictError),
    ("SOURCE_TYPE_NOT_SUPPORTED", [400], errors.ChatbaseValidationError),
    ("SOURCE_SIZE_LIMIT_EXCEEDED", [422], errors.ChatbasePlanError),
    ("SOURCE_LINK_LIMIT_EXCEEDED", [422, *NEVER_KNOWN], errors.ChatbasePlanError),
    ("TICKET_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("TICKET_INVALID_STATUS", [422], errors.ChatbaseValidationError),
    ("TICKET_TEAM_MEMBER_NOT_FOUND", [422], errors.ChatbaseNotFoundError),
    ("TICKET_TEAM_NOT_FOUND", [422], errors.ChatbaseNotFoundError),
    ("TEAM_MEMBER_NOT_FOUND", [422], errors.ChatbaseNotFoundError),
    ("MESSAGE_CONTENT_NOT_RENDERABLE", [422], errors.ChatbaseValidationError),
    ("CONVERSATION_NOT_TAKEN_OVER", [409], errors.ChatbaseConflictError),
    ("WHATSAPP_NOT_CONNECTED", [403], errors.ChatbasePermissionError),
    ("PHONE_NUMBER_REQUIRED", [400], errors.ChatbaseValidationError),
    ("TEMPLATE_LANGUAGE_REQUIRED", [400], errors.ChatbaseValidationError),
    ("PHONE_NUMBER_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("TEMPLATE_NOT_FOUND", [404], errors.ChatbaseNotFoundError),
    ("TEMPLATE_NOT_APPROVED", [409], errors.ChatbaseConflictError),
    ("SEND_BLOCKED", [409], errors.ChatbaseConflictError),
    ("MISSING_TEMPLATE_VARIABLES", [422], errors.ChatbaseValidationError),
    ("INVALID_TEMPLATE_VARIABLES", [422], errors.ChatbaseValidationError),
    ("TEMPLATE_BUTTONS_UNSUPPORTED", [422], errors.ChatbaseValidationError),
    ("TEMPLATE_PARAMS_REJECTED", [422], errors.ChatbaseValidationError),
    ("RECIPIENT_INVALID", [422], errors.ChatbaseValidationError),
    ("RECIPIENT_NOT_REACHABLE", [422], errors.ChatbaseValidationError),
    ("WHATSAPP_SEND_FAILED", [502], errors.ChatbaseServerError),
    ("MEDIA_UPLOAD_FAILED", [502], errors.ChatbaseServerError),
    ("RATE_LIMIT_TOO_MANY_REQUESTS", [429], errors.ChatbaseRateLimitError),
    ("INTERNAL_SERVER_ERROR", [500], errors.ChatbaseServerError),
    ("SERVICE_UNDER_MAINTENANCE", [503], errors.ChatbaseMaintenanceError),
]

ONE_BY_ONE = [
    pytest.param(code, status, expected, id=f"{code}-{status}")
    for code, statuses, expected in CODES
    for status in statuses
]


def test_none_of_the_description_is_forgotten():
    described = [each.facts.get("x-errors", {}) for each in operations().values() if each.version == "v2"]
    named = {(code, int(status)) for each in described for status, codes in each.items() for code in codes}
    assert named - {(code, status) for code, statuses, _ in CODES for status in statuses} == set()


@pytest.mark.parametrize(("code", "status", "expected"), ONE_BY_ONE)
def test_each_documented_code_has_its_class(code, status, expected):
    assert error_class(code, status) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, errors.ChatbaseValidationError),
        (401, errors.ChatbaseAuthenticationError),
        (402, errors.ChatbaseCreditsError),
        (403, errors.ChatbasePermissionError),
        (404, errors.ChatbaseNotFoundError),
        (409, errors.ChatbaseConflictError),
        (413, errors.ChatbaseValidationError),
        (418, errors.ChatbaseApiError),
        (422, errors.ChatbaseValidationError),
        (429, errors.ChatbaseRateLimitError),
        (500, errors.ChatbaseServerError),
        (502, errors.ChatbaseServerError),
        (503, errors.ChatbaseServerError),
        (504, errors.ChatbaseServerError),
        (599, errors.ChatbaseServerError),
    ],
)
@pytest.mark.parametrize("code", [None, "BRAND_NEW"], ids=["no code", "new code"])
def test_the_status_decides_without_a_known_code(code, status, expected):
    assert error_class(code, status) is expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AUTH_SOMETHING_NEW", errors.ChatbaseAuthenticationError),
        ("VALIDATION_SOMETHING_NEW", errors.ChatbaseValidationError),
        ("SUBSCRIPTION_SOMETHING_NEW", errors.ChatbasePlanError),
        ("RATE_LIMIT_UPLOADS", errors.ChatbaseRateLimitError),
        ("INVOICE_NOT_FOUND", errors.ChatbaseNotFoundError),
    ],
)
def test_a_new_code_of_a_known_family_joins_it(code, expected):
    assert error_class(code, 418) is expected


def test_maintenance_is_only_what_says_so():
    assert error_class("SERVICE_UNDER_MAINTENANCE", 503) is errors.ChatbaseMaintenanceError
    assert error_class(None, 503).ambiguous, "a proxy's 503 says nothing of what was done"


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("AUTH_INVALID_API_KEY", 401, "password of the Airflow connection"),
        ("AUTH_SOMETHING_NEW", 401, "password of the Airflow connection"),
        (None, 401, "password of the Airflow connection"),
        ("SUBSCRIPTION_API_RESTRICTED_PLAN", 403, "paid Chatbase plan"),
        ("CHAT_CREDITS_EXHAUSTED", 402, "billing cycle"),
        ("CHAT_CONVERSATION_NOT_ONGOING", 400, "leave conversation_id out"),
        ("AGENT_NOT_FOUND", 404, "Check agent_id"),
        ("INTERNAL_SERVER_ERROR", 500, "request id"),
        (None, 502, "request id"),
    ],
)
def test_says_what_to_do_next(code, status, words):
    assert words in advice(code, error_class(code, status))


def test_says_nothing_where_there_is_nothing_useful_to_say():
    assert advice("BRAND_NEW", errors.ChatbaseApiError) == ""
