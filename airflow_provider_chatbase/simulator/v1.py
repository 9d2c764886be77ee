"""API v1: chatbots, chat without a memory of its own, conversations and leads by page, contacts."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import islice
from typing import Any

from airflow_provider_chatbase.simulator.agents import Agent, add_source, agent_status, create_agent
from airflow_provider_chatbase.simulator.conversations import ROLE_USER, Conversation, Message
from airflow_provider_chatbase.simulator.exchange import ApiError, ServedReply
from airflow_provider_chatbase.simulator.seed import disturb
from airflow_provider_chatbase.simulator.v2_chat import (
    check_may_answer,
    keep_and_charge,
    make_answer,
    play_text,
)
from airflow_provider_chatbase.simulator.world import Call, iso, operation

_STREAM_TYPE = "text/plain; charset=utf-8"
_STATUSES = {"trained": "ready", "untrained": "ready", "training": "training", "failed": "failed"}
_SAME_IN_V2 = ("name", "instructions", "initialMessages", "visibility", "model", "temp")
_IP_LIMITS = {"ipLimit": "limit", "ipLimitTimeframe": "timeframe", "ipLimitMessage": "message"}
_ATTRIBUTE = ("name", "type", "label", "description", "archived")
_CONTACT = ("external_id", "name", "email", "phonenumber", "stripe_accounts", "custom_attributes")
_VALUES: dict[str, Any] = {"text": str, "number": int | float, "boolean": bool | str | int, "date": str | int}
_LOWER_CASE = {
    "API": "api",
    "WhatsApp": "whatsapp",
    "Slack": "slack",
    "Messenger": "messenger",
    "Instagram": "instagram",
    "Widget or Iframe": "website",
    "Chatbase site": "website",
}


@operation("chat", paced=True)
async def chat(call: Call) -> Any:
    body = call.body
    agent = call.find_agent(body["chatbotId"], status=400)
    last = body["messages"][-1] if body["messages"] else {"role": None}
    if last["role"] != ROLE_USER or not last["content"]:
        raise _bad_request("The last message must be from the user")
    try:
        check_may_answer(call, agent)
    except ApiError as error:
        raise ApiError(403, error.code, error.message) from error
    conversation = _saved_conversation(call, agent, last["content"])
    await asyncio.sleep(call.world.settings.latency_of("chat"))
    made = make_answer(call, agent, last["content"])
    if made.finish_reason == "error" or (call.fault is not None and call.fault.kind == "generation_error"):
        raise ApiError(500, "CHAT_STREAMING_ERROR", "Something went wrong")
    keep_and_charge(call, agent, conversation, made)
    text = "".join(part["text"] for part in made.parts if part["type"] == "text")
    if not body.get("stream", False):
        return {"text": text}
    return ServedReply(content_type=_STREAM_TYPE, chunks=play_text(text, call.world.settings, call.fault))


def _saved_conversation(call: Call, agent: Agent, text: str) -> Conversation | None:
    identifier = call.body.get("conversationId")
    if not identifier:
        return None
    store = call.world.store
    conversation = store.conversation(agent.id, identifier) or store.start_conversation(
        agent, user_id=None, title=text[:60], created_by_v2=False, conversation_id=identifier
    )
    parts = [{"type": "text", "text": text}]
    store.append(agent, conversation, Message(store.new_id("msg"), ROLE_USER, parts, int(call.now)))
    return conversation


@operation("getChatbots")
def list_chatbots(call: Call) -> Any:
    agents = [agent for agent in call.world.store.agents.values() if agent.workspace == call.key.workspace]
    agents.sort(key=lambda agent: (agent.created_at, agent.id), reverse=True)
    return {"chatbots": [_chatbot_view(call, agent) for agent in agents]}


@operation("createChatbot")
def create_chatbot(call: Call) -> Any:
    agent = create_agent(call.world, call.body["chatbotName"], call.key.workspace)
    return _write_text(call, agent)


@operation("updateChatbotData")
def update_chatbot_data(call: Call) -> Any:
    """Rename a chatbot, and replace all its sources by one text."""
    agent = call.find_agent(call.body["chatbotId"])
    agent.fields["name"] = call.body["chatbotName"]
    return _write_text(call, agent)


@operation("updateChatbotSettings")
def update_chatbot_settings(call: Call) -> Any:
    body = call.body
    agent = call.find_agent(body["chatbotId"])
    agent.fields.update({name: body[name] for name in _SAME_IN_V2 if name in body})
    if "suggestedMessages" in body:
        agent.fields["suggestedMessages"] = [
            {"text": text, "type": "single", "order": order}
            for order, text in enumerate(body["suggestedMessages"])
        ]
    if "domains" in body:
        agent.fields["allowedDomains"] = body["domains"]
    limits = {there: body[here] for here, there in _IP_LIMITS.items() if here in body}
    agent.fields["ipRateLimits"] = {**agent.fields["ipRateLimits"], **limits}
    agent.updated_at = call.now
    return ServedReply(202, {"message": "Chatbot settings saved"})


@operation("deleteChatbot")
def delete_chatbot(call: Call) -> Any:
    del call.world.store.agents[call.find_agent(call.query["chatbotId"]).id]
    return {"message": "Chatbot deleted"}


def _write_text(call: Call, agent: Agent) -> dict[str, Any]:
    agent.updated_at = call.now
    if "sourceText" in call.body:
        replaced, agent.sources = agent.sources, {}
        try:
            add_source(call.world, agent, "text", "sourceText", call.body["sourceText"])
        except ApiError as error:
            agent.sources = replaced
            raise ApiError(403, error.code, error.message) from error
    return {"chatbotId": agent.id}


def _chatbot_view(call: Call, agent: Agent) -> dict[str, Any]:
    status = agent_status(agent.sources.values(), call.now, call.world.settings.status_lag)
    view = {
        "id": agent.id,
        "name": agent.name,
        "status": _STATUSES[status],
        "model": agent.fields["model"],
        "instructions": agent.fields["instructions"],
        "visibility": agent.fields["visibility"],
        "created_at": iso(agent.created_at),
        "updated_at": iso(agent.updated_at),
    }
    if call.world.settings.unknown_fields:
        view["initial_messages"] = agent.fields["initialMessages"]
    return view


@operation("getConversations")
def list_conversations(call: Call) -> Any:
    agent = call.find_agent(call.query["chatbotId"])
    window = call.window()
    page, size = _number(call, "page", 1), _number(call, "size", 10, 100)
    sources = call.list_of("filteredSources")
    disturb(call.world, agent)
    index = agent.conversations
    low, high = index.by_creation.span(*window)
    if sources is None:
        positions = index.by_creation.newest_first(low, high - (page - 1) * size)
    else:
        newest = index.by_creation.newest_first(low, high)
        matching = (each for each in newest if index.by_id[each[1]].source in sources)
        positions = islice(matching, (page - 1) * size, None)
    shown = [_conversation_view(call, agent, index.by_id[each]) for _, each in islice(positions, size)]
    return {"data": shown}


@operation("getLeads")
def list_leads(call: Call) -> Any:
    agent = call.find_agent(call.query["chatbotId"])
    start, end = call.window()
    page, size = _number(call, "page", 1), _number(call, "size", 10)
    found = [
        lead
        for lead in agent.leads
        if (start is None or _epoch(lead) >= start) and (end is None or _epoch(lead) <= end)
    ]
    shown = found[(page - 1) * size : page * size]
    shape = call.world.settings.leads_shape
    if shape == "collectedCustomers.data":
        return {"collectedCustomers": {"data": shown}}
    return {shape: shown}


def _epoch(lead: dict[str, Any]) -> float:
    return datetime.fromisoformat(lead["created_at"]).timestamp()


def _conversation_view(call: Call, agent: Agent, conversation: Conversation) -> dict[str, Any]:
    source = conversation.source
    if call.world.settings.v1_source_style == "lower":
        source = _LOWER_CASE.get(source or "", (source or "unspecified").lower())
    view = {
        "id": conversation.id,
        "chatbot_id": agent.id,
        "created_at": iso(conversation.created_at),
        "updated_at": iso(conversation.updated_at),
        "source": source,
        "messages": [
            {
                "id": message.id,
                "role": "user" if message.role == ROLE_USER else "assistant",
                "content": message.text,
                "type": "text",
            }
            for message in conversation.messages
        ],
    }
    if call.world.settings.unknown_fields:
        view["customer"] = conversation.user_id or ""
    return view


@operation("listContacts")
def list_contacts(call: Call) -> Any:
    contacts = call.find_agent(call.params["chatbotId"]).contacts
    page, size = call.query.get("page", 1), call.query.get("per_page", 100)
    pages = {"page": page, "per_page": size, "total_pages": -(-len(contacts) // size)}
    shown = _success(contacts[(page - 1) * size : page * size])
    return {**shown, "total": len(contacts), "pages": pages}


@operation("createContacts")
def create_contacts(call: Call) -> Any:
    """Create contacts, all or none of them."""
    agent, now = call.find_agent(call.params["chatbotId"]), int(call.now)
    made: list[dict[str, Any]] = []
    for user in call.body["users"]:
        _check_contact(agent, user, None, made)
        kept = {"stripe_accounts": [], "custom_attributes": {}, **_known(agent, user)}
        made.append({"id": call.world.store.new_id(), **kept, "created_at": now, "updated_at": now})
    agent.contacts.extend(made)
    return _success(made)


@operation("updateContact")
def update_contact(call: Call) -> Any:
    if not isinstance(call.body.get("data"), dict):
        raise _bad_request("Invalid data: Required")
    agent, contact = _contact(call)
    _check_contact(agent, call.body["data"], contact, [])
    changes = _known(agent, call.body["data"])
    attributes = {**contact["custom_attributes"], **changes.get("custom_attributes", {})}
    contact.update(changes, custom_attributes=attributes, updated_at=int(call.now))
    return _success(contact)


@operation("deleteContact")
def delete_contact(call: Call) -> Any:
    agent, contact = _contact(call)
    agent.contacts.remove(contact)
    return _success(contact)


@operation("createCustomAttribute")
def create_attribute(call: Call) -> Any:
    agent = call.find_agent(call.params["chatbotId"])
    if any(each["name"] == call.body["name"] for each in agent.attributes):
        raise _bad_request("An attribute of this name exists")
    made = {"label": call.body["name"], "description": "", "archived": False}
    agent.attributes.append({**made, **{name: call.body[name] for name in _ATTRIBUTE if name in call.body}})
    return _success(agent.attributes[-1])


@operation("updateCustomAttribute")
def update_attribute(call: Call) -> Any:
    """Change an attribute; neither its name nor its type can be, and it can only be archived."""
    for attribute in call.find_agent(call.params["chatbotId"]).attributes:
        if attribute["name"] == call.params["name"]:
            attribute.update({name: call.body[name] for name in _ATTRIBUTE[2:] if name in call.body})
            return _success(attribute)
    raise ApiError(404, "RESOURCE_NOT_FOUND", "Attribute not found")


@operation("uploadChatbotIcon")
@operation("uploadChatbotProfilePicture")
@operation("deleteChatbotIcon")
@operation("deleteChatbotProfilePicture")
def accept_image(call: Call) -> Any:
    """Accept an image, or that it is to go; nobody can read one."""
    call.find_agent(call.texts.get("chatbotId") or call.query["chatbotId"])
    return {"message": "Saved"}


def _contact(call: Call) -> tuple[Agent, dict[str, Any]]:
    """Return the contact of the path, which is named by either of its ids, and its chatbot."""
    agent, wanted = call.find_agent(call.params["chatbotId"]), call.params["contactId"]
    for contact in agent.contacts:
        if wanted in {contact.get("external_id"), contact["id"]}:
            return agent, contact
    raise ApiError(404, "RESOURCE_NOT_FOUND", "Contact not found")


def _known(agent: Agent, given: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a contact: other fields and unknown attributes are dropped silently."""
    kept = {name: given[name] for name in _CONTACT if name in given}
    if "custom_attributes" in kept:
        names = {attribute["name"] for attribute in agent.attributes}
        kept["custom_attributes"] = {
            name: value for name, value in kept["custom_attributes"].items() if name in names
        }
    return kept


