"""A customer leaves a name and an address, and Chatbase tells of it by its webhook."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_chatbase.simulator.access import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.agents import Agent
from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT
from airflow_provider_chatbase.simulator.seed import add_message, create_conversations
from airflow_provider_chatbase.simulator.world import World, iso

_SECONDS_TO_ANSWER = 30.0


def collect_lead(
    world: World,
    agent: Agent,
    name: str = "Ada Mayer",
    email: str = "ada@example.com",
    phone: str | None = None,
) -> bytes:
    """Let a customer become a lead in a new conversation, and return what the webhook says of it."""
    [conversation] = create_conversations(
        world, agent.id, source="Widget or Iframe", message="Please call me."
    )
    form = add_message(world, agent, conversation, ROLE_ASSISTANT, "Leave your address, please.")
    form.parts.append({"type": "tool-call", "toolCallId": form.id, "toolName": "collect_leads", "input": {}})
    lead = {"id": f"lead_{form.id}", "name": name, "email": email, "phone": phone}
    about = {"created_at": iso(world.clock.time()), "chatbot_id": agent.id, "account_id": MAIN_WORKSPACE}
    agent.leads.insert(0, {**lead, **about})
    payload: dict[str, Any] = {"conversationId": conversation.id, "customerEmail": email}
    payload |= {"customerName": name, "customerPhone": phone}
    event = {"eventType": "leads.submit", "chatbotId": agent.id, "payload": payload}
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def send_webhook(url: str, secret: str, body: bytes) -> int:
    """Call a receiver, and return the status of its answer."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=_SECONDS_TO_ANSWER)
    signature = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    headers = {"content-type": "application/json", "x-chatbase-signature": signature}
    try:
        connection.request("POST", parts.path or "/", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
