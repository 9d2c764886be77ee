"""One JSON object a line, lossless."""

from __future__ import annotations

import json
from typing import Any

# Line ends for some readers, though not for JSON: without escapes, a text would tear a row in two.
_ESCAPED = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def encode_line(value: Any) -> bytes:
    """Write a JSON value as one line of UTF-8, with its line end."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escape in _ESCAPED.items():
        if character in text:
            text = text.replace(character, escape)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON allows and UTF-8 does not
        return json.dumps(value, separators=(",", ":")).encode() + b"\n"
