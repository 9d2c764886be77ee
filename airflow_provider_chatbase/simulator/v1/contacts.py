"""Contacts of API v1, read only."""

from __future__ import annotations

from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.v1.access import chatbot, number
from airflow_provider_chatbase.simulator.world import Call

_DEFAULT_SIZE = 100
_MIN_SIZE = 10
_MAX_SIZE = 1000


def list_contacts(call: Call) -> Reply:
    """Answer listContacts."""
    contacts = chatbot(call, call.params["chatbotId"]).contacts
    page = number(call.query, "page", 1, 1, None)
    size = number(call.query, "per_page", _DEFAULT_SIZE, _MIN_SIZE, _MAX_SIZE)
    pages = {"page": page, "per_page": size, "total_pages": -(-len(contacts) // size)}
    shown = contacts[(page - 1) * size : page * size]
    return Reply(payload={"message": "Success", "data": shown, "total": len(contacts), "pages": pages})


def get(call: Call) -> Reply:
    """Answer getContact, by either id."""
    wanted = call.params["contactId"]
    for contact in chatbot(call, call.params["chatbotId"]).contacts:
        if wanted in {contact["external_id"], contact["id"]}:
            return Reply(payload={"message": "Success", "data": contact})
    raise ApiError(404, "RESOURCE_NOT_FOUND", "Contact not found")


def list_attributes(call: Call) -> Reply:
    """Answer listCustomAttributes."""
    attributes = chatbot(call, call.params["chatbotId"]).attributes
    return Reply(payload={"message": "Success", "data": attributes})
