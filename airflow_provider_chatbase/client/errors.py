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
    │   └── ChatbaseDamagedReplyError   … because it was cut on the way
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
from typing import Any, ClassVar


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

    transient: ClassVar[bool] = False
    ambiguous: ClassVar[bool] = False
    permanent: ClassVar[bool] = False

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
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.status = status
        self.code = code
        self.request_id = request_id
        self.details = dict(details or {})
        self.retry_after = retry_after
        self.attempts = 1

    def __str__(self) -> str:
        """Return the message, with the number of attempts where there was more than one."""
        if self.attempts > 1:
            return f"{self.message} Gave up after {self.attempts} attempts."
        return self.message


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
    """The reply says it is JSON and does not parse: it was cut on the way."""

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
        self.text = text
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
