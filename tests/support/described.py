"""
A Chatbase made of nothing but the API's description: it shares no code with the package and its simulator.

It checks what it is sent (method, path, host, key, query, body) and answers with replies that are made of the
described schemas, as little, as much and as strange as they allow.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from jsonschema import Draft202012Validator

KEY = "key-of-the-stand-in"
LITTLE, ALL, NOTHING, MORE = "little", "all", "nothing", "more"
"""Only what is required; all that is described; null where null may be; and more than is described."""

UNKNOWN = "something_new"
CERTAIN = ("title", "sort", "type", "role", "kind")


class Described:
    """One operation, with its schemas resolved."""

    def __init__(
        self, version: str, path: str, method: str, facts: Mapping[str, Any], document: Mapping[str, Any]
    ) -> None:
        self.id, self.version, self.method = facts["operationId"], version, method.upper()
        self.on_files_host = path.startswith("/api/")
        self.path = path if self.on_files_host else f"/api/{version}{path}"
        shared = document["paths"][path].get("parameters", ())
        self.facts = _resolved({**facts, "parameters": [*shared, *facts.get("parameters", ())]}, document)
        self.pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))

    def body(self, mood: str = ALL, *, second_form: bool = False, which: int = 0) -> Any:
        """Return a body that it takes."""
        [(_, content)] = self._contents(second_form).items()
        return Example(mood, which=which).of(content["schema"])

    def parameters(self, place: str) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.facts["parameters"] if each["in"] == place}

    @property
    def errors(self) -> list[tuple[int, str | None]]:
        """Return the described refusals: status and code, which v1 has none of."""
        return [
            (int(status), code)
            for status, codes in self.facts.get("x-errors", {}).items()
            for code in (codes if isinstance(codes, list) else [None])
        ]

    def complaints(
        self, steps: Mapping[str, str], query: list[tuple[str, str]], kind: str, body: bytes, second: bool
    ) -> Iterator[str]:
        """Tell what is not as described."""
        for name, value in steps.items():
            yield from self._value(name, value, self.parameters("path")[name]["schema"])
        known = self.parameters("query")
        for name, value in query:
            if name not in known:
                yield f"query: unknown {name}"
            else:
                yield from self._value(name, value, known[name]["schema"])
        given = [name for name, _ in query]
        yield from (f"query: {name} twice" for name in set(given) if given.count(name) > 1)
        yield from (
            f"query: no {name}" for name in known if known[name].get("required") and name not in given
        )
        contents = self._contents(second)
        if not contents:
            yield from ["a body, and none is described"] if body else []
            return
        media, content = next(iter(contents.items()))
        if not kind.startswith(media):
            yield f"content type {kind!r}, not {media}"
            return
        decoded = json.loads(body) if media == "application/json" else _form(kind, body)
        for error in Draft202012Validator(_closed(content["schema"])).iter_errors(decoded):
            yield f"body: {error.json_path}: {error.message[:300]}"

    def reply(self, mood: str, said: Mapping[str, Any], last_page: bool) -> tuple[int, Any, dict[str, Any]]:
        """Return a successful status, its body, and the schema of that."""
        status = min(each for each in self.facts["responses"] if each.startswith("2"))
        schema = self.facts["responses"][status]["content"]["application/json"]["schema"]
        return int(status), Example(mood, said, last_page).of(schema), schema

    def _contents(self, second_form: bool) -> Mapping[str, Any]:
        facts = self.facts.get("x-second-form", self.facts) if second_form else self.facts
        return facts.get("requestBody", {}).get("content", {})

    def _value(self, name: str, text: str, schema: Mapping[str, Any]) -> Iterator[str]:
        value: Any = int(text) if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text) else text
        for error in Draft202012Validator(schema).iter_errors(value):
            yield f"{name}: {error.message}"


def described() -> dict[str, Described]:
    """Return every operation of both versions."""
    import airflow_provider_chatbase

    folder = Path(airflow_provider_chatbase.__file__).parent / "simulator" / "description"
    found = {}
    for version in ("v1", "v2"):
        document = json.loads((folder / f"{version}.json").read_text(encoding="utf-8"))
        for path, methods in document["paths"].items():
            for method, facts in methods.items():
                if "operationId" in facts:
                    found[facts["operationId"]] = Described(version, path, method, facts, document)
    return found


def _resolved(value: Any, document: Mapping[str, Any]) -> Any:
    """Put what is referred to in its place; notes go."""
    if isinstance(value, list):
        return [_resolved(each, document) for each in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        found: Any = document
        for step in value["$ref"].split("/")[1:]:
            found = found[step.replace("~1", "/")]
        return _resolved(found, document)
    if str(value.get("pattern", "")).endswith("/i"):
        value = {**value, "pattern": f"(?i){value['pattern'][:-2]}"}
    return {name: _resolved(each, document) for name, each in value.items() if name != "x-note"}


def _closed(schema: Any) -> Any:
    """Return a schema that takes no other properties than it names."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        inner["additionalProperties"] = False
    return inner


