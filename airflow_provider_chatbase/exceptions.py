"""
The errors that this provider raises.

Those about Chatbase stand in :mod:`airflow_provider_chatbase.client.errors`, which draws their tree; they
can be imported from here too. Below them are the ones that only a task can have.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import fill

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowNotFoundException

from airflow_provider_chatbase.batch.outcome import (
    ChatbaseBadPromptsError,
    ChatbaseBatchError,
    ChatbaseBatchLimitError,
    ChatbaseExpectationsError,
    ChatbaseLostCheckpointError,
)
from airflow_provider_chatbase.client.alarm import alarm_kept
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
    "ChatbaseLostCheckpointError",
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

log = logging.getLogger(__name__)

LINE = 100
"""So many characters of a message are seen on Airflow's page of logs, on a usual screen."""


class ChatbasePermanentError(ChatbaseError, AirflowFailException):
    """
    Fails the task without a retry, because a retry could not help.

    The error it stands for is its ``error``; status, code and request id are copied from it.
    """

    permanent = True

    def __init__(self, error: ChatbaseError) -> None:
        self.error = error
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
    Tell an error in words before Airflow tells it as a traceback, and without a retry that cannot mend it.

    :raises ChatbasePermanentError: in place of such an error.
    """
    with alarm_kept():
        try:
            yield
        except AirflowNotFoundException as missing:
            # A retry may find it: a secrets backend that is away looks alike.
            log.error(  # noqa: TRY400
                "%s",
                wrap(
                    f"{str(missing).rstrip('.')}. Check the name of the connection that the task is given, "
                    "or add it: Admin, Connections. Nothing was sent."
                ),
            )
            raise missing.with_traceback(None) from None
        except ChatbaseError as error:
            log.error("%s", wrap(str(error)))  # noqa: TRY400 - Airflow logs the traceback
            log.debug("Where it comes from:", exc_info=True)
            lasting = error.permanent and not isinstance(error, AirflowFailException)
            # Its way through the client, and what it was made of, tell a user nothing and hide the words.
            raise (ChatbasePermanentError(error) if lasting else error.with_traceback(None)) from None


def wrap(text: str) -> str:
    """Break a text into lines that Airflow's page of logs shows whole, as it breaks none itself."""
    lines = text.splitlines()
    return "\n".join(fill(line, LINE, break_long_words=False, break_on_hyphens=False) for line in lines)
