"""Buttons on a task's page that lead to Chatbase's dashboard."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink

DASHBOARD = "https://www.chatbase.co/dashboard"


class ChatbaseAgentLink(BaseOperatorLink):
    """
    Leads to the agent that a task works with.

    Only the connection knows the workspace's address (``dashboard_url``); without one it leads to the
    dashboard's first page. Airflow asks for it on the worker, so the task's own fields are at hand.
    """

    name = "Chatbase agent"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """
        Return the address.

        :param operator: the task, with its fields rendered.
        :param ti_key: which task instance it is; not needed.
        """
        return _address(operator, "playground")


class ChatbaseConversationLink(BaseOperatorLink):
    """
    Leads to the conversation that a task has begun or goes on with.

    Chatbase tells no address of a single conversation, so it leads to the agent's chat logs, and carries the
    conversation's id as soon as that is known.
    """

    name = "Chatbase conversation"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """
        Return the address.

        :param operator: the task, with its fields rendered.
        :param ti_key: which task instance it is; not needed.
        """
        conversation_id = operator.linked_conversation_id or getattr(operator, "conversation_id", None)
        query = f"?{urlencode({'conversationId': conversation_id})}" if conversation_id else ""
        return _address(operator, "activity/chat-logs", query)


def _address(operator: Any, page: str, query: str = "") -> str:
    from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

    try:
        connection = ChatbaseHook(operator.chatbase_conn_id).connection
    except Exception:  # what is wrong is the task's to tell; a link must not fail it
        operator.log.debug("The link leads to the dashboard's first page", exc_info=True)
        return DASHBOARD
    agent_id = operator.linked_agent_id
    if agent_id is None:
        agent_id = operator.agent_id or connection.agent_id
    workspace = connection.dashboard_url
    if not agent_id or workspace.endswith("/dashboard"):
        return workspace
    return f"{workspace}/chatbot/{quote(str(agent_id), safe='')}/{page}{query}"
