"""Where the demo writes: colour and a spinner on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Self

from rich.console import Console, RenderableType
from rich.rule import Rule
from rich.text import Text

PLAIN_WIDTH = 110


class Screen:
    """Write what happens, and what is being waited for."""

    def __init__(self) -> None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        colour = not os.environ.get("NO_COLOR") and (
            sys.stdout.isatty() or bool(os.environ.get("FORCE_COLOR"))
        )
        self.console = Console(
            force_terminal=colour,
            width=None if sys.stdout.isatty() else PLAIN_WIDTH,
            highlight=False,
            soft_wrap=False,
        )
        self._started = time.monotonic()
        self._status = self.console.status("")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def waiting_for(self, what: str) -> None:
        """Show what is going on, until something else is; only where a line can be rewritten."""
        self._status.update(Text(what, style="dim"))

    def happened(self, what: str) -> None:
        """Write one line of progress with the seconds since the start."""
        elapsed = time.monotonic() - self._started
        self.console.print(Text(f"{elapsed:6.1f} s  {what}", style="dim"))

    def section(self, title: str, content: RenderableType) -> None:
        """Write something with a title."""
        self.console.print()
        self.console.print(Rule(Text(title, "bold cyan"), align="left", style="cyan"))
        self.console.print(content)
        self.console.print()

    def agrees(self, question: str) -> bool:
        """Ask something; where nobody can answer, that is a no."""
        self._status.stop()
        if not sys.stdin.isatty():
            return False
        try:
            return self.console.input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
        except EOFError:
            return False
        finally:
            if self.console.is_terminal:
                self._status.start()

    def failed(self, why: str) -> None:
        """Write why the demo ends early."""
        self.console.print(Text(why, "bold red"))
