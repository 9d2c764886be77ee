"""What was found, as a text that can be attached to a bug report: no key, no id, no text of anybody."""

from __future__ import annotations

import platform
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from airflow import __version__ as airflow_version

from airflow_provider_chatbase import __version__
from airflow_provider_chatbase.client.errors import without_secrets
from airflow_provider_chatbase.client.rate_limiter import MILLISECONDS_FROM

_READ = "nothing that could be read tells it"
_AGENT = "only --with-a-test-agent tells it"
_NEVER = "not asked: it takes another agent, customers' conversations, or more credits"

POINTS = {
    "Rate limit": _READ,
    "Unit of X-RateLimit-Reset": _READ,
    "Retry-After of a 429": "no call was refused for the number of calls",
    "Rate-limit headers on API v1": _READ,
    "Whether getHealth counts": "others send with this key, or it could not be read",
    "Plan that the API needs": "the key has access; only a refusal names the plan",
    "Code of a search cursor with another query": "it takes a search with more than one result",
    "Role of human agents in the export": "no conversation that a human took over was found",
    "Whether an agent's status is still `updated`": "no agent has it now",
    "Parameters of the analytics": _READ,
    "Answer of the analytics": _READ,
    "Shape of the leads (v1)": _READ,
    "Spelling of sources (v1)": "no conversation with a source was found",
    "Training of a short text": _AGENT,
    "Whether getSource returns the text": _AGENT,
    "First event of a stream": _AGENT,
    "Lines of a stream beside `data:`": _AGENT,
    "Metadata of a stream": _AGENT,
    "Credits of the answer": _AGENT,
    "Conversation in the export": _AGENT,
    "Limit of 20 kB for a tool's result": _AGENT,
    "Pause by `paused`": _AGENT,
    "Reply in a paused conversation": _AGENT,
    "End by `status`": _AGENT,
    "Status of CHAT_CONVERSATION_NOT_ONGOING": _AGENT,
    "Answer of deleteConversation": _AGENT,
    "Header of the deprecated train": _AGENT,
    "Statuses of CHAT_CONVERSATION_MISMATCH, CHAT_MODEL_NOT_ALLOWED, CONVERSATION_USER_MISMATCH": _NEVER,
    "Life of a tool call, settings as drafts": "not asked: both take the dashboard",
}
"""The open points of the API's facts, each with why it stays open where there is no answer."""


class Report:
    """What was found of each open point."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self.notes: list[str] = []

    def settle(self, point: str, finding: object) -> None:
        """Answer an open point."""
        self.found[point] = str(finding)

    def text(self, calls: Iterable[tuple[str, str, str]]) -> str:
        """Return the report as Markdown."""
        versions = f"provider {__version__}, Airflow {airflow_version}, Python {platform.python_version()}"
        lines = [
            "# Chatbase check",
            f"\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {versions}.\n",
            *(f"- {note}" for note in self.notes),
            "\n## What key and plan allow\n\n| API | operation | answer | times |\n|---|---|---|---|",
            *(f"| {' | '.join(call)} | {times} |" for call, times in Counter(calls).items()),
            f"\n## Open points: {len(self.found)} of {len(POINTS)} are settled",
            "\n| point | settled | how |\n|---|---|---|",
            *(
                f"| {p} | {'yes' if p in self.found else 'no'} | {self.found.get(p, POINTS[p])} |"
                for p in POINTS
            ),
        ]
        return without_secrets("\n".join(lines) + "\n")


def known(value: Any, *words: str) -> str:
    """Return a value of the API's vocabulary; any other is described, as it may be content."""
    return f"`{value}`" if value in words else f"another value ({kind(value)})"


def kind(value: Any) -> str:
    """Name what a value is, and a time's unit; of nested objects no names, as of actions or countries."""
    if isinstance(value, str):
        return "ISO 8601" if re.match(r"\d{4}-\d\d-\d\d", value) else "text"
    if isinstance(value, int | float) and not isinstance(value, bool):
        unit = "milliseconds" if value >= MILLISECONDS_FROM else "seconds"
        return f"epoch {unit}" if value >= 1e9 else "number"
    if isinstance(value, list) and value:
        return f"{len(value)} of {shape(value[0])}"
    return "none" if value is None else "object" if isinstance(value, dict) else type(value).__name__


def shape(value: Any) -> str:
    """Describe an object by the names of its fields."""
    if not isinstance(value, dict):
        return kind(value)
    names = {name: name if re.fullmatch(r"[a-z][A-Za-z]{0,29}", name) else "…" for name in value}
    return "{" + ", ".join(f"{names[name]}: {kind(each)}" for name, each in value.items()) + "}"
