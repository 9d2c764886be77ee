"""What reading tells. Every call here is a GET, changes nothing and costs nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from airflow_provider_chatbase.check.calls import Caller, Heard
from airflow_provider_chatbase.check.report import Report, known, shape
from airflow_provider_chatbase.client.rate_limiter import MILLISECONDS_FROM
from airflow_provider_chatbase.client.replies import error_envelope
from airflow_provider_chatbase.client.request import segment

NAME_PREFIX = "airflow-provider-chatbase check "
"""What the name of every test agent begins with."""

WRONG_AGENT = "The connection's agent_id is none that this key may see: take it from the agent's page."

ROLES = ("user", "assistant", "human", "agent", "human_agent", "operator", "admin", "team", "system")


def read_all(caller: Caller, report: Report, agent_id: str | None) -> Heard:
    """Read whatever the key may read; return how API v2 answered."""
    agents = caller.get("listAgents", "/agents", {"limit": 100})
    health = caller.get("getHealth", "/health")
    again = caller.get("listAgents", "/agents", {"limit": 1})
    chatbots = caller.call("getChatbots", "GET", "/get-chatbots", version="v1")
    _tell_limits(report, agents, health, again)
    if chatbots.works:
        told = "they are there" if "x-ratelimit-limit" in chatbots.headers else "there are none"
        report.settle("Rate-limit headers on API v1", told)
    for refused in (each for each in (agents, chatbots) if each.status == 403):
        message = error_envelope(refused.content)[1]
        if plans := re.findall(r"\b(Hobby|Basic|Standard|Pro|Business|Enterprise)\b", message):
            report.settle("Plan that the API needs", f"a refusal names {', '.join(dict.fromkeys(plans))}")
    if any(row.get("status") == "updated" for row in agents.rows):
        report.settle("Whether an agent's status is still `updated`", "it is")
    if left := sum(str(row.get("name")).startswith(NAME_PREFIX) for row in agents.rows):
        report.notes.append(f"{left} agents named {NAME_PREFIX!r}… are left of earlier checks: delete them.")
    agent = agent_id or str(next(iter([*agents.rows, *chatbots.rows]), {}).get("id", "")).strip()
    if not agent:
        report.notes.append("There is no agent to read.")
    elif agents.works:
        _read_agent(caller, report, f"/agents/{segment('agent_id', agent)}")
    if agent and chatbots.works:
        _read_v1(caller, report, agent)
    return agents


def _tell_limits(report: Report, agents: Heard, health: Heard, again: Heard) -> None:
    limit, left, reset = (_header(agents, name) for name in ("limit", "remaining", "reset"))
    if limit is not None:
        report.settle("Rate limit", f"X-RateLimit-Limit {limit}, X-RateLimit-Remaining {left}")
    if reset is not None:
        unit = "milliseconds" if reset >= MILLISECONDS_FROM else "seconds"
        since = "since the epoch" if reset > 1e9 else "from now"
        report.settle("Unit of X-RateLimit-Reset", f"{unit} {since}: {reset}")
    later = _header(again, "remaining")
    if health.works and left is not None and later is not None and left - later in (1, 2):
        counts = "it counts" if left - later == 2 else "it does not count"
        report.settle("Whether getHealth counts", f"{counts}: {left} remained before it, {later} after it")


def _header(heard: Heard, name: str) -> int | None:
    value = heard.headers.get(f"x-ratelimit-{name}", "")
    return int(value) if re.fullmatch(r"[0-9]{1,16}", value) else None


def _read_agent(caller: Caller, report: Report, path: str) -> None:
    for operation, below in (
        ("getAgent", ""),
        ("listSources", "/sources"),
        ("listConversations", "/conversations"),
        ("listActions", "/actions"),
        ("listProcedures", "/procedures"),
        ("listTickets", "/helpdesk/tickets"),
        ("listWhatsAppTemplates", "/whatsapp/templates"),
    ):
        if caller.get(operation, path + below).status == 404 and operation == "getAgent":
            report.notes.append(WRONG_AGENT)
            return
    search = f"{path}/conversations/search"
    caller.get("searchConversations", search, {"query": "the", "limit": 1})
    pagination = caller.get("searchConversations", search, {"limit": 1}).json.get("pagination")
    if isinstance(pagination, dict) and (cursor := pagination.get("cursor")):
        other = {"limit": 1, "hasVoice": "true", "cursor": str(cursor)}
        point = "Code of a search cursor with another query"
        report.settle(point, caller.get("searchConversations", search, other))
    _tell_roles(caller, report, path)
    _tell_analytics(caller, report, f"{path}/analytics")


def _tell_roles(caller: Caller, report: Report, path: str) -> None:
    export = f"{path}/conversations/export"
    found = caller.get("exportConversations", export, {"limit": 20}).rows
    escalated = {"escalated": "true", "limit": 3}
    for row in caller.get("searchConversations", f"{path}/conversations/search", escalated).rows:
        found += caller.get("exportConversations", export, {"conversationId": str(row.get("id"))}).rows
    if roles := roles_of([row for row in found if row.get("status") == "taken_over"]):
        report.settle("Role of human agents in the export", f"where a human took over: {roles}")


def roles_of(conversations: list[dict[str, Any]]) -> str:
    """Return the roles of all messages."""
    lists = [row["messages"] for row in conversations if isinstance(row.get("messages"), list)]
    messages = [each for messages in lists for each in messages if isinstance(each, dict)]
    return ", ".join(dict.fromkeys(known(each.get("role"), *ROLES) for each in messages))


def _tell_analytics(caller: Caller, report: Report, path: str) -> None:
    answer = caller.get("getAgentAnalytics", path)
    today = datetime.now(UTC).date().isoformat()
    asked = caller.get("getAgentAnalytics", path, {"startDate": today, "endDate": "2000-01-01"})
    if answer.works:
        names = "not known, or not checked" if asked.works else f"known: inverted, {asked} comes"
        report.settle("Parameters of the analytics", f"none is required; startDate and endDate are {names}")
        data = answer.json.get("data")
        report.settle("Answer of the analytics", f"data: {shape(data)}" if data else shape(answer.json))


def _read_v1(caller: Caller, report: Report, agent: str) -> None:
    query = {"chatbotId": agent, "page": 1, "size": 20}
    leads = caller.call("getLeads", "GET", "/get-leads", query=query, version="v1")
    if leads.works:
        customers = leads.json.get("collectedCustomers")
        under = "collectedCustomers.data" if isinstance(customers, dict) else "collectedCustomers"
        report.settle("Shape of the leads (v1)", under if customers is not None else shape(leads.json))
    listed = caller.call("getConversations", "GET", "/get-conversations", query=query, version="v1")
    if sources := [str(row["source"]) for row in listed.rows if row.get("source")]:
        is_lower = all(source.islower() for source in sources)
        report.settle("Spelling of sources (v1)", "lower case" if is_lower else "with capitals, as on v2")
