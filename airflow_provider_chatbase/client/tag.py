"""The user id under which a message of ours is found again."""

from __future__ import annotations

import json
import uuid
from hashlib import sha256

TAG_PREFIX = "airflow-"
"""What this provider sends without a user id of the caller's begins with this, and can be told apart."""


def tag_of(*parts: object) -> str:
    """
    Make a tag that is the same for the same parts.

    :param parts: what makes the message this one: the task instance, the agent, the text.
    """
    text = json.dumps([str(part) for part in parts])
    return TAG_PREFIX + sha256(text.encode(errors="surrogatepass")).hexdigest()[:40]


def new_tag() -> str:
    """Make a tag that no other message has."""
    return TAG_PREFIX + uuid.uuid4().hex
