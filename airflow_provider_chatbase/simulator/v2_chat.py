"""Chat of API v2: the message is kept at once, the answer when it is made; it is sent, or streamed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_chatbase.simulator.agents import (
    Agent,
    MadeAnswer,
    answer,
    answer_to_tools,
    ordered_answer,
)
from airflow_provider_chatbase.simulator.conversations import (
    ROLE_ASSISTANT,
    ROLE_USER,
    Conversation,
    Message,
    Part,
)
from airflow_provider_chatbase.simulator.exchange import ApiError, ServedReply, invalid, not_found
from airflow_provider_chatbase.simulator.faults import Fault
from airflow_provider_chatbase.simulator.settings import Settings
from airflow_provider_chatbase.simulator.world import Call, operation

Event = dict[str, Any]

_STREAM_TYPE = "text/event-stream; charset=utf-8"
_DONE = b"data: [DONE]\n\n"
_COMMENT = b": keep-alive\n\n"
_MAX_TOOL_OUTPUT = 20 * 1024
_PIECES = re.compile(r"(?s)\S*\s*\S+\s*|\s+")
_TITLE_LENGTH = 60
_UNANSWERED = frozenset({"stream_error", "finish_error"})


@dataclass(slots=True)
class Turn:
    """The question of one turn, where it stands, and the results of tools that it goes on from."""

    conversation: Conversation
    question: Message
    tool_results: list[Part]


@dataclass(slots=True)
class Conclusion:
    """The answer of one turn, and what it cost; None: nobody knows."""

    message: Message
    finish_reason: str
    credits: float | None


@operation("chatWithAgent", paced=True)
async def chat(call: Call) -> Any:
    check_may_answer(call, call.agent)
    text = call.body.get("message")
    if "conversationId" in call.body:
        conversation = _continued(call, call.body["conversationId"])
        _check_ongoing(call, conversation)
        turn = _ask(call, conversation, text) if text else _after_tools(conversation)
    elif text:
        user_id, title = call.body.get("userId"), text.strip()[:_TITLE_LENGTH] or None
        conversation = call.world.store.start_conversation(call.agent, user_id=user_id, title=title)
        turn = _ask(call, conversation, text)
    else:
        raise invalid({"message": "Required"}, "Invalid request body")
    return await _respond(call, turn)


@operation("retryMessage", paced=True)
async def retry(call: Call) -> Any:
    """Drop the message and all after it, then answer the user's message before it."""
    conversation = call.find_conversation()
    check_may_answer(call, call.agent)
    _check_ongoing(call, conversation)
    messages = conversation.own_messages()
    at = next((at for at, message in enumerate(messages) if message.id == call.body["messageId"]), None)
    if at is None:
        raise not_found("CHAT_RETRY_MESSAGE_NOT_FOUND", "Message")
    question = _last_of_user(messages[:at])
    if question is None:
        raise ApiError(400, "CHAT_RETRY_NO_USER_MESSAGE", "There is no user message before this message")
    del messages[at:]
    return await _respond(call, Turn(conversation, question, []))


@operation("submitToolResult")
def submit_tool_result(call: Call) -> Any:
    conversation = call.find_conversation()
    output = call.body.get("output")
    if len(json.dumps(output, ensure_ascii=False).encode()) > _MAX_TOOL_OUTPUT:
        raise invalid({"output": "Tool result must not exceed 20 KB"}, "Invalid request body")
    waiting = _open_tool_calls(conversation).get(call.body["toolCallId"])
    if waiting is None or call.now - (waiting[0].created_at or 0) > call.world.settings.tool_call_ttl:
        raise not_found("RESOURCE_TOOL_CALL_NOT_FOUND", "Tool call")
    message, part = waiting
    result = {"type": "tool-result", "toolCallId": part["toolCallId"], "toolName": part["toolName"]}
    message.parts.append({**result, "output": output})
    call.world.store.touch(call.agent, conversation)
    return {"data": {"success": True}}


@operation("createVoiceSession")
def create_voice_session(call: Call) -> Any:
    check_may_answer(call, call.agent)
    new_id = call.world.store.new_id
    known = call.agent.conversations.by_id.get(call.body.get("conversationId", ""))
    user_id = call.body.get("userId") or (known and known.user_id) or new_id()
    if known is not None and known.user_id not in {None, user_id}:
        raise ApiError(403, "CONVERSATION_USER_MISMATCH", "The conversation belongs to another user")
    session = {name: new_id(name[:4]) for name in ("participantToken", "sessionId", "roomName")}
    conversation_id = call.body.get("conversationId") or new_id()
    whose = {"conversationId": conversation_id, "userId": user_id, "maxDurationSeconds": 600}
    return {"data": {**session, **whose}}


def check_may_answer(call: Call, agent: Agent) -> None:
    """Refuse an answer that the plan or the credits do not cover."""
    if agent.fields["model"] in call.world.settings.disallowed_models:
        raise ApiError(403, "CHAT_MODEL_NOT_ALLOWED", f"Model {agent.fields['model']} is not in your plan")
    call.world.ledger.check(agent)


