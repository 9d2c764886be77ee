"""The operations of API v1, each once. It says chatbot for agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar

from airflow_provider_chatbase.client.answer import Answer, TextStreamReader
from airflow_provider_chatbase.client.errors import (
    ChatbaseInputError,
    ChatbaseNotFoundError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.replies import (
    Page,
    UnexpectedShapeError,
    bare_object,
    data_object,
    listed,
)
from airflow_provider_chatbase.client.request import (
    CHAT_PATIENCE,
    Json,
    JsonObject,
    Request,
    require_object,
    require_page_limit,
    require_text,
    segment,
)
from airflow_provider_chatbase.client.v2.conversations import OnText

Result = TypeVar("Result")

SHORTEST_NAME = 3
PAGE = 100
CONTACTS_PAGE = 1000

_NAMES_IN_V2 = {"initial_messages": "initialMessages"}
_SAME_NAMES = ("name", "instructions", "initialMessages", "visibility", "model", "temp", "styles")
_IP_LIMITS = {"limit": "ipLimit", "timeframe": "ipLimitTimeframe", "message": "ipLimitMessage"}


def list_agents() -> Request[Page]:
    """List the account's agents with their training ``status``: ``getChatbots``. It has no pages."""
    return _get_chatbots(_agents)


def get_agent(agent_id: str) -> Request[JsonObject]:
    """Find an agent in the list of all, since v1 cannot get a single one: ``getChatbots``."""

    def find(reply: Json) -> JsonObject:
        for agent in _agents(reply).items:
            if agent.get("id") == agent_id:
                return {**agent, **{v2: agent[v1] for v1, v2 in _NAMES_IN_V2.items() if v1 in agent}}
        raise ChatbaseNotFoundError(
            f"Check agent_id: the account has no agent {agent_id!r}.", operation="getChatbots"
        )

    return _get_chatbots(find)


def create_agent(name: str, source_text: str | None = None) -> Request[JsonObject]:
    """Create an agent: ``createChatbot``. It is never repeated blindly."""
    body = _named(name, source_text)
    return Request(
        "createChatbot", "POST", "/create-chatbot", _agent_id, version="v1", body=body, repeatable=False
    )


def replace_text(agent_id: str, name: str, source_text: str | None = None) -> Request[JsonObject]:
    """Rename an agent and replace all that it knows by one text: ``updateChatbotData``. It trains anew."""
    body = {"chatbotId": require_text("agent_id", agent_id), **_named(name, source_text)}
    return Request("updateChatbotData", "POST", "/update-chatbot-data", _agent_id, version="v1", body=body)


def update_settings(agent_id: str, settings: JsonObject) -> Request[JsonObject]:
    """Change some of an agent's settings, in the words of v1: ``updateChatbotSettings``."""
    body = require_object("settings", settings)
    body = {"chatbotId": require_text("agent_id", agent_id), **body}
    return Request(
        "updateChatbotSettings", "POST", "/update-chatbot-settings", bare_object, version="v1", body=body
    )


def delete_agent(agent_id: str) -> Request[JsonObject]:
    """Delete an agent with all its data, for good: ``deleteChatbot``."""
    query = {"chatbotId": require_text("agent_id", agent_id)}
    return Request(
        "deleteChatbot",
        "DELETE",
        "/delete-chatbot",
        bare_object,
        version="v1",
        query=query,
        means_done_on_repeat={"HTTP_404": {"message": "Success"}},
    )


def in_words_of_v1(settings: JsonObject) -> JsonObject:
    """Put settings into the words of API v1, which has not all of them and resets none."""
    translated: JsonObject = {}
    missing: list[str] = []
    for name, value in settings.items():
        words = None if value is None else _words(name, value)
        if words is None:
            missing.append(f"{name} (reset)" if value is None else name)
        else:
            translated.update(words)
    if missing:
        raise ChatbaseUnsupportedError(
            f"API v1 cannot set {', '.join(sorted(missing))}. Leave them out, or set api_version to v2 in "
            "the connection. Nothing was sent.",
            operation="updateChatbotSettings",
        )
    return translated


