"""The hook's calls on leads and contacts, which only API v1 has; they work on any connection."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.paging import NumberedWalk
from airflow_provider_chatbase.hooks.base import ConnectedHook, JsonObject


class LeadCalls(ConnectedHook):
    """Read leads and contacts."""

    def get_leads(
        self, agent_id: str | None = None, first_day: date | None = None, last_day: date | None = None
    ) -> Iterator[JsonObject]:
        """
        Walk over the leads that an agent collected: ``getLeads``.

        :param agent_id: the agent; by default the connection's.
        :param first_day: only those of this day (UTC) or later.
        :param last_day: only those of this day or earlier.
        :return: an iterator that fetches page after page.
        """
        agent = self.agent_or_default(agent_id)
        walk = NumberedWalk(
            lambda number: v1.get_leads(agent, first_day=first_day, last_day=last_day, page=number)
        )
        for page in self.client.follow(walk):
            yield from page.items

    def list_contacts(self, agent_id: str | None = None) -> Iterator[JsonObject]:
        """
        Walk over an agent's contacts: ``listContacts``.

        :param agent_id: the agent; by default the connection's.
        :return: an iterator that fetches page after page.
        """
        agent = self.agent_or_default(agent_id)
        for page in self.client.follow(NumberedWalk(lambda number: v1.list_contacts(agent, page=number))):
            yield from page.items
