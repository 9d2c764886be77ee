"""Messages to customers on WhatsApp: whom a template goes to, and whether it can be sent as it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import msgspec

from airflow_provider_chatbase.batch.intake import Outgoing, read_id, read_metadata
from airflow_provider_chatbase.batch.outcome import Words
from airflow_provider_chatbase.client.decoding import sound_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import JsonObject, require_text
from airflow_provider_chatbase.files.records import UnreadableRecord

OnDuplicate = Literal["fail", "first", "send"]
ON_DUPLICATE = ("fail", "first", "send")

_KNOWN = frozenset({"id", "to", "language", "variables", "metadata"})
_VARIABLE = re.compile(r"(header|body)\[([^\[\]]+)\]\Z")
_NUMBER = re.compile(r"\+?[0-9][0-9 ().\-/]*\Z")
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15
_UNFIT = re.compile(r"[\n\r\t]| {5}")


class Recipient(Outgoing, frozen=True, omit_defaults=True):
    """A customer who is to get the template once."""

    words: ClassVar[Words] = Words(
        "messages",
        "sent",
        "sent",
        "max_messages",
        "it is unknown whether they arrived, and they are not sent again. Their rows have the outcome "
        "'ambiguous': look for them in WhatsApp or in Chatbase, and clear the task with resend_in_doubt=True "
        "only where going out twice is better than not at all.",
    )

    to: str = ""  # the number: digits alone
    language: str | None = None
    variables: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)  # by component and key
    mark: str = ""  # tells those of one number apart, where each gets a message of its own

    @property
    def identity(self) -> list[Any]:
        """The customer, whatever the message says: who has got one in this run gets no other."""
        return [self.to, self.mark, self.problem is None]

    @property
    def may_repeat(self) -> bool:
        """Whether others may have the same identity; they are counted then."""
        return not self.mark

    @property
    def question(self) -> list[Any] | None:
        """The customer, where one message is to stand for all."""
        return None if self.mark or self.problem is not None else [self.to]


def read_recipient(index: int, given: Any, *, apart: bool) -> Recipient:
    """Read a recipient; one that cannot be sent to has a ``problem``, and the others go on."""
    recipient = Recipient(index, id=str(index))
    if not isinstance(given, Mapping):
        is_broken = isinstance(given, UnreadableRecord)
        why = given.why if is_broken else f"a recipient must be an object, not {type(given).__name__}"
        return msgspec.structs.replace(recipient, problem=sound_text(why))
    try:
        given_id = read_id(given.get("id"))
        if given_id is not None:
            mark = given_id if apart else ""
            recipient = msgspec.structs.replace(recipient, id=given_id, has_id=True, mark=mark)
        return _checked(recipient, given)
    except (ChatbaseInputError, TypeError, ValueError, RecursionError) as error:
        why = sound_text(str(error).removesuffix(" Nothing was sent."))
        return msgspec.structs.replace(recipient, problem=why)


def _checked(recipient: Recipient, given: Mapping[str, Any]) -> Recipient:
    columns = {name: found.groups() for name in given if (found := _VARIABLE.match(str(name)))}
    language = given.get("language")
    return msgspec.structs.replace(
        recipient,
        to=_number(given.get("to")),
        language=None if language in (None, "") else require_text("language", language),
        variables=_variables(given, columns),
        metadata=read_metadata(given, _KNOWN | set(columns)),
    )


def _number(given: Any) -> str:
    """Return the digits of an international number; two ways to write it are one customer."""
    text = str(given) if isinstance(given, int) and not isinstance(given, bool) else given
    if not isinstance(text, str) or not _NUMBER.match(text.strip()) or "(0)" in text:
        raise ChatbaseInputError(f"to must be an international number such as +49 30 1234567, not {given!r}")
    digits = re.sub(r"\D", "", text)
    if digits.startswith("0") or not _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS:
        raise ChatbaseInputError(
            f"to must begin with the country code and have {_FEWEST_DIGITS} to {_MOST_DIGITS} digits, "
            f"such as +49 30 1234567, not {given!r}"
        )
    return digits


def _variables(given: Mapping[str, Any], columns: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Read ``{"body": {"1": …}}``, and columns such as ``body[1]``, as a table has them."""
    found: dict[str, dict[str, str]] = {}
    nested = given.get("variables") or {}
    if not isinstance(nested, Mapping) or not all(isinstance(each, Mapping) for each in nested.values()):
        raise ChatbaseInputError("variables must be an object of objects, such as {'body': {'1': 'Ada'}}")
    for part, values in nested.items():
        for key, value in values.items():
            found.setdefault(str(part), {})[str(key)] = _value(f"{part}[{key}]", value)
    for column, (part, key) in columns.items():
        found.setdefault(part, {})[key] = _value(column, given[column])
    return found


