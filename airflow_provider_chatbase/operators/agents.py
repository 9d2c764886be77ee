"""Changing agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.operators.base import ChatbaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class ChatbaseUpdateAgentOperator(ChatbaseOperator):
    """
    Changes some of an agent's settings and returns what changed: ``updateAgent``.

    Only settings that differ are sent, so a second run sends nothing. The agent is read again
    afterwards: what is returned is what Chatbase shows, not what was asked for.

    Returns plain JSON: ``agent_id``, ``changed`` (``{name: {"from", "to"}}``), ``unchanged`` (names that
    had the wanted value before), ``not_applied`` (names that Chatbase accepted and does not show).

    :param settings: the API's setting names (``instructions``, ``model``, ``temp``, ``creditLimit``, …).
        What is left out stays; ``None`` resets or switches off where the API says nullable.
    :param agent_id: the agent; by default the connection's.
    :param chatbase_conn_id: the Airflow connection, of type ``chatbase``.
    """

    template_fields: Sequence[str] = (*ChatbaseOperator.template_fields, "settings")
    template_fields_renderers = {"settings": "json"}  # noqa: RUF012

    def __init__(self, *, settings: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.settings = settings

    def execute(self, context: Context) -> dict[str, Any]:
        """
        Change the settings.

        :param context: the task's context.
        :return: what changed.
        """
        from airflow_provider_chatbase.client.v2.agents import checked_settings
        from airflow_provider_chatbase.settings_diff import changes, differing

        with self.hook() as hook:
            wanted = checked_settings(self.settings)
            agent_id = hook.agent_or_default(self.agent_id)
            before = after = hook.get_agent(agent_id)
            sent = differing(wanted, before)
            if sent:
                hook.update_agent(sent, agent_id)
                after = hook.get_agent(agent_id)
        result = {
            "agent_id": agent_id,
            "changed": changes(list(sent), before, after),
            "unchanged": sorted(set(wanted) - set(sent)),
            "not_applied": sorted(
                name for name, value in differing(sent, after).items() if value is not None
            ),
        }
        self._report(result)
        return result

    def _report(self, result: dict[str, Any]) -> None:
        self.log.info(
            "Agent %s: changed %s; already as wanted: %s.",
            result["agent_id"],
            ", ".join(result["changed"]) or "nothing",
            ", ".join(result["unchanged"]) or "nothing",
        )
        if result["not_applied"]:
            self.log.warning(
                "Chatbase accepted these settings and does not show the wanted value: %s.",
                ", ".join(result["not_applied"]),
            )
