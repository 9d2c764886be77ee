"""What the operations of API v1 share: bodies, chatbots, days and pages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.store import Agent
from airflow_provider_chatbase.simulator.validation import json_body, moment
from airflow_provider_chatbase.simulator.world import Call

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


def bad_request(message: str) -> ApiError:
    """Return the error for invalid input."""
    return ApiError(400, "VALIDATION_INVALID_BODY", message)


def body_of(call: Call, validator: Draft202012Validator) -> dict[str, Any]:
    """
    Return the JSON body, checked.

    :raises ApiError: 400; the message names the first bad field, since v1 has no details.
    """
    try:
        return json_body(call.request, validator)
    except ApiError as error:
        for field, reason in (error.details or {}).items():
            raise bad_request(f"Invalid {field}: {reason}") from error
        raise


def chatbot(call: Call, identifier: str, status: int = 404) -> Agent:
    """
    Return a chatbot of the key's workspace.

    :raises ApiError: there is none.
    """
    agent = call.world.store.agents.get(identifier)
    if agent is None or agent.workspace != call.key.workspace:
        raise ApiError(status, "AGENT_NOT_FOUND", "Chatbot not found")
    agent.conversations.settle(call.now)
    call.world.store.purge(agent)
    return agent


def chatbot_of_query(call: Call) -> Agent:
    """Return the chatbot of the query parameter ``chatbotId``; raise ``ApiError`` 400 or 404 otherwise."""
    if not call.query.get("chatbotId"):
        raise bad_request("chatbotId is required")
    return chatbot(call, call.query["chatbotId"])


def days(query: Mapping[str, str]) -> tuple[float | None, float | None]:
    """
    Return ``startDate`` and ``endDate``, which are whole days, as epoch seconds.

    :raises ApiError: 400, one is malformed or they are the wrong way round.
    """
    for name in ("startDate", "endDate"):
        if name in query and not _DAY.match(query[name]):
            raise bad_request(f"{name} must be a date in the format YYYY-MM-DD")
    start = moment(query, "startDate", end_of_day=False)
    end = moment(query, "endDate", end_of_day=True)
    if (start if start is not None else -math.inf) > (end if end is not None else math.inf):
        raise bad_request("startDate must not be after endDate")
    return start, end


def number(query: Mapping[str, str], name: str, default: int, lowest: int, highest: int | None) -> int:
    """
    Return a query parameter that is a whole number.

    :raises ApiError: 400, it is not a number or out of range.
    """
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < lowest or (highest is not None and int(text) > highest):
        limits = f"at least {lowest}" if highest is None else f"between {lowest} and {highest}"
        raise bad_request(f"{name} must be a number, {limits}")
    return int(text)
