"""What the Test button of a connection does."""

from __future__ import annotations

from airflow_provider_chatbase.client import ChatbaseClient
from airflow_provider_chatbase.client.v2 import agents


def try_connection(client: ChatbaseClient, agent_id: str | None) -> str:
    """
    Make an authenticated call that costs nothing, and look for the default agent.

    :param client: the client to try.
    :param agent_id: the connection's default agent, if it has one.
    :return: what works.
    :raises ChatbaseError: when something does not; its message tells the user what and why.
    """
    page = client.send(agents.list_agents(limit=1))
    count = f"{page.total} agents" if page.total is not None else "at least one agent" * bool(page.items)
    found = f"Connected to {client.settings.host}: the API key sees {count or 'no agents'}."
    if agent_id is None:
        return found
    name = client.send(agents.get_agent(agent_id)).get("name")
    return f"{found} The default agent is {name!r}."
