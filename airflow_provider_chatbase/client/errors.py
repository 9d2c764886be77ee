"""Everything that can go wrong between us and Chatbase, as one tree.

::

    ChatbaseError
    ├── ChatbaseInputError              a bad argument; nothing was sent
    ├── ChatbaseConfigurationError      a bad connection; nothing was sent
    │   └── ChatbaseUnsupportedError    this API version cannot do that
    ├── ChatbaseConnectionError         no reply came
    │   ├── ChatbaseUnreachableError    … and nothing was sent
    │   ├── ChatbaseTimeoutError        … in time; the work may have been done
    │   └── ChatbaseConnectionLostError … the connection broke; the work may have been done
    ├── ChatbaseReplyError              a reply that is not the promised JSON
    │   └── ChatbaseDamagedReplyError   … because it was cut on the way; what was written is there
    ├── ChatbaseAmbiguousError          it is unknown whether the work was done, and it may not be repeated
    ├── ChatbasePagingError             a listing that does not move forward
    ├── ChatbaseAnswerError             the agent gave no usable answer
    │   ├── ChatbaseInterruptedAnswerError  … since the stream broke; it may be there all the same
    │   ├── ChatbaseUnansweredError     … though the message arrived
    │   └── ChatbaseToolCallError       … but asked for tools that nobody runs
    └── ChatbaseApiError                Chatbase refused; by the API's ``code``
        ├── ChatbaseValidationError     VALIDATION_…, unsupported values
        ├── ChatbaseAuthenticationError AUTH_…: missing, unknown or expired key
        ├── ChatbasePermissionError     the key lacks the right
        ├── ChatbasePlanError           the plan lacks the feature, model, storage or number of agents
        ├── ChatbaseCreditsError        no message credits left
        ├── ChatbaseNotFoundError       …_NOT_FOUND
        ├── ChatbaseConflictError       not in the state the call needs
        ├── ChatbaseRateLimitError      told to wait; nothing was done
        ├── ChatbaseMaintenanceError    refused before any read or write
        └── ChatbaseServerError         any other 5xx; the work may have been done

Three attributes of every class say what a caller may do about it: ``transient`` (the same request may
succeed a moment later), ``ambiguous`` (the work may have been done, so a write must not be repeated blindly)
and ``permanent`` (somebody has to change something first, so a retry of the task is of no use).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

_secrets: set[str] = set()


def keep_secret(secret: str) -> None:
    """Take note of what no message may show, however it came there: a server or a proxy may echo it."""
    if len(secret) >= SHORTEST_SECRET:
        _secrets.update((secret, quote(secret, safe="")))


def without_secrets(text: str) -> str:
    """Take out of a text what no message may show."""
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def quoted(text: object, longest: int = 500) -> str:
    """Put what others said into a message: on one line, without control characters, and not at any length."""
    shown = str(text)
    if len(shown) > longest:
        shown = f"{shown[:longest]}… ({len(shown):,} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


SHORTEST_SECRET = 5
"""What is shorter is no secret, and would make holes into words."""


def counted(number: float | Decimal, one: str) -> str:
    """Return a number with the word for what is counted, in the singular where there is one of it."""
    return f"{float(number):,.10g} {one if number == 1 else one + 's'}"


class ChatbaseError(Exception):
    """
    Whatever this package raises about Chatbase.

    :param message: what happened, why, and what to do next.
    :param operation: the API operation, by its ``operationId``.
    :param status: the HTTP status, when a reply came.
    :param code: the API's error code, when it gave one.
    :param request_id: the reply's ``x-request-id``, to quote to Chatbase's support.
    :param details: the API's details by field.
    :param retry_after: the seconds that the reply asked to wait.
    """

    transient: bool = False
    ambiguous: bool = False
    permanent: bool = False

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        details: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
    ) -> None:
        message = without_secrets(message)
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.status = status
        self.code = code and without_secrets(code)
        self.request_id = request_id and without_secrets(request_id)
        self.details = _plain(dict(details or {}))
        self.retry_after = retry_after
        self.attempts = 1

    def __str__(self) -> str:
        """Return the message, with the number of attempts where there was more than one."""
        if self.attempts > 1:
            return f"{self.message} Gave up after {self.attempts} attempts."
        return self.message


def _plain(value: Any) -> Any:
    """Return JSON of a reply without secrets, wherever they stand in it."""
    if isinstance(value, dict):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return without_secrets(value) if isinstance(value, str) else value


class ChatbaseInputError(ChatbaseError, ValueError):
    """An argument is wrong; nothing was sent."""

    permanent = True


class ChatbaseConfigurationError(ChatbaseError):
    """The connection's settings are wrong; nothing was sent."""

    permanent = True


class ChatbaseUnsupportedError(ChatbaseConfigurationError):
    """The API version that the connection speaks cannot do this."""


