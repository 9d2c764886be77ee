"""Make docs/operations.md: every operation of the API, and the method of the hook that calls it."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from pathlib import Path

from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator.description import operations

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"

LEFT_OUT = {
    "trainAgent": "does nothing, since sources train when they are written",
    "restoreSource": "does nothing, and what is deleted stays deleted",
    "uploadChatbotIcon": "is about a picture of the dashboard",
    "uploadChatbotProfilePicture": "is about a picture of the dashboard",
    "deleteChatbotIcon": "is about a picture of the dashboard",
    "deleteChatbotProfilePicture": "is about a picture of the dashboard",
}

TITLES = {
    "v2": "API v2",
    "v1": "API v1",
}

ABOVE = """# Operations

Every operation of the API and the method of `ChatbaseHook` that calls it: plain JSON in and out, with the
connection's key, its limits, its retries and its errors. What has no method of its own is called with
`hook.request("GET", "/agents/AGENT/...")`, and any listing is walked over with
`hook.iterate("/agents/AGENT/...")`.

A write that makes something new or costs credits is never sent twice after a lost reply. Messages to an
agent, tickets and replies to tickets are looked for, and sent again only when they are not there. The others
fail, with an error whose `ambiguous` is true: look before you run it again.

This page is made by `python scripts/operations_table.py` from the API's description and the hook.
"""


def methods() -> dict[str, list[str]]:
    """Return by operation the hook's methods, as their docstrings name it."""
    found = defaultdict(list)
    for name, method in inspect.getmembers(ChatbaseHook, inspect.isfunction):
        if not name.startswith(("_", "test_")):
            for operation in re.findall(r"``(\w+)``", (method.__doc__ or "").partition(":param")[0]):
                if operation in operations():
                    found[operation].append(name)
    return found


def page() -> str:
    """Return the text of the page."""
    called, parts = methods(), [ABOVE]
    for version, title in TITLES.items():
        parts.append(f"\n## {title}\n\n| Operation | Request | Method of the hook |\n|---|---|---|\n")
        for name, operation in operations().items():
            if operation.version == version:
                by = ", ".join(f"`{each}`" for each in called[name]) or f"none, as it {_why_left_out(name)}"
                path = operation.path.removeprefix(f"/api/{version}")
                parts.append(f"| `{name}` | `{operation.method} {path}` | {by} |\n")
    return "".join(parts)


def _why_left_out(operation: str) -> str:
    if operation not in LEFT_OUT:
        raise SystemExit(
            f"No method of the hook names ``{operation}`` in its docstring, and LEFT_OUT says no reason."
        )
    return LEFT_OUT[operation]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
