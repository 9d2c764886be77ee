"""Agents, their sources, actions and procedures, as API v2 has them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_chatbase.simulator.agents import (
    SEED,
    Agent,
    Source,
    add_qna,
    add_source,
    agent_status,
    change_content,
    clone_agent,
    create_agent,
    qna_content,
    remove_source,
)
from airflow_provider_chatbase.simulator.exchange import (
    ApiError,
    ServedReply,
    invalid,
    not_found,
    page_of_list,
)
from airflow_provider_chatbase.simulator.world import Call, UploadedFile, World, iso, operation

MAX_FILE = 20 * 1024 * 1024
SUFFIXES = (".pdf", ".doc", ".docx", ".txt")

_MENTION = re.compile(r"@(\w+)")
_CHANGED_ELSEWHERE = {"autoRetrain", "styles"}
_SUCCESS = {"success": True}
_SHORT_PROCEDURE = ("id", "name", "status", "trigger", "unavailableActions")
_TYPES = {"link": "links", "file": "files", "qna": "qnas", "notionPage": "notionPages", "text": "texts"}
_EDITABLE = ("text", "qna", "link")  # in the order of the alternatives of UpdateSourceBody
_LINK_OPTIONS = ("excludePaths", "includeOnlyPaths", "slowScraping")


def agent_view(world: World, agent: Agent) -> dict[str, Any]:
    """Return an agent as API v2 shows it."""
    now = world.clock.time()
    world.store.purge(agent)
    sources = agent.sources.values()
    status = agent_status(sources, now, world.settings.status_lag)
    trained = [source.live_since for source in sources if source.live_since is not None]
    view = {
        "id": agent.id,
        **agent.fields,
        "creditsUsed": world.ledger.used(agent),
        "createdAt": iso(agent.created_at),
        "lastMessageAt": iso(agent.last_message_at) if agent.last_message_at else None,
        "lastTrainedAt": iso(max(trained)) if trained else None,
        "status": status,
        "size": sum(source.size for source in sources),
    }
    if world.settings.unknown_fields:
        view["folderId"] = None
    return view


def source_view(world: World, source: Source, status: str | None = None) -> dict[str, Any]:
    """Return a source as API v2 shows it; ``status`` overrides its own."""
    now = world.clock.time()
    view: dict[str, Any] = {
        **{name: getattr(source, name) for name in ("id", "type", "name", "size")},
        "createdAt": iso(source.created_at),
        "status": status or source.status(now),
        "metadata": _link_metadata(source, now),
    }
    if world.settings.unknown_fields:
        view["origin"] = {"addedBy": "api"}
    return view


def _link_metadata(source: Source, now: float) -> dict[str, Any] | None:
    if source.metadata is None or source.metadata["type"] == "individual":
        return source.metadata
    status = "fetching" if now < source.ready_at else "failed" if source.fails else "fetched"
    included, excluded = (12, 1) if status == "fetched" else (0, 0)
    children = {"included": included, "excluded": excluded, "failed": 0}
    return {**source.metadata, "crawlStatus": status, "children": children}


@operation("listAgents")
def list_agents(call: Call) -> Any:
    world = call.world
    visible = call.now - world.settings.visibility_delay
    return page_of_list(
        (
            agent
            for agent in world.store.agents.values()
            if agent.workspace == call.key.workspace and agent.created_at <= visible
        ),
        lambda agent: (agent.created_at, agent.id),
        lambda agent: agent_view(world, agent),
        call.page("agents"),
    )


@operation("createAgent")
def create(call: Call) -> Any:
    body = call.body
    agent = create_agent(call.world, body["name"], call.key.workspace)
    given = ("instructions", "model", "temp", "visibility")
    _apply(agent, {name: body[name] for name in given if name in body})
    pending = list(call.world.settings.pending_steps)
    if "url" in body and "ADD_SOURCE" not in pending:
        source = add_source(call.world, agent, "link", body["url"], f"Welcome to {body['url']}.")
        source.metadata = {"type": "individual"}
    return ServedReply(201, _created(agent, pending))


@operation("updateAgent")
def update_agent(call: Call) -> Any:
    """Change what is given; fields that the description does not know are ignored."""
    known = call.agent.fields.keys() - _CHANGED_ELSEWHERE
    _apply(call.agent, {name: value for name, value in call.body.items() if name in known})
    call.agent.updated_at = call.now
    return _SUCCESS


@operation("updateAgentStyles")
def update_styles(call: Call) -> Any:
    looks = call.agent.fields["styles"]
    for part in ("chat", "centerStage"):
        if part in call.body["styles"]:
            looks[part] = {**(looks[part] or {}), **call.body["styles"][part]}
    return _SUCCESS


@operation("updateAgentAutoRetrain")
def update_auto_retrain(call: Call) -> Any:
    if not call.key.rights.auto_retrain:
        raise ApiError(403, "PLAN_FEATURE_NOT_AVAILABLE", "Auto retrain is not available on your plan")
    statuses = [source.status(call.now) for source in call.agent.sources.values()]
    if call.body["enabled"] and "trained" not in statuses and "updated" not in statuses:
        raise ApiError(409, "AGENT_NOT_TRAINED", "The agent must be trained first")
    call.agent.fields["autoRetrain"] = call.body["enabled"]
    return _SUCCESS


@operation("cloneAgent")
def clone(call: Call) -> Any:
    pending = [step for step in call.world.settings.pending_steps if step != "ADD_SOURCE"]
    return ServedReply(201, _created(clone_agent(call.world, call.agent), pending))


@operation("trainAgent")
@operation("restoreSource")
def do_nothing(_call: Call) -> Any:
    """Do nothing, as operations that are deprecated."""
    message = "This endpoint does nothing. Sources train when they are created, updated or deleted."
    payload = {"success": True, "deprecated": True, "message": message}
    return ServedReply(payload=payload, headers={"Deprecation": "true"})


def _created(agent: Agent, pending: list[str]) -> dict[str, Any]:
    return {"id": agent.id, "pendingSteps": pending} if pending else {"id": agent.id}


def _apply(agent: Agent, changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if name == "ipRateLimits":
            value = {**agent.fields[name], **value} if value else SEED["new_agent"]["ipRateLimits"]
        elif name == "voiceSettings" and value is not None:
            value = {**(agent.fields[name] or {}), **value}
        agent.fields[name] = value


@operation("listSources")
def list_sources(call: Call) -> Any:
    types = call.list_of("type", tuple(_TYPES))
    part = call.query.get("name", "").lower()
    visible = call.now - call.world.settings.visibility_delay
    return page_of_list(
        (
            source
            for source in call.agent.sources.values()
            if (not types or source.type in types)
            and part in source.name.lower()
            and source.created_at <= visible
        ),
        lambda source: (source.created_at, source.id),
        lambda source: source_view(call.world, source),
        call.page("sources"),
    )


@operation("createSource")
def create_source(call: Call) -> Any:
    body = call.body
    if body["type"] == "link":
        source = _create_link(call, body)
    elif body["type"] == "qna":
        source = add_qna(call.world, call.agent, body["name"], body["questions"], body["answer"])
    else:
        source = add_source(call.world, call.agent, "text", body["name"], body["content"])
    return ServedReply(201, source_view(call.world, source))


@operation("updateSource")
def update_source(call: Call) -> Any:
    source = call.find_source()
    _check_editable(call, source)
    if source.type not in _EDITABLE:
        message = f"Sources of type {source.type} cannot be updated here"
        raise ApiError(400, "SOURCE_TYPE_NOT_SUPPORTED", message)
    call.check_body(f"/components/schemas/UpdateSourceBody/anyOf/{_EDITABLE.index(source.type)}")
    body, content = call.body, source.content
    if source.type == "qna":
        source.details.update({name: body[name] for name in ("questions", "answer") if name in body})
        content = qna_content(source.details["questions"], source.details["answer"])
    elif source.type == "text":
        content = body.get("content", content)
    elif source.metadata is not None and source.metadata["type"] != "individual":
        source.metadata = {**source.metadata, **{name: body[name] for name in _LINK_OPTIONS if name in body}}
    if content != source.content or source.type == "link":
        change_content(call.world, call.agent, source, content)
    if source.type != "link":
        source.name = body.get("name", source.name)
    return source_view(call.world, source)


@operation("deleteSource")
def delete_source(call: Call) -> Any:
    source = call.find_source()
    if source.purge_at is not None:
        raise ApiError(409, "SOURCE_ALREADY_PENDING_DELETION", "Source is already pending deletion")
    return source_view(call.world, source, remove_source(call.world, call.agent, source))


@operation("getSourcesSummary")
def summarize_sources(call: Call) -> Any:
    sources = list(call.agent.sources.values())
    counts: dict[str, Any] = {}
    for kind, name in _TYPES.items():
        sizes = [source.size for source in sources if source.type == kind]
        counts[name] = {"count": len(sizes), "size": sum(sizes)}
    counts["zendeskTickets"] = counts["salesforceCases"] = {"count": 0, "size": 0}
    unfinished = {"untrained", "updated", "toBeDeleted"}
    counts["shouldRetrain"] = any(source.status(call.now) in unfinished for source in sources)
    return counts


@operation("createFileSource")
def create_file_source(call: Call) -> Any:
    file, name = call.files["file"], call.texts["name"]
    _check_file(file)
    source = add_source(call.world, call.agent, "file", name, _text(file), size=len(file.content))
    source.details = {"filename": file.name, "content": file.content}
    return ServedReply(201, source_view(call.world, source))


@operation("updateFileSource")
def update_file_source(call: Call) -> Any:
    source = call.find_source()
    name, file = call.texts.get("name"), call.files.get("file")
    if source.type != "file" or (name is None and file is None):
        raise invalid({"body": "Give name or file of a file source"}, "Invalid request body")
    _check_editable(call, source)
    if file is not None:
        _check_file(file)
        change_content(call.world, call.agent, source, _text(file), size=len(file.content))
        source.details = {"filename": file.name, "content": file.content}
    source.name = name or source.name
    return source_view(call.world, source)


def _check_editable(call: Call, source: Source) -> None:
    if source.purge_at is not None:
        raise ApiError(409, "SOURCE_PENDING_DELETION", "A source pending deletion cannot be edited")
    if source.is_training(call.now):
        raise ApiError(409, "SOURCE_IS_TRAINING", "The source is being trained; try again when it is done")


def _create_link(call: Call, body: dict[str, Any]) -> Source:
    links = [source for source in call.agent.sources.values() if source.type == "link"]
    for source in links:
        same_kind = (source.metadata or {}).get("type") == body["linkType"]
        if source.name == body["url"] and same_kind and source.purge_at is None:
            raise ApiError(409, "SOURCE_DUPLICATE", "A link with the same URL and link type already exists")
    limit = call.world.settings.link_limit
    if limit is not None and len(links) >= limit:
        raise ApiError(422, "SOURCE_LINK_LIMIT_EXCEEDED", "Link limit exceeded for your plan")
    link = add_source(call.world, call.agent, "link", body["url"], f"Welcome to {body['url']}.")
    link.metadata = {"type": body["linkType"]}
    if body["linkType"] != "individual":
        defaults: dict[str, Any] = {"excludePaths": [], "includeOnlyPaths": [], "slowScraping": False}
        link.metadata |= {name: body.get(name, default) for name, default in defaults.items()}
    return link


def _check_file(file: UploadedFile) -> None:
    if PurePosixPath(file.name).suffix.lower() not in SUFFIXES:
        raise invalid({"file": f"Unsupported file type; supported: {', '.join(SUFFIXES)}"})
    if not 0 < len(file.content) <= MAX_FILE:
        raise invalid({"file": f"File size must be between 1 and {MAX_FILE} bytes"})


def _text(file: UploadedFile) -> str:
    return file.content.decode("utf-8", "ignore")


@operation("updateAction")
def update_action(call: Call) -> Any:
    """Change an action; a new name is carried into the procedures that mention it."""
    action, body = _found(call.agent.actions, call), call.body
    changed = {**action, **body}
    if action["status"] == "draft" and body.get("status") == "disabled":
        raise invalid({"status": "A draft cannot be disabled"}, "Invalid request body")
    if changed["status"] != "draft" and not (changed["whenToUse"] or changed["procedureOnly"]):
        raise invalid({"whenToUse": "Needed, unless only procedures use the action"}, "Invalid request body")
    if any(field.get("source", "input") != "input" for field in body.get("fields", ())):
        raise invalid({"fields": "Only fields of source input can be set"}, "Invalid request body")
    for procedure in call.agent.procedures:
        for step in procedure["steps"]:
            step["text"] = _MENTION.sub(
                lambda found: f"@{changed['name']}" if found[1] == action["name"] else found[0], step["text"]
            )
    action.update(changed)
    return action


@operation("deleteAction")
def delete_action(call: Call) -> Any:
    action = _found(call.agent.actions, call)
    if any(action["name"] in _mentions(each) for each in call.agent.procedures):
        raise ApiError(409, "RESOURCE_CONFLICT", "A procedure still mentions this action")
    return _drop(call.agent.actions, action)


@operation("createProcedure")
def create_procedure(call: Call) -> Any:
    missing = {name: "Required" for name in ("name", "trigger", "steps") if name not in call.body}
    if missing:
        raise invalid(missing, "Invalid request body")
    given = {name: call.body[name] for name in ("name", "trigger", "steps")}
    call.agent.procedures.append({"id": call.world.store.new_id(), "status": "disabled", **given})
    return ServedReply(201, _procedure_view(call, call.agent.procedures[-1]))


@operation("updateProcedure")
def update_procedure(call: Call) -> Any:
    procedure = _found(call.agent.procedures, call)
    changed = _procedure_view(call, {**procedure, **call.body})
    if call.body.get("status") == "enabled" and changed["unavailableActions"]:
        raise invalid({"status": "An action that it mentions is not available"}, "Invalid request body")
    procedure.update({name: changed[name] for name in procedure})
    return changed


def _found(things: list[dict[str, Any]], call: Call) -> dict[str, Any]:
    """Return the action or the procedure that the path names last; raise ``ApiError`` 404."""
    for thing in things:
        if thing["id"] in list(call.params.values())[1:]:
            return thing
    raise not_found("RESOURCE_NOT_FOUND", "Resource")


def _page(call: Call, newest_last: list[dict[str, Any]], *names: str) -> Any:
    ordered = [(float(at), {name: each[name] for name in names}) for at, each in enumerate(newest_last)]
    request = call.page(call.operation.id)
    return page_of_list(ordered, lambda each: (each[0], each[1]["id"]), lambda each: each[1], request)


def _mentions(procedure: dict[str, Any]) -> list[str]:
    return [name for step in procedure["steps"] for name in _MENTION.findall(step["text"])]


def _procedure_view(call: Call, procedure: dict[str, Any]) -> dict[str, Any]:
    usable = {action["name"] for action in call.agent.actions if action["status"] == "enabled"}
    lost = dict.fromkeys(f"@{name}" for name in _mentions(procedure) if name not in usable)
    return {**procedure, "unavailableActions": list(lost)}


def _drop(things: list[dict[str, Any]], thing: dict[str, Any]) -> Any:
    things.remove(thing)
    return _SUCCESS


def _actions_by_name(call: Call) -> list[dict[str, Any]]:
    return sorted(call.agent.actions, key=lambda action: str(action["name"]), reverse=True)


def _procedures(call: Call) -> list[dict[str, Any]]:
    return [_procedure_view(call, each) for each in call.agent.procedures]


operation("getHealth", keyless=True)(lambda call: {"status": "ok", "timestamp": int(call.now)})
operation("getAgent")(lambda call: agent_view(call.world, call.agent))
operation("deleteAgent")(lambda call: call.world.store.agents.pop(call.agent.id) and _SUCCESS)
operation("getSource")(lambda call: source_view(call.world, call.find_source()))
operation("listActions")(lambda call: _page(call, _actions_by_name(call), "id", "name", "status"))
operation("getAction")(lambda call: _found(call.agent.actions, call))
operation("listProcedures")(lambda call: _page(call, _procedures(call), *_SHORT_PROCEDURE))
operation("getProcedure")(lambda call: _found(_procedures(call), call))
operation("deleteProcedure")(lambda call: _drop(call.agent.procedures, _found(call.agent.procedures, call)))
