"""Exports of conversations, leads and contacts; here is what can go wrong besides the API and the storage."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError


class ChatbaseExportError(ChatbaseError):
    """An export failed; what was there before is still there."""


class ChatbaseIncompleteExportError(ChatbaseExportError):
    """Fewer conversations arrived than the API says there are."""


class ChatbaseReplacedExportError(ChatbaseExportError):
    """Somebody changed the output meanwhile, in a way that makes what was read useless."""
