"""What must not leave Chatbase in clear is taken out before the first byte is written."""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.exports.rows import KNOWN_FIELDS, PERSON
from airflow_provider_chatbase.files.formats import json_text

Action = Literal["drop", "mask", "hash", "detect"]
ACTIONS = ("drop", "mask", "hash", "detect")

MASK = "***"
EVERYWHERE = "*"
"""Stands for every text of an object, wherever it is."""

RAW = "raw"
"""Stands for every field that has no column of its own."""

_FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "conversations": {
        "user_id": ("userId", "user_id", "customer"),
        "channel": ("source",),
        "status": ("status",),
        "title": ("title",),
        "text": ("text",),
        "feedback": ("feedback",),
        "score": ("score",),
        "tool_name": ("toolName",),
        "input": ("input",),
        "output": ("output",),
        # Fields that people's data is in, where tools and forms name them so.
        "name": ("name",),
        "email": ("email",),
        "phone": ("phone", "phonenumber"),
    },
    "leads": {"name": ("name",), "email": ("email",), "phone": ("phone",)},
    "contacts": {
        "external_id": ("external_id",),
        "name": ("name",),
        "email": ("email",),
        "phone": ("phone", "phonenumber"),
        "custom_attributes": ("custom_attributes",),
        "stripe_accounts": ("stripe_accounts",),
    },
    "tickets": {
        "subject": ("subject",),
        "description": ("description",),
        "name": ("name",),
        "email": ("email",),
        "phone": ("phoneNumber",),
        "text": ("contentText", "content"),
        "attachments": ("attachments",),
    },
    "analytics": {},
}
"""For each kind of export the columns that can be redacted, and their fields in the API's objects."""

_KEPT = frozenset(
    [
        *("id", "userId", "user_id", "customer", "external_id", "toolCallId", "chatbot_id", "chatbotId"),
        *("parentConversationId", "createdAt", "created_at", "updatedAt", "updated_at", "last_message_at"),
        *("ticketNumber", "statusId", "assigneeId", "teamId", "conversationId", "lastMessageAt"),
    ]
)
"""What identifies or dates an object of the API itself; detectors leave it alone, or keys would be torn."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is done to which column."""

    actions: Mapping[str, Action]
    salt: str = ""  # goes into hashes, so that nobody can try values out
    kind: str = "conversations"

    def apply(self, item: JsonObject) -> JsonObject:
        """Return an object without what is to be hidden; the one that was given stays as it is."""
        if not self.actions:
            return item
        fields = {
            field: action
            for column, action in self.actions.items()
            for field in _FIELDS[self.kind].get(column, ())
        }
        changed: JsonObject = _walk(
            item, lambda name, value, owner: self._changed(fields, name, value, owner)
        )
        if RAW in self.actions:
            changed = self._without_raw(changed)
        if EVERYWHERE in self.actions:
            changed = _detected_object(changed)
        return changed

    def hashed(self, value: str) -> str:
        """Return what stands in the place of a value that is hashed."""
        text = value.encode("utf-8", "surrogatepass")
        return hmac.new(self.salt.encode(), text, hashlib.sha256).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return what was hidden, and what changes when the salt does without showing it."""
        return {
            "redacted": dict(sorted(self.actions.items())) or None,
            "salt": self.hashed("salt")[:16] if "hash" in self.actions.values() else None,
        }

    def _changed(self, fields: Mapping[str, Action], name: str, value: Any, owner: JsonObject) -> Any:
        # The texts of messages are called so in any part; v1 calls them content.
        if name == "content" and "role" in owner:
            name = "text"
        elif name == "text" and not isinstance(owner.get("type"), str):
            return value
        action = fields.get(name)
        return value if action is None or value is None else self._change(action, value)

    def _change(self, action: Action, value: Any) -> Any:
        if action == "drop":
            return None
        if action == "mask":
            return MASK
        if action == "hash":
            return self.hashed(value if isinstance(value, str) else json_text(value))
        return _detected(value)

    def _without_raw(self, item: JsonObject) -> JsonObject:
        def clean(value: JsonObject, known: frozenset[str]) -> JsonObject:
            kept = {name: each for name, each in value.items() if name in known}
            if self.actions[RAW] == "drop":
                return kept
            return {
                name: each if name in kept or each is None else self._change(self.actions[RAW], each)
                for name, each in value.items()
            }

        conversation, message, metadata, part = KNOWN_FIELDS[self.kind]
        item = clean(item, conversation)
        messages = item.get("messages")
        if "messages" in conversation and isinstance(messages, list):
            cleaned = [clean(each, message) for each in messages if isinstance(each, dict)]
            for each in cleaned:
                if isinstance(each.get("metadata"), dict):
                    each["metadata"] = clean(each["metadata"], metadata)
                if isinstance(each.get("parts"), list):
                    each["parts"] = [clean(one, part) for one in each["parts"] if isinstance(one, dict)]
            item["messages"] = cleaned
        if self.kind == "tickets":
            for owner, name in ((item, "customer"), *((each, "sender") for each in item.get("messages", ()))):
                if isinstance(owner.get(name), dict):
                    owner[name] = clean(owner[name], PERSON)
        return item


def read_redaction(value: Any, salt: str | None, kind: str = "conversations") -> Redaction:
    """Read the operators' ``redact`` argument."""
    if value is None:
        return Redaction({}, kind=kind)
    if isinstance(value, list | tuple):
        value = dict.fromkeys(value, "drop")
    if not isinstance(value, Mapping):
        raise ChatbaseInputError(f"redact must be a dict of column to action, not {value!r}.")
    columns = _FIELDS[kind]
    by_field = {field: column for column, fields in columns.items() for field in fields}
    actions: dict[str, Action] = {}
    for name, action in value.items():
        column = by_field.get(name, name)
        if column not in (*columns, RAW, EVERYWHERE):
            raise ChatbaseInputError(
                f"redact: {name!r} is nothing that can be hidden in {kind}. Give one of "
                f"{', '.join(columns)}, "
                "'raw' for all fields without a column, or '*' for every text. Nothing was exported."
            )
        if action not in ACTIONS:
            raise ChatbaseInputError(
                f"redact: {action!r} for {name!r} is unknown. Give one of {', '.join(ACTIONS)}."
            )
        if column == EVERYWHERE and action != "detect":
            raise ChatbaseInputError("redact: '*' stands for every text and takes 'detect' only.")
        actions[column] = action
    if "hash" in actions.values() and not (salt and salt.strip()):
        raise ChatbaseInputError(
            "redact: a hash needs redact_salt or redact_salt_conn_id, or anybody could find out values by "
            "trying them. Nothing was exported."
        )
    return Redaction(actions, salt or "", kind)


