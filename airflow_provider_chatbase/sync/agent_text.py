"""The one text of an agent on API v1."""

from __future__ import annotations

from airflow_provider_chatbase.client import v1
from airflow_provider_chatbase.client.errors import ChatbaseUnsupportedError
from airflow_provider_chatbase.client.request import ApiVersion, JsonObject, Steps


def replace_text(agent_id: str, text: str, name: str | None, api_version: ApiVersion) -> Steps[JsonObject]:
    """Replace all that an agent knows by one text, as steps of a client: ``updateChatbotData``."""
    if api_version == "v2":
        raise ChatbaseUnsupportedError(
            "source_text is a way of API v1. On v2 give the agent its texts with "
            "ChatbaseSyncSourcesOperator. Nothing was sent."
        )
    agent = v1.find_chatbot((yield v1.list_chatbots()), agent_id)
    yield v1.update_chatbot_data(agent_id, name or str(agent.get("name")), text)
    return {"agent_id": agent_id}