def _check_ongoing(call: Call, conversation: Conversation) -> None:
    if conversation.status in {"ended", "taken_over"}:
        status = call.world.settings.not_ongoing_status
        raise ApiError(status, "CHAT_CONVERSATION_NOT_ONGOING", "The conversation is not ongoing")


def _continued(call: Call, conversation_id: str) -> Conversation:
    conversation = call.world.store.conversation(call.agent.id, conversation_id)
    if conversation is not None and conversation.created_by_v2:
        return conversation
    for other in call.world.store.agents.values():
        if other is not call.agent and conversation_id in other.conversations.by_id:
            message = "The conversation does not belong to this agent"
            raise ApiError(403, "CHAT_CONVERSATION_MISMATCH", message)
    raise not_found("RESOURCE_NOT_FOUND", "Conversation")


def _ask(call: Call, conversation: Conversation, text: str) -> Turn:
    parts: list[Part] = [{"type": "text", "text": text}]
    question = Message(call.world.store.new_id("msg"), ROLE_USER, parts, int(call.now))
    call.world.store.append(call.agent, conversation, question)
    return Turn(conversation, question, [])


def _after_tools(conversation: Conversation) -> Turn:
    messages = conversation.messages
    question = _last_of_user(messages)
    last = messages[-1] if messages else None
    results = [part for part in last.parts if part["type"] == "tool-result"] if last else []
    if question is None or not results or _open_tool_calls(conversation):
        raise invalid({"message": "Required unless a tool result was submitted"}, "Invalid request body")
    return Turn(conversation, question, results)


def _last_of_user(messages: list[Message]) -> Message | None:
    return next((message for message in reversed(messages) if message.role == ROLE_USER), None)


def _open_tool_calls(conversation: Conversation) -> dict[str, tuple[Message, Part]]:
    """Return the tool calls that wait for their result, by id."""
    waiting: dict[str, tuple[Message, Part]] = {}
    for message in conversation.messages:
        for part in message.parts:
            if part["type"] == "tool-call":
                waiting[part["toolCallId"]] = (message, part)
            elif part["type"] == "tool-result":
                waiting.pop(part["toolCallId"], None)
    return waiting


async def _respond(call: Call, turn: Turn) -> ServedReply:
    is_stream = call.body.get("stream", True)
    conclusion = await _conclude(call, turn)
    if conclusion is None:
        if not is_stream and call.world.settings.paused_reply == "null":
            return ServedReply(payload={"data": None})
        silence = Message(call.world.store.new_id("msg"), ROLE_ASSISTANT, [], None)
        conclusion = Conclusion(silence, "stop", 0)
    message = conclusion.message
    metadata = {
        "userMessageId": turn.question.id,
        "conversationId": turn.conversation.id,
        "userId": turn.conversation.user_id,
        "usage": None if conclusion.credits is None else {"credits": conclusion.credits},
    }
    if is_stream:
        return _streamed(call, message, conclusion.finish_reason, {"messageId": message.id, **metadata})
    metadata["finishReason"] = conclusion.finish_reason
    shown = {"id": message.id, "role": ROLE_ASSISTANT, "parts": list(message.parts), "metadata": metadata}
    return ServedReply(payload={"data": shown})


async def _conclude(call: Call, turn: Turn) -> Conclusion | None:
    """Make, keep and charge the answer, after the latency; None: nobody answers in a paused conversation."""
    await asyncio.sleep(call.world.settings.latency_of(call.operation.id))
    if turn.conversation.status == "paused":
        return None
    fault = call.fault
    if fault is not None and fault.kind == "generation_error":
        raise ApiError(500, "CHAT_STREAMING_ERROR", "The answer could not be generated")
    made = make_answer(call, call.agent, turn.question.text, turn.tool_results)
    is_lost = fault is not None and fault.kind in _UNANSWERED and not fault.after
    if is_lost or (made.finish_reason == "error" and fault is None):
        message = Message(call.world.store.new_id("msg"), ROLE_ASSISTANT, made.parts, int(call.now))
        return Conclusion(message, made.finish_reason, 0)
    message, price = keep_and_charge(call, call.agent, turn.conversation, made)
    return Conclusion(message, made.finish_reason, price if made.tells_credits else None)


def make_answer(call: Call, agent: Agent, question: str, tool_results: Sequence[Part] = ()) -> MadeAnswer:
    """Return what the agent answers, or what a fault lets it answer."""
    fault = call.fault
    if fault is not None and fault.kind == "finish_error":
        return MadeAnswer([], "error")
    if fault is not None and fault.answer is not None:
        return ordered_answer(fault.answer, lambda: call.world.store.new_id("call"))
    if tool_results:
        return answer_to_tools(tool_results)
    return answer(agent, question, call.now, call.world.store.new_id("call"))