def _form(kind: str, body: bytes) -> dict[str, str]:
    message = BytesParser().parsebytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    parts = [part for part in message.get_payload() if not isinstance(part, str)]
    return {
        part.get_param("name", header="content-disposition"): part.get_filename()
        or part.get_payload(decode=True).decode()
        for part in parts
    }


class Example:
    """Makes a value of a schema."""

    numbers = itertools.count(1)

    def __init__(
        self, mood: str, said: Mapping[str, Any] | None = None, last_page: bool = True, *, which: int = 0
    ) -> None:
        self.mood, self.said, self.last_page, self.which = mood, said or {}, last_page, which

    def of(self, schema: Mapping[str, Any], name: str = "") -> Any:
        if name in self.said:
            return self.said[name]
        if "allOf" in schema:
            made = [self.of(each, name) for each in schema["allOf"] if "type" in each or "allOf" in each]
            return None if None in made else {key: value for each in made for key, value in each.items()}
        choices = schema.get("anyOf") or schema.get("oneOf")
        if choices and "properties" not in schema:
            return self.of(self._choice(choices), name)
        types = schema.get("type", "object")
        types = types if isinstance(types, list) else [types]
        if "null" in types and self.mood == NOTHING:
            return None
        return self._of_type(next(each for each in types if each != "null"), schema, name)

    def _choice(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        nothing = [each for each in choices if each.get("type") == "null"]
        some = [each for each in choices if each.get("type") != "null"]
        return nothing[0] if nothing and self.mood == NOTHING else some[min(self.which, len(some) - 1)]

    def _of_type(self, kind: str, schema: Mapping[str, Any], name: str) -> Any:
        if kind == "object":
            return self._object(schema, name)
        if kind == "array":
            return self._array(schema, name)
        if kind == "string":
            return self._text(schema, name)
        if kind == "boolean":
            return schema.get("enum", [True])[0]
        low = schema.get("minimum", 1_760_000_000 if name.endswith("At") else 1)
        return low if kind == "integer" else min(low + 0.5, schema.get("maximum", low + 0.5))

    def _object(self, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
        named, required = schema.get("properties", {}), schema.get("required")
        # Where nothing is marked as required, no document was seen that could have marked it.
        wanted = [each for each in named if self.mood != LITTLE or required is None or each in required]
        made = {each: self.of(named[each], each) for each in wanted}
        if name == "pagination":
            made |= {"hasMore": not self.last_page, "cursor": None if self.last_page else "p2"}
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and self.mood != LITTLE:
            made["1"] = self.of(more, "1") if more else "anything"
        if self.mood == MORE and more is not False:
            made["somethingNew"] = {"deep": [1, None, {"é": True}]}
        return made

    def _array(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        items = schema.get("items", {})
        choices = items.get("oneOf") or items.get("anyOf") or [items]
        made = [self.of(each, name.removesuffix("s")) for each in choices if each.get("type") != "null"]
        made *= -(-schema.get("minItems", 1) // len(made))
        if self.mood == MORE and len(choices) > 1 and "maxItems" not in schema:
            made.append({"type": UNKNOWN, "somethingNew": []})
        return made[: schema.get("maxItems")]

    def _text(self, schema: Mapping[str, Any], name: str) -> str:
        if "enum" in schema:
            is_open = self.mood == MORE and (len(schema["enum"]) > 1 or name == "role")
            return UNKNOWN if is_open else schema["enum"][0]
        if schema.get("format") == "uuid":
            return f"00000000-0000-4000-8000-{next(self.numbers):012}"
        if schema.get("format") == "date-time" or name.endswith(("At", "_at")):
            return "2026-11-01T10:00:00.000Z"
        if "pattern" in schema:
            known = ("ann", "#aBc", "ann@example.com", "Inter", "12px")
            return next(each for each in known if re.search(schema["pattern"], each))
        return f"{name or 'text'}-{next(self.numbers)}"[: schema.get("maxLength")]


class DescribedChatbase(ThreadingHTTPServer):
    """Serves one host; a second one has the paths of the files host."""

    daemon_threads = True

    def __init__(self, *, files: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.operations = files, described()
        self.forget()

    def forget(self) -> None:
        """Begin anew, for another test."""
        self.mood, self.said, self.second_form = ALL, {}, False
        self.asked: list[str] = []
        self.sent: list[Any] = []
        self.complaints: list[str] = []
        self.answers: list[Any] = []
        self.pages = 1
        self.instead: Callable[[Described], tuple[int, str, bytes] | None] = lambda _operation: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def find(self, method: str, path: str) -> tuple[Described, dict[str, str]] | None:
        fitting = [
            (each, found)
            for each in self.operations.values()
            if each.method == method and each.on_files_host == self.files
            for found in [each.pattern.fullmatch(path)]
            if found
        ]
        if not fitting:
            return None
        operation, found = min(fitting, key=lambda each: each[0].path.count("{"))
        return operation, {name: unquote(step) for name, step in found.groupdict().items()}

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> tuple[int, str, bytes]:
        path, _, text = target.partition("?")
        found = self.find(method, path)
        if found is None:
            return self._refuse(404, [f"no operation {method} {path} on this host"])
        operation, steps = found
        query = parse_qsl(text, keep_blank_values=True)
        kind = headers.get("content-type", "")
        wrong = list(operation.complaints(steps, query, kind, body, self.second_form))
        if operation.id != "getHealth" and headers.get("authorization") != f"Bearer {KEY}":
            wrong.append("no key")
        if KEY in target or KEY.encode() in body:
            wrong.append("the key is where it does not belong")
        self.asked.append(operation.id)
        self.sent.append(json.loads(body) if "json" in kind else body)
        if wrong:
            return self._refuse(400, [f"{operation.id}: {each}" for each in wrong])
        if (instead := self.instead(operation)) is not None:
            return instead
        place = dict(query)
        status, made, schema = operation.reply(self.mood, self.said, self.pages == 1 or "cursor" in place)
        if operation.version == "v1" and int(place.get("page", 1)) > self.pages:
            made = {name: [] if isinstance(value, list) else value for name, value in made.items()}
        if self.mood != MORE and not self.said:  # that it is as described is what this stands on
            Draft202012Validator(schema).validate(made)
        self.answers.append(made)
        return status, "application/json", json.dumps(made).encode()

    def _refuse(self, status: int, wrong: list[str]) -> tuple[int, str, bytes]:
        self.complaints += wrong
        error = {"code": "VALIDATION_INVALID_BODY", "message": "; ".join(wrong)}
        return status, "application/json", json.dumps({"error": error}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: DescribedChatbase
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        status, kind, reply = self.server.answer(self.command, self.path, self.headers, body)
        self.send_response(status)
        self.send_header("content-type", kind)
        if status != 204:
            self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - names of the base class

    def log_message(self, *_: Any) -> None:
        pass
