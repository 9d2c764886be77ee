"""What must not leave Chatbase in clear is taken out before the first byte is written."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject

Action = Literal["drop", "mask", "hash", "detect"]
ACTIONS = ("drop", "mask", "hash", "detect")

MASK = "***"
EVERYWHERE = "*"
"""Stands for every text of an object, wherever it is."""

E_MAIL = re.compile(r"[\w.+%'-]+@[\w-]+(?:\.[\w-]+)+")
PHONE = re.compile(
    r"(?<![\w@#])(?!\d{4}-\d{2}-\d{2}(?!\d))(?:\+|00)?\(?\d(?:[\s().\-/]{0,2}\d){6,14}(?![\w-])"
)

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "user_id": ("userId", "user_id", "customer"),
    "channel": ("source",),
    "phone": ("phone", "phonenumber"),
    "external_id": ("external_id",),
    "input": ("input",),
    "output": ("output",),
    "title": ("title",),
    "name": ("name",),
    "email": ("email",),
    "feedback": ("feedback",),
    "custom_attributes": ("custom_attributes",),
    "stripe_accounts": ("stripe_accounts",),
}
"""Our columns that can be redacted, and their fields in the API's objects."""

_NOT_TEXT = re.compile(r"(?:^id|Id|_id|At|_at|^type|^role|^status|^source|^toolName)$")
"""Names whose values identify or classify; detectors leave them alone, or they would tear keys apart."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """
    What is done to which column.

    :param actions: for each column, or field of the API, ``drop``, ``mask``, ``hash`` or ``detect``.
    :param salt: goes into hashes, so that nobody can try values out.
    """

    actions: Mapping[str, Action]
    salt: str = ""

    def apply(self, item: JsonObject) -> JsonObject:
        """Return an object without what is to be hidden; the one that was given stays as it is."""
        if not self.actions:
            return item
        changed: JsonObject = _walk(item, self._change_field)
        if self.actions.get(EVERYWHERE) == "detect":
            changed = _walk(changed, _detect_field)
        return changed

    def _change_field(self, name: str, value: Any, owner: JsonObject) -> Any:
        action = self._action_for(name, owner)
        if action is None or value is None:
            return value
        return self._change(action, value)

    def _action_for(self, name: str, owner: JsonObject) -> Action | None:
        is_message_text = name == "text" and owner.get("type") == "text"
        if is_message_text or (name == "content" and "role" in owner):
            return self.actions.get("text")
        for column, action in self.actions.items():
            if column != "text" and name in _FIELDS.get(column, (column,)):
                return action
        return None

    def _change(self, action: Action, value: Any) -> Any:
        if action == "drop":
            return None
        if action == "mask":
            return MASK
        if action == "hash":
            return self.hashed(value if isinstance(value, str) else repr(value))
        return _detected(value)

    def hashed(self, value: str) -> str:
        """Return what stands in the place of a value that is hashed."""
        text = value.encode("utf-8", "surrogatepass")
        return hmac.new(self.salt.encode(), text, hashlib.sha256).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return what was hidden, and what changes when the salt does without showing it."""
        hashes = "hash" in self.actions.values()
        return {
            "redacted": dict(sorted(self.actions.items())) or None,
            "salt": self.hashed("salt")[:16] if hashes else None,
        }


def read_redaction(value: Any, salt: str | None) -> Redaction:
    """Read the operators' ``redact`` argument."""
    if value is None:
        return Redaction({})
    if isinstance(value, list | tuple):
        value = dict.fromkeys(value, "drop")
    if not isinstance(value, Mapping):
        raise ChatbaseInputError(f"redact must be a dict of column to action, not {value!r}.")
    for column, action in value.items():
        if action not in ACTIONS:
            raise ChatbaseInputError(
                f"redact: {action!r} for {column!r} is unknown. Give one of {', '.join(ACTIONS)}."
            )
        if column == EVERYWHERE and action != "detect":
            raise ChatbaseInputError("redact: '*' stands for every text and takes 'detect' only.")
    if "hash" in value.values() and not salt:
        raise ChatbaseInputError(
            "redact: a hash needs redact_salt, or anybody could find out values by trying them. Nothing was "
            "exported."
        )
    return Redaction(dict(value), salt or "")


def detect(text: str) -> str:
    """Replace e-mail addresses and phone numbers in a text."""
    if "@" in text:
        text = E_MAIL.sub("[email]", text)
    return PHONE.sub("[phone]", text)


def _detected(value: Any) -> Any:
    if isinstance(value, str):
        return detect(value)
    if isinstance(value, list):
        return [_detected(each) for each in value]
    if isinstance(value, dict):
        return {name: _detected(each) for name, each in value.items()}
    return value


def _detect_field(name: str, value: Any, _owner: JsonObject) -> Any:
    return value if _NOT_TEXT.search(name) and isinstance(value, str) else _detected_text(value)


def _detected_text(value: Any) -> Any:
    if isinstance(value, str):
        return detect(value)
    if isinstance(value, list):
        return [detect(each) if isinstance(each, str) else each for each in value]
    return value


def _walk(value: Any, change: Callable[[str, Any, JsonObject], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _walk(change(name, each, value), change) for name, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, change) for each in value]
    return value
