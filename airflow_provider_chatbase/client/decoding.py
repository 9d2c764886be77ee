"""The one decoder of JSON that others wrote: replies, events, files. What it returns can be written."""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

DEEPEST = 100
"""Levels that JSON may be nested. What is deeper ends the recursion of a reader, ours or a later one."""


def decode_json(content: bytes | str, *, mend: bool = False, keep_halves: bool = False) -> Any:
    """
    Decode JSON; ``ValueError`` says in a few words why it cannot be.

    Numbers that are not finite and halves of characters are refused, or with ``mend``, for what is paid for
    or is not ours to refuse, replaced by null and by the mark for a character that was lost. ``keep_halves``
    is for a text whose other half comes in the next piece.
    """
    try:
        try:
            found = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeError):  # it takes none of these, nor a byte order mark
            found = _decode_leniently(content, mend, keep_halves)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _is_too_deep(found):
        raise ValueError("it is nested too deeply")
    return found


def sound(value: Any) -> Any:
    """Replace halves of characters, which JSON allows and UTF-8 and tables do not."""
    if isinstance(value, str):
        return sound_text(value)
    if isinstance(value, list | tuple):
        return [sound(each) for each in value]
    if isinstance(value, Mapping):
        return {sound(name): sound(each) for name, each in value.items()}
    return value


def sound_text(text: str) -> str:
    """Replace halves of surrogate pairs."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _decode_leniently(content: bytes | str, mend: bool, keep_halves: bool) -> Any:
    def number(text: str, kind: type[int | float] = float) -> float | None:
        try:
            value = kind(text)
            if isfinite(value):
                return value
        except (ValueError, OverflowError):
            pass  # more digits than Python converts
        if mend:
            return None
        raise ValueError(f"{text[:20]} is no number of JSON")

    found = json.loads(
        content, parse_constant=number, parse_float=number, parse_int=lambda text: number(text, int)
    )
    if keep_halves:
        return found
    whole = sound(found)
    if whole != found and not mend:
        raise ValueError("it has half a character")
    return whole


def _is_too_deep(found: Any) -> bool:
    # What the garbage collector tracks is what holds others: a third of the time of a loop over all there is.
    level = [found]
    for _ in range(DEEPEST):
        level = list(filter(gc.is_tracked, gc.get_referents(*level)))
        if not level:
            return False
    return True
