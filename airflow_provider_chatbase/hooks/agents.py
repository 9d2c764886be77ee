"""The hook's calls on agents."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.v2 import agents
from airflow_provider_chatbase.hooks.base import ConnectedHook, JsonObject


class AgentCalls(ConnectedHook):
    """List, get, create, update, clone and delete agents."""

    def list_agents(self) -> list[JsonObject]:
        """Return all agents of the workspace: ``listAgents``; on v1 ``getChatbots``."""
        if self.connection.settings.api_version == "v1":
            return self.client.send(v1.list_chatbots())
        return list(self.client.items(agents.list_agents()))

    def get_agent(self, agent_id: str | None = None) -> JsonObject:
        """
        Return an agent with its settings and training status: ``getAgent``; on v1 ``getChatbots``.

        :param agent_id: the agent; by default the connection's.
        """
        if self.connection.settings.api_version == "v1":
            return v1.find_chatbot(self.list_agents(), self.agent_or_default(agent_id))
        return self.client.send(agents.get_agent(self.agent_or_default(agent_id)))

    def create_agent(self, name: str, settings: dict[str, Any] | None = None) -> JsonObject:
        """
        Create an agent: ``createAgent``. It is not repeated after an ambiguous failure.

        :param name: its name, at most 100 characters.
        :param settings: ``url``, ``instructions``, ``model``, ``temp``, ``visibility``.
        :return: ``{"id", "pendingSteps"?}``.
        """
        return self.client.send(agents.create_agent({**(settings or {}), "name": name}))

    def update_agent(self, settings: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Change some of an agent's settings: ``updateAgent``.

        :param settings: the API's names; what is left out stays, ``None`` resets a nullable setting.
        :param agent_id: the agent; by default the connection's.
        :return: ``{"success": true}``.
        """
        return self.client.send(agents.update_agent(self.agent_or_default(agent_id), settings))

    def clone_agent(self, agent_id: str | None = None) -> JsonObject:
        """
        Copy an agent with its sources: ``cloneAgent``. It is not repeated after an ambiguous failure.

        :param agent_id: the agent to copy; by default the connection's.
        :return: ``{"id", "pendingSteps"?}`` of the copy.
        """
        return self.client.send(agents.clone_agent(self.agent_or_default(agent_id)))

    def delete_agent(self, agent_id: str) -> JsonObject:
        """
        Delete an agent, for good: ``deleteAgent``; on v1 ``deleteChatbot``.

        :param agent_id: the agent; it must be named.
        :return: ``{"success": true}``; on v1 ``{"message"}``.
        """
        if self.connection.settings.api_version == "v1":
            return self.client.send(v1.delete_chatbot(agent_id))
        return self.client.send(agents.delete_agent(agent_id))

    def update_agent_styles(self, styles: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Change how an agent's chat looks: ``updateAgentStyles``.

        :param styles: ``chat`` and ``centerStage``, each with the styles to change.
        :param agent_id: the agent; by default the connection's.
        :return: ``{"success": true}``.
        """
        return self.client.send(agents.update_styles(self.agent_or_default(agent_id), styles))

    def set_auto_retrain(self, enabled: bool, agent_id: str | None = None) -> JsonObject:
        """
        Let an agent refresh its sources every 7 days, or not: ``updateAgentAutoRetrain``.

        :param enabled: whether it does.
        :param agent_id: the agent; by default the connection's.
        :return: ``{"success": true}``.
        """
        return self.client.send(agents.update_auto_retrain(self.agent_or_default(agent_id), enabled))
