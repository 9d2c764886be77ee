"""
Where the provider writes and reads: directories, locks, row formats; on local disks and object stores.

What can go wrong with a place to write or read is one tree::

    ChatbaseStorageError            the storage failed; a later try may not meet it
    ├── ChatbaseOutputError         the path cannot be used; somebody has to change something first
    │   └── ChatbaseDamagedFileError    a file of ours is not what was written
    └── ChatbaseOutputBusyError     another run works there
"""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError


class ChatbaseStorageError(ChatbaseError):
    """The storage failed in a way that a later try may not meet."""


class ChatbaseOutputError(ChatbaseInputError, ChatbaseStorageError):
    """The path cannot be used; a retry would meet the same."""


class ChatbaseDamagedFileError(ChatbaseOutputError):
    """A file is there, and is not what was written; it is neither used nor replaced."""


class ChatbaseOutputBusyError(ChatbaseStorageError):
    """Another run works at the same path."""
