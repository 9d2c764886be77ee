"""Chat, retry and tool results."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_chatbase.simulator.chatting import (
    Outcome,
    Turn,
    ask,
    check_may_answer,
    check_ongoing,
    conclude,
    finish_metadata,
    open_tool_calls,
)
from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT, ROLE_USER, Conversation, Message
from airflow_provider_chatbase.simulator.errors import ApiError, invalid, not_found
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.streams import CONTENT_TYPE, events_of, play
from airflow_provider_chatbase.simulator.v2 import schemas
from airflow_provider_chatbase.simulator.v2.access import api_conversation
from airflow_provider_chatbase.simulator.world import Call

_MAX_TOOL_OUTPUT = 20 * 1024
_TITLE_LENGTH = 60


async def chat(call: Call) -> Reply:
    """Answer chatWithAgent."""
    agent = call.agent()
    body = call.body(schemas.CHAT)
    check_may_answer(call, agent)
    turn = _open_turn(call, agent, body)
    return await _respond(call, turn, stream=body.get("stream", True))


async def retry(call: Call) -> Reply:
    """Answer retryMessage: drop the message and all after it, then answer the user's message before it."""
    agent = call.agent()
    conversation = api_conversation(call, agent)
    body = call.body(schemas.RETRY)
    check_may_answer(call, agent)
    check_ongoing(call, conversation)
    messages = conversation.own_messages()
    at = next((at for at, message in enumerate(messages) if message.id == body["messageId"]), None)
    if at is None:
        raise not_found("CHAT_RETRY_MESSAGE_NOT_FOUND", "Message")
    question = _last_of_user(messages[:at])
    if question is None:
        raise ApiError(400, "CHAT_RETRY_NO_USER_MESSAGE", "There is no user message before this message")
    del messages[at:]
    return await _respond(call, Turn(agent, conversation, question, []), stream=body.get("stream", True))


def submit_tool_result(call: Call) -> Reply:
    """Answer submitToolResult."""
    agent = call.agent()
    conversation = api_conversation(call, agent)
    body = call.body(schemas.TOOL_RESULT)
    if len(json.dumps(body.get("output"))) > _MAX_TOOL_OUTPUT:
        raise invalid({"output": "Tool result must not exceed 20 KB"}, "Invalid request body")
    waiting = open_tool_calls(conversation).get(body["toolCallId"])
    if waiting is None or call.now - (waiting[0].created_at or 0) > call.world.settings.tool_call_ttl:
        raise not_found("RESOURCE_TOOL_CALL_NOT_FOUND", "Tool call")
    message, part = waiting
    result = {"type": "tool-result", "toolCallId": part["toolCallId"], "toolName": part["toolName"]}
    message.parts.append({**result, "output": body.get("output")})
    call.world.store.touch(agent, conversation)
    return Reply(payload={"data": {"success": True}})


def _open_turn(call: Call, agent: Agent, body: dict[str, Any]) -> Turn:
    text = body.get("message")
    if "conversationId" in body:
        conversation = _continued(call, agent, body["conversationId"])
        check_ongoing(call, conversation)
        return ask(call, agent, conversation, text) if text else _after_tools(agent, conversation)
    if not text:
        raise invalid({"message": "Required"}, "Invalid request body")
    conversation = call.world.store.start_conversation(
        agent, user_id=body.get("userId"), title=text.strip()[:_TITLE_LENGTH] or None
    )
    return ask(call, agent, conversation, text)


def _continued(call: Call, agent: Agent, conversation_id: str) -> Conversation:
    conversation = call.world.store.conversation(agent.id, conversation_id)
    if conversation is not None and conversation.created_by_v2:
        return conversation
    for other in call.world.store.agents.values():
        if other is not agent and conversation_id in other.conversations.by_id:
            raise ApiError(
                403, "CHAT_CONVERSATION_MISMATCH", "The conversation does not belong to this agent"
            )
    raise not_found("RESOURCE_NOT_FOUND", "Conversation")


def _after_tools(agent: Agent, conversation: Conversation) -> Turn:
    messages = conversation.messages
    question = _last_of_user(messages)
    last = messages[-1] if messages else None
    results = [part for part in last.parts if part["type"] == "tool-result"] if last else []
    if question is None or not results or open_tool_calls(conversation):
        raise invalid({"message": "Required unless a tool result was submitted"}, "Invalid request body")
    return Turn(agent, conversation, question, results)


def _last_of_user(messages: list[Message]) -> Message | None:
    return next((message for message in reversed(messages) if message.role == ROLE_USER), None)


async def _respond(call: Call, turn: Turn, *, stream: bool) -> Reply:
    outcome = await conclude(call, turn)
    if outcome is None:
        if not stream and call.world.settings.paused_reply == "null":
            return Reply(payload={"data": None})
        outcome = Outcome(Message(call.world.store.new_id("msg"), ROLE_ASSISTANT, [], None), "stop", 0)
    return _streamed(call, turn, outcome) if stream else _whole(turn, outcome)


def _whole(turn: Turn, outcome: Outcome) -> Reply:
    metadata = {**finish_metadata(turn, outcome), "finishReason": outcome.finish_reason}
    message = outcome.message
    data = {"id": message.id, "role": ROLE_ASSISTANT, "parts": list(message.parts), "metadata": metadata}
    return Reply(payload={"data": data})


def _streamed(call: Call, turn: Turn, outcome: Outcome) -> Reply:
    settings = call.world.settings
    start: str = settings.stream_start_event
    if start == "alternate":
        start = call.world.rng.choice(["start", "message-start"])
    metadata = finish_metadata(turn, outcome)
    events = events_of(outcome.message, outcome.finish_reason, metadata, settings, start)
    reply = Reply(content_type=CONTENT_TYPE, chunks=play(events, settings, call.fault))
    reply.headers["Cache-Control"] = "no-cache, no-transform"
    reply.reset = call.fault is not None and call.fault.kind == "stream_cut" and call.fault.reset
    return reply
