"""Answers that are to be JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_chatbase.client.errors import ChatbaseInputError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_FENCED = re.compile(r"\A\s*```\w*\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)

SCHEMA_PROBLEM_CHARS = 300


class AnswerSchema:
    """Reads answers as JSON, and checks them against a JSON schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = _validator(schema)

    def read(self, text: str) -> tuple[Any, str | None]:
        """Read an answer; a fence of Markdown around the JSON is taken off."""
        fenced = _FENCED.match(text)
        try:
            value = json.loads(fenced.group(1) if fenced else text)
        except ValueError as error:
            return None, f"The answer is no JSON: {error}"
        wrong = next(iter(self._validator.iter_errors(value)), None)
        if wrong is None:
            return value, None
        return None, f"The answer does not fit the schema at {wrong.json_path}: {wrong.message}"[
            :SCHEMA_PROBLEM_CHARS
        ]


def _validator(schema: dict[str, Any]) -> Validator:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for

    cls = validator_for(schema)
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        raise ChatbaseInputError(
            f"json_schema is no JSON schema: {error.message}. Nothing was sent."
        ) from error
    return cls(schema)
