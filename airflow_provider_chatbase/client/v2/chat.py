"""Asking an agent, retrying an answer, and handing in the results of tools."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_provider_chatbase.client.answer import Answer, EventStreamReader, read_answer
from airflow_provider_chatbase.client.checks import require_text, require_user_id
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import data_object
from airflow_provider_chatbase.client.request import CHAT_PATIENCE, JsonObject, Request, segment
from airflow_provider_chatbase.client.v2.conversations import conversation_path

TOOL_RESULT_BYTES = 20_000
"""The most that a tool's result may have; stated for the vendor's SDKs, and planned for here."""

OnText = Callable[[str], None]


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
    Ask an agent: ``chatWithAgent``.

    An answer costs credits and there is no idempotency key, so it is never repeated blindly.
    """
    body: JsonObject = {"message": require_text("message", message)}
    if conversation_id is not None:
        body["conversationId"] = require_text("conversation_id", conversation_id)
    if user_id is not None:
        body["userId"] = require_user_id(user_id)
    return _answered("chatWithAgent", _chat(agent_id), body, stream=stream, on_text=on_text)


def continue_conversation(
    agent_id: str, conversation_id: str, *, stream: bool = False, on_text: OnText | None = None
) -> Request[Answer]:
    """Let an agent go on after the results of its tools: ``chatWithAgent`` without a message."""
    body = {"conversationId": require_text("conversation_id", conversation_id)}
    return _answered("chatWithAgent", _chat(agent_id), body, stream=stream, on_text=on_text)


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


def _chat(agent_id: str) -> str:
    return f"/agents/{segment('agent_id', agent_id)}/chat"