# Detectors. Each looks at a stretch of a text a bounded number of times: any end user can send 200 kB.

_JOINED = "\u00ad" + "".join(
    chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)) in ("Mn", "Mc", "Cf")
)
"""Accents and vowel signs that stand for themselves, as in what a Mac writes, and what nobody sees."""

_AT = re.compile(r"@|%(?:25){0,3}40|&#0{0,4}64;|&#x0{0,4}40;|&commat;|\\u0040|[\uFE6B\uFF20]", re.IGNORECASE)
_LOCAL = re.compile(rf"[\w.+%'!#$&*^~}}\u2010-\u2015\uFF0E{_JOINED}-]")
_DOMAIN = re.compile(
    rf"[{_JOINED}]{{0,3}}[^\W_][\w\u2010-\u2015{_JOINED}-]{{0,62}}"
    rf"(?:[.\u3002\uFF0E\uFF61][\w\u2010-\u2015{_JOINED}-]{{1,63}}){{1,20}}"
    r"|\[[\w.:]{2,60}\]"
)
LONGEST_LOCAL = 320

_HYPHENS = r"\-\u2010-\u2015\u2212\uFE58\uFE63\uFF0D"
_GAP = rf"[\s().{_HYPHENS}/\u00AD\u200B-\u200F\u2060\uFEFF]{{0,3}}"
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19|20)\d\d"
_DATE = (
    "(?:"
    + "|".join(
        rf"{_YEAR}{sign}{_MONTH}{sign}{_DAY}(?!\d)|{_DAY}{sign}{_DAY}{sign}{_YEAR}(?!\d)"
        for sign in ("-", r"\.", "/")
    )
    + ")"
)
_TIME = r"\d{1,2}[:.]\d\d"
_NO_PHONE = "|".join(
    (
        rf"{_DATE}(?:(?=\s?[/{_HYPHENS}]\s?{_DATE})|(?![./{_HYPHENS}]\d))",
        rf"{_TIME}\s?[{_HYPHENS}]\s?{_TIME}(?![\d./{_HYPHENS}])",
        r"[1-9]\d{0,2}(?:\.\d{3}){1,4},\d\d(?!\d)",
        r"[1-9](?:\d{0,2}(?:[ \u00A0\u202F',]\d{3}){1,4}|\d{4,11})\.\d\d(?![\d./-])",
        r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?!\w)",
    )
)
"""Dates, hours, amounts with two decimals, and UUIDs: reports need them, and they look like phone numbers."""
_NUMBER = re.compile(
    rf"(?<![\w@#])(?:(?P<kept>{_NO_PHONE})"
    rf"|(?P<plus>[+\uFF0B]\(?\d(?:{_GAP}\d){{6,14}}(?!\d))"  # whatever follows one with a plus
    rf"|\(?\d(?:{_GAP}\d){{6,24}}(?:(?![\w{_HYPHENS}])|(?=(?:x|X|[Ee]xt)\.?\s?\d)))"
)
_IBAN = re.compile(r"(?<!\w)[A-Za-z]{2}[0-9]{2}(?: ?[0-9A-Za-z]{4}){2,7}(?: ?[0-9A-Za-z]{1,3})?(?!\w)")
_DATE_WITHIN = re.compile(rf"(?<=\s){_DATE}")
_PHONE_DIGITS = 15
_SHORTEST_NUMBER, _LONGEST_NUMBER = 10**7, 10**19
"""Between these a whole number may be that of somebody's phone or card."""


