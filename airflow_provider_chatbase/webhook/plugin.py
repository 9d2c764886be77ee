"""The plugin. Every process of Airflow imports it, so it imports nothing that only the API server needs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class ChatbaseWebhookPlugin(AirflowPlugin):
    """Receives Chatbase's webhook at ``/chatbase/webhook`` of the API server, once a secret is configured."""

    name = "chatbase_webhook"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The receiver; without a secret there is none."""
        from airflow_provider_chatbase.webhook.settings import WebhookSettings

        settings = WebhookSettings.read()
        if not settings.secrets:
            return []
        from airflow_provider_chatbase.webhook.receiver import make_app

        return [{"app": make_app(settings), "url_prefix": "/chatbase", "name": "Chatbase webhook"}]
