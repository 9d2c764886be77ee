"""What this provider brings, for Airflow's providers manager. Plain data: it is read on each start."""

from __future__ import annotations

from typing import Any

_PACKAGE = "airflow_provider_chatbase"

HIDDEN_FIELDS = ["schema", "login"]

RELABELING = {"password": "API key", "host": "Base URL"}

PLACEHOLDERS = {
    "password": "from Chatbase: Workspace settings, API keys",
    "host": "https://www.chatbase.co",
    # Airflow 3.3.2 tests a connection with the port 0, and refuses that where another is stored, or none.
    "port": "0, if the Test button says Bad Request (Airflow 3.3)",
}

EXTRA_FIELDS: dict[str, dict[str, Any]] = {
    "agent_id": {
        "label": "Default agent id",
        "description": "The agent for tasks that name none.",
        "schema": {"type": ["string", "null"]},
    },
    "api_version": {
        "label": "API version",
        "description": "v2, or v1 for plans without v2.",
        "schema": {"type": "string", "enum": ["v2", "v1"], "default": "v2"},
    },
    "dashboard_url": {
        "label": "Dashboard URL",
        "description": "Copied from the browser: https://www.chatbase.co/dashboard/… For the links of tasks.",
        "schema": {"type": ["string", "null"]},
    },
    "files_host": {
        "label": "Files base URL",
        "description": "Where files go. Empty: https://files.chatbase.co, or the base URL if given.",
        "schema": {"type": ["string", "null"]},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "Seconds of silence allowed. Empty: 30, and 180 for an agent's answer.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
    },
    "total_timeout": {
        "label": "Total timeout (seconds)",
        "description": "Seconds until a reply has ended. Empty: 120, and 720 for an agent's answer.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0},
    },
    "max_attempts": {
        "label": "Most attempts",
        "description": "How often a request may be tried, where a repeat is safe. Empty: 8.",
        "schema": {"type": ["integer", "null"], "minimum": 1},
    },
    "proxy": {
        "label": "Proxy URL",
        "description": "Empty: as the environment says (HTTPS_PROXY).",
        "schema": {"type": ["string", "null"]},
    },
    "ca_bundle": {
        "label": "CA bundle",
        "description": "Path of a file with the certificates to trust. Empty: the usual ones.",
        "schema": {"type": ["string", "null"]},
    },
}

WEBHOOK_OPTIONS: dict[str, dict[str, Any]] = {
    "webhook_secret": {
        "description": "The webhook's secret key from Chatbase. Empty: nothing is received. Several, such as "
        "the old and the new one, are separated by commas.",
        "type": "string",
        "default": "",
        "example": None,
        "version_added": None,
        "sensitive": True,
    },
    "webhook_replay_window": {
        "description": "Seconds in which the same call is refused when it comes again.",
        "type": "float",
        "default": "86400",
        "example": None,
        "version_added": None,
    },
    "webhook_keeps_data": {
        "description": "Whether the asset event holds the lead's name, e-mail address and phone number.",
        "type": "boolean",
        "default": "True",
        "example": None,
        "version_added": None,
    },
}


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
            {
                "integration-name": "Chatbase",
                "python-modules": [f"{_PACKAGE}.hooks.chatbase", f"{_PACKAGE}.hooks.managed_agent"],
            },
        ],
        "operators": [
            {
                "integration-name": "Chatbase",
                "python-modules": [
                    f"{_PACKAGE}.operators.agents",
                    f"{_PACKAGE}.operators.batch",
                    f"{_PACKAGE}.operators.chat",
                    f"{_PACKAGE}.operators.contacts",
                    f"{_PACKAGE}.operators.exports",
                    f"{_PACKAGE}.operators.sources",
                    f"{_PACKAGE}.operators.whatsapp",
                ],
            },
        ],
        "sensors": [
            {"integration-name": "Chatbase", "python-modules": [f"{_PACKAGE}.sensors.training"]},
        ],
        "triggers": [
            {
                "integration-name": "Chatbase",
                "python-modules": [f"{_PACKAGE}.triggers.conversations", f"{_PACKAGE}.triggers.training"],
            },
        ],
        "extra-links": [
            f"{_PACKAGE}.links.ChatbaseAgentLink",
            f"{_PACKAGE}.links.ChatbaseConversationLink",
        ],
        "config": {
            "chatbase": {
                "description": "The receiver for Chatbase's webhook, in the API server.",
                "options": WEBHOOK_OPTIONS,
            },
        },
        "task-decorators": [
            {"name": "chatbase", "class-name": f"{_PACKAGE}.decorators.chat.chatbase_task"},
            {"name": "chatbase_batch", "class-name": f"{_PACKAGE}.decorators.batch.chatbase_batch_task"},
        ],
    }
