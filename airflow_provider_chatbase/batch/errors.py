"""What can go wrong with a batch besides the API."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError


class ChatbaseBatchError(ChatbaseError):
    """A batch failed or was stopped; what was answered is kept, and running it again goes on from there."""


class ChatbaseBatchLimitError(ChatbaseBatchError):
    """A batch reached a limit that it was given; a retry would reach the same one."""

    permanent = True


class ChatbaseExpectationsError(ChatbaseBatchError):
    """Too many answers are not what was expected; asking again brings nothing new."""

    permanent = True


class ChatbaseOutputBusyError(ChatbaseBatchError):
    """Another run writes to the same output."""


class ChatbaseBatchStorageError(ChatbaseBatchError):
    """The checkpoint or the results could not be read or written."""