def _words(name: str, value: Json) -> JsonObject | None:
    if name in _SAME_NAMES:
        return {name: value}
    if name == "allowedDomains":
        return {"domains": value, "onlyAllowOnAddedDomains": bool(value)}
    if name == "suggestedMessages":
        texts = [message.get("text") if isinstance(message, dict) else message for message in value]
        return {name: texts} if all(isinstance(text, str) for text in texts) else None
    if name == "ipRateLimits":
        if set(value) - set(_IP_LIMITS):
            raise ChatbaseInputError(
                f"ipRateLimits has other fields than {', '.join(_IP_LIMITS)}. Nothing was sent."
            )
        return {_IP_LIMITS[each]: limit for each, limit in value.items()}
    return None


def _get_chatbots(read: Callable[[Json], Result]) -> Request[Result]:
    return Request("getChatbots", "GET", "/get-chatbots", read, version="v1")


def _named(name: str, source_text: str | None) -> JsonObject:
    if len(require_text("name", name)) < SHORTEST_NAME:
        raise ChatbaseInputError(
            f"name must have at least {SHORTEST_NAME} characters on API v1, not {name!r}. Nothing was sent."
        )
    body = {"chatbotName": name}
    if source_text is not None:
        body["sourceText"] = require_text("source_text", source_text)
    return body


def _agents(reply: Json) -> Page:
    found = bare_object(reply).get("chatbots")
    if not isinstance(found, list):
        raise UnexpectedShapeError("a list of chatbots was promised, and did not come")
    agents = [agent for agent in found if isinstance(agent, dict)]
    return Page(agents, None, len(agents))


def _agent_id(reply: Json) -> JsonObject:
    found = bare_object(reply).get("chatbotId")
    if not isinstance(found, str) or not found:
        raise UnexpectedShapeError("a chatbotId was promised, and did not come")
    return {"id": found}


