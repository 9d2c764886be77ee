"""The operations of API v1, each once. It says chatbot for agent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from airflow_provider_chatbase.client.answer import Answer, TextStreamReader
from airflow_provider_chatbase.client.checks import require_object, require_page_limit, require_text
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseNotFoundError
from airflow_provider_chatbase.client.replies import Page, UnexpectedShapeError, bare_object, listed
from airflow_provider_chatbase.client.request import CHAT_PATIENCE, Json, JsonObject, Request, segment
from airflow_provider_chatbase.client.v2.chat import OnText

SHORTEST_NAME = 3


def list_chatbots() -> Request[list[JsonObject]]:
    """List the account's agents with their training ``status``: ``getChatbots``. It has no pages."""
    return Request(operation="getChatbots", method="GET", path="/get-chatbots", version="v1", read=_chatbots)


def find_chatbot(chatbots: Iterable[JsonObject], agent_id: str) -> JsonObject:
    """Find an agent in the list; v1 cannot get a single one."""
    for chatbot in chatbots:
        if chatbot.get("id") == agent_id:
            return chatbot
    raise ChatbaseNotFoundError(
        f"Check agent_id: the account has no agent {agent_id!r}.", operation="getChatbots"
    )


def create_chatbot(name: str, source_text: str | None = None) -> Request[str]:
    """Create an agent: ``createChatbot``. It is never repeated blindly."""
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
    """Rename an agent and replace all that it knows by one text: ``updateChatbotData``. It trains anew."""
    return Request(
        operation="updateChatbotData",
        method="POST",
        path="/update-chatbot-data",
        version="v1",
        body={"chatbotId": require_text("agent_id", agent_id), **_named(name, source_text)},
        read=_chatbot_id,
    )


def update_chatbot_settings(agent_id: str, settings: JsonObject) -> Request[JsonObject]:
    """Change some of an agent's settings: ``updateChatbotSettings``."""
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
    """Delete an agent with all its data, for good: ``deleteChatbot``."""
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


def send_message(
    agent_id: str,
    message: str,
    *,
    history: list[JsonObject],
    conversation_id: str | None = None,
    model: str | None = None,
    temperature: float | None = None,
    stream: bool = False,
    on_text: OnText | None = None,
) -> Request[Answer]:
    """Ask an agent: ``chat``. It costs credits, so it is never repeated blindly."""
    messages = [*history, {"role": "user", "content": require_text("message", message)}]
    body: JsonObject = {
        "chatbotId": require_text("agent_id", agent_id),
        "messages": messages,
        "stream": stream,
        "conversationId": conversation_id,
        "model": model,
        "temperature": _temperature(temperature),
    }

    def make_answer(text: str) -> Answer:
        history = [*messages, {"role": "assistant", "content": text}]
        return Answer(text, conversation_id, history=history)

    def read(reply: Json) -> Answer:
        text = bare_object(reply).get("text")
        if not isinstance(text, str):
            raise UnexpectedShapeError("text was promised, and did not come")
        return make_answer(text)

    return Request(
        operation="chat",
        method="POST",
        path="/chat",
        version="v1",
        body={name: value for name, value in body.items() if value is not None},
        read=read,
        repeatable=False,
        patience=CHAT_PATIENCE,
        stream=(lambda: TextStreamReader(make_answer)) if stream else None,
        on_text=on_text,
    )


def _temperature(value: float | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ChatbaseInputError(
            f"temperature must be a number from 0 to 1, not {value!r}. Nothing was sent."
        )
    return value


CONVERSATIONS_PAGE = 100


def get_conversations(
    agent_id: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    sources: Sequence[str] = (),
    page: int = 1,
    size: int = CONVERSATIONS_PAGE,
) -> Request[Page]:
    """List conversations of every channel, with their messages: ``getConversations``."""
    return Request(
        operation="getConversations",
        method="GET",
        path="/get-conversations",
        version="v1",
        query={
            "chatbotId": agent_id,
            "startDate": first_day.isoformat() if first_day else None,
            "endDate": last_day.isoformat() if last_day else None,
            "filteredSources": ",".join(sources) or None,
            "page": str(page),
            "size": str(require_page_limit(size, CONVERSATIONS_PAGE)),
        },
        read=_conversations,
    )


def _conversations(reply: Json) -> Page:
    return listed(bare_object(reply).get("data"))


LEADS_PAGE = 100


def get_leads(
    agent_id: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    page: int = 1,
    size: int = LEADS_PAGE,
) -> Request[Page]:
    """List the leads that an agent collected: ``getLeads``."""
    return Request(
        operation="getLeads",
        method="GET",
        path="/get-leads",
        version="v1",
        query={
            "chatbotId": agent_id,
            "startDate": first_day.isoformat() if first_day else None,
            "endDate": last_day.isoformat() if last_day else None,
            "page": str(page),
            "size": str(size),
        },
        read=_leads,
    )


def _leads(reply: Json) -> Page:
    """Read a page of leads: ``collectedCustomers``, its ``data``, or ``data``, as the documents differ."""
    body = bare_object(reply)
    found = body["collectedCustomers"] if "collectedCustomers" in body else body.get("data")
    if isinstance(found, dict):
        found = found.get("data")
    return listed(found)


CONTACTS_PAGE = 1000


def list_contacts(agent_id: str, *, page: int = 1, size: int = CONTACTS_PAGE) -> Request[Page]:
    """List an agent's contacts: ``listContacts``."""
    return Request(
        operation="listContacts",
        method="GET",
        path=f"/chatbots/{segment('agent_id', agent_id)}/contacts",
        version="v1",
        query={"page": page, "per_page": size},
        read=_contacts,
    )


def _contacts(reply: Json) -> Page:
    body = bare_object(reply)
    return listed(body.get("data"), body.get("total"))
