"""Checks of bodies and query parameters, with the reason per field."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from airflow_provider_chatbase.simulator.errors import ApiError, invalid
from airflow_provider_chatbase.simulator.exchange import Request

MAX_JSON_BODY = 4_500_000

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?\Z")

Schema = Mapping[str, Any]


def compile_schema(schema: Schema) -> Draft202012Validator:
    """Prepare a JSON schema for many checks."""
    return Draft202012Validator(schema)


def json_body(request: Request, validator: Draft202012Validator) -> dict[str, Any]:
    """
    Return the JSON object in a request's body.

    :raises ApiError: 400 or 413, the body is too large, not JSON, or against the schema.
    """
    if len(request.body) > MAX_JSON_BODY:
        raise ApiError(413, "VALIDATION_INVALID_BODY", "Request entity too large")
    try:
        body = json.loads(request.body, parse_constant=_refuse_constant)
    except ValueError as error:
        raise ApiError(400, "VALIDATION_INVALID_JSON", "Request body is not valid JSON") from error
    check(body, validator)
    if not isinstance(body, dict):
        raise invalid({"body": "Expected object"})
    return body


def check(value: Any, validator: Draft202012Validator) -> None:
    """
    Check a value against a schema.

    :raises ApiError: 400 with the reason per field.
    """
    details = {_field_of(error): error.message[:200] for error in validator.iter_errors(value)}
    if details:
        raise invalid(details, "Invalid request body")


def page_limit(query: Mapping[str, str], default: int, maximum: int, name: str = "limit") -> int:
    """
    Return the page size asked for.

    :raises ApiError: 400, it is not a whole number from 1 to ``maximum``.
    """
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[+-]?\d+", text) or not 1 <= int(text) <= maximum:
        raise invalid({name: f"Must be an integer between 1 and {maximum}"}, "Invalid query parameters")
    return int(text)


def one_of(query: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    """
    Return a query parameter that has a closed set of values.

    :raises ApiError: 400, it has another value.
    """
    value = query.get(name)
    if value is not None and value not in allowed:
        raise invalid({name: f"Must be one of: {', '.join(allowed)}"}, "Invalid query parameters")
    return value


def comma_list(query: Mapping[str, str], name: str) -> list[str] | None:
    """Return a comma-separated query parameter as a list; None when it is absent or empty."""
    value = query.get(name)
    return [item.strip() for item in value.split(",")] if value else None


def moment(query: Mapping[str, str], name: str, *, end_of_day: bool) -> float | None:
    """
    Return a query parameter that is a day or a date-time, as epoch seconds.

    :param query: the query parameters.
    :param name: name of the parameter.
    :param end_of_day: whether a day means its last moment, else its first.
    :raises ApiError: 400, it is neither.
    """
    text = query.get(name)
    if text is None:
        return None
    try:
        if _DAY.match(text):
            day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
            return (day + timedelta(days=1)).timestamp() - 0.001 if end_of_day else day.timestamp()
        if _MOMENT.match(text):
            parsed = datetime.fromisoformat(text)
            return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        pass
    message = "Must be YYYY-MM-DD or an ISO 8601 date-time"
    raise invalid({name: message}, "Invalid query parameters")


def date_window(query: Mapping[str, str]) -> tuple[float | None, float | None]:
    """
    Return ``startDate`` and ``endDate`` as epoch seconds, both inclusive.

    :raises ApiError: 400, one is malformed or they are the wrong way round.
    """
    start = moment(query, "startDate", end_of_day=False)
    end = moment(query, "endDate", end_of_day=True)
    if (start if start is not None else -math.inf) > (end if end is not None else math.inf):
        message = "startDate must be before or equal to endDate"
        raise ApiError(400, "VALIDATION_INVALID_DATE_RANGE", message)
    return start, end


def _field_of(error: ValidationError) -> str:
    path = [str(step) for step in error.absolute_path]
    if error.validator == "required":
        required, given = cast("list[str]", error.validator_value), cast("dict[str, Any]", error.instance)
        path += [name for name in required if name not in given][:1]
    return ".".join(path) or "body"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