def send_message(
    agent_id: str,
    message: str | None,
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
        "chat",
        "POST",
        "/chat",
        read,
        version="v1",
        body={name: value for name, value in body.items() if value is not None},
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


def get_conversations(
    agent_id: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    sources: Sequence[str] = (),
    page: int = 1,
    size: int = PAGE,
) -> Request[Page]:
    """List conversations of every channel, with their messages: ``getConversations``."""
    query = {**_days(agent_id, first_day, last_day, page, size), "filteredSources": ",".join(sources) or None}
    return Request(
        "getConversations",
        "GET",
        "/get-conversations",
        lambda reply: listed(bare_object(reply).get("data")),
        version="v1",
        query=query,
    )


def get_leads(
    agent_id: str,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    page: int = 1,
    size: int = PAGE,
) -> Request[Page]:
    """List the leads that an agent collected: ``getLeads``."""
    query = _days(agent_id, first_day, last_day, page, size)
    return Request("getLeads", "GET", "/get-leads", _leads, version="v1", query=query)


def _days(
    agent_id: str, first: date | None, last: date | None, page: int, size: int
) -> dict[str, str | int | None]:
    return {
        "chatbotId": agent_id,
        "startDate": first.isoformat() if first else None,
        "endDate": last.isoformat() if last else None,
        "page": page,
        "size": require_page_limit(size, PAGE),
    }


def _leads(reply: Json) -> Page:
    """Read a page of leads: ``collectedCustomers``, its ``data``, or ``data``, as the documents differ."""
    body = bare_object(reply)
    found = body["collectedCustomers"] if "collectedCustomers" in body else body.get("data")
    return listed(found.get("data") if isinstance(found, dict) else found)


def list_contacts(agent_id: str, *, page: int = 1, size: int = CONTACTS_PAGE) -> Request[Page]:
    """List an agent's contacts: ``listContacts``."""
    query = {"page": page, "per_page": size}
    return Request("listContacts", "GET", _contacts_path(agent_id), _contacts, version="v1", query=query)


def create_contacts(agent_id: str, contacts: Sequence[JsonObject]) -> Request[list[JsonObject]]:
    """Create up to 1,000 contacts: ``createContacts``. Never repeated blindly."""
    if isinstance(contacts, str | bytes | dict) or not 1 <= len(contacts) <= CONTACTS_PAGE:
        raise ChatbaseInputError(f"contacts must be a list of 1 to {CONTACTS_PAGE:,}. Nothing was sent.")
    body = {"users": [require_object("a contact", contact) for contact in contacts]}
    return Request(
        "createContacts",
        "POST",
        _contacts_path(agent_id),
        _created,
        version="v1",
        body=body,
        repeatable=False,
    )


def get_contact(agent_id: str, contact_id: str) -> Request[JsonObject]:
    """Get a contact by either of its ids: ``getContact``."""
    return Request("getContact", "GET", _contact_path(agent_id, contact_id), data_object, version="v1")


def update_contact(agent_id: str, contact_id: str, changes: JsonObject) -> Request[JsonObject]:
    """Change some of a contact's fields: ``updateContact``."""
    body = {"data": require_object("changes", changes)}
    path = _contact_path(agent_id, contact_id)
    return Request("updateContact", "PATCH", path, data_object, version="v1", body=body)


def delete_contact(agent_id: str, contact_id: str) -> Request[JsonObject]:
    """Delete a contact, for good: ``deleteContact``. Its documents differ on the reply."""
    gone = {"message": "Success"}
    return Request(
        "deleteContact",
        "DELETE",
        _contact_path(agent_id, contact_id),
        lambda reply: reply if isinstance(reply, dict) else gone,
        version="v1",
        means_done_on_repeat={"RESOURCE_NOT_FOUND": gone, "HTTP_404": gone},
    )


def list_custom_attributes(agent_id: str) -> Request[Page]:
    """List the attributes that contacts can have, also archived ones: ``listCustomAttributes``."""
    return Request("listCustomAttributes", "GET", _attributes_path(agent_id), _contacts, version="v1")


def create_custom_attribute(agent_id: str, name: str, kind: str, more: JsonObject) -> Request[JsonObject]:
    """Give contacts an attribute, which can never be deleted: ``createCustomAttribute``."""
    body = {"name": require_text("name", name), "type": require_text("kind", kind), **more}
    path = _attributes_path(agent_id)
    return Request(
        "createCustomAttribute", "POST", path, data_object, version="v1", body=body, repeatable=False
    )


def update_custom_attribute(agent_id: str, name: str, changes: JsonObject) -> Request[JsonObject]:
    """Change an attribute's label or description, or archive it: ``updateCustomAttribute``."""
    path = f"{_attributes_path(agent_id)}/{segment('name', name)}"
    body = require_object("changes", changes)
    return Request("updateCustomAttribute", "PUT", path, data_object, version="v1", body=body)


def _contacts_path(agent_id: str) -> str:
    return f"/chatbots/{segment('agent_id', agent_id)}/contacts"


def _contact_path(agent_id: str, contact_id: str) -> str:
    return f"{_contacts_path(agent_id)}/{segment('contact_id', contact_id)}"


def _attributes_path(agent_id: str) -> str:
    return f"/chatbots/{segment('agent_id', agent_id)}/custom-attributes"


def _created(reply: Json) -> list[JsonObject]:
    """Read what was created: ``data``, or its ``created``, as the documents differ."""
    found = bare_object(reply).get("data")
    return listed(found.get("created") if isinstance(found, dict) else found).items


def _contacts(reply: Json) -> Page:
    body = bare_object(reply)
    return listed(body.get("data"), body.get("total"))