def keep_and_charge(
    call: Call, agent: Agent, conversation: Conversation | None, made: MadeAnswer
) -> tuple[Message, float]:
    """Add an answer to its conversation, if that is kept, and bill it; return the message and the price."""
    store, ledger = call.world.store, call.world.ledger
    message = Message(store.new_id("msg"), ROLE_ASSISTANT, made.parts, int(call.now), None, made.score)
    if conversation is not None and made.in_place:
        conversation.own_messages()[-1].parts.extend(message.parts)
        store.touch(agent, conversation)
    elif conversation is not None:
        store.append(agent, conversation, message)
    usual = ledger.price(call.body.get("model") or agent.fields["model"])
    price = usual if made.credits is None else made.credits
    ledger.charge(agent, price)
    return message, price


def _streamed(call: Call, message: Message, finish_reason: str, metadata: Event) -> ServedReply:
    events = _events_of(call, message, finish_reason, metadata)
    headers = {"Cache-Control": "no-cache, no-transform"}
    chunks = _played(_records(events, call.world.settings, call.fault), call.world.settings)
    return ServedReply(content_type=_STREAM_TYPE, chunks=chunks, headers=headers)


def _events_of(call: Call, message: Message, finish_reason: str, metadata: Event) -> list[Event]:
    """Return the events of an answer from its start to its finish, in the dialect of the settings."""
    settings = call.world.settings
    start: str = settings.stream_start_event
    if start == "alternate":
        start = call.world.rng.choice(["start", "message-start"])
    events: list[Event] = [{"type": start, "messageId": message.id}, {"type": "start-step"}]
    if settings.stream_unknown_events:
        events.append({"type": "data-agent-state", "state": {"phase": "thinking"}})
    for number, part in enumerate(message.parts):
        events.extend(_part_events(part, f"txt-{number}", settings))
    events.append({"type": "finish-step"})
    if settings.stream_metadata in {"message-metadata", "both"}:
        events.append({"type": "message-metadata", "messageMetadata": metadata})
    finish: Event = {"type": "finish", "finishReason": finish_reason}
    if settings.stream_metadata in {"finish", "both"}:
        finish["messageMetadata"] = metadata
    return [*events, finish]


def _part_events(part: Part, text_id: str, settings: Settings) -> Iterable[Event]:
    if part["type"] == "text":
        yield {"type": "text-start", "id": text_id}
        for piece in _pieces_of(part["text"], settings):
            yield {"type": "text-delta", "id": text_id, "delta": piece}
        yield {"type": "text-end", "id": text_id}
    elif part["type"] == "tool-call":
        identity = {"toolCallId": part["toolCallId"], "toolName": part["toolName"]}
        text = json.dumps(part["input"])
        yield {"type": "tool-input-start", **identity}
        for start in range(0, len(text), 8):
            delta = text[start : start + 8]
            yield {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": delta}
        yield {"type": "tool-input-available", **identity, "input": part["input"]}
    elif part["type"] == "tool-result":
        yield {"type": "tool-output-available", "toolCallId": part["toolCallId"], "output": part["output"]}


def _pieces_of(text: str, settings: Settings) -> list[str]:
    """Cut a text into the pieces that a model would send, about two words each."""
    size = settings.stream_piece
    return [text[at : at + size] for at in range(0, len(text), size)] if size else _PIECES.findall(text)


def _records(events: list[Event], settings: Settings, fault: Fault | None) -> Iterator[bytes]:
    """Yield the events as they are sent, with the end that a fault gives them."""
    kind = fault.kind if fault is not None else None
    for number, event in enumerate(_until_cut(events, fault)):
        if settings.stream_comments and number % 3 == 1:
            yield _COMMENT
        yield _encoded(event, settings)
    if kind == "stream_error":
        yield _encoded({"type": "error", "errorText": "An error occurred while generating"}, settings)
    elif kind != "stream_cut":
        yield _DONE


def _encoded(event: Event, settings: Settings) -> bytes:
    data = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    line = f"event: {event['type']}\n" if settings.stream_event_lines else ""
    return f"{line}data: {data}\n\n".encode()


def _until_cut(items: list[Any], fault: Fault | None) -> list[Any]:
    if fault is None or fault.kind not in {"stream_cut", "stream_error"}:
        return items
    return items[: len(items) // 2 if fault.after_events is None else fault.after_events]


async def _played(records: Iterable[bytes], settings: Settings) -> AsyncIterator[bytes]:
    for record in records:
        yield record
        if settings.stream_delay:
            await asyncio.sleep(settings.stream_delay)


def play_text(text: str, settings: Settings, fault: Fault | None) -> AsyncIterator[bytes]:
    """Return a text as v1 streams it: pieces without any frame."""
    pieces = _until_cut(_pieces_of(text, settings), fault)
    return _played((piece.encode() for piece in pieces), settings)
