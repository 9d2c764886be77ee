"""The API description, which is package data: which operations there are, and what each of them accepts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from airflow_provider_chatbase.simulator.exchange import ApiError, ReceivedRequest, invalid

MAX_JSON_BODY = 4_500_000

_NAMES = {"v1": "urn:chatbase:v1", "v2": "urn:chatbase:v2"}
_FOLDER = Path(__file__).parent / "description"
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FORMAT_PATTERNS = {
    "date": r"\d{4}-\d{2}-\d{2}",
    "date-time": r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})",
    "email": r"[^@\s]{1,64}@[^@\s]{1,255}",
    "uri": r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/]\S*",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
}
_ANY_TEXT = ({"type": "string"}, {"type": "string", "minLength": 1})  # a step of a path is never empty

Place = Literal["path", "query"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation, with what checks it; None: any text will do."""

    name: str
    required: bool
    default: Any
    is_integer: bool
    validator: Draft202012Validator | None


@dataclass(frozen=True)
class Operation:
    """One operation of the API, as the description has it; ``pointer`` is its place in there."""

    id: str
    version: str
    method: str
    path: str
    pointer: str
    facts: Mapping[str, Any]
    shared_parameters: Sequence[Mapping[str, Any]]

    @property
    def takes_form(self) -> bool:
        """Whether its body is a form with files."""
        return "multipart/form-data" in self._contents

    @property
    def code_without_agent(self) -> str:
        """The error code that it gives when the agent of its path does not exist."""
        codes = self.facts.get("x-errors", {}).get("404")
        return "SOURCE_NOT_FOUND" if codes == ["SOURCE_NOT_FOUND"] else "AGENT_NOT_FOUND"

    @property
    def takes_json(self) -> bool:
        """Whether it has a JSON body."""
        return "application/json" in self._contents

    def read(self, place: Place, given: Mapping[str, str]) -> dict[str, Any]:
        """
        Return parameters as values, with defaults; unknown ones stay as they are.

        :raises ApiError: 400 with the reason per parameter.
        """
        values: dict[str, Any] = dict(given)
        wrong: dict[str, str] = {}
        for parameter in self._parameters[place]:
            name, text = parameter.name, given.get(parameter.name)
            if parameter.required and not text:
                wrong[name] = "Required"
            elif text is None:
                if parameter.default is not None:
                    values[name] = parameter.default
            else:
                is_number = parameter.is_integer and _INTEGER.fullmatch(text) is not None
                values[name] = int(text) if is_number else text
                if parameter.validator is not None:
                    for error in parameter.validator.iter_errors(values[name]):
                        wrong[name] = error.message[:200]
        if wrong:
            raise invalid(wrong, "Invalid path" if place == "path" else "Invalid query parameters")
        return values

    def read_json(self, request: ReceivedRequest) -> Any:
        """
        Return the JSON body.

        :raises ApiError: 400 or 413, the body is too large, not JSON, or against the schema.
        """
        if len(request.body) > MAX_JSON_BODY:
            raise ApiError(413, "VALIDATION_INVALID_BODY", "Request entity too large")
        try:
            body = json.loads(request.body, parse_constant=_refuse_constant)
        except ValueError as error:
            raise ApiError(400, "VALIDATION_INVALID_JSON", "Request body is not valid JSON") from error
        check(self.version, self._body_pointer("application/json"), body)
        return body

    def read_form(self, fields: Mapping[str, str], files: Mapping[str, Any]) -> None:
        """Refuse a form with ``ApiError`` 400 when it lacks a field, or has a text in place of a file."""
        pointer = self._body_pointer("multipart/form-data")
        wanted = self._contents["multipart/form-data"]["schema"]["properties"]
        is_file = {name: schema.get("format") == "binary" for name, schema in wanted.items()}
        form = {name: text for name, text in fields.items() if not is_file.get(name)}
        check(self.version, pointer, form | {name: "" for name in files if is_file.get(name, True)})

    @property
    def _contents(self) -> Mapping[str, Any]:
        return cast("Mapping[str, Any]", self.facts.get("requestBody", {}).get("content", {}))

    def _body_pointer(self, content_type: str) -> str:
        # A second form stands beside the first where documents of different age disagree; it allows both.
        form = "/x-second-form" if "x-second-form" in self.facts else ""
        escaped = content_type.replace("/", "~1")
        return f"{self.pointer}{form}/requestBody/content/{escaped}/schema"

    @cached_property
    def _parameters(self) -> dict[Place, list[Parameter]]:
        found: dict[Place, list[Parameter]] = {"path": [], "query": []}
        for facts in (*self.shared_parameters, *self.facts.get("parameters", ())):
            if "$ref" in facts:
                facts = _at(self.version, facts["$ref"].partition("#")[2])
            schema = {name: limit for name, limit in facts["schema"].items() if name != "default"}
            found[facts["in"]].append(
                Parameter(
                    facts["name"],
                    facts.get("required", False),
                    facts["schema"].get("default"),
                    schema.get("type") == "integer",
                    None if schema in _ANY_TEXT else _compiled(schema),
                )
            )
        return found


