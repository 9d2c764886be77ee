"""Control over HTTP, for tests and people in another process: ``/_simulator/…``, without a key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from airflow_provider_chatbase.simulator.exchange import Reply, Request
from airflow_provider_chatbase.simulator.faults import faults_from_json
from airflow_provider_chatbase.simulator.log import RequestLog
from airflow_provider_chatbase.simulator.seed import create_conversations
from airflow_provider_chatbase.simulator.world import World

PREFIX = "/_simulator/"


def answer(world: World, log: RequestLog, request: Request) -> Reply:
    """Answer a control request."""
    action = _ACTIONS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        known = ", ".join(f"{method} {PREFIX}{name}" for method, name in _ACTIONS)
        return Reply(404, {"message": f"Unknown control request; known: {known}"})
    try:
        return Reply(200, action(world, log, json.loads(request.body or b"{}")))
    except (ValueError, TypeError, KeyError) as error:
        return Reply(400, {"message": f"{type(error).__name__}: {error}"})


def _add_faults(world: World, _log: RequestLog, data: Any) -> Any:
    world.faults.add(*faults_from_json(data))
    return {"active": len(world.faults.active)}


def _clear_faults(world: World, _log: RequestLog, _data: Any) -> Any:
    world.faults.clear()
    return {"active": 0}


def _state(world: World, log: RequestLog, _data: Any) -> Any:
    requests: dict[str, Counter[str]] = {}
    for (operation, status), count in list(log.counts.items()):
        requests.setdefault(operation, Counter())[str(status)] += count
    return {
        "requests": requests,
        "prompts_charged": world.ledger.prompts_charged,
        "credits_charged": world.ledger.credits_charged,
        "faults": [{"kind": each.kind, "fired": each.fired} for each in world.faults.active],
        "agents": [
            {
                "id": agent.id,
                "name": agent.name,
                "sources": len(agent.sources),
                "conversations": len(agent.conversations.by_id),
            }
            for agent in world.store.agents.values()
        ],
    }


def _create_conversations(world: World, _log: RequestLog, data: Any) -> Any:
    agent_id = data.get("agentId") or next(iter(world.store.agents))
    details = {name: value for name, value in data.items() if name != "agentId"}
    made = create_conversations(world, agent_id, **details)
    return {"ids": [conversation.id for conversation in made]}


def _reset(world: World, log: RequestLog, _data: Any) -> Any:
    world.faults.clear()
    world.ledger.reset()
    log.clear()
    return {"reset": True}


def _requests(_world: World, log: RequestLog, _data: Any) -> Any:
    names = ("method", "path", "query", "operation", "status", "at", "request_id")
    return [
        {name: getattr(request, name) for name in names} | {"json": request.json} for request in log.requests
    ]


def _add_key(world: World, _log: RequestLog, data: Any) -> Any:
    world.keys.add(**data)
    return {"added": True}


def _advance(world: World, _log: RequestLog, data: Any) -> Any:
    world.clock.advance(float(data["seconds"]))
    return {"now": world.clock.time()}


def _set_balance(world: World, _log: RequestLog, data: Any) -> Any:
    world.ledger.balance = data["credits"]
    return {"credits": world.ledger.balance}


_ACTIONS: dict[tuple[str, str], Callable[[World, RequestLog, Any], Any]] = {
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "state"): _state,
    ("GET", "requests"): _requests,
    ("POST", "conversations"): _create_conversations,
    ("POST", "keys"): _add_key,
    ("POST", "advance"): _advance,
    ("POST", "balance"): _set_balance,
    ("POST", "reset"): _reset,
}
