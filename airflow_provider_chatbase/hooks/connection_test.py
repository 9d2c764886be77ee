"""What the Test button of a connection does."""

from __future__ import annotations

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.errors import ChatbaseNotFoundError
from airflow_provider_chatbase.client.v1 import list_chatbots
from airflow_provider_chatbase.client.v2.agents import get_agent, list_agents


def try_connection(client: ChatbaseClient, agent_id: str | None) -> str:
    """
    Make an authenticated call that costs nothing, and look for the default agent.

    :param client: the client to try.
    :param agent_id: the connection's default agent, if it has one.
    :return: what works.
    :raises ChatbaseError: when something does not; its message tells the user what and why.
    """
    if client.settings.api_version == "v1":
        chatbots = client.send(list_chatbots())
        names = {chatbot.get("id"): chatbot.get("name") for chatbot in chatbots}
        return _report(client, len(chatbots), _default_of(names, agent_id))
    page = client.send(list_agents(limit=1))
    name = client.send(get_agent(agent_id)).get("name") if agent_id else None
    return _report(client, page.total if page.total is not None else len(page.items), name)


def _default_of(names: dict[object, object], agent_id: str | None) -> object:
    if agent_id and agent_id not in names:
        raise ChatbaseNotFoundError(
            f"The API key works, but it sees no agent {agent_id!r}. Check agent_id in the connection's extra."
        )
    return names.get(agent_id)


def _report(client: ChatbaseClient, agents: int, default: object) -> str:
    count = "1 agent" if agents == 1 else f"{agents} agents"
    default_agent = f" The default agent is {default!r}." if default else ""
    version = client.settings.api_version
    return f"Connected to {client.settings.host} (API {version}): the key sees {count}.{default_agent}"
