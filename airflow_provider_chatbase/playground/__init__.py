"""
A page to try every operation of the API by hand, and to chat with an agent; in the extra ``simulator``.

Its routes are here, and the API description as Swagger UI shows it best.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Json = dict[str, Any]

NO_ASSETS = (
    "The playground shows the API with Swagger UI, which is not installed: "
    "pip install 'airflow-provider-chatbase[simulator]'."
)

_STATIC = Path(__file__).parent / "static"
_OWN_FILES = ("playground.js", "playground.css")
_SWAGGER_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_METHODS = ("get", "post", "put", "patch", "delete")
_AGENT_NAMES = ("agentId", "chatbotId")
_PARTS_OF_AN_AGENT = frozenset({"styles", "auto-retrain", "clone", "train"})
_QUESTION = "What can you help me with?"
_MORE_TO_SAY: dict[str, Json] = {
    "chatWithAgent": {"message": _QUESTION, "stream": False},
    "chat": {"messages": [{"role": "user", "content": _QUESTION}], "stream": False},
}


@dataclass(frozen=True, kw_only=True)
class PlaygroundPage:
    """Whom a page talks to. Everything in it reaches the browser."""

    is_real: bool
    agent_id: str | None = None
    connection: str | None = None  # where the real service's key is, and below where the calls go
    address: str | None = None
    api_key: str | None = None  # a simulator's own; a real one never goes to a browser

    def __post_init__(self) -> None:
        if self.is_real and self.api_key is not None:
            raise ValueError("The key of the real service does not go to a browser.")


def routes(page: PlaygroundPage) -> list[Route]:
    """Return the routes of the page; the API is expected below ``/api`` of the same origin."""
    static = [Route(f"/playground/{name}", partial(_static, name)) for name in (*_OWN_FILES, *_SWAGGER_FILES)]
    descriptions = [
        Route(f"/playground/{version}.json", partial(_described, version, page)) for version in ("v2", "v1")
    ]
    setup = Route("/playground/setup.json", lambda _: JSONResponse(asdict(page), headers=_HEADERS))
    return [Route("/", partial(_static, "index.html")), setup, *static, *descriptions]


def swagger_assets() -> Path | None:
    """Return where Swagger UI lies; it is found without importing the package that brings it."""
    package = find_spec("fastapi_offline")
    found = package and package.submodule_search_locations
    return Path(found[0]) / "static" if found else None


def _static(name: str, _request: Request) -> Response:
    folder = swagger_assets() if name in _SWAGGER_FILES else _STATIC
    if folder is None:
        return PlainTextResponse(NO_ASSETS, 404, headers=_HEADERS)
    return FileResponse(folder / name, headers=_HEADERS)


def _described(version: str, page: PlaygroundPage, _request: Request) -> Response:
    return JSONResponse(description(version, page), headers=_HEADERS)


def description(version: str, page: PlaygroundPage) -> Json:
    """Return the API description for a page: calls go to the page's own origin, notes can be read."""
    found = files("airflow_provider_chatbase.simulator") / "description" / f"{version}.json"
    document: Json = json.loads(found.read_text(encoding="utf-8"))
    _explain(document, page.agent_id)
    document["servers"] = [{"url": f"/api/{version}"}]
    for path, item, operation in _operations(document):
        if "servers" in operation or "servers" in item:  # files have a host of their own, and whole paths
            item.pop("servers", None)
            operation["servers"] = [{"url": "/"}]
        _complete(path.removeprefix("/api/v2"), operation, document)
    if page.is_real:  # whoever forwards the calls has the key; there is nothing to log in with
        document.pop("security", None)
        document["components"].pop("securitySchemes", None)
    return document


def _operations(document: Json) -> Iterator[tuple[str, Json, Json]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, item, item[method]


def _explain(node: Any, agent_id: str | None) -> None:
    """Turn notes into descriptions, and name the agent wherever one is asked for."""
    if isinstance(node, list):
        for each in node:
            _explain(each, agent_id)
    elif isinstance(node, dict):
        if isinstance(node.get("x-note"), str) and not node.get("description"):
            node["description"] = node["x-note"]
        if agent_id and node.get("name") in _AGENT_NAMES and "in" in node:
            node["example"] = agent_id
        for name in _AGENT_NAMES:
            if agent_id and isinstance(node.get(name), dict):  # among the properties of a body
                node[name]["example"] = agent_id
        for each in node.values():
            _explain(each, agent_id)


def _complete(path: str, operation: Json, document: Json) -> None:
    operation.setdefault("tags", [_tag(path)])
    operation.setdefault("summary", re.sub("(?<=[a-z])(?=[A-Z])", " ", operation["operationId"]).capitalize())
    errors = operation.get("x-errors", {})
    for status, reply in operation["responses"].items():
        codes = ", ".join(errors.get(status, ()))
        reply["description"] = reply.get("description") or codes or HTTPStatus(int(status)).phrase
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        # Swagger UI would fill in every field, and a click on an update would overwrite all of an agent.
        more = _MORE_TO_SAY.get(operation["operationId"], {})
        body["example"] = {**_example(body["schema"], document), **more}


def _tag(path: str) -> str:
    names = [part for part in path.split("/") if part and "{" not in part]
    below = names[1:2] if names[0] == "agents" else []
    if not below or below[0] in _PARTS_OF_AN_AGENT:
        return names[0].capitalize()
    return "Conversations" if below[0] == "users" else below[0].capitalize()


def _example(schema: Json, document: Json) -> Any:
    """Return the least that a schema lets pass: what is required, and of a choice the first."""
    if "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _example(target, document)
    for choice in ("oneOf", "anyOf"):
        if choice in schema:
            return _example(schema[choice][0], document)
    for given in ("example", "enum"):
        if given in schema:
            return schema[given] if given == "example" else schema[given][0]
    match schema.get("type", "object"):
        case "object":
            wanted = [name for name in schema.get("required", ()) if name in schema["properties"]]
            return {name: _example(schema["properties"][name], document) for name in wanted}
        case "array":
            return [_example(schema["items"], document)] if schema.get("minItems") else []
        case kind:
            return {"string": "text", "boolean": False}.get(str(kind))
