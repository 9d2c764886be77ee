"""The hook's calls on leads and contacts, which only API v1 has; the same key works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.hooks.connection import ConnectedHook


class ContactCalls(ConnectedHook):
    """Leads, contacts and the attributes that contacts can have."""

    def get_leads(
        self, agent_id: str | None = None, first_day: date | None = None, last_day: date | None = None
    ) -> Iterator[JsonObject]:
        """
        Walk over the leads that an agent collected: ``getLeads``.

        :param first_day: only those of this day (UTC) or later.
        :param last_day: only those of this day or earlier.
        :return: an iterator that fetches page after page.
        """
        return self._items(v1.get_leads, agent_id, first_day=first_day, last_day=last_day)

    def list_contacts(self, agent_id: str | None = None) -> Iterator[JsonObject]:
        """
        Walk over an agent's contacts: ``listContacts``.

        :return: an iterator that fetches page after page.
        """
        return self._items(v1.list_contacts, agent_id)

    def get_contact(self, contact_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Return a contact: ``getContact``.

        :param contact_id: its ``id`` or its ``external_id``.
        """
        return self._send(v1.get_contact, agent_id, contact_id)

    def create_contacts(
        self, contacts: Sequence[dict[str, Any]], agent_id: str | None = None
    ) -> list[JsonObject]:
        """
        Create contacts, up to 1,000 at once: ``createContacts``. Not repeated when that is unsure.

        The API drops other fields, and attributes that it does not know, without a word.

        :param contacts: each with ``external_id``, ``name``, ``email``, ``phonenumber``, ``stripe_accounts``,
            ``custom_attributes``.
        :return: the contacts.
        """
        return self._send(v1.create_contacts, agent_id, contacts)

    def update_contact(
        self, contact_id: str, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change a contact: ``updateContact``.

        :param contact_id: its ``id`` or its ``external_id``.
        :param changes: the fields to change, as for :meth:`create_contacts`.
        :return: the contact.
        """
        return self._send(v1.update_contact, agent_id, contact_id, changes)

    def delete_contact(self, contact_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Delete a contact, for good: ``deleteContact``.

        :param contact_id: its ``id`` or its ``external_id``.
        """
        return self._send(v1.delete_contact, agent_id, contact_id)

    def list_custom_attributes(self, agent_id: str | None = None) -> list[JsonObject]:
        """Return the attributes that contacts can have, also archived ones: ``listCustomAttributes``."""
        return list(self._items(v1.list_custom_attributes, agent_id))

    def create_custom_attribute(
        self,
        name: str,
        kind: str,
        label: str | None = None,
        description: str | None = None,
        agent_id: str | None = None,
    ) -> JsonObject:
        """
        Give contacts an attribute: ``createCustomAttribute``. It can be archived, and never deleted.

        :param name: lower-case letters, digits and underscores, beginning with a letter.
        :param kind: ``text``, ``number``, ``boolean`` or ``date``; it cannot be changed.
        :param label: what the dashboard shows; by default the name.
        :param description: what it is for.
        :return: the attribute.
        """
        more = {"label": label or name, **({"description": description} if description else {})}
        return self._send(v1.create_custom_attribute, agent_id, name, kind, more)

    def update_custom_attribute(
        self, name: str, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change an attribute: ``updateCustomAttribute``.

        :param name: the attribute.
        :param changes: ``label``, ``description``, ``archived``.
        :return: the attribute.
        """
        return self._send(v1.update_custom_attribute, agent_id, name, changes)
