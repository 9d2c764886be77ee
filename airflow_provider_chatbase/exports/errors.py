"""What can go wrong with an export besides the API."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError


class ChatbaseExportError(ChatbaseError):
    """An export failed; what was there before is still there."""


class ChatbaseIncompleteExportError(ChatbaseExportError):
    """Fewer conversations arrived than the API says there are."""


class ChatbaseOutputError(ChatbaseInputError):
    """The output path cannot be used."""