class ChatbaseConnectionError(ChatbaseError):
    """No reply came."""

    transient = True
    ambiguous = True


class ChatbaseUnreachableError(ChatbaseConnectionError):
    """No connection could be made, so nothing was sent."""

    ambiguous = False


class ChatbaseTimeoutError(ChatbaseConnectionError):
    """The request was sent, and no reply came in time."""


class ChatbaseConnectionLostError(ChatbaseConnectionError):
    """The connection broke after the request was on its way."""


class ChatbaseReplyError(ChatbaseError):
    """The reply is not the JSON that the API promises, for example a proxy's page."""

    ambiguous = True


class ChatbaseDamagedReplyError(ChatbaseReplyError):
    """The reply says it is JSON and does not parse, or that a write is done, and not what was written."""

    transient = True


class ChatbaseAmbiguousError(ChatbaseError):
    """It is unknown whether a message was answered and charged, and it may not be sent again."""

    permanent = True


class ChatbasePagingError(ChatbaseError):
    """A listing that does not move forward; it was stopped."""


class ChatbaseAnswerError(ChatbaseError):
    """
    The agent was asked and gave no usable answer.

    :param text: what it said before it failed.
    :param conversation_id: the conversation, when known.
    """

    permanent = True

    def __init__(
        self, message: str, *, text: str = "", conversation_id: str | None = None, **reply: Any
    ) -> None:
        super().__init__(message, **reply)
        self.text = without_secrets(text)
        self.conversation_id = conversation_id


class ChatbaseInterruptedAnswerError(ChatbaseAnswerError):
    """The answer broke off while it was streamed; Chatbase may have it whole."""

    ambiguous = True
    permanent = False


class ChatbaseUnansweredError(ChatbaseAnswerError):
    """The message arrived, and there is no answer to it; sending it again may be charged twice."""

    permanent = False


class ChatbaseToolCallError(ChatbaseAnswerError):
    """The agent asks for tools that nobody runs, or for too many rounds of them."""


class ChatbaseApiError(ChatbaseError):
    """Chatbase answered with an error."""


class ChatbaseValidationError(ChatbaseApiError):
    """Chatbase refused a value."""

    permanent = True


class ChatbaseAuthenticationError(ChatbaseApiError):
    """The API key is missing, unknown or expired."""

    permanent = True


class ChatbasePermissionError(ChatbaseApiError):
    """The API key lacks the right to do this."""

    permanent = True


class ChatbasePlanError(ChatbaseApiError):
    """The workspace's plan does not include this."""

    permanent = True


class ChatbaseCreditsError(ChatbaseApiError):
    """The workspace's or the agent's message credits are used up."""

    permanent = True


class ChatbaseNotFoundError(ChatbaseApiError):
    """There is no such thing in this workspace."""

    permanent = True


class ChatbaseConflictError(ChatbaseApiError):
    """The thing is not in the state that this call needs."""


class ChatbaseRateLimitError(ChatbaseApiError):
    """Too many requests; this one was refused before anything was done."""

    transient = True


class ChatbaseMaintenanceError(ChatbaseApiError):
    """Chatbase is under maintenance; this request was refused before anything was done."""

    transient = True


class ChatbaseServerError(ChatbaseApiError):
    """Chatbase, or something in front of it, failed; the work may have been done."""

    transient = True
    ambiguous = True


# -- which of them a code of the API means, and what to do next

ApiError = type[ChatbaseApiError]

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

_CONNECT = "Connect a WhatsApp number to this agent in Chatbase's dashboard."

