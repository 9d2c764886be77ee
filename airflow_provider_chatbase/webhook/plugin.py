"""The plugin. Every process of Airflow imports it, so it imports nothing that only the API server needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import conf

SECTION = "chatbase"


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """How calls are checked, and what is kept of them."""

    secrets: tuple[str, ...] = field(repr=False)
    replay_window: float
    keeps_data: bool

    @classmethod
    def read(cls) -> Self:
        """Read Airflow's configuration. Without a secret there are none, and the receiver is off."""
        found = conf.get(SECTION, "webhook_secret", fallback="") or ""
        return cls(
            secrets=tuple(each.strip() for each in found.split(",") if each.strip()),
            replay_window=conf.getfloat(SECTION, "webhook_replay_window", fallback=86_400.0),
            keeps_data=conf.getboolean(SECTION, "webhook_keeps_data", fallback=True),
        )


class ChatbaseWebhookPlugin(AirflowPlugin):
    """Receives Chatbase's webhook at ``/chatbase/webhook`` of the API server, once a secret is configured."""

    name = "chatbase_webhook"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The receiver; without a secret there is none."""
        settings = WebhookSettings.read()
        if not settings.secrets:
            return []
        from airflow_provider_chatbase.webhook.receiver import make_app

        return [{"app": make_app(settings), "url_prefix": "/chatbase", "name": "Chatbase webhook"}]
