"""The one text of an agent on API v1."""

from __future__ import annotations

from airflow_provider_chatbase.client.errors import ChatbaseUnsupportedError
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject
from airflow_provider_chatbase.client.steps import Steps
from airflow_provider_chatbase.client.v1 import chatbots


def replace_text(agent_id: str, text: str, name: str | None, api_version: ApiVersion) -> Steps[JsonObject]:
    """
    Replace all that an agent knows by one text, as steps of a client: ``updateChatbotData``.

    :param agent_id: the agent.
    :param text: the text.
    :param name: the agent's name, which v1 wants each time; by default it keeps its own.
    :param api_version: the API version that the connection speaks.
    :return: ``agent_id``.
    :raises ChatbaseUnsupportedError: on v2, where a text is a source among others.
    """
    if api_version == "v2":
        raise ChatbaseUnsupportedError(
            "source_text is a way of API v1. On v2 give the agent its texts with "
            "ChatbaseSyncSourcesOperator. Nothing was sent."
        )
    agent = chatbots.find_chatbot((yield chatbots.list_chatbots()), agent_id)
    yield chatbots.update_chatbot_data(agent_id, name or str(agent.get("name")), text)
    return {"agent_id": agent_id}
