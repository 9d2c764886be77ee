"""The text of an HTML page, as an agent should read it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_UNREAD = frozenset({"script", "style", "template", "noscript", "svg", "head"})
_HEADINGS = {f"h{level}": f"\n\n{'#' * level} " for level in range(1, 7)}
_BLOCKS = frozenset(
    re.findall(
        r"\w+",
        """address article aside blockquote br dd div dl dt fieldset figure footer form header hr
        li main nav ol p pre section table td th tr ul""",
    )
)


def html_to_text(page: str) -> str:
    """Return the visible text of a page, a line for each block, headings with the number of hash signs."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    lines = (re.sub(r"[^\S\n]+", " ", line).strip() for line in "".join(reader.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Reader(HTMLParser):
    """Collects what a reader of the page would see, and its title."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._unread = ""
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag == "title" and self._unread in ("", "head"):
            self._in_title = True
            self.pieces.append("# ")
        if self._unread == "head" and (tag == "body" or tag in _HEADINGS or tag in _BLOCKS):
            self._unread = ""  # a page may leave </head> out
        if self._unread:
            return
        if tag in _UNREAD:
            self._unread = tag
        elif tag in _HEADINGS:
            self.pieces.append(_HEADINGS[tag])
        elif tag in _BLOCKS:
            self.pieces.append("\n- " if tag == "li" else "\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self._in_title:
            self._in_title = False
            self.pieces.append("\n\n")
        elif tag == self._unread:
            self._unread = ""
        elif not self._unread and (tag in _BLOCKS or tag in _HEADINGS):
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._in_title or not self._unread:
            self.pieces.append(data.replace("\n", " "))
