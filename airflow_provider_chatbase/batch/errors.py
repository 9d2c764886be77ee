"""What can go wrong with a batch besides the API."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.files.errors import ChatbaseOutputBusyError, ChatbaseStorageError

ChatbaseBatchStorageError = ChatbaseStorageError

__all__ = [
    "ChatbaseBatchError",
    "ChatbaseBatchLimitError",
    "ChatbaseBatchStorageError",
    "ChatbaseExpectationsError",
    "ChatbaseOutputBusyError",
]


class ChatbaseBatchError(ChatbaseError):
    """A batch failed or was stopped; what was answered is kept, and running it again goes on from there."""


class ChatbaseBatchLimitError(ChatbaseBatchError):
    """A batch reached a limit that it was given; a retry would reach the same one."""

    permanent = True


class ChatbaseExpectationsError(ChatbaseBatchError):
    """Too many answers are not what is expected; asking again brings nothing new."""

    permanent = True
