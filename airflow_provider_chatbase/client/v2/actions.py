"""What an agent can do: actions, and the procedures that use them. Their bodies pass through as they are."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError
from airflow_provider_chatbase.client.replies import Page, any_listing, wrapped_or_bare
from airflow_provider_chatbase.client.request import (
    Json,
    JsonObject,
    Request,
    require_object,
    require_page_limit,
    segment,
)

_GONE = {"success": True}
_GONE_BY = dict.fromkeys(("RESOURCE_NOT_FOUND", "ACTION_NOT_FOUND", "PROCEDURE_NOT_FOUND"), _GONE)


def list_actions(agent_id: str, *, limit: int = 100) -> Request[Page]:
    """List actions by name, without their configuration: ``listActions``."""
    return _list("listActions", actions_path(agent_id), limit)


def get_action(agent_id: str, action_id: str) -> Request[JsonObject]:
    """Get an action with its fields and channels: ``getAction``."""
    return Request("getAction", "GET", _action(agent_id, action_id), wrapped_or_bare)


def update_action(agent_id: str, action_id: str, changes: JsonObject) -> Request[JsonObject]:
    """Change an action of the live agent: ``updateAction``."""
    return _update("updateAction", _action(agent_id, action_id), changes)


def delete_action(agent_id: str, action_id: str) -> Request[JsonObject]:
    """Delete an action, for good: ``deleteAction``."""
    return _delete("deleteAction", _action(agent_id, action_id))


def list_procedures(agent_id: str, *, limit: int = 100) -> Request[Page]:
    """List procedures, newest first, without their steps: ``listProcedures``."""
    return _list("listProcedures", procedures_path(agent_id), limit)


def get_procedure(agent_id: str, procedure_id: str) -> Request[JsonObject]:
    """Get a procedure with its steps: ``getProcedure``."""
    return Request("getProcedure", "GET", _procedure(agent_id, procedure_id), wrapped_or_bare)


def create_procedure(agent_id: str, procedure: JsonObject) -> Request[JsonObject]:
    """Create a procedure on the live agent, disabled: ``createProcedure``. Never repeated blindly."""
    body = require_object("procedure", procedure)
    path = procedures_path(agent_id)
    return Request("createProcedure", "POST", path, wrapped_or_bare, body=body, repeatable=False)


def update_procedure(agent_id: str, procedure_id: str, changes: JsonObject) -> Request[JsonObject]:
    """Change a procedure of the live agent: ``updateProcedure``."""
    return _update("updateProcedure", _procedure(agent_id, procedure_id), changes)


def delete_procedure(agent_id: str, procedure_id: str) -> Request[JsonObject]:
    """Delete a procedure and the history of its runs, for good: ``deleteProcedure``."""
    return _delete("deleteProcedure", _procedure(agent_id, procedure_id))


def _list(operation: str, path: str, limit: int) -> Request[Page]:
    return Request(operation, "GET", path, _listed, query={"limit": require_page_limit(limit, 100)})


def _listed(reply: Json) -> Page:
    return any_listing(reply, "data")  # no document shows the envelope


def _update(operation: str, path: str, changes: JsonObject) -> Request[JsonObject]:
    body = require_object("changes", changes)
    if not body:
        raise ChatbaseInputError("changes is empty: there is nothing to change. Nothing was sent.")
    return Request(operation, "PATCH", path, wrapped_or_bare, body=body)


def _delete(operation: str, path: str) -> Request[Any]:
    return Request(operation, "DELETE", path, _deleted, means_done_on_repeat=_GONE_BY)


def _deleted(reply: Json) -> JsonObject:
    return reply if isinstance(reply, dict) else _GONE  # no document shows the reply


def actions_path(agent_id: str) -> str:
    """Return the path of an agent's actions."""
    return f"/agents/{segment('agent_id', agent_id)}/actions"


def procedures_path(agent_id: str) -> str:
    """Return the path of an agent's procedures."""
    return f"/agents/{segment('agent_id', agent_id)}/procedures"


def _action(agent_id: str, action_id: str) -> str:
    return f"{actions_path(agent_id)}/{segment('action_id', action_id)}"


def _procedure(agent_id: str, procedure_id: str) -> str:
    return f"{procedures_path(agent_id)}/{segment('procedure_id', procedure_id)}"
