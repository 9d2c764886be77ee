"""The plugin. Every process of Airflow imports it, so it imports nothing that only the API server needs."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import conf


class ChatbaseWebhookPlugin(AirflowPlugin):
    """Receives Chatbase's webhook at ``/chatbase/webhook`` of the API server, once a secret is configured."""

    name = "chatbase_webhook"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The receiver; without a secret there is none."""
        configured = conf.get("chatbase", "webhook_secret", fallback="") or ""
        secrets = [each.strip() for each in configured.split(",") if each.strip()]
        if not secrets:
            return []
        from airflow_provider_chatbase.webhook.receiver import make_app

        window = conf.getfloat("chatbase", "webhook_replay_window", fallback=86_400.0)
        keeps_data = conf.getboolean("chatbase", "webhook_keeps_data", fallback=True)
        app = make_app(secrets, window, keeps_data=keeps_data)
        return [{"app": app, "url_prefix": "/chatbase", "name": "Chatbase webhook"}]
