"""One turn of a conversation: the message is kept at once, the answer when it is made."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from airflow_provider_chatbase.simulator.answers import Answer, answer, answer_to_tools
from airflow_provider_chatbase.simulator.conversations import (
    ROLE_ASSISTANT,
    ROLE_USER,
    Conversation,
    Message,
    Part,
)
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.world import Call

_UNANSWERED = frozenset({"stream_error", "finish_error"})


@dataclass(slots=True)
class Turn:
    """The question of one turn, and where it stands."""

    agent: Agent
    conversation: Conversation
    question: Message
    tool_results: list[Part]


@dataclass(slots=True)
class Outcome:
    """The answer of one turn and what it cost."""

    message: Message
    finish_reason: str
    credits: float


def check_may_answer(call: Call, agent: Agent) -> None:
    """Refuse an answer that the plan or the credits do not cover."""
    if agent.fields["model"] in call.world.settings.disallowed_models:
        raise ApiError(403, "CHAT_MODEL_NOT_ALLOWED", f"Model {agent.fields['model']} is not in your plan")
    call.world.ledger.check(agent)


def check_ongoing(call: Call, conversation: Conversation) -> None:
    """Refuse a message to a conversation that has ended or belongs to a human."""
    if conversation.status in {"ended", "taken_over"}:
        status = call.world.settings.not_ongoing_status
        raise ApiError(status, "CHAT_CONVERSATION_NOT_ONGOING", "The conversation is not ongoing")


def ask(call: Call, agent: Agent, conversation: Conversation, text: str) -> Turn:
    """Keep the user's message."""
    parts: list[Part] = [{"type": "text", "text": text}]
    question = Message(call.world.store.new_id("msg"), ROLE_USER, parts, int(call.now))
    call.world.store.append(agent, conversation, question)
    return Turn(agent, conversation, question, [])


async def conclude(call: Call, turn: Turn) -> Outcome | None:
    """
    Make, keep and charge the answer, after the latency of the operation.

    :return: None when the conversation is paused, so that nobody answers.
    :raises ApiError: 500, the generation breaks.
    """
    operation = call.request.operation or ""
    await asyncio.sleep(call.world.settings.latency_of(operation))
    if turn.conversation.status == "paused":
        return None
    if call.fault is not None and call.fault.kind == "generation_error":
        raise ApiError(500, "CHAT_STREAMING_ERROR", "The answer could not be generated")
    made = _answer(call, turn)
    message = Message(
        call.world.store.new_id("msg"), ROLE_ASSISTANT, made.parts, int(call.now), None, made.score
    )
    if _is_lost(call) or (made.finish_reason == "error" and call.fault is None):
        return Outcome(message, made.finish_reason, 0)
    price = call.world.ledger.price(turn.agent.fields["model"]) if made.credits is None else made.credits
    call.world.store.append(turn.agent, turn.conversation, message)
    call.world.ledger.charge(turn.agent, price)
    return Outcome(message, made.finish_reason, price)


def open_tool_calls(conversation: Conversation) -> dict[str, tuple[Message, Part]]:
    """Return the tool calls of a conversation that wait for their result, by id."""
    waiting: dict[str, tuple[Message, Part]] = {}
    for message in conversation.messages:
        for part in message.parts:
            if part["type"] == "tool-call":
                waiting[part["toolCallId"]] = (message, part)
            elif part["type"] == "tool-result":
                waiting.pop(part["toolCallId"], None)
    return waiting


def finish_metadata(turn: Turn, outcome: Outcome) -> dict[str, Any]:
    """Return the ids and the price that go with an answer."""
    return {
        "userMessageId": turn.question.id,
        "conversationId": turn.conversation.id,
        "userId": turn.conversation.user_id,
        "usage": {"credits": outcome.credits},
    }


def _answer(call: Call, turn: Turn) -> Answer:
    if call.fault is not None and call.fault.kind == "finish_error":
        return Answer([], "error")
    if turn.tool_results:
        return answer_to_tools(turn.tool_results)
    return answer(turn.agent, turn.question.text, call.now, call.world.store.new_id("call"))


def _is_lost(call: Call) -> bool:
    return call.fault is not None and call.fault.kind in _UNANSWERED and not call.fault.after
