"""Templates of WhatsApp: what may be sent to a customer who did not write within the last day."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_provider_chatbase.client.replies import UnexpectedShapeError, bare_object
from airflow_provider_chatbase.client.request import (
    Json,
    JsonObject,
    Request,
    require_object,
    require_text,
    segment,
)


def list_templates(agent_id: str) -> Request[JsonObject]:
    """List the approved templates and the numbers to send from: ``listWhatsAppTemplates``."""
    return Request("listWhatsAppTemplates", "GET", f"{_whatsapp(agent_id)}/templates", _templates)


def send_template(
    agent_id: str,
    to: str,
    template: str,
    *,
    variables: Mapping[str, Mapping[str, str]] | None = None,
    language: str | None = None,
    sender: str | None = None,
) -> Request[JsonObject]:
    """Send a template: ``sendWhatsAppTemplateMessage``. Nobody can look for it; it is never repeated."""
    wanted: JsonObject = {"name": require_text("template", template)}
    if language is not None:
        wanted["language"] = require_text("language", language)
    if variables:
        wanted["variables"] = require_object("variables", variables)
    body: JsonObject = {"to": require_text("to", to), "template": wanted}
    if sender is not None:
        body["from"] = require_text("sender", sender)
    path = f"{_whatsapp(agent_id)}/messages/template"
    return Request("sendWhatsAppTemplateMessage", "POST", path, _accepted, body=body, repeatable=False)


def _templates(reply: Json) -> JsonObject:
    found = bare_object(reply)
    if not isinstance(found.get("templates"), list):
        raise UnexpectedShapeError("a list of templates was promised, and did not come")
    return found


def _accepted(reply: Json) -> JsonObject:
    found = bare_object(reply)
    if not {"messageId", "to"} & set(found):
        raise UnexpectedShapeError("a message's id and recipient were promised, and did not come")
    return found


def _whatsapp(agent_id: str) -> str:
    return f"/agents/{segment('agent_id', agent_id)}/whatsapp"
