"""
The errors that this provider raises.

Those about Chatbase stand in :mod:`airflow_provider_chatbase.client.errors`, which draws their tree; they
can be imported from here too. Below them are the ones that only a task can have.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_chatbase.batch.outcome import (
    ChatbaseBadPromptsError,
    ChatbaseBatchError,
    ChatbaseBatchLimitError,
    ChatbaseExpectationsError,
)
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseAnswerError,
    ChatbaseApiError,
    ChatbaseAuthenticationError,
    ChatbaseConfigurationError,
    ChatbaseConflictError,
    ChatbaseConnectionError,
    ChatbaseConnectionLostError,
    ChatbaseCreditsError,
    ChatbaseDamagedReplyError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseInterruptedAnswerError,
    ChatbaseMaintenanceError,
    ChatbaseNotFoundError,
    ChatbasePagingError,
    ChatbasePermissionError,
    ChatbasePlanError,
    ChatbaseRateLimitError,
    ChatbaseReplyError,
    ChatbaseServerError,
    ChatbaseTimeoutError,
    ChatbaseToolCallError,
    ChatbaseUnansweredError,
    ChatbaseUnreachableError,
    ChatbaseUnsupportedError,
    ChatbaseValidationError,
)
from airflow_provider_chatbase.exports import (
    ChatbaseExportError,
    ChatbaseIncompleteExportError,
    ChatbaseReplacedExportError,
)
from airflow_provider_chatbase.files import (
    ChatbaseDamagedFileError,
    ChatbaseOutputBusyError,
    ChatbaseOutputError,
    ChatbaseStorageError,
)
from airflow_provider_chatbase.sync.errors import (
    ChatbaseDeclarationError,
    ChatbaseDriftError,
    ChatbaseIncompleteListingError,
    ChatbaseSyncError,
)

ChatbaseBatchStorageError = ChatbaseStorageError

__all__ = [
    "ChatbaseAmbiguousError",
    "ChatbaseAnswerError",
    "ChatbaseApiError",
    "ChatbaseAuthenticationError",
    "ChatbaseBadPromptsError",
    "ChatbaseBatchError",
    "ChatbaseBatchLimitError",
    "ChatbaseBatchStorageError",
    "ChatbaseConfigurationError",
    "ChatbaseConflictError",
    "ChatbaseConnectionError",
    "ChatbaseConnectionLostError",
    "ChatbaseCreditsError",
    "ChatbaseDamagedFileError",
    "ChatbaseDamagedReplyError",
    "ChatbaseDeclarationError",
    "ChatbaseDriftError",
    "ChatbaseError",
    "ChatbaseExpectationsError",
    "ChatbaseExportError",
    "ChatbaseIncompleteExportError",
    "ChatbaseIncompleteListingError",
    "ChatbaseInputError",
    "ChatbaseInterruptedAnswerError",
    "ChatbaseMaintenanceError",
    "ChatbaseNotFoundError",
    "ChatbaseOutputBusyError",
    "ChatbaseOutputError",
    "ChatbasePagingError",
    "ChatbasePermanentError",
    "ChatbasePermissionError",
    "ChatbasePlanError",
    "ChatbaseRateLimitError",
    "ChatbaseReplacedExportError",
    "ChatbaseReplyError",
    "ChatbaseServerError",
    "ChatbaseStorageError",
    "ChatbaseSyncError",
    "ChatbaseTimeoutError",
    "ChatbaseToolCallError",
    "ChatbaseTrainingError",
    "ChatbaseTrainingTimeoutError",
    "ChatbaseUnansweredError",
    "ChatbaseUnreachableError",
    "ChatbaseUnsupportedError",
    "ChatbaseValidationError",
    "fail_at_once",
]


class ChatbasePermanentError(ChatbaseError, AirflowFailException):
    """
    Fails the task without a retry, because a retry could not help.

    The error it stands for is its ``__cause__``; status, code and request id are copied from it.
    """

    permanent = True

    def __init__(self, error: ChatbaseError) -> None:
        super().__init__(
            error.message,
            operation=error.operation,
            status=error.status,
            code=error.code,
            request_id=error.request_id,
            details=error.details,
        )


class ChatbaseTrainingError(ChatbaseError, AirflowFailException):
    """Training failed; waiting longer or trying the wait again cannot help."""

    permanent = True


class ChatbaseTrainingTimeoutError(ChatbaseError):
    """Training took longer than the task waits; what it wrote is there, and a retry goes on waiting."""


@contextmanager
def fail_at_once() -> Iterator[None]:
    """
    Turn errors that a retry cannot mend into ones that fail the task without a retry.

    :raises ChatbasePermanentError: in place of such an error.
    """
    try:
        yield
    except ChatbaseError as error:
        if error.permanent and not isinstance(error, AirflowFailException):
            raise ChatbasePermanentError(error) from error
        raise
