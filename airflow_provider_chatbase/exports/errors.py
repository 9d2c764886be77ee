"""What can go wrong with an export besides the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.files.errors import (
    ChatbaseOutputError,
    ChatbaseStorageError,
    is_lasting,
    reason_of,
)

__all__ = [
    "ChatbaseExportError",
    "ChatbaseIncompleteExportError",
    "ChatbaseOutputError",
    "ChatbaseReplacedExportError",
    "ChatbaseStorageError",
    "storage_errors",
]


class ChatbaseExportError(ChatbaseError):
    """An export failed; what was there before is still there."""


class ChatbaseIncompleteExportError(ChatbaseExportError):
    """Fewer conversations arrived than the API says there are."""


class ChatbaseReplacedExportError(ChatbaseExportError):
    """Another run of the same export was faster."""


@contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Turn the storage's errors into ours."""
    try:
        yield
    except OSError as error:
        if is_lasting(error):
            raise ChatbaseOutputError(
                f"The output path {url} cannot be written: {reason_of(error)}. Nothing was exported."
            ) from error
        raise ChatbaseStorageError(
            f"The storage of {url} failed: {reason_of(error)}. The manifest there is as it was. "
            "Run the task again; it goes on from what was read."
        ) from error
