"""What each of the API's error codes means for us: which error it becomes, and what to do next."""

from __future__ import annotations

from airflow_provider_chatbase.client import errors

ERROR_BY_CODE: dict[str, type[errors.ChatbaseApiError]] = {
    "AUTH_INSUFFICIENT_PERMISSIONS": errors.ChatbasePermissionError,
    "PERMISSION_DENIED": errors.ChatbasePermissionError,
    "API_KEY_EXPIRED": errors.ChatbaseAuthenticationError,
    "SUBSCRIPTION_API_RESTRICTED_PLAN": errors.ChatbasePlanError,
    "SUBSCRIPTION_PLAN_REQUIRED": errors.ChatbasePlanError,
    "PLAN_FEATURE_NOT_AVAILABLE": errors.ChatbasePlanError,
    "AGENT_LIMIT_REACHED": errors.ChatbasePlanError,
    "CHAT_MODEL_NOT_ALLOWED": errors.ChatbasePlanError,
    "CONVERSATION_SEARCH_UNAVAILABLE": errors.ChatbasePlanError,
    "SOURCE_SIZE_LIMIT_EXCEEDED": errors.ChatbasePlanError,
    "SOURCE_LINK_LIMIT_EXCEEDED": errors.ChatbasePlanError,
    "CHAT_CREDITS_EXHAUSTED": errors.ChatbaseCreditsError,
    "CHAT_AGENT_CREDITS_EXHAUSTED": errors.ChatbaseCreditsError,
    "CHAT_CONVERSATION_MISMATCH": errors.ChatbaseConflictError,
    "CHAT_CONVERSATION_NOT_ONGOING": errors.ChatbaseConflictError,
    "CONVERSATION_USER_MISMATCH": errors.ChatbaseConflictError,
    "CONVERSATION_NOT_TAKEN_OVER": errors.ChatbaseConflictError,
    "CHAT_RETRY_NO_USER_MESSAGE": errors.ChatbaseValidationError,
    "CHAT_STREAMING_ERROR": errors.ChatbaseServerError,
    "AGENT_NOT_TRAINED": errors.ChatbaseConflictError,
    "AGENT_ALREADY_TRAINING": errors.ChatbaseConflictError,
    "SOURCE_DUPLICATE": errors.ChatbaseConflictError,
    "SOURCE_IS_TRAINING": errors.ChatbaseConflictError,
    "SOURCE_PENDING_DELETION": errors.ChatbaseConflictError,
    "SOURCE_ALREADY_PENDING_DELETION": errors.ChatbaseConflictError,
    "SOURCE_TYPE_NOT_SUPPORTED": errors.ChatbaseValidationError,
    "RESOURCE_MESSAGE_NOT_ASSISTANT": errors.ChatbaseValidationError,
    "RATE_LIMIT_TOO_MANY_REQUESTS": errors.ChatbaseRateLimitError,
    "SERVICE_UNDER_MAINTENANCE": errors.ChatbaseMaintenanceError,
    "INTERNAL_SERVER_ERROR": errors.ChatbaseServerError,
}

ERROR_BY_CODE_PREFIX: dict[str, type[errors.ChatbaseApiError]] = {
    "VALIDATION_": errors.ChatbaseValidationError,
    "AUTH_": errors.ChatbaseAuthenticationError,
    "SUBSCRIPTION_": errors.ChatbasePlanError,
    "RATE_LIMIT_": errors.ChatbaseRateLimitError,
}