def _check_contact(
    agent: Agent, given: dict[str, Any], itself: dict[str, Any] | None, others: list[dict[str, Any]]
) -> None:
    for attribute in agent.attributes:
        value = given.get("custom_attributes", {}).get(attribute["name"])
        if value is not None and attribute["archived"]:
            raise _bad_request(f"Attribute {attribute['name']} is archived")
        if value is not None and not isinstance(value, _VALUES[attribute["type"]]):
            raise _bad_request(f"Attribute {attribute['name']} must be a {attribute['type']}")
    taken = [each.get("email") for each in (*agent.contacts, *others) if each is not itself]
    if given.get("email") is not None and given["email"] in taken:
        raise ApiError(409, "RESOURCE_CONFLICT", "Email already exists")


def _success(data: Any) -> dict[str, Any]:
    return {"message": "Success", "data": data}


operation("getContact")(lambda call: _success(_contact(call)[1]))
operation("listCustomAttributes")(lambda call: _success(call.find_agent(call.params["chatbotId"]).attributes))


def _bad_request(message: str) -> ApiError:
    return ApiError(400, "VALIDATION_INVALID_BODY", message)


def _number(call: Call, name: str, default: int, highest: int | None = None) -> int:
    """Return a query parameter that the description has as a text of digits."""
    text = call.query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < 1 or (highest is not None and int(text) > highest):
        limits = "at least 1" if highest is None else f"between 1 and {highest}"
        raise _bad_request(f"{name} must be a number, {limits}")
    return int(text)