def detect(text: str) -> str:
    """Replace e-mail addresses and the numbers of phones, cards and bank accounts in a text."""
    return _NUMBER.sub(_hidden_number, _IBAN.sub(_hidden_account, _without_addresses(text)))


def _hidden_account(found: re.Match[str]) -> str:
    """Return what stands in the place of an account's number, which words in capitals may follow."""
    words = found[0].split(" ")
    for count in range(len(words), 0, -1):
        code = "".join(words[:count])
        if (
            15 <= len(code) <= 34
            and int("".join(str(int(each, 36)) for each in code[4:] + code[:4])) % 97 == 1
        ):
            return " ".join(["[iban]", *words[count:]])
    return found[0]


def _hidden_number(found: re.Match[str]) -> str:
    """Return what stands in the place of a number; a long one that is no card's is an id."""
    text = found[0]
    if found["kept"] or found["plus"]:
        return text if found["kept"] else "[phone]"
    if date := _DATE_WITHIN.search(text):
        before, after = text[: date.start()], text[date.end() :]
        return _NUMBER.sub(_hidden_number, before) + date[0] + _NUMBER.sub(_hidden_number, after)
    digits = [int(each) for each in text if each.isdecimal()]
    if 14 <= len(digits) <= 19 and digits[0] in (2, 3, 4, 5, 6) and _passes_luhn(digits):
        return "[card]"
    return text if len(digits) > _PHONE_DIGITS and text.isdecimal() else "[phone]"


def _passes_luhn(digits: list[int]) -> bool:
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _without_addresses(text: str) -> str:
    kept, end = [], 0
    for at in _AT.finditer(text):
        domain = _DOMAIN.match(text, at.end())
        start = _local_start(text, at.start(), end) if domain and at.start() >= end else at.start()
        if domain and start < at.start():
            kept += [text[end:start], "[email]"]
            end = domain.end()
    return "".join([*kept, text[end:]]) if kept else text


def _local_start(text: str, at: int, least: int) -> int:
    """Return where the part before the ``@`` begins."""
    least = max(least, at - LONGEST_LOCAL)
    if text[at - 1 : at] == '"':
        opening = text.rfind('"', least, at - 1)
        return opening if opening >= 0 else at
    start = at
    while start > least and _LOCAL.match(text, start - 1):
        start -= 1
    return start


def _detected(value: Any) -> Any:
    """Detect in whatever JSON it is, keys and numbers too."""
    if isinstance(value, str):
        return detect(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        whole = value == value // 1 and _SHORTEST_NUMBER <= value < _LONGEST_NUMBER
        shown = detect(f"{value:.0f}") if whole else ""
        return shown if shown.startswith("[") else value
    if isinstance(value, list):
        return [_detected(each) for each in value]
    found: JsonObject = {}
    for name, each in value.items():
        key, number = detect(name), 2
        while key in found:  # two addresses as keys
            key, number = f"{detect(name)} {number}", number + 1
        found[key] = _detected(each)
    return found


def _detected_object(item: JsonObject) -> JsonObject:
    """Detect in all of an object of the API but what identifies or dates it, its messages and their parts."""
    return {
        name: value if name in _KEPT and not isinstance(value, dict) else _detected_field(name, value)
        for name, value in item.items()
    }


def _detected_field(name: str, value: Any) -> Any:
    if name in ("messages", "parts") and isinstance(value, list):
        return [_detected_object(each) if isinstance(each, dict) else _detected(each) for each in value]
    return _detected(value)


def _walk(value: Any, change: Callable[[str, Any, JsonObject], Any]) -> Any:
    if isinstance(value, dict):
        return {name: _walk(change(name, each, value), change) for name, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, change) for each in value]
    return value
