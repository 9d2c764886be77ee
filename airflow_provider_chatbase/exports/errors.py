"""What can go wrong with an export besides the API and the storage."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.files.errors import ChatbaseOutputError, ChatbaseStorageError

__all__ = [
    "ChatbaseExportError",
    "ChatbaseIncompleteExportError",
    "ChatbaseOutputError",
    "ChatbaseReplacedExportError",
    "ChatbaseStorageError",
]


class ChatbaseExportError(ChatbaseError):
    """An export failed; what was there before is still there."""


class ChatbaseIncompleteExportError(ChatbaseExportError):
    """Fewer conversations arrived than the API says there are."""


class ChatbaseReplacedExportError(ChatbaseExportError):
    """Somebody changed the output meanwhile, in a way that makes what was read useless."""
