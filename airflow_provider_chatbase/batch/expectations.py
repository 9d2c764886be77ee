"""What an answer is to be: what is expected of its text, and the schema of its JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.errors import ChatbaseInputError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator
    from referencing import Resource
    from referencing._core import Resolver

NAMES = ("contains", "not_contains", "regex", "min_score")


class WrongExpectationError(ValueError):
    """An expectation that cannot be read."""


class Expectations(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the answer to a prompt is expected to be."""

    contains: tuple[str, ...] = ()  # texts, whatever their case
    not_contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()  # patterns that are found in it, in Python's syntax
    min_score: float | None = None  # the least confidence, from 0 to 1

    def __bool__(self) -> bool:
        """Return whether anything is expected."""
        return self != NOTHING

    def unmet(self, text: str, score: float | None) -> list[str]:
        """Return what is not as expected, each as ``name: value``."""
        lower = text.casefold()
        return [
            *(f"contains: {wanted}" for wanted in self.contains if wanted.casefold() not in lower),
            *(f"not_contains: {other}" for other in self.not_contains if other.casefold() in lower),
            *(f"regex: {pattern}" for pattern in self.regex if not re.search(pattern, text)),
            *self._unmet_score(score),
        ]

    def _unmet_score(self, score: float | None) -> list[str]:
        if self.min_score is None or (score is not None and score >= self.min_score):
            return []
        return [f"min_score: {self.min_score:g} (was {'unknown' if score is None else f'{score:g}'})"]


NOTHING = Expectations()


def read_expectations(given: Mapping[str, Any]) -> Expectations:
    """Read expectations."""
    if unknown := sorted(set(given) - set(NAMES)):
        raise WrongExpectationError(f"unknown expectations {', '.join(unknown)}; known: {', '.join(NAMES)}")
    patterns = _texts("regex", given.get("regex"))
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise WrongExpectationError(f"the regex {pattern!r} cannot be read: {error}") from error
    return Expectations(
        contains=_texts("contains", given.get("contains")),
        not_contains=_texts("not_contains", given.get("not_contains")),
        regex=patterns,
        min_score=_score(given.get("min_score")),
    )


def _texts(name: str, value: Any) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise WrongExpectationError(f"{name} must be a text or a list of texts")
    return tuple(texts)


def _score(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = -1.0
    if isinstance(value, bool) or not 0 <= score <= 1:
        raise WrongExpectationError(f"min_score must be a number from 0 to 1, not {value!r}")
    return score


FENCE = "```"
SCHEMA_PROBLEM_CHARS = 300


class AnswerSchema:
    """Reads answers as JSON, and checks them against a JSON schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._validator = _validator(schema)

    def read(self, text: str) -> tuple[Any, str | None]:
        """Read an answer; a fence of Markdown around the JSON is taken off."""
        body = text.strip()
        if body.startswith(FENCE) and body.endswith(FENCE) and "\n" in body:
            body = body.partition("\n")[2].removesuffix(FENCE)
        try:
            value = decode_json(body)
            wrong = next(iter(self._validator.iter_errors(value)), None)
        except ValueError as error:
            return None, f"The answer is no JSON: {error}"
        except RecursionError:
            return None, "The answer is nested too deeply to be held against the schema."
        if wrong is None:
            return value, None
        return None, f"The answer does not fit the schema at {wrong.json_path}: {wrong.message}"[
            :SCHEMA_PROBLEM_CHARS
        ]


def _validator(schema: dict[str, Any]) -> Validator:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.jsonschema import DRAFT202012, specification_with

    dialect = schema.get("$schema", "")
    if not isinstance(dialect, str):
        raise ChatbaseInputError(f"json_schema: $schema must be a text, not {dialect!r}. Nothing was sent.")
    cls = validator_for(schema)
    try:
        cls.check_schema(schema)
    except SchemaError as error:
        raise ChatbaseInputError(
            f"json_schema is no JSON schema: {error.message}. Nothing was sent."
        ) from error
    resource = specification_with(dialect, default=DRAFT202012).create_resource(schema)
    _resolve_all(resource, REGISTRY.resolver_with_root(resource))
    return cls(schema, registry=REGISTRY)


def _resolve_all(resource: Resource[Any], resolver: Resolver[Any]) -> None:
    """Follow what a schema refers to, before an answer that is paid for needs it."""
    from referencing.exceptions import Unresolvable

    contents = resource.contents
    for name in ("$ref", "$dynamicRef") if isinstance(contents, dict) else ():
        try:
            if isinstance(ref := contents.get(name), str):
                resolver.lookup(ref)
        except Unresolvable as error:
            raise ChatbaseInputError(
                f"json_schema refers to {ref!r}, which is not in it, and nothing is fetched. Nothing was "
                "sent."
            ) from error
    for each in resource.subresources():
        _resolve_all(each, resolver.in_subresource(each))
