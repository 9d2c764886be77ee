"""What can go wrong with a sync, beside Chatbase itself."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseError, ChatbaseInputError


class ChatbaseDeclarationError(ChatbaseInputError):
    """What is declared cannot be read; nothing was sent."""


class ChatbaseIncompleteListingError(ChatbaseError):
    """The listing of the agent's sources lacks some of them; nothing was changed."""

    transient = True


class ChatbaseSyncError(ChatbaseError):
    """Some of what is declared could not be written, or was not allowed to be."""

    def __init__(self, message: str, *, mendable: bool) -> None:
        super().__init__(message)
        self.permanent = not mendable  # told by what failed, not by the class


class ChatbaseDriftError(ChatbaseError):
    """A check found that the agent is not as it is declared."""

    permanent = True
