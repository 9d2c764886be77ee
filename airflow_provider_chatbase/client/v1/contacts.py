"""Contacts: only API v1 has them, and its operation works with a key of any version."""

from __future__ import annotations

from airflow_provider_chatbase.client.request import Json, Request, segment
from airflow_provider_chatbase.client.shapes import Page, bare_object, listed

CONTACTS_PAGE = 1000


def list_contacts(agent_id: str, *, page: int = 1, size: int = CONTACTS_PAGE) -> Request[Page]:
    """
    List an agent's contacts: ``listContacts``.

    :param agent_id: the agent.
    :param page: which page, from 1.
    :param size: contacts a page, 10 to 1,000.
    :return: a request for the page, which has the total.
    :raises ChatbaseInputError: when the id is empty.
    """
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
