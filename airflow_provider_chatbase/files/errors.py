"""
What can go wrong with a place to write or read, as one tree.

::

    ChatbaseStorageError            the storage failed; a later try may not meet it
    ├── ChatbaseOutputError         the path cannot be used; somebody has to change something first
    │   └── ChatbaseDamagedFileError    a file of ours is not what was written
    └── ChatbaseOutputBusyError     another run works there
"""

from __future__ import annotations

import errno

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError


class ChatbaseStorageError(ChatbaseError):
    """The storage failed in a way that a later try may not meet."""


class ChatbaseOutputError(ChatbaseInputError, ChatbaseStorageError):
    """The path cannot be used; a retry would meet the same."""


class ChatbaseDamagedFileError(ChatbaseOutputError):
    """A file is there, and is not what was written; it is neither used nor replaced."""


class ChatbaseOutputBusyError(ChatbaseStorageError):
    """Another run works at the same path."""


_LASTING = (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError, FileNotFoundError)
_LASTING_NUMBERS = frozenset({errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL, errno.EXDEV})
_LASTING_STATUSES = frozenset({400, 401, 403, 404, 405, 410, 501})


def is_lasting(error: Exception) -> bool:
    """Say whether a storage's error stays until somebody changes something."""
    if isinstance(error, OSError):
        return isinstance(error, _LASTING) or error.errno in _LASTING_NUMBERS
    return isinstance(error, NotImplementedError) or _status(error) in _LASTING_STATUSES


def reason_of(error: Exception) -> str:
    """Return a storage's error in a few words."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _status(error: Exception) -> int | None:
    """Return the HTTP status; gcsfs, adlfs, aiohttp and botocore each keep it elsewhere."""
    for name in ("code", "status_code", "status"):
        found = getattr(error, name, None)
        if isinstance(found, int | str) and str(found).isdigit():
            return int(found)
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return metadata.get("HTTPStatusCode")
