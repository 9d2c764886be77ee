"""The prompts of a batch, checked one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from airflow_provider_chatbase.batch.expectations import (
    NAMES,
    WrongExpectationError,
    read_expectations,
)
from airflow_provider_chatbase.batch.intake import Intake, Outgoing, read_id, read_metadata
from airflow_provider_chatbase.batch.outcome import PROMPTS, Words
from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import require_text, require_user_id
from airflow_provider_chatbase.files.records import UnreadableRecord

_KNOWN = frozenset({"id", "message", "conversation_id", "user_id", "metadata", "expect", *NAMES})


class Prompt(Outgoing, frozen=True, omit_defaults=True):
    """One question of a batch."""

    words: ClassVar[Words] = PROMPTS

    message: str = ""
    conversation_id: str | None = None  # the conversation to continue; ``None`` begins a new one
    user_id: str | None = None  # the user's tag for a new conversation

    @property
    def identity(self) -> list[Any]:
        """What makes it the same prompt, wherever it stands."""
        given_id = self.id if self.has_id else None
        return [given_id, self.message, self.conversation_id, self.user_id, self.problem is None]

    @property
    def question(self) -> list[Any] | None:
        """What prompts have in common that one answer could serve; ``None`` inside a conversation."""
        if self.problem is not None or self.conversation_id is not None:
            return None
        return [self.message, self.user_id]

    @property
    def queue(self) -> list[Any] | None:
        """
        What prompts have in common that are told apart only when they go one after the other.

        They continue the same conversation, or say the same under the same user id.
        """
        if self.conversation_id is not None:
            return ["conversation", self.conversation_id]
        return ["user", self.user_id, self.message] if self.user_id is not None else None


def read_prompt(index: int, given: Any) -> Prompt:
    """Read a prompt; what cannot be sent becomes one with a ``problem``, and the others go on."""
    try:
        return _read(index, given)
    except (ChatbaseInputError, WrongExpectationError, TypeError, ValueError, RecursionError) as error:
        why = str(error).removesuffix(" Nothing was sent.")
        message = given.get("message") if isinstance(given, Mapping) else None
        return Prompt(
            index, f"#{index}", message=message if isinstance(message, str) else "", problem=sound_text(why)
        )


def _read(index: int, given: Any) -> Prompt:
    if isinstance(given, UnreadableRecord):
        raise ChatbaseInputError(given.why)
    if isinstance(given, str):
        given = {"message": given}
    if not isinstance(given, Mapping):
        raise ChatbaseInputError(f"a prompt must be a text or an object, not {type(given).__name__}")
    prompt_id = read_id(given.get("id"))
    prompt = Prompt(
        index,
        id=str(index) if prompt_id is None else prompt_id,
        has_id=prompt_id is not None,
        message=sound_text(given["message"]) if isinstance(given.get("message"), str) else "",
    )
    try:
        prompt = msgspec.structs.replace(prompt, metadata=read_metadata(given, _KNOWN))
        return _checked(prompt, given)
    except (ChatbaseInputError, WrongExpectationError) as error:
        return msgspec.structs.replace(prompt, problem=str(error).removesuffix(" Nothing was sent."))


def _checked(prompt: Prompt, given: Mapping[str, Any]) -> Prompt:
    require_text("message", given.get("message"))
    user_id = _optional_text("user_id", given.get("user_id"))
    if user_id is not None:
        require_user_id(user_id)
    return msgspec.structs.replace(
        prompt,
        conversation_id=_optional_text("conversation_id", given.get("conversation_id")),
        user_id=user_id,
        expect=read_expectations(_expected(given)),
    )


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None or value == "" else require_text(name, value)


def _expected(given: Mapping[str, Any]) -> dict[str, Any]:
    together = given.get("expect") or {}
    if not isinstance(together, Mapping):
        raise WrongExpectationError("expect must be an object")
    return {**together, **{name: given[name] for name in NAMES if given.get(name) not in (None, "")}}


def take_in(given: Iterable[Any]) -> Intake[Prompt]:
    """Take in the prompts of a batch."""
    return Intake(given, read_prompt, Prompt)