@cache
def load(version: str) -> dict[str, Any]:
    """Return the description of an API version, read once; its references are made absolute."""
    text = (_FOLDER / f"{version}.json").read_text("utf-8")
    return cast("dict[str, Any]", json.loads(text.replace('"#/', f'"{_NAMES[version]}#/')))


@cache
def operations() -> dict[str, Operation]:
    """Return all operations of both versions, by operationId."""
    found = {}
    for version in _NAMES:
        for path, item in load(version)["paths"].items():
            shared = item.get("parameters", ())
            for method, facts in item.items():
                if method == "parameters":
                    continue
                pointer = f"/paths/{path.replace('/', '~1')}/{method}"
                # The operations of the files host name their whole path.
                whole = path if path.startswith("/api/") else f"/api/{version}{path}"
                identifier = facts["operationId"]
                found[identifier] = Operation(
                    identifier, version, method.upper(), whole, pointer, facts, shared
                )
    return found


def check(version: str, pointer: str, value: Any) -> None:
    """Refuse a body with ``ApiError`` 400, with the reason per field, when it is against a schema."""
    found = reasons(version, pointer, value)
    if found:
        raise invalid(found, "Invalid request body")


def reasons(version: str, pointer: str, value: Any) -> dict[str, str]:
    """Return by field what a value has against the schema at a JSON pointer of a version's description."""
    errors = _validator(version, pointer).iter_errors(value)
    return {field: reason[:200] for error in errors for field, reason in _told(error)}


def _told(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Tell an error, or those of the alternative that was meant: its ``type`` fits, or it fails least."""
    branches: dict[Any, list[ValidationError]] = {}
    for each in error.context or ():
        branches.setdefault(each.schema_path[0], []).append(each)
    if branches:
        meant = min(branches.values(), key=lambda found: (_is_of_another_kind(found, error), len(found)))
        for each in meant:
            yield from _told(each)
        return
    path = [str(step) for step in error.absolute_path]
    if error.validator == "required":
        required, given = cast("list[str]", error.validator_value), cast("dict[str, Any]", error.instance)
        path += [name for name in required if name not in given][:1]
    yield ".".join(path) or "body", error.message


def _is_of_another_kind(found: list[ValidationError], parent: ValidationError) -> bool:
    depth = len(parent.absolute_path)
    return any(
        each.validator in {"type", "enum"} and list(each.absolute_path)[depth:] in ([], ["type"])
        for each in found
    )


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and not _expression(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    """Compile a pattern of JavaScript, where ``$`` is the very end; one is noted with its flag ``/i``."""
    plain = pattern.removesuffix("/i")
    ended = re.sub(r"(?<!\\)\$$", r"\\Z", plain)
    return re.compile(ended, re.IGNORECASE if plain != pattern else 0)


_Validator = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def _registry() -> Registry[Any]:
    registry: Registry[Any] = Registry()
    found = [(name, DRAFT202012.create_resource(load(version))) for version, name in _NAMES.items()]
    return registry.with_resources(found)


def _compiled(schema: Mapping[str, Any]) -> Draft202012Validator:
    made = _Validator(schema, registry=_registry(), format_checker=_FORMATS)
    return cast("Draft202012Validator", made)


@cache
def _validator(version: str, pointer: str) -> Draft202012Validator:
    return _compiled(_at(version, pointer))


def _at(version: str, pointer: str) -> Mapping[str, Any]:
    """Return what is at a JSON pointer."""
    found: Any = load(version)
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/")
        found = found[int(name)] if isinstance(found, list) else found[name]
    return cast("Mapping[str, Any]", found)


def _fits(pattern: str, value: object) -> bool:
    return not isinstance(value, str) or re.fullmatch(pattern, value) is not None


_FORMATS = FormatChecker(formats=())
for _name, _pattern_of_it in _FORMAT_PATTERNS.items():
    _FORMATS.checks(_name)(partial(_fits, _pattern_of_it))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
