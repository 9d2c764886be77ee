"""An agent as code: its settings in a YAML or JSON file."""

from __future__ import annotations

import json
from typing import Any

import yaml

from airflow_provider_chatbase.sync.errors import ChatbaseDeclarationError


def parse_settings(content: bytes, url: str) -> dict[str, Any]:
    """Read an agent's settings."""
    try:
        found = json.loads(content) if url.lower().endswith(".json") else yaml.safe_load(content)
    except (ValueError, yaml.YAMLError) as error:
        raise ChatbaseDeclarationError(f"{url} cannot be read: {error}. Nothing was sent.") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise ChatbaseDeclarationError(f"{url} holds no settings by name. Nothing was sent.")
    return found
