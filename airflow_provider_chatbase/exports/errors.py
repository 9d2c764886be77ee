"""What can go wrong with an export besides the API."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError


class ChatbaseExportError(ChatbaseError):
    """An export failed; what was there before is still there."""


class ChatbaseIncompleteExportError(ChatbaseExportError):
    """Fewer conversations arrived than the API says there are."""


class ChatbaseStorageError(ChatbaseExportError):
    """The storage failed in a way that a later try may not meet."""


class ChatbaseReplacedExportError(ChatbaseExportError):
    """Another run of the same export was faster."""


class ChatbaseOutputError(ChatbaseInputError):
    """The output path cannot be used."""


_PASSING = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNRESET})


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn the storage's errors into ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        if isinstance(error, TimeoutError | ConnectionError) or error.errno in _PASSING or _unclear(error):
            raise ChatbaseStorageError(
                f"The storage of {url} failed: {reason}. The manifest there is as it was. "
                "Run the task again; it goes on from what was read."
            ) from error
        raise ChatbaseOutputError(
            f"The output path {url} cannot be written: {reason}. Nothing was exported."
        ) from error


def _unclear(error: OSError) -> bool:
    return error.errno is None and type(error) is OSError
