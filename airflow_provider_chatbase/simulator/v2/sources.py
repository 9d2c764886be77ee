"""Sources of text, questions and answers, and links."""

from __future__ import annotations

from typing import Any

from airflow_provider_chatbase.simulator.agents import (
    add_qna,
    add_source,
    change_content,
    qna_content,
    remove_source,
)
from airflow_provider_chatbase.simulator.errors import ApiError, invalid, not_found
from airflow_provider_chatbase.simulator.exchange import Reply
from airflow_provider_chatbase.simulator.pagination import page_of_list
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.training import Source
from airflow_provider_chatbase.simulator.v2 import schemas
from airflow_provider_chatbase.simulator.v2.agents import DEPRECATION_HEADERS, deprecated
from airflow_provider_chatbase.simulator.v2.views import source_view
from airflow_provider_chatbase.simulator.validation import check, comma_list
from airflow_provider_chatbase.simulator.world import Call

_TYPES = {"link": "links", "file": "files", "qna": "qnas", "notionPage": "notionPages", "text": "texts"}


def list_sources(call: Call) -> Reply:
    """Answer listSources."""
    agent = call.agent()
    types = comma_list(call.query, "type")
    if types and set(types) - set(_TYPES):
        raise invalid({"type": f"Must be one of: {', '.join(_TYPES)}"}, "Invalid query parameters")
    part = call.query.get("name", "").lower()
    visible = call.now - call.world.settings.visibility_delay
    found = [
        source
        for source in agent.sources.values()
        if (not types or source.type in types)
        and part in source.name.lower()
        and source.created_at <= visible
    ]
    found.sort(key=lambda source: (source.created_at, source.id), reverse=True)
    page = page_of_list(
        found,
        lambda source: (source.created_at, source.id),
        lambda source: source_view(call.world, source),
        call.page("sources"),
    )
    return Reply(payload=page)


def create(call: Call) -> Reply:
    """Answer createSource."""
    agent = call.agent()
    body = call.body(schemas.SOURCE_TYPE)
    check(body, schemas.CREATE_SOURCE[body["type"]])
    if body["type"] == "link":
        return Reply(201, source_view(call.world, _create_link(call, agent, body)))
    if body["type"] == "qna":
        source = add_qna(call.world, agent, body["name"], body["questions"], body["answer"])
    else:
        source = add_source(call.world, agent, "text", body["name"], body["content"])
    return Reply(201, source_view(call.world, source))


def get(call: Call) -> Reply:
    """Answer getSource."""
    return Reply(payload=source_view(call.world, find_source(call, call.agent())))


def update(call: Call) -> Reply:
    """Answer updateSource."""
    agent = call.agent()
    source = find_source(call, agent)
    check_editable(call, source)
    if source.type not in schemas.UPDATE_SOURCE:
        raise ApiError(
            400, "SOURCE_TYPE_NOT_SUPPORTED", f"Sources of type {source.type} cannot be updated here"
        )
    body = call.body(schemas.UPDATE_SOURCE[source.type])
    if source.type == "link":
        _update_link(call, agent, source, body)
    else:
        _update_text(call, agent, source, body)
    return Reply(payload=source_view(call.world, source))


def delete(call: Call) -> Reply:
    """Answer deleteSource; it is accepted while the source trains."""
    agent = call.agent()
    source = find_source(call, agent)
    if source.purge_at is not None:
        raise ApiError(409, "SOURCE_ALREADY_PENDING_DELETION", "Source is already pending deletion")
    status = remove_source(call.world, agent, source)
    return Reply(payload=source_view(call.world, source, status))


def summary(call: Call) -> Reply:
    """Answer getSourcesSummary."""
    sources = list(call.agent().sources.values())
    counts: dict[str, Any] = {}
    for kind, name in _TYPES.items():
        sizes = [source.size for source in sources if source.type == kind]
        counts[name] = {"count": len(sizes), "size": sum(sizes)}
    counts["zendeskTickets"] = counts["salesforceCases"] = {"count": 0, "size": 0}
    unfinished = {"untrained", "updated", "toBeDeleted"}
    counts["shouldRetrain"] = any(source.status(call.now) in unfinished for source in sources)
    return Reply(payload=counts)


def restore(call: Call) -> Reply:
    """Answer restoreSource, which does nothing."""
    call.agent()
    return Reply(payload=deprecated(), headers=dict(DEPRECATION_HEADERS))


def find_source(call: Call, agent: Agent) -> Source:
    """Return the source of the path; raise ``ApiError`` 404 when there is none."""
    source = agent.sources.get(call.params["sourceId"])
    if source is None:
        raise not_found("SOURCE_NOT_FOUND", "Source")
    return source


def check_editable(call: Call, source: Source) -> None:
    """Refuse a change of a source that is being purged or trained."""
    if source.purge_at is not None:
        raise ApiError(409, "SOURCE_PENDING_DELETION", "A source pending deletion cannot be edited")
    if source.is_training(call.now):
        raise ApiError(409, "SOURCE_IS_TRAINING", "The source is being trained; try again when it is done")


def _create_link(call: Call, agent: Agent, body: dict[str, Any]) -> Source:
    links = [source for source in agent.sources.values() if source.type == "link"]
    for source in links:
        same_kind = (source.metadata or {}).get("type") == body["linkType"]
        if source.name == body["url"] and same_kind and source.purge_at is None:
            raise ApiError(409, "SOURCE_DUPLICATE", "A link with the same URL and link type already exists")
    limit = call.world.settings.link_limit
    if limit is not None and len(links) >= limit:
        raise ApiError(422, "SOURCE_LINK_LIMIT_EXCEEDED", "Link limit exceeded for your plan")
    link = add_source(call.world, agent, "link", body["url"], f"Welcome to {body['url']}.")
    link.metadata = {"type": body["linkType"]}
    if body["linkType"] != "individual":
        link.metadata.update(
            excludePaths=body.get("excludePaths", []),
            includeOnlyPaths=body.get("includeOnlyPaths", []),
            slowScraping=body.get("slowScraping", False),
        )
    return link


def _update_text(call: Call, agent: Agent, source: Source, body: dict[str, Any]) -> None:
    if source.type == "qna":
        source.details.update({name: body[name] for name in ("questions", "answer") if name in body})
        content = qna_content(source.details["questions"], source.details["answer"])
    else:
        content = body.get("content", source.content)
    if content != source.content:
        change_content(call.world, agent, source, content)
    source.name = body.get("name", source.name)


def _update_link(call: Call, agent: Agent, source: Source, body: dict[str, Any]) -> None:
    metadata = source.metadata or {"type": "individual"}
    options: tuple[str, ...] = ("excludePaths", "includeOnlyPaths", "slowScraping")
    known = {name: body[name] for name in options if name in body}
    if metadata["type"] != "individual":
        source.metadata = {**metadata, **known}
    change_content(call.world, agent, source, source.content)
