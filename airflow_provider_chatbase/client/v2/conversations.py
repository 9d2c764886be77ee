"""Conversations: ask an agent, in writing or by voice; read, list, pause, end, rate; export, search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from airflow_provider_chatbase.client.answer import Answer, EventStreamReader, read_answer
from airflow_provider_chatbase.client.errors import (
    ChatbaseInputError,
    ChatbaseUnsupportedError,
    ChatbaseValidationError,
)
from airflow_provider_chatbase.client.replies import Page, data_object, page, wrapped_or_bare
from airflow_provider_chatbase.client.request import (
    CHAT_PATIENCE,
    Json,
    JsonObject,
    Request,
    Steps,
    require_object,
    require_page_limit,
    require_text,
    require_user_id,
    segment,
    timestamp,
)

TOOL_RESULT_BYTES = 20_000
"""The most that a tool's result may have; stated for the vendor's SDKs, and planned for here."""

OnText = Callable[[str], None]
Status = Literal["ongoing", "paused", "ended"]


def send_message(
    agent_id: str,
    message: str | None,
    *,
    conversation_id: str | None = None,
    user_id: str | None = None,
    stream: bool = False,
    on_text: OnText | None = None,
) -> Request[Answer]:
    """
    Ask an agent, or without a message let it go on after the results of its tools: ``chatWithAgent``.

    An answer costs credits and there is no idempotency key, so it is never repeated blindly.
    """
    body: JsonObject = {}
    if message is not None or conversation_id is None:
        body["message"] = require_text("message", message)
    if conversation_id is not None:
        body["conversationId"] = require_text("conversation_id", conversation_id)
    if user_id is not None:
        body["userId"] = require_user_id(user_id)
    path = f"/agents/{segment('agent_id', agent_id)}/chat"
    return _answered("chatWithAgent", path, body, stream=stream, on_text=on_text)


def retry_message(
    agent_id: str,
    conversation_id: str,
    message_id: str,
    *,
    stream: bool = False,
    on_text: OnText | None = None,
) -> Request[Answer]:
    """Drop an answer and all after it, and ask for it again: ``retryMessage``. It costs credits again."""
    path = f"{conversation_path(agent_id, conversation_id)}/retry"
    body = {"messageId": require_text("message_id", message_id)}
    return _answered("retryMessage", path, body, stream=stream, on_text=on_text)


def submit_tool_result(
    agent_id: str, conversation_id: str, tool_call_id: str, output: Any
) -> Request[JsonObject]:
    """Hand in what a tool returned: ``submitToolResult``. A second time changes nothing."""
    try:
        size = len(json.dumps(output, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise ChatbaseInputError(f"The tool's result is no JSON: {error}. Nothing was sent.") from error
    if size > TOOL_RESULT_BYTES:
        raise ChatbaseInputError(
            f"The tool's result has {size:,} bytes; Chatbase takes at most {TOOL_RESULT_BYTES:,}. "
            "Nothing was sent."
        )
    return Request(
        "submitToolResult",
        "POST",
        f"{conversation_path(agent_id, conversation_id)}/tool-result",
        data_object,
        body={"toolCallId": require_text("tool_call_id", tool_call_id), "output": output},
        means_done_on_repeat={"RESOURCE_TOOL_CALL_NOT_FOUND": {"success": True}},
    )


def create_voice_session(agent_id: str, session: JsonObject) -> Request[JsonObject]:
    """Open a voice session for an end user: ``createVoiceSession``. Never repeated blindly."""
    path = f"/agents/{segment('agent_id', agent_id)}/voice/sessions"
    body = require_object("session", session)
    return Request("createVoiceSession", "POST", path, data_object, body=body, repeatable=False)


def _answered(
    operation: str, path: str, body: JsonObject, *, stream: bool, on_text: OnText | None
) -> Request[Answer]:
    return Request(
        operation,
        "POST",
        path,
        read_answer,
        body={**body, "stream": stream},  # the API's default is to stream
        repeatable=False,
        patience=CHAT_PATIENCE,
        stream=EventStreamReader if stream else None,
        on_text=on_text,
    )


EXPORT_PAGE = 20
SEARCH_PAGE = 25


def export_conversations(
    agent_id: str,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    conversation_id: str | None = None,
    sources: Sequence[str] = (),
    summary: bool = False,
    limit: int = EXPORT_PAGE,
) -> Request[Page]:
    """Export conversations of every channel, newest first, with their messages: ``exportConversations``."""
    path = f"/agents/{segment('agent_id', agent_id)}/conversations/export"
    query = {
        "limit": require_page_limit(limit, EXPORT_PAGE),
        "startDate": timestamp("start", start),
        "endDate": timestamp("end", end, up=True),
        "conversationId": conversation_id,
        "source": ",".join(sources) or None,
        "include": "summary" if summary else None,
    }
    return Request("exportConversations", "GET", path, page, query=query)


def search_conversations(
    agent_id: str,
    *,
    query: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    updated_after: datetime | None = None,
    updated_before: datetime | None = None,
    sources: Sequence[str] = (),
    user_ids: Sequence[str] = (),
    filters: Mapping[str, str] | None = None,
    limit: int = SEARCH_PAGE,
) -> Request[Page]:
    """
    Search the conversations of every channel, without their messages: ``searchConversations``.

    The API looks only at conversations created since the 1st of the month twelve months back.
    """
    return Request(
        "searchConversations",
        "GET",
        f"/agents/{segment('agent_id', agent_id)}/conversations/search",
        page,
        query={
            "limit": require_page_limit(limit, SEARCH_PAGE),
            "query": query or None,
            "startDate": timestamp("start", start),
            "endDate": timestamp("end", end, up=True),
            "updatedAfter": timestamp("updated_after", updated_after),
            "updatedBefore": timestamp("updated_before", updated_before, up=True),
            "source": ",".join(sources) or None,
            "userId": ",".join(user_ids) or None,
            **(filters or {}),
        },
    )


def get_conversation(agent_id: str, conversation_id: str) -> Request[JsonObject]:
    """Get a conversation with its newest messages, oldest of them first: ``getConversation``."""
    return Request("getConversation", "GET", conversation_path(agent_id, conversation_id), data_object)


def delete_conversation(agent_id: str, conversation_id: str) -> Request[bool]:
    """Delete a conversation of any channel for good: ``deleteConversation``; ``False`` when it was gone."""
    return Request(
        "deleteConversation",
        "DELETE",
        conversation_path(agent_id, conversation_id),
        lambda _reply: True,
        means_done={"RESOURCE_NOT_FOUND": False, "CONVERSATION_NOT_FOUND": False},
    )


def list_messages(agent_id: str, conversation_id: str, *, limit: int = 100) -> Request[Page]:
    """
    List a conversation's messages: ``listConversationMessages``.

    The pages go backward from the newest; within a page the oldest comes first.
    """
    path = f"{conversation_path(agent_id, conversation_id)}/messages"
    query = {"limit": require_page_limit(limit, 100)}
    return Request("listConversationMessages", "GET", path, page, query=query)


def list_conversations(
    agent_id: str, *, start: datetime | None = None, end: datetime | None = None, limit: int = 100
) -> Request[Page]:
    """List those that were created through the API, newest first: ``listConversations``."""
    query = {
        "limit": require_page_limit(limit, 100),
        "startDate": timestamp("start", start),
        "endDate": timestamp("end", end, up=True),
    }
    path = f"/agents/{segment('agent_id', agent_id)}/conversations"
    return Request("listConversations", "GET", path, page, query=query)


def list_user_conversations(agent_id: str, user_id: str, *, limit: int = 100) -> Request[Page]:
    """List the conversations of a user, the last active first: ``listUserConversations``."""
    path = f"/agents/{segment('agent_id', agent_id)}/users/{require_user_id(user_id)}/conversations"
    query = {"limit": require_page_limit(limit, 100)}
    return Request("listUserConversations", "GET", path, page, query=query)


def set_status(agent_id: str, conversation_id: str, status: Status) -> Steps[JsonObject]:
    """
    Let a conversation go on, pause it, or end it: ``updateConversation``.

    Two documents differ on the body. ``paused`` is in both, so it is sent first; what it cannot say, or what
    is refused although the conversation is in the state for it, is said as ``status``, and read back.
    """
    path = conversation_path(agent_id, conversation_id)
    by_name = Request("updateConversation", "PATCH", path, wrapped_or_bare, body={"status": status})
    if status != "ended":
        body = {"paused": status == "paused"}
        try:
            answered: JsonObject = yield replace(by_name, body=body)
        except ChatbaseValidationError:
            now = yield from _status(agent_id, conversation_id)
            if now == "taken_over" or (now == "ended" and status == "paused"):
                raise
        else:
            return answered
    try:
        answered = yield by_name
    except ChatbaseValidationError as refused:
        raise ChatbaseUnsupportedError(
            f"{refused} This account's API may have no way to set the status {status!r}, or not from the one "
            "that the conversation has: do it in the dashboard"
            + (", or pause the conversation." if status == "ended" else "."),
            operation="updateConversation",
        ) from refused
    shown = yield from _status(agent_id, conversation_id)
    if shown not in (status, None):
        raise ChatbaseUnsupportedError(
            f"Chatbase accepted the status {status!r}, and the conversation is still {shown}: this account's "
            "API may not know it. Do it in the dashboard.",
            operation="updateConversation",
        )
    return answered


def _status(agent_id: str, conversation_id: str) -> Steps[str | None]:
    """Read the status of a conversation of any channel; ``None`` where it is not shown."""
    found: Page = yield export_conversations(agent_id, conversation_id=conversation_id, summary=True)
    status: str | None = found.items[0].get("status") if found.items else None
    return status


def set_feedback(
    agent_id: str, conversation_id: str, message_id: str, feedback: str | None
) -> Request[JsonObject]:
    """Rate an assistant's message: ``updateMessageFeedback``."""
    if feedback not in ("positive", "negative", None):
        raise ChatbaseInputError(
            f"feedback must be 'positive', 'negative' or None, not {feedback!r}. Nothing was sent."
        )
    path = f"{_message(agent_id, conversation_id, message_id)}/feedback"
    return Request("updateMessageFeedback", "PATCH", path, data_object, body={"feedback": feedback})


def messages_in(conversation: JsonObject) -> list[JsonObject]:
    """Return the messages that a conversation carries."""
    messages: Json = conversation.get("messages")
    return [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def conversation_path(agent_id: str, conversation_id: str) -> str:
    """Return the path of a conversation."""
    return (
        f"/agents/{segment('agent_id', agent_id)}/conversations/{segment('conversation_id', conversation_id)}"
    )


def _message(agent_id: str, conversation_id: str, message_id: str) -> str:
    return f"{conversation_path(agent_id, conversation_id)}/messages/{segment('message_id', message_id)}"