ERROR_BY_STATUS: dict[int, type[errors.ChatbaseApiError]] = {
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

_CHECK_KEY = (
    "Check the password of the Airflow connection: it must be an API key from Chatbase, "
    "Workspace settings, API keys."
)
_ASK_SUPPORT = "Try again later, and quote the request id to Chatbase's support if it stays."
_NO_API = (
    "API access needs a paid Chatbase plan. Upgrade the plan, or use a key of a workspace whose plan has it; "
    "a plan that has API v1 alone works with api_version v1 in the connection."
)
_PLAN = "Upgrade the Chatbase plan, or use a key of a workspace whose plan includes it."

ADVICE_BY_CODE: dict[str, str] = {
    "AUTH_MISSING_API_KEY": _CHECK_KEY,
    "AUTH_INVALID_API_KEY": _CHECK_KEY,
    "AUTH_EXPIRED_API_KEY": "Create a new API key in Chatbase and put it into the Airflow connection.",
    "API_KEY_EXPIRED": "Create a new API key in Chatbase and put it into the Airflow connection.",
    "AUTH_INSUFFICIENT_PERMISSIONS": "Give the API key this right in Chatbase, or use another key.",
    "PERMISSION_DENIED": "Give the API key this right in Chatbase, or use another key.",
    "SUBSCRIPTION_API_RESTRICTED_PLAN": _NO_API,
    "SUBSCRIPTION_PLAN_REQUIRED": _NO_API,
    "PLAN_FEATURE_NOT_AVAILABLE": _PLAN,
    "AGENT_LIMIT_REACHED": "Delete an agent that is no longer used, or upgrade the Chatbase plan.",
    "CHAT_MODEL_NOT_ALLOWED": "Choose a model of your plan for this agent.",
    "CONVERSATION_SEARCH_UNAVAILABLE": "Export by creation time instead.",
    "SOURCE_SIZE_LIMIT_EXCEEDED": "Delete sources that are no longer needed, or upgrade the Chatbase plan.",
    "SOURCE_LINK_LIMIT_EXCEEDED": "Delete links that are no longer needed, or upgrade the Chatbase plan.",
    "CHAT_CREDITS_EXHAUSTED": "Wait for the next billing cycle, or buy message credits.",
    "CHAT_AGENT_CREDITS_EXHAUSTED": "Raise the agent's creditLimit, or wait for the 1st of the month (UTC).",
    "CHAT_CONVERSATION_NOT_ONGOING": (
        "It has ended or a human has taken it over: leave conversation_id out to start a new one."
    ),
    "CHAT_CONVERSATION_MISMATCH": "It belongs to another agent: check conversation_id and agent_id.",
    "AGENT_NOT_FOUND": "Check agent_id: this API key's workspace has no such agent.",
    "SOURCE_NOT_FOUND": "Check source_id and agent_id: there is no such source.",
    "RESOURCE_NOT_FOUND": (
        "This call sees only conversations that were created through the API; "
        "those of other channels are read by an export with conversationId."
    ),
    "SOURCE_IS_TRAINING": "Wait until the source is trained, then change it.",
    "SOURCE_PENDING_DELETION": "The source is being deleted: create a new one.",
    "AGENT_NOT_TRAINED": "Give the agent sources and wait until they are trained.",
    "RATE_LIMIT_TOO_MANY_REQUESTS": "Lower the concurrency, or spread the tasks over time.",
    "SERVICE_UNDER_MAINTENANCE": "Try again later.",
    "INTERNAL_SERVER_ERROR": _ASK_SUPPORT,
}

ADVICE_BY_ERROR: dict[type[errors.ChatbaseApiError], str] = {
    errors.ChatbaseAuthenticationError: _CHECK_KEY,
    errors.ChatbaseServerError: _ASK_SUPPORT,
}


def error_class(code: str | None, status: int) -> type[errors.ChatbaseApiError]:
    """Choose the error for a refusal: by the code, and only without a known code by the status."""
    if code in ERROR_BY_CODE:
        return ERROR_BY_CODE[code]
    for prefix, error in ERROR_BY_CODE_PREFIX.items():
        if code and code.startswith(prefix):
            return error
    if code and code.endswith("_NOT_FOUND"):
        return errors.ChatbaseNotFoundError
    if status >= 500:
        return errors.ChatbaseServerError
    return ERROR_BY_STATUS.get(status, errors.ChatbaseApiError)


def advice(code: str | None, error: type[errors.ChatbaseApiError]) -> str:
    """Say what to do next about a refusal."""
    return ADVICE_BY_CODE.get(code or "", "") or ADVICE_BY_ERROR.get(error, "")
