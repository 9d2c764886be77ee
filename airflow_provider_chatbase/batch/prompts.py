"""A prompt of a batch, and how it is read from what the user gives. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_chatbase.batch.expectations import (
    NAMES,
    NOTHING,
    Expectations,
    WrongExpectationError,
    read_expectations,
)
from airflow_provider_chatbase.client.checks import require_text, require_user_id
from airflow_provider_chatbase.client.errors import ChatbaseInputError

_KNOWN = frozenset({"id", "message", "conversation_id", "user_id", "metadata", "expect", *NAMES})


@dataclass(frozen=True, slots=True)
class Prompt:
    """
    One question of a batch.

    :param index: its place in the input, from 0.
    :param id: the user's id for it; by default its place.
    :param message: the text.
    :param conversation_id: the conversation to continue; ``None`` begins a new one.
    :param user_id: the user's tag for a new conversation.
    :param metadata: what is copied to the result.
    :param expect: what the answer is expected to be.
    :param problem: why it cannot be sent.
    """

    index: int
    id: str
    message: str = ""
    conversation_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    expect: Expectations = NOTHING
    problem: str | None = None

    @property
    def identity(self) -> list[Any]:
        """What makes it this prompt: where one of these differs, another answer is asked for."""
        return [self.id, self.message, self.conversation_id, self.user_id, self.problem is None]

    @property
    def question(self) -> list[Any] | None:
        """What prompts have in common that one answer could serve; ``None`` inside a conversation."""
        if self.problem is not None or self.conversation_id is not None:
            return None
        return [self.message, self.user_id]

    @property
    def lane(self) -> list[Any] | None:
        """
        What prompts have in common that are told apart only when they go one after the other.

        They continue the same conversation, or say the same under the same user id.
        """
        if self.conversation_id is not None:
            return ["conversation", self.conversation_id]
        return ["user", self.user_id, self.message] if self.user_id is not None else None


class Unreadable:
    """Stands for a line of the input that cannot be read."""

    def __init__(self, why: str) -> None:
        self.why = why


def read_prompt(index: int, given: Any) -> Prompt:
    """Read a prompt; what cannot be sent becomes one with a ``problem``."""
    if isinstance(given, Unreadable):
        return Prompt(index, f"#{index}", problem=given.why)
    if isinstance(given, str):
        given = {"message": given}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        return Prompt(index, f"#{index}", problem=f"a prompt must be a text or an object, not {kind}")
    prompt_id = given.get("id")
    prompt = Prompt(
        index,
        id=str(index) if prompt_id is None or prompt_id == "" else str(prompt_id),
        message=given["message"] if isinstance(given.get("message"), str) else "",
        metadata=_metadata(given),
    )
    return _checked(prompt, given)


def as_json(prompt: Prompt) -> list[Any]:
    """Return a prompt as plain JSON."""
    return [
        prompt.index,
        prompt.id,
        prompt.message,
        prompt.conversation_id,
        prompt.user_id,
        prompt.metadata,
        prompt.expect.as_json(),
        prompt.problem,
    ]


def from_json(values: list[Any]) -> Prompt:
    """Read what :func:`as_json` returned."""
    index, prompt_id, message, conversation_id, user_id, metadata, expect, problem = values
    expectations = read_expectations(expect) if expect else NOTHING
    return Prompt(index, prompt_id, message, conversation_id, user_id, metadata, expectations, problem)


def _checked(prompt: Prompt, given: Mapping[str, Any]) -> Prompt:
    try:
        require_text("message", given.get("message"))
        conversation_id = _optional_text("conversation_id", given.get("conversation_id"))
        user_id = _optional_text("user_id", given.get("user_id"))
        if user_id is not None:
            require_user_id(user_id)
        expect = read_expectations(_expected(given))
    except (ChatbaseInputError, WrongExpectationError) as error:
        return replace(prompt, problem=str(error).removesuffix(" Nothing was sent."))
    return replace(prompt, conversation_id=conversation_id, user_id=user_id, expect=expect)


def _optional_text(name: str, value: Any) -> str | None:
    return None if value is None or value == "" else require_text(name, value)


def _expected(given: Mapping[str, Any]) -> dict[str, Any]:
    together = given.get("expect") or {}
    if not isinstance(together, Mapping):
        raise WrongExpectationError("expect must be an object")
    return {**together, **{name: given[name] for name in NAMES if given.get(name) not in (None, "")}}


def _metadata(given: Mapping[str, Any]) -> dict[str, Any]:
    rest = {str(name): value for name, value in given.items() if name not in _KNOWN}
    metadata = given.get("metadata")
    if metadata is None or metadata == "":
        return rest
    return {**metadata, **rest} if isinstance(metadata, Mapping) else {**rest, "metadata": metadata}
