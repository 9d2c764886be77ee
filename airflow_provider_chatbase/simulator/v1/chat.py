"""Chat of API v1: the caller sends the history, the reply is text alone."""

from __future__ import annotations

import asyncio

from airflow_provider_chatbase.simulator.answers import Answer, answer
from airflow_provider_chatbase.simulator.chatting import check_may_answer
from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT, ROLE_USER, Conversation, Message
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.streams import play_text
from airflow_provider_chatbase.simulator.v1.access import bad_request, body_of, chatbot
from airflow_provider_chatbase.simulator.v1.models import MODELS
from airflow_provider_chatbase.simulator.validation import compile_schema
from airflow_provider_chatbase.simulator.world import Call

_BREAKING = frozenset({"finish_error", "generation_error"})
_STREAM_TYPE = "text/plain; charset=utf-8"
_CHAT = compile_schema(
    {
        "type": "object",
        "required": ["chatbotId", "messages"],
        "properties": {
            "chatbotId": {"type": "string"},
            "messages": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["role", "content"],
                    "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": "string"}},
                },
            },
            "conversationId": {"type": "string", "minLength": 1},
            "contactId": {"type": "string"},
            "model": {"enum": list(MODELS)},
            "temperature": {"type": "number", "minimum": 0, "maximum": 1},
            "stream": {"type": "boolean"},
        },
    }
)


async def chat(call: Call) -> Reply:
    """Answer chat."""
    body = body_of(call, _CHAT)
    agent = chatbot(call, body["chatbotId"], status=400)
    last = body["messages"][-1]
    if last["role"] != ROLE_USER or not last["content"]:
        raise bad_request("The last message must be from the user")
    _check_quota(call, agent)
    conversation = _saved_conversation(call, agent, body.get("conversationId"), last["content"])
    await asyncio.sleep(call.world.settings.latency_of("chat"))
    made = answer(agent, last["content"], call.now, call.world.store.new_id("call"))
    text = "".join(part["text"] for part in made.parts if part["type"] == "text")
    if made.finish_reason == "error" or (call.fault is not None and call.fault.kind in _BREAKING):
        raise ApiError(500, "CHAT_STREAMING_ERROR", "Something went wrong")
    _keep_and_charge(call, agent, conversation, made, body.get("model"))
    if not body.get("stream", False):
        return Reply(payload={"text": text})
    chunks = play_text(text, call.world.settings, call.fault)
    reply = Reply(content_type=_STREAM_TYPE, chunks=chunks)
    reply.reset = call.fault is not None and call.fault.kind == "stream_cut" and call.fault.reset
    return reply


def _check_quota(call: Call, agent: Agent) -> None:
    try:
        check_may_answer(call, agent)
    except ApiError as error:
        raise ApiError(403, error.code, error.message) from error


def _saved_conversation(
    call: Call, agent: Agent, conversation_id: str | None, text: str
) -> Conversation | None:
    if conversation_id is None:
        return None
    store = call.world.store
    conversation = store.conversation(agent.id, conversation_id) or store.start_conversation(
        agent, user_id=None, title=text[:60], created_by_v2=False, conversation_id=conversation_id
    )
    parts = [{"type": "text", "text": text}]
    store.append(agent, conversation, Message(store.new_id("msg"), ROLE_USER, parts, int(call.now)))
    return conversation


def _keep_and_charge(
    call: Call, agent: Agent, conversation: Conversation | None, made: Answer, model: str | None
) -> None:
    store, ledger = call.world.store, call.world.ledger
    if conversation is not None:
        message = Message(store.new_id("msg"), ROLE_ASSISTANT, made.parts, int(call.now), None, made.score)
        store.append(agent, conversation, message)
    ledger.charge(
        agent, ledger.price(model or agent.fields["model"]) if made.credits is None else made.credits
    )
