"""What Chatbase's webhook sends: who signed it, and only then what it says."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_chatbase.client.decoding import decode_json

MOST_BYTES = 64 * 1024
"""A lead has a few hundred bytes."""

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
EVENT_TYPE = re.compile(r"[a-z][a-z0-9._-]{0,63}\Z")


class RefusedCallError(ValueError):
    """A call that is no event of Chatbase; its text has nothing of what was sent."""


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """A call whose signature holds."""

    event_type: str
    agent_id: str
    data: dict[str, Any]
    digest: str  # of the body: the same body again is the same call

    @property
    def asset_name(self) -> str:
        """The asset that it changes."""
        return f"chatbase_webhook_{self.agent_id}"

    def as_extra(self, *, with_data: bool) -> dict[str, Any]:
        """Return what the asset event holds, shaped as the events of this provider's triggers are."""
        conversation_id = self.data.get("conversationId")
        payload: dict[str, Any] = {
            "agent_id": self.agent_id,
            "event_type": self.event_type,
            "conversation_id": conversation_id if isinstance(conversation_id, str) else None,
        }
        if with_data:
            payload["data"] = self.data
        return {"from_chatbase_webhook": True, "delivery": self.digest, "payload": payload}


def is_signed(body: bytes, signature: str | None, secrets: Sequence[str]) -> bool:
    """Say whether the raw body was signed with one of the secrets, in constant time."""
    given = (signature or "").encode("latin-1", "replace")
    # Every secret is tried, whether or not one before it fits.
    fits = [
        hmac.compare_digest(given, hmac.new(secret.encode(), body, hashlib.sha1).hexdigest().encode())
        for secret in secrets
    ]
    return any(fits)


def read_call(body: bytes) -> WebhookCall:
    """Read the body of a call that is signed."""
    try:
        found = _without_nul(decode_json(body, mend=True))
    except ValueError:  # whose text quotes the body
        raise RefusedCallError("The body is no JSON, or is nested too deeply.") from None
    if not isinstance(found, dict):
        raise RefusedCallError("The body is no JSON object.")
    event_type, agent_id, data = found.get("eventType"), found.get("chatbotId"), found.get("payload", {})
    if not (isinstance(event_type, str) and EVENT_TYPE.match(event_type)):
        raise RefusedCallError("The body names no event type.")
    if not (isinstance(agent_id, str) and IDENTIFIER.match(agent_id)):
        raise RefusedCallError("The body names no agent.")
    if not isinstance(data, dict):
        raise RefusedCallError("The payload is no JSON object.")
    return WebhookCall(event_type, agent_id, data, hashlib.sha256(body).hexdigest())


def _without_nul(value: Any) -> Any:
    """Replace the one character that PostgreSQL's JSON does not hold."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(name): _without_nul(each) for name, each in value.items()}
    return [_without_nul(each) for each in value] if isinstance(value, list) else value
