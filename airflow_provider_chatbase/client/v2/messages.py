"""Conversations that were held through the API: read, list, pause; their messages and feedback."""

from __future__ import annotations

from airflow_provider_chatbase.client.checks import require_page_limit, require_user_id
from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.request import Json, JsonObject, Request, segment
from airflow_provider_chatbase.client.shapes import Page, data_object, page


def get_conversation(agent_id: str, conversation_id: str) -> Request[JsonObject]:
    """
    Get a conversation with its newest messages, oldest of them first: ``getConversation``.

    :param agent_id: the agent.
    :param conversation_id: a conversation that was created through the API; others are not found.
    :return: a request for the conversation; its ``messages`` are in the order they were written.
    :raises ChatbaseInputError: when an id is empty.
    """
    return Request(
        operation="getConversation",
        method="GET",
        path=_conversation(agent_id, conversation_id),
        read=data_object,
    )


def list_messages(agent_id: str, conversation_id: str, *, limit: int = 100) -> Request[Page]:
    """
    List a conversation's messages: ``listConversationMessages``.

    The pages go backward from the newest; within a page the oldest comes first.

    :param agent_id: the agent.
    :param conversation_id: a conversation that was created through the API.
    :param limit: messages a page, 1 to 100.
    :return: a request for the page of the newest messages.
    :raises ChatbaseInputError: when an id is empty or the limit out of range.
    """
    return Request(
        operation="listConversationMessages",
        method="GET",
        path=f"{_conversation(agent_id, conversation_id)}/messages",
        query={"limit": require_page_limit(limit, 100)},
        read=page,
    )


def list_user_conversations(agent_id: str, user_id: str, *, limit: int = 100) -> Request[Page]:
    """
    List the conversations of a user, the last active first: ``listUserConversations``.

    :param agent_id: the agent.
    :param user_id: the user id that the conversations were begun with.
    :param limit: conversations a page, 1 to 100.
    :return: a request for the first page.
    :raises ChatbaseInputError: when an id is wrong or the limit out of range.
    """
    return Request(
        operation="listUserConversations",
        method="GET",
        path=f"/agents/{segment('agent_id', agent_id)}/users/{require_user_id(user_id)}/conversations",
        query={"limit": require_page_limit(limit, 100)},
        read=page,
    )


def set_paused(agent_id: str, conversation_id: str, *, paused: bool) -> Request[JsonObject]:
    """
    Pause a conversation, so that the agent does not answer in it, or resume it: ``updateConversation``.

    :param agent_id: the agent.
    :param conversation_id: the conversation.
    :param paused: whether it is to be paused.
    :return: a request for ``{"id", "status"}``.
    :raises ChatbaseInputError: when an id is empty.
    """
    return Request(
        operation="updateConversation",
        method="PATCH",
        path=_conversation(agent_id, conversation_id),
        body={"paused": bool(paused)},
        read=data_object,
    )


def set_feedback(
    agent_id: str, conversation_id: str, message_id: str, feedback: str | None
) -> Request[JsonObject]:
    """
    Rate an assistant's message: ``updateMessageFeedback``.

    :param agent_id: the agent.
    :param conversation_id: the conversation.
    :param message_id: the assistant's message.
    :param feedback: ``positive``, ``negative``, or ``None`` to take it back.
    :return: a request for the message.
    :raises ChatbaseInputError: when an id is empty or the feedback is another word.
    """
    if feedback not in ("positive", "negative", None):
        raise ChatbaseInputError(
            f"feedback must be 'positive', 'negative' or None, not {feedback!r}. Nothing was sent."
        )
    return Request(
        operation="updateMessageFeedback",
        method="PATCH",
        path=f"{_message(agent_id, conversation_id, message_id)}/feedback",
        body={"feedback": feedback},
        read=data_object,
    )


def messages_of(conversation: JsonObject) -> list[JsonObject]:
    """
    Return the messages that a conversation carries.

    :param conversation: from :func:`get_conversation`.
    """
    messages: Json = conversation.get("messages")
    return [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []


def _conversation(agent_id: str, conversation_id: str) -> str:
    return (
        f"/agents/{segment('agent_id', agent_id)}/conversations/{segment('conversation_id', conversation_id)}"
    )


def _message(agent_id: str, conversation_id: str, message_id: str) -> str:
    return f"{_conversation(agent_id, conversation_id)}/messages/{segment('message_id', message_id)}"
