"""What this provider brings, for Airflow's providers manager. Imports nothing but plain data."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.connection_form import (
    EXTRA_FIELDS,
    HIDDEN_FIELDS,
    PLACEHOLDERS,
    RELABELING,
)

_PACKAGE = "airflow_provider_chatbase"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, as Airflow's schema wants it."""
    return {
        "package-name": "airflow-provider-chatbase",
        "name": "Chatbase",
        "description": "Run Chatbase (chatbase.co) AI support agents from Apache Airflow.",
        "integrations": [
            {
                "integration-name": "Chatbase",
                "external-doc-url": "https://www.chatbase.co/docs",
                "tags": ["service"],
            }
        ],
        "connection-types": [
            {
                "connection-type": "chatbase",
                "hook-class-name": f"{_PACKAGE}.hooks.chatbase.ChatbaseHook",
                "hook-name": "Chatbase",
                "ui-field-behaviour": {
                    "hidden-fields": HIDDEN_FIELDS,
                    "relabeling": RELABELING,
                    "placeholders": PLACEHOLDERS,
                },
                "conn-fields": EXTRA_FIELDS,
            }
        ],
        "hooks": [
            {"integration-name": "Chatbase", "python-modules": [f"{_PACKAGE}.hooks.chatbase"]},
        ],
        "operators": [
            {
                "integration-name": "Chatbase",
                "python-modules": [
                    f"{_PACKAGE}.operators.agents",
                    f"{_PACKAGE}.operators.batch",
                    f"{_PACKAGE}.operators.chat",
                    f"{_PACKAGE}.operators.exports",
                    f"{_PACKAGE}.operators.sources",
                ],
            },
        ],
        "sensors": [
            {"integration-name": "Chatbase", "python-modules": [f"{_PACKAGE}.sensors.training"]},
        ],
        "triggers": [
            {"integration-name": "Chatbase", "python-modules": [f"{_PACKAGE}.triggers.training"]},
        ],
        "task-decorators": [
            {"name": "chatbase", "class-name": f"{_PACKAGE}.decorators.chat.chatbase_task"},
        ],
    }