def _value(name: str, value: Any) -> str:
    if value is None or isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ChatbaseInputError(f"{name} must be a text or a number, not {value!r}")
    text = sound_text(str(value))
    if not text or _UNFIT.search(text):
        raise ChatbaseInputError(
            f"{name} is empty, or has a line break, a tab, or more than four spaces in a row, which WhatsApp "
            "refuses"
        )
    return text


@dataclass(frozen=True, slots=True)
class Template:
    """What is sent, as the user names it, and what the agent's account knows of it."""

    name: str
    language: str | None = None
    sender: str | None = None
    known: tuple[JsonObject, ...] = ()  # the approved ones of this name
    senders: tuple[JsonObject, ...] = ()
    complete: bool = False  # whether all could be read, so that what is not known is not there
    _fitting: dict[str | None, JsonObject | str] = field(default_factory=dict, compare=False)

    def looked_up(self, listing: JsonObject) -> Template:
        """Return it with what ``listWhatsAppTemplates`` knows; refuse what cannot be sent to anybody."""
        known = tuple(
            each
            for each in listing["templates"]
            if isinstance(each, dict)
            and each.get("name") == self.name
            and each.get("status", "APPROVED") == "APPROVED"
        )
        senders = tuple(each for each in listing.get("senders") or () if isinstance(each, dict))
        complete = listing.get("complete") is True
        if not known and complete:
            names = sorted({str(each.get("name")) for each in listing["templates"] if isinstance(each, dict)})
            raise ChatbaseInputError(
                f"The agent has no approved template {self.name!r}; it has {', '.join(names) or 'none'}. "
                "Nothing was sent."
            )
        found = Template(self.name, self.language, self.sender, known, senders, complete)
        return found._with_sender()

    def _with_sender(self) -> Template:
        accounts = {each.get("wabaId") for each in self.known}
        usable = [each for each in self.senders if not accounts or each.get("wabaId") in accounts]
        if self.sender is not None:
            digits = re.sub(r"\D", "", self.sender)
            if self.senders and digits not in {re.sub(r"\D", "", str(each.get("from"))) for each in usable}:
                raise ChatbaseInputError(
                    f"{self.name} cannot be sent from {self.sender}: that number is not connected to this "
                    f"agent, or of another account. It can be from {_numbers(usable)}. Nothing was sent."
                )
            return self
        if len(self.senders) > 1 and len(usable) != 1:
            raise ChatbaseInputError(
                f"The agent has several numbers to send from: give sender, one of {_numbers(usable)}. "
                "Nothing was sent."
            )
        sender = str(usable[0]["from"]) if len(self.senders) > 1 else None
        return Template(self.name, self.language, sender, self.known, self.senders, self.complete)

    def judge(self, recipient: Recipient) -> Recipient:
        """Return a recipient with the language, and with the problem if it does not fit the template."""
        language = recipient.language or self.language
        fitting = self._fitting.setdefault(language, self._find(language))
        problem = fitting if isinstance(fitting, str) else _misfit(recipient.variables, fitting)
        return msgspec.structs.replace(
            recipient, language=language, problem=recipient.problem or problem or None
        )

    def _find(self, language: str | None) -> JsonObject | str:
        """Return the template of a language, nothing where it is not known, or why there is none."""
        found = [each for each in self.known if language in (None, each.get("language"))]
        languages = ", ".join(sorted({str(each.get("language")) for each in found or self.known}))
        if len({each.get("language") for each in found}) > 1:
            return f"{self.name} exists in several languages ({languages}): give one"
        if not found and self.complete:
            return f"{self.name} is not approved in the language {language}, only in {languages}"
        return found[0] if found else {}


def _misfit(given: Mapping[str, Mapping[str, str]], template: JsonObject) -> str:
    wanted = template.get("variables")
    if not isinstance(wanted, dict):
        return ""
    needed = {f"{part}[{key}]" for part, keys in wanted.items() for key in keys or ()}
    there = {f"{part}[{key}]" for part, values in given.items() for key in values}
    if missing := sorted(needed - there):
        return f"the template needs {', '.join(missing)}"
    if more := sorted(there - needed):
        return f"the template has no {', '.join(more)}, only {', '.join(sorted(needed)) or 'fixed text'}"
    return ""


def _numbers(senders: Iterable[JsonObject]) -> str:
    return ", ".join(str(each.get("from")) for each in senders) or "none"
