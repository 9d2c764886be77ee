"""The hook: an Airflow connection becomes a client; plain JSON in and out."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.client import ChatbaseClient, RetryPolicy
from airflow_provider_chatbase.client.errors import ChatbaseError
from airflow_provider_chatbase.connection_form import EXTRA_FIELDS, HIDDEN_FIELDS, PLACEHOLDERS, RELABELING
from airflow_provider_chatbase.hooks.agents import AgentCalls
from airflow_provider_chatbase.hooks.connection_test import try_connection
from airflow_provider_chatbase.hooks.conversations import ConversationCalls
from airflow_provider_chatbase.hooks.leads import LeadCalls
from airflow_provider_chatbase.hooks.messages import MessageCalls
from airflow_provider_chatbase.hooks.sources import SourceCalls


class ChatbaseHook(AgentCalls, MessageCalls, SourceCalls, ConversationCalls, LeadCalls):
    """
    Speaks to Chatbase with the key and the settings of an Airflow connection.

    The connection is read once and its HTTP connections are shared by all calls of a hook; use it as a
    context manager, or call :meth:`close`, to close them. Every call may raise one of the tree in
    :mod:`airflow_provider_chatbase.client.errors`.

    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    def test_connection(self) -> tuple[bool, str]:
        """
        Try the connection with a call that needs the key and costs nothing: ``listAgents``.

        :return: whether it works, and what to tell the user.
        """
        try:
            connection = self.connection
            with ChatbaseClient(connection.settings, RetryPolicy(max_attempts=2, deadline=20.0)) as client:
                return True, try_connection(client, connection.agent_id)
        except ChatbaseError as error:
            return False, str(error)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the form's standard fields, for Airflow before 3.2."""
        return {
            "hidden_fields": HIDDEN_FIELDS,
            "relabeling": RELABELING,
            "placeholders": PLACEHOLDERS,
        }

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's extra fields, for Airflow before 3.2; needs ``wtforms`` there."""
        from airflow_provider_chatbase.hooks.connection_widgets import widgets

        return widgets(EXTRA_FIELDS)