_BY_CODE: dict[ApiError, dict[str, str]] = {
    ChatbasePermissionError: {
        "AUTH_INSUFFICIENT_PERMISSIONS": _GRANT,
        "PERMISSION_DENIED": _GRANT,
        "WHATSAPP_NOT_CONNECTED": _CONNECT,
    },
    ChatbaseAuthenticationError: {
        "API_KEY_EXPIRED": _RENEW_KEY,
        "AUTH_MISSING_API_KEY": _CHECK_KEY,
        "AUTH_INVALID_API_KEY": _CHECK_KEY,
        "AUTH_EXPIRED_API_KEY": _RENEW_KEY,
    },
    ChatbasePlanError: {
        "SUBSCRIPTION_API_RESTRICTED_PLAN": _NO_API,
        "SUBSCRIPTION_PLAN_REQUIRED": _NO_API,
        "PLAN_FEATURE_NOT_AVAILABLE": _PLAN,
        "AGENT_LIMIT_REACHED": "Delete an agent that is no longer used, or upgrade the Chatbase plan.",
        "CHAT_MODEL_NOT_ALLOWED": "Choose a model of your plan for this agent.",
        "CONVERSATION_SEARCH_UNAVAILABLE": "Export by creation time instead.",
        "SOURCE_SIZE_LIMIT_EXCEEDED": "Delete sources that nobody needs, or upgrade the Chatbase plan.",
        "SOURCE_LINK_LIMIT_EXCEEDED": "Delete links that nobody needs, or upgrade the Chatbase plan.",
    },
    ChatbaseCreditsError: {
        "CHAT_CREDITS_EXHAUSTED": "Wait for the next billing cycle, or buy message credits.",
        "CHAT_AGENT_CREDITS_EXHAUSTED": "Raise the agent's creditLimit, or wait for the next month (UTC).",
    },
    ChatbaseConflictError: {
        "CHAT_CONVERSATION_MISMATCH": "It belongs to another agent: check conversation_id and agent_id.",
        "CHAT_CONVERSATION_NOT_ONGOING": (
            "It has ended or a human has taken it over: leave conversation_id out to start a new one."
        ),
        "CONVERSATION_USER_MISMATCH": "",
        "CONVERSATION_NOT_TAKEN_OVER": "A human has to take the conversation over in the dashboard first.",
        "AGENT_NOT_TRAINED": "Give the agent sources and wait until they are trained.",
        "AGENT_ALREADY_TRAINING": "",
        "SOURCE_DUPLICATE": "",
        "SOURCE_IS_TRAINING": "Wait until the source is trained, then change it.",
        "SOURCE_PENDING_DELETION": "The source is being deleted: create a new one.",
        "SOURCE_ALREADY_PENDING_DELETION": "",
    },
    ChatbaseValidationError: {
        "CHAT_RETRY_NO_USER_MESSAGE": "",
        "SOURCE_TYPE_NOT_SUPPORTED": "",
        "RESOURCE_MESSAGE_NOT_ASSISTANT": "",
    },
    ChatbaseServerError: {"CHAT_STREAMING_ERROR": "", "INTERNAL_SERVER_ERROR": _ASK_SUPPORT},
    ChatbaseRateLimitError: {
        "RATE_LIMIT_TOO_MANY_REQUESTS": "Lower the concurrency, or spread the tasks over time."
    },
    ChatbaseMaintenanceError: {"SERVICE_UNDER_MAINTENANCE": "Try again later."},
    ChatbaseNotFoundError: {
        "AGENT_NOT_FOUND": "Check agent_id: this API key's workspace has no such agent.",
        "SOURCE_NOT_FOUND": "Check source_id and agent_id: there is no such source.",
        "RESOURCE_NOT_FOUND": (
            "Check the id. Of conversations, only those that were created through the API are seen; those of "
            "other channels are read by an export with conversationId."
        ),
    },
}
"""The codes of each error, with what to do next; empty where there is nothing useful to say."""

BY_CODE = {code: (error, advised) for error, codes in _BY_CODE.items() for code, advised in codes.items()}

BY_PREFIX: dict[str, ApiError] = {
    "VALIDATION_": ChatbaseValidationError,
    "AUTH_": ChatbaseAuthenticationError,
    "SUBSCRIPTION_": ChatbasePlanError,
    "RATE_LIMIT_": ChatbaseRateLimitError,
}

BY_STATUS: dict[int, ApiError] = {
    400: ChatbaseValidationError,
    401: ChatbaseAuthenticationError,
    402: ChatbaseCreditsError,
    403: ChatbasePermissionError,
    404: ChatbaseNotFoundError,
    409: ChatbaseConflictError,
    413: ChatbaseValidationError,
    422: ChatbaseValidationError,
    429: ChatbaseRateLimitError,
}

ADVICE_BY_ERROR: dict[ApiError, str] = {
    ChatbaseAuthenticationError: _CHECK_KEY,
    ChatbaseServerError: _ASK_SUPPORT,
}


def error_class(code: str | None, status: int) -> ApiError:
    """Choose the error for a refusal: by the code, and only without a known code by the status."""
    if code in BY_CODE:
        return BY_CODE[code][0]
    for prefix, error in BY_PREFIX.items():
        if code and code.startswith(prefix):
            return error
    if code and code.endswith("_NOT_FOUND"):
        return ChatbaseNotFoundError
    return ChatbaseServerError if status >= 500 else BY_STATUS.get(status, ChatbaseApiError)


def advice(code: str | None, error: ApiError) -> str:
    """Say what to do next about a refusal."""
    said = BY_CODE[code][1] if code in BY_CODE else ""
    return said or ADVICE_BY_ERROR.get(error, "")


LASTING_CODES = frozenset(
    {
        "CHAT_CONVERSATION_MISMATCH",
        "CHAT_CONVERSATION_NOT_ONGOING",
        "CONVERSATION_USER_MISMATCH",
        "CONVERSATION_NOT_TAKEN_OVER",
        "SOURCE_DUPLICATE",
        "SOURCE_PENDING_DELETION",
    }
)
"""Conflicts that no waiting ends: somebody has to ask for something else."""
