"""Conversations: export, search; those held through the API: read, list, pause; messages and feedback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from airflow_provider_chatbase.client.checks import require_page_limit, require_user_id, timestamp
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import Page, data_object, page
from airflow_provider_chatbase.client.request import Json, JsonObject, Request, segment

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


def list_user_conversations(agent_id: str, user_id: str, *, limit: int = 100) -> Request[Page]:
    """List the conversations of a user, the last active first: ``listUserConversations``."""
    path = f"/agents/{segment('agent_id', agent_id)}/users/{require_user_id(user_id)}/conversations"
    query = {"limit": require_page_limit(limit, 100)}
    return Request("listUserConversations", "GET", path, page, query=query)


def set_paused(agent_id: str, conversation_id: str, *, paused: bool) -> Request[JsonObject]:
    """Pause a conversation, so that the agent does not answer in it, or resume it: ``updateConversation``."""
    path = conversation_path(agent_id, conversation_id)
    return Request("updateConversation", "PATCH", path, data_object, body={"paused": bool(paused)})


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
