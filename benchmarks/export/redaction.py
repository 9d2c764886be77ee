"""
Show that what hides addresses and numbers takes a time that grows with the length of a text and not faster.

    python benchmarks/export/redaction.py

Any end user can send such texts: each is made to let a detector look again and again at the same stretch.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from airflow_provider_chatbase.exports.redaction import detect

TEXTS: dict[str, Callable[[int], str]] = {
    "one letter": lambda size: "a" * size,
    "local parts without an end": lambda size: ("a." * size)[:size],
    "at signs": lambda size: "@" * size,
    "an at sign at the end": lambda size: "a" * (size - 1) + "@",
    "domains without an end": lambda size: "a@" + ("b." * size)[: size - 2],
    "quotes": lambda size: ('"@' * size)[:size],
    "digits": lambda size: "1" * size,
    "digits with gaps": lambda size: ("1 - " * size)[:size],
    "accounts without an end": lambda size: ("DE89 " * size)[:size],
    "dates in a row": lambda size: ("1.1.2026-" * size)[:size],
    "dates after numbers": lambda size: ("1 2026-01-31 " * size)[:size],
    "addresses": lambda size: ("somebody@example.org, " * size)[:size],
}
SIZES = (50_000, 100_000, 200_000, 400_000)


def main() -> None:
    """Print milliseconds of CPU, the least of three."""
    print(f"| text | {' | '.join(f'{size // 1000} kB' for size in SIZES)} |\n|---|{'---|' * len(SIZES)}")
    for name, make in TEXTS.items():
        shown = []
        for size in SIZES:
            text, took = make(size), []
            for _ in range(3):
                started = time.process_time()
                detect(text)
                took.append(time.process_time() - started)
            shown.append(f"{min(took) * 1000:.0f}")
        print(f"| {name} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
