"""The hook's calls on agents: their settings, actions and procedures, and what they did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

from airflow_provider_chatbase.client.request import JsonObject, timestamp
from airflow_provider_chatbase.client.v2 import actions, agents
from airflow_provider_chatbase.hooks.connection import ConnectedHook


class AgentCalls(ConnectedHook):
    """Agents, their settings, actions and procedures, and what they did."""

    def list_agents(self) -> list[JsonObject]:
        """Return all agents of the workspace: ``listAgents``; on v1 ``getChatbots``."""
        return list(self.client.items(self.client.api.list_agents()))

    def get_agent(self, agent_id: str | None = None) -> JsonObject:
        """Return an agent with its settings and training status: ``getAgent``; on v1 ``getChatbots``."""
        return self._send(self.client.api.get_agent, agent_id)

    def create_agent(self, name: str, settings: dict[str, Any] | None = None) -> JsonObject:
        """
        Create an agent: ``createAgent``; on v1 ``createChatbot``. Not repeated after an ambiguous failure.

        :param name: its name, at most 100 characters.
        :param settings: ``url``, ``instructions``, ``model``, ``temp``, ``visibility``; API v1 sets
            nothing here, and :meth:`update_agent` does afterwards.
        :return: ``{"id", "pendingSteps"?}``.
        """
        api = self.client.api
        if api.has_sources:
            return self.client.send(agents.create_agent({**(settings or {}), "name": name}))
        if settings:
            raise api.unsupported("create an agent with settings", "Create it, then call update_agent.")
        return self.client.send(api.create_agent(name, {}))

    def update_agent(self, settings: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Change some of an agent's settings: ``updateAgent``; on v1 ``updateChatbotSettings``.

        :param settings: the API's names; what is left out stays, ``None`` resets a nullable setting.
            ``styles`` and ``autoRetrain`` go to their own operations.
        :return: ``{"success": true}``; on v1 ``{"message"}``.
        """
        requests = self.client.api.update_agent(self.agent_or_default(agent_id), settings)
        replies = [self.client.send(request) for request in requests]
        return replies[-1] if replies else {"success": True}

    def clone_agent(self, agent_id: str | None = None) -> JsonObject:
        """
        Copy an agent with its sources: ``cloneAgent``. It is not repeated after an ambiguous failure.

        :param agent_id: the agent to copy; by default the connection's.
        :return: ``{"id", "pendingSteps"?}`` of the copy.
        """
        return self._send(agents.clone_agent, agent_id)

    def delete_agent(self, agent_id: str) -> JsonObject:
        """
        Delete an agent, for good: ``deleteAgent``; on v1 ``deleteChatbot``.

        :param agent_id: the agent; it must be named.
        :return: ``{"success": true}``; on v1 ``{"message"}``.
        """
        return self.client.send(self.client.api.delete_agent(agent_id))

    def update_agent_styles(self, styles: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Change how an agent's chat looks: ``updateAgentStyles``.

        :param styles: ``chat`` and ``centerStage``, each with the styles to change.
        :return: ``{"success": true}``.
        """
        return self._send(agents.update_styles, agent_id, styles)

    def set_auto_retrain(self, enabled: bool, agent_id: str | None = None) -> JsonObject:
        """
        Let an agent refresh its sources every 7 days, or not: ``updateAgentAutoRetrain``.

        :param enabled: whether it does.
        :return: ``{"success": true}``.
        """
        return self._send(agents.update_auto_retrain, agent_id, enabled)

    def replace_text(self, text: str, agent_id: str | None = None, name: str | None = None) -> None:
        """
        Replace all that an agent knows by one text: ``updateChatbotData``, of API v1 alone. It trains anew.

        :param text: the text.
        :param name: a new name for the agent; by default it keeps its own.
        """
        self.client.run(self.client.api.replace_text(self.agent_or_default(agent_id), text, name))

    def get_analytics(
        self,
        agent_id: str | None = None,
        start: datetime | date | None = None,
        end: datetime | date | None = None,
        time_zone: str | None = None,
        filters: dict[str, str] | None = None,
    ) -> JsonObject:
        """
        Count what an agent did over a range, cut into 7 equal buckets: ``getAgentAnalytics``.

        Conversations count where their last activity lies, and the range must begin after the 1st of the
        month twelve months back. No document shows the names in the reply: it is handed on as it came.

        :param start: where the range begins.
        :param end: where it ends.
        :param time_zone: for the counts by hour of day, such as ``Europe/Berlin``.
        :param filters: more parameters of the API, by its names.
        """
        query = {
            "startDate": _moment("start", start),
            "endDate": _moment("end", end),
            "timeZone": time_zone,
            **(filters or {}),
        }
        return self._send(agents.get_analytics, agent_id, query)

    def list_actions(self, agent_id: str | None = None) -> Iterator[JsonObject]:
        """
        Walk over an agent's actions by name, without their configuration: ``listActions``.

        :return: an iterator that fetches page after page.
        """
        return self._items(actions.list_actions, agent_id)

    def get_action(self, action_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Return an action: when it is used, its fields and its channels: ``getAction``. It is no backup.

        :param action_id: the action.
        """
        return self._send(actions.get_action, agent_id, action_id)

    def update_action(
        self, action_id: str, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change an action of the live agent: ``updateAction``. Publishing an older draft undoes it.

        :param action_id: the action.
        :param changes: ``name``, ``status``, ``whenToUse``, ``procedureOnly``, ``channels``, ``fields``;
            what is left out stays, ``fields`` replaces the whole list.
        :return: what the API answers; read the action again to be sure.
        """
        return self._send(actions.update_action, agent_id, action_id, changes)

    def delete_action(self, action_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Delete an action, for good: ``deleteAction``. Refused while a procedure mentions it.

        :param action_id: the action.
        """
        return self._send(actions.delete_action, agent_id, action_id)

    def list_procedures(self, agent_id: str | None = None) -> Iterator[JsonObject]:
        """
        Walk over an agent's procedures, newest first, without their steps: ``listProcedures``.

        :return: an iterator that fetches page after page.
        """
        return self._items(actions.list_procedures, agent_id)

    def get_procedure(self, procedure_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Return a procedure with its steps: ``getProcedure``.

        :param procedure_id: the procedure.
        """
        return self._send(actions.get_procedure, agent_id, procedure_id)

    def create_procedure(self, procedure: dict[str, Any], agent_id: str | None = None) -> JsonObject:
        """
        Create a procedure on the live agent, disabled: ``createProcedure``. Not repeated when that is unsure.

        :param procedure: ``name``, ``trigger`` and ``steps``, such as
            ``[{"kind": "instruction", "text": "Use @refund_payment."}]``.
        :return: the procedure.
        """
        return self._send(actions.create_procedure, agent_id, procedure)

    def update_procedure(
        self, procedure_id: str, changes: dict[str, Any], agent_id: str | None = None
    ) -> JsonObject:
        """
        Change a procedure of the live agent: ``updateProcedure``. Publishing an older draft undoes it.

        :param procedure_id: the procedure.
        :param changes: ``name``, ``trigger``, ``steps``, ``status``; what is left out stays, ``steps``
            replaces them all. It can be enabled when each action that it mentions is.
        :return: the procedure.
        """
        return self._send(actions.update_procedure, agent_id, procedure_id, changes)

    def delete_procedure(self, procedure_id: str, agent_id: str | None = None) -> JsonObject:
        """
        Delete a procedure and the history of its runs, for good: ``deleteProcedure``.

        :param procedure_id: the procedure.
        """
        return self._send(actions.delete_procedure, agent_id, procedure_id)


def _moment(name: str, at: datetime | date | None) -> str | None:
    return timestamp(name, at) if at is None or isinstance(at, datetime) else at.isoformat()
