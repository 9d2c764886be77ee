"""Agents on API v1, which calls them chatbots: list, create, change, delete."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_chatbase.client.checks import require_object, require_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseNotFoundError
from airflow_provider_chatbase.client.replies import UnexpectedShapeError
from airflow_provider_chatbase.client.request import Json, JsonObject, Request
from airflow_provider_chatbase.client.shapes import bare_object

SHORTEST_NAME = 3


def list_chatbots() -> Request[list[JsonObject]]:
    """
    List the account's agents with their training ``status``: ``getChatbots``. It has no pages.

    :return: a request for the agents.
    """
    return Request(operation="getChatbots", method="GET", path="/get-chatbots", version="v1", read=_chatbots)


def find_chatbot(chatbots: Iterable[JsonObject], agent_id: str) -> JsonObject:
    """
    Find an agent in the list; v1 cannot get a single one.

    :param chatbots: from :func:`list_chatbots`.
    :param agent_id: the agent.
    :return: the agent.
    :raises ChatbaseNotFoundError: when it is not there.
    """
    for chatbot in chatbots:
        if chatbot.get("id") == agent_id:
            return chatbot
    raise ChatbaseNotFoundError(
        f"Check agent_id: the account has no agent {agent_id!r}.", operation="getChatbots"
    )


def create_chatbot(name: str, source_text: str | None = None) -> Request[str]:
    """
    Create an agent: ``createChatbot``. Creating twice makes two agents, so it is never repeated blindly.

    :param name: its name, at least 3 characters.
    :param source_text: what it is to know.
    :return: a request for the new agent's id.
    :raises ChatbaseInputError: when the name is too short or the text empty.
    """
    return Request(
        operation="createChatbot",
        method="POST",
        path="/create-chatbot",
        version="v1",
        body=_named(name, source_text),
        read=_chatbot_id,
        repeatable=False,
    )


def update_chatbot_data(agent_id: str, name: str, source_text: str | None = None) -> Request[str]:
    """
    Rename an agent and replace all that it knows by one text: ``updateChatbotData``. It trains anew.

    :param agent_id: the agent.
    :param name: its name, at least 3 characters; v1 wants it each time.
    :param source_text: what it is to know; left out, its sources stay.
    :return: a request for the agent's id.
    :raises ChatbaseInputError: when the name is too short or the text empty.
    """
    return Request(
        operation="updateChatbotData",
        method="POST",
        path="/update-chatbot-data",
        version="v1",
        body={"chatbotId": require_text("agent_id", agent_id), **_named(name, source_text)},
        read=_chatbot_id,
    )


def update_chatbot_settings(agent_id: str, settings: JsonObject) -> Request[JsonObject]:
    """
    Change some of an agent's settings: ``updateChatbotSettings``.

    :param agent_id: the agent.
    :param settings: v1's names; what is left out stays.
    :return: a request for ``{"message"}``.
    :raises ChatbaseInputError: when the settings are no object.
    """
    body = require_object("settings", settings)
    return Request(
        operation="updateChatbotSettings",
        method="POST",
        path="/update-chatbot-settings",
        version="v1",
        body={"chatbotId": require_text("agent_id", agent_id), **body},
        read=bare_object,
    )


def delete_chatbot(agent_id: str) -> Request[JsonObject]:
    """
    Delete an agent with all its data, for good: ``deleteChatbot``.

    :param agent_id: the agent.
    :return: a request for ``{"message"}``.
    :raises ChatbaseInputError: when the id is empty.
    """
    return Request(
        operation="deleteChatbot",
        method="DELETE",
        path="/delete-chatbot",
        version="v1",
        query={"chatbotId": require_text("agent_id", agent_id)},
        read=bare_object,
    )


def _named(name: str, source_text: str | None) -> JsonObject:
    if len(require_text("name", name)) < SHORTEST_NAME:
        raise ChatbaseInputError(
            f"name must have at least {SHORTEST_NAME} characters on API v1, not {name!r}. Nothing was sent."
        )
    body = {"chatbotName": name}
    if source_text is not None:
        body["sourceText"] = require_text("source_text", source_text)
    return body


def _chatbots(reply: Json) -> list[JsonObject]:
    found = bare_object(reply).get("chatbots")
    if not isinstance(found, list):
        raise UnexpectedShapeError("a list of chatbots was promised, and did not come")
    return [chatbot for chatbot in found if isinstance(chatbot, dict)]


def _chatbot_id(reply: Json) -> str:
    found = bare_object(reply).get("chatbotId")
    if not isinstance(found, str) or not found:
        raise UnexpectedShapeError("a chatbotId was promised, and did not come")
    return found
