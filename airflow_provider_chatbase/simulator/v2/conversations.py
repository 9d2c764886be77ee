"""Conversations: list, read, pause, rate."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_chatbase.simulator.conversations import ROLE_ASSISTANT, Conversation
from airflow_provider_chatbase.simulator.errors import ApiError, invalid, not_found
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.pagination import (
    PageRequest,
    decode_cursor,
    encode_cursor,
    envelope,
    page_of_list,
    page_of_positions,
)
from airflow_provider_chatbase.simulator.v2 import schemas
from airflow_provider_chatbase.simulator.v2.access import any_conversation, api_conversation
from airflow_provider_chatbase.simulator.v2.views import conversation_view, message_view
from airflow_provider_chatbase.simulator.validation import date_window
from airflow_provider_chatbase.simulator.world import Call

_USER_ID = re.compile(schemas.USER_ID)
_EMBEDDED_MESSAGES = 20


def list_conversations(call: Call) -> Reply:
    """Answer listConversations: those that API v2 created."""
    index = call.agent().conversations
    page = page_of_positions(
        [index.created_by_v2],
        date_window(call.query),
        lambda identifier: conversation_view(call.world, index.by_id[identifier]),
        call.page("conversations"),
    )
    return Reply(payload=page)


def list_of_user(call: Call) -> Reply:
    """Answer listUserConversations."""
    agent = call.agent()
    user_id = call.params["userId"]
    if len(user_id) > 128 or not _USER_ID.fullmatch(user_id):
        raise invalid({"userId": "Only letters, digits, '.', '_' and '-', at most 128"}, "Invalid path")
    page = page_of_list(
        agent.conversations.of_user(user_id),
        lambda each: (each.updated_at, each.id),
        lambda each: conversation_view(call.world, each),
        call.page("user-conversations"),
    )
    return Reply(payload=page)


def get(call: Call) -> Reply:
    """Answer getConversation, with the newest messages."""
    conversation = api_conversation(call, call.agent())
    request = PageRequest(_EMBEDDED_MESSAGES, None, "messages")
    page = _messages_page(call, conversation, request)
    data = {**conversation_view(call.world, conversation), "messages": page["data"]}
    return Reply(payload={"data": data, "pagination": page["pagination"]})


def list_messages(call: Call) -> Reply:
    """Answer listConversationMessages: pages go back in time, each in the order of time."""
    conversation = api_conversation(call, call.agent())
    return Reply(payload=_messages_page(call, conversation, call.page("messages")))


def update(call: Call) -> Reply:
    """Answer updateConversation: pause or resume."""
    agent = call.agent()
    conversation = any_conversation(call, agent)
    paused = call.body(schemas.UPDATE_CONVERSATION)["paused"]
    if conversation.status in {"ended", "taken_over"}:
        raise invalid({"paused": f"The conversation is {conversation.status}"}, "Invalid request body")
    conversation.status = "paused" if paused else "ongoing"
    call.world.store.touch(agent, conversation)
    return Reply(payload={"data": {"id": conversation.id, "status": conversation.status}})


def rate_message(call: Call) -> Reply:
    """Answer updateMessageFeedback."""
    conversation = api_conversation(call, call.agent())
    feedback = call.body(schemas.FEEDBACK)["feedback"]
    message = conversation.message(call.params["messageId"])
    if message is None:
        raise not_found("RESOURCE_MESSAGE_NOT_FOUND", "Message")
    if message.role != ROLE_ASSISTANT or not message.text:
        raise ApiError(422, "RESOURCE_MESSAGE_NOT_ASSISTANT", "Feedback is for assistant messages only")
    message.feedback = feedback
    return Reply(payload={"data": message_view(call.world, message)})


def _messages_page(call: Call, conversation: Conversation, request: PageRequest) -> dict[str, Any]:
    messages = conversation.messages
    end = len(messages)
    if request.cursor is not None:
        oldest_seen = decode_cursor("messages", request.cursor)[0]
        end = next((at for at, message in enumerate(messages) if message.id == oldest_seen), 0)
    start = max(0, end - request.limit)
    cursor = encode_cursor("messages", messages[start].id) if start > 0 else None
    shown = [message_view(call.world, message) for message in messages[start:end]]
    return envelope(shown, cursor, len(messages))
