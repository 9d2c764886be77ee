"""The hook's calls on what people answer: tickets of the help desk, templates of WhatsApp."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from airflow_provider_chatbase.client.request import JsonObject
from airflow_provider_chatbase.client.v2 import tickets, whatsapp
from airflow_provider_chatbase.hooks.connection import ConnectedHook


class HelpdeskCalls(ConnectedHook):
    """Tickets of the help desk, and templates of WhatsApp."""

    def list_tickets(
        self,
        agent_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        filters: dict[str, str] | None = None,
    ) -> Iterator[JsonObject]:
        """
        Walk over the tickets of an agent's help desk, the last changed first: ``listTickets``.

        :param created_after: only those created at or after this time.
        :param created_before: only those created at or before this time.
        :param filters: more parameters of the API, by its names, such as ``{"status": "new,on_you"}``,
            ``{"priority": "high,urgent"}`` or ``{"sortBy": "createdAt", "order": "asc"}``.
        :return: an iterator that fetches page after page.
        """
        return self._items(
            tickets.list_tickets,
            agent_id,
            created_after=created_after,
            created_before=created_before,
            filters=filters,
        )

    def search_tickets(
        self, query: str, agent_id: str | None = None, limit: int = tickets.MOST_FOUND
    ) -> list[JsonObject]:
        """
        Return tickets whose messages match, the best first: ``searchTickets``.

        :param query: words.
        :param limit: how many at most, up to 50; the API has no further page.
        """
        return list(self._items(tickets.search_tickets, agent_id, query, limit=limit))

    def get_ticket(self, ticket_number: int, agent_id: str | None = None) -> JsonObject:
        """
        Return a ticket with its description: ``getTicket``.

        :param ticket_number: its number, which is the agent's own.
        """
        return self._send(tickets.get_ticket, agent_id, ticket_number)

    def list_ticket_messages(
        self, ticket_number: int, agent_id: str | None = None, types: list[str] | None = None
    ) -> Iterator[JsonObject]:
        """
        Walk over a ticket's messages, oldest first: ``listTicketMessages``.

        Whoever has the ``url`` of an attachment can open it: do not log it.

        :param ticket_number: the ticket.
        :param types: ``reply``, ``note``, ``event``; by default replies and notes.
        :return: an iterator that fetches page after page.
        """
        return self._items(tickets.list_ticket_messages, agent_id, ticket_number, types=types or ())

    def create_ticket(
        self,
        subject: str,
        description: str,
        customer: dict[str, str],
        agent_id: str | None = None,
        settings: dict[str, Any] | None = None,
        unless_made_since: datetime | None = None,
    ) -> JsonObject:
        """
        Create a ticket for a customer, once: ``createTicket``.

        After a lost reply an equal ticket (same customer, subject and description), newer than the newest
        before, is looked for, and it is sent again only when there is none.

        :param subject: at most 500 characters.
        :param description: at most 10,000 characters; the customer's first message.
        :param customer: ``email``, and ``name`` for a new one.
        :param settings: ``statusId`` or ``statusCategory``, ``assigneeId`` (``None``: nobody) or
            ``assigneeEmail``, ``teamId``, ``priority``.
        :param unless_made_since: look first for an equal ticket made since this time, such as the DAG run's
            start, so that a retried task makes no second one.
        :return: the ticket.
        """
        ticket = {**(settings or {}), "subject": subject, "description": description, "customer": customer}
        agent = self.agent_or_default(agent_id)
        return self.client.run(tickets.create_ticket(agent, ticket, unless_made_since=unless_made_since))

    def update_ticket(
        self, ticket_number: int, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change a ticket's status, assignee, team or priority: ``updateTicket``.

        :param ticket_number: the ticket.
        :param changes: ``statusId`` or ``statusCategory`` (``new``, ``on_you``, ``on_customer``, ``on_hold``,
            ``closed``, ``cancelled``), ``assigneeId`` (``None``: nobody) or ``assigneeEmail``, ``teamId``,
            ``priority``.
        :return: the ticket.
        """
        return self._send(tickets.update_ticket, agent_id, ticket_number, changes)

    def reply_to_ticket(
        self,
        ticket_number: int,
        content: str,
        author_id: str | None = None,
        author_email: str | None = None,
        agent_id: str | None = None,
        unless_made_since: datetime | None = None,
    ) -> JsonObject:
        """
        Reply to a ticket's customer, once: ``createTicketMessage``.

        After a lost reply of the API an equal message of the same author, newer than the newest before, is
        looked for, and it is sent again only when there is none. A human has to take the ticket's
        conversation over first.

        :param ticket_number: the ticket.
        :param content: Markdown of at most 10,000 characters.
        :param author_id: the team member who replies; or
        :param author_email: their address.
        :param unless_made_since: look first for an equal message made since this time, such as the DAG run's
            start, so that a retried task sends no second one.
        :return: the message, recorded and on its way.
        """
        given = {"authorId": author_id, "authorEmail": author_email}
        author = {by: who for by, who in given.items() if who}
        agent = self.agent_or_default(agent_id)
        return self.client.run(
            tickets.reply_to_ticket(
                agent, ticket_number, content, author, unless_made_since=unless_made_since
            )
        )

    def list_ticket_statuses(self, agent_id: str | None = None) -> list[JsonObject]:
        """Return the statuses that an agent's tickets can have: ``listTicketStatuses``."""
        return list(self._items(tickets.list_ticket_statuses, agent_id))

    def list_teams(self, agent_id: str | None = None) -> list[JsonObject]:
        """Return the teams of an agent's help desk: ``listHelpdeskTeams``."""
        return list(self._items(tickets.list_teams, agent_id))

    def list_whatsapp_templates(self, agent_id: str | None = None) -> JsonObject:
        """
        Return the approved templates, and the numbers to send from: ``listWhatsAppTemplates``.

        :return: ``templates``, ``senders``, and ``complete``, which is false where some could not be read.
        """
        return self._send(whatsapp.list_templates, agent_id)

    def send_whatsapp_template(
        self,
        to: str,
        template: str,
        variables: Mapping[str, Mapping[str, str]] | None = None,
        language: str | None = None,
        sender: str | None = None,
        agent_id: str | None = None,
    ) -> JsonObject:
        """
        Send a template to a customer: ``sendWhatsAppTemplateMessage``.

        It is not repeated when it is unsure whether it was sent: there is no way to look.

        :param to: the international number.
        :param template: the template's name.
        :param variables: ``header`` and ``body``, each with a value for each of the template's keys.
        :param language: where the template has several.
        :param sender: the number to send from, where the agent has several.
        :return: ``{"messageId", "conversationId", "to"}``.
        """
        return self._send(
            whatsapp.send_template,
            agent_id,
            to,
            template,
            variables=variables,
            language=language,
            sender=sender,
        )
