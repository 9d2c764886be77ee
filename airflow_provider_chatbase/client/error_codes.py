"""What each of the API's error codes means for us: which error it becomes, and what to do next."""

from __future__ import annotations

from airflow_provider_chatbase.client import errors

ApiError = type[errors.ChatbaseApiError]

_CHECK_KEY = (
    "Check the password of the Airflow connection: it must be an API key from Chatbase, "
    "Workspace settings, API keys."
)
_RENEW_KEY = "Create a new API key in Chatbase and put it into the Airflow connection."
_GRANT = "Give the API key this right in Chatbase, or use another key."
_ASK_SUPPORT = "Try again later, and quote the request id to Chatbase's support if it stays."
_NO_API = (
    "API access needs a paid Chatbase plan. Upgrade the plan, or use a key of a workspace whose plan has it; "
    "a plan that has API v1 alone works with api_version v1 in the connection."
)
_PLAN = "Upgrade the Chatbase plan, or use a key of a workspace whose plan includes it."

_BY_CODE: dict[ApiError, dict[str, str]] = {
    errors.ChatbasePermissionError: {"AUTH_INSUFFICIENT_PERMISSIONS": _GRANT, "PERMISSION_DENIED": _GRANT},
    errors.ChatbaseAuthenticationError: {
        "API_KEY_EXPIRED": _RENEW_KEY,
        "AUTH_MISSING_API_KEY": _CHECK_KEY,
        "AUTH_INVALID_API_KEY": _CHECK_KEY,
        "AUTH_EXPIRED_API_KEY": _RENEW_KEY,
    },
    errors.ChatbasePlanError: {
        "SUBSCRIPTION_API_RESTRICTED_PLAN": _NO_API,
        "SUBSCRIPTION_PLAN_REQUIRED": _NO_API,
        "PLAN_FEATURE_NOT_AVAILABLE": _PLAN,
        "AGENT_LIMIT_REACHED": "Delete an agent that is no longer used, or upgrade the Chatbase plan.",
        "CHAT_MODEL_NOT_ALLOWED": "Choose a model of your plan for this agent.",
        "CONVERSATION_SEARCH_UNAVAILABLE": "Export by creation time instead.",
        "SOURCE_SIZE_LIMIT_EXCEEDED": "Delete sources that nobody needs, or upgrade the Chatbase plan.",
        "SOURCE_LINK_LIMIT_EXCEEDED": "Delete links that nobody needs, or upgrade the Chatbase plan.",
    },
    errors.ChatbaseCreditsError: {
        "CHAT_CREDITS_EXHAUSTED": "Wait for the next billing cycle, or buy message credits.",
        "CHAT_AGENT_CREDITS_EXHAUSTED": "Raise the agent's creditLimit, or wait for the next month (UTC).",
    },
    errors.ChatbaseConflictError: {
        "CHAT_CONVERSATION_MISMATCH": "It belongs to another agent: check conversation_id and agent_id.",
        "CHAT_CONVERSATION_NOT_ONGOING": (
            "It has ended or a human has taken it over: leave conversation_id out to start a new one."
        ),
        "CONVERSATION_USER_MISMATCH": "",
        "CONVERSATION_NOT_TAKEN_OVER": "",
        "AGENT_NOT_TRAINED": "Give the agent sources and wait until they are trained.",
        "AGENT_ALREADY_TRAINING": "",
        "SOURCE_DUPLICATE": "",
        "SOURCE_IS_TRAINING": "Wait until the source is trained, then change it.",
        "SOURCE_PENDING_DELETION": "The source is being deleted: create a new one.",
        "SOURCE_ALREADY_PENDING_DELETION": "",
    },
    errors.ChatbaseValidationError: {
        "CHAT_RETRY_NO_USER_MESSAGE": "",
        "SOURCE_TYPE_NOT_SUPPORTED": "",
        "RESOURCE_MESSAGE_NOT_ASSISTANT": "",
    },
    errors.ChatbaseServerError: {"CHAT_STREAMING_ERROR": "", "INTERNAL_SERVER_ERROR": _ASK_SUPPORT},
    errors.ChatbaseRateLimitError: {
        "RATE_LIMIT_TOO_MANY_REQUESTS": "Lower the concurrency, or spread the tasks over time."
    },
    errors.ChatbaseMaintenanceError: {"SERVICE_UNDER_MAINTENANCE": "Try again later."},
    errors.ChatbaseNotFoundError: {
        "AGENT_NOT_FOUND": "Check agent_id: this API key's workspace has no such agent.",
        "SOURCE_NOT_FOUND": "Check source_id and agent_id: there is no such source.",
        "RESOURCE_NOT_FOUND": (
            "This call sees only conversations that were created through the API; "
            "those of other channels are read by an export with conversationId."
        ),
    },
}
"""The codes of each error, with what to do next; empty where there is nothing useful to say."""

BY_CODE = {code: (error, advised) for error, codes in _BY_CODE.items() for code, advised in codes.items()}

BY_PREFIX: dict[str, ApiError] = {
    "VALIDATION_": errors.ChatbaseValidationError,
    "AUTH_": errors.ChatbaseAuthenticationError,
    "SUBSCRIPTION_": errors.ChatbasePlanError,
    "RATE_LIMIT_": errors.ChatbaseRateLimitError,
}

BY_STATUS: dict[int, ApiError] = {
    400: errors.ChatbaseValidationError,
    401: errors.ChatbaseAuthenticationError,
    402: errors.ChatbaseCreditsError,
    403: errors.ChatbasePermissionError,
    404: errors.ChatbaseNotFoundError,
    409: errors.ChatbaseConflictError,
    413: errors.ChatbaseValidationError,
    422: errors.ChatbaseValidationError,
    429: errors.ChatbaseRateLimitError,
}

ADVICE_BY_ERROR: dict[ApiError, str] = {
    errors.ChatbaseAuthenticationError: _CHECK_KEY,
    errors.ChatbaseServerError: _ASK_SUPPORT,
}


def error_class(code: str | None, status: int) -> ApiError:
    """Choose the error for a refusal: by the code, and only without a known code by the status."""
    if code in BY_CODE:
        return BY_CODE[code][0]
    for prefix, error in BY_PREFIX.items():
        if code and code.startswith(prefix):
            return error
    if code and code.endswith("_NOT_FOUND"):
        return errors.ChatbaseNotFoundError
    return errors.ChatbaseServerError if status >= 500 else BY_STATUS.get(status, errors.ChatbaseApiError)


def advice(code: str | None, error: ApiError) -> str:
    """Say what to do next about a refusal."""
    said = BY_CODE[code][1] if code in BY_CODE else ""
    return said or ADVICE_BY_ERROR.get(error, "")
