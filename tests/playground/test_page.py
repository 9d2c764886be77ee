"""The API description as the page shows it, and what the page loads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Router
from starlette.testclient import TestClient

from airflow_provider_chatbase import playground
from airflow_provider_chatbase import playground as page
from airflow_provider_chatbase.playground import PlaygroundPage, routes

SIMULATED = PlaygroundPage(is_real=False, agent_id="agent-1", api_key="simulator-key")
REAL = PlaygroundPage(
    is_real=True, address="https://www.chatbase.co", agent_id="agent-1", connection="my_conn"
)


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [item[method] for item in document["paths"].values() for method in item if method in page._METHODS]


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_every_body_is_filled_in_with_the_least_that_the_api_takes(version: str) -> None:
    document = page.description(version, SIMULATED)
    bodies = [
        (operation["operationId"], operation["requestBody"]["content"]["application/json"])
        for operation in operations(document)
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert len(bodies) > 5
    for name, body in bodies:
        schema = {**body["schema"], "components": document["components"]}
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(body["example"])]
        assert not errors, name


def test_an_update_is_filled_in_with_nothing_to_overwrite() -> None:
    by_name = {each["operationId"]: each for each in operations(page.description("v2", REAL))}
    assert by_name["updateAgent"]["requestBody"]["content"]["application/json"]["example"] == {}


@pytest.mark.parametrize("version", ["v2", "v1"])
def test_calls_go_to_the_origin_of_the_page(version: str) -> None:
    document = page.description(version, REAL)
    assert document["servers"] == [{"url": f"/api/{version}"}]
    servers = [
        server for item in document["paths"].values() for each in (item, *operations({"paths": {"": item}}))
        for server in each.get("servers", ())
    ]  # fmt: skip
    assert all(server == {"url": "/"} for server in servers)
    assert bool(servers) == (version == "v2")


def test_the_agent_is_named_where_one_is_asked_for() -> None:
    by_name = {each["operationId"]: each for each in operations(page.description("v2", REAL))}
    assert by_name["getAgent"]["parameters"][0]["example"] == "agent-1"
    old = {each["operationId"]: each for each in operations(page.description("v1", REAL))}
    assert old["chat"]["requestBody"]["content"]["application/json"]["example"]["chatbotId"] == "agent-1"


def test_notes_and_error_codes_can_be_read() -> None:
    by_name = {each["operationId"]: each for each in operations(page.description("v2", REAL))}
    assert by_name["updateAgent"]["description"].startswith("Partial update")
    assert by_name["chatWithAgent"]["responses"]["402"]["description"] == "CHAT_CREDITS_EXHAUSTED"
    assert by_name["listTickets"]["tags"] == ["Helpdesk"]
    assert by_name["listTickets"]["summary"] == "List tickets"


def test_only_a_simulator_shows_a_key() -> None:
    with pytest.raises(ValueError, match="does not go to a browser"):
        PlaygroundPage(is_real=True, address="https://www.chatbase.co", api_key="sk")
    assert "security" in page.description("v2", SIMULATED)
    assert "security" not in json.dumps(page.description("v2", REAL))
    assert TestClient(Router(routes(SIMULATED))).get("/playground/setup.json").json()["api_key"] == (
        "simulator-key"
    )


def test_the_page_loads_nothing_from_elsewhere() -> None:
    client = TestClient(Router(routes(REAL)))
    html = client.get("/").text
    loaded = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', html)
    assert len(loaded) == 4
    for path in loaded:
        reply = client.get(path)
        assert reply.status_code == 200
        assert "default-src 'none'" in reply.headers["content-security-policy"]
    static = Path(playground.__file__).parent / "static"
    for file in static.iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/)", file.read_text()), file.name


def test_without_swagger_ui_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "find_spec", lambda _: None)
    reply = TestClient(Router(routes(SIMULATED))).get("/playground/swagger-ui.css")
    assert reply.status_code == 404
    assert "pip install 'airflow-provider-chatbase[simulator]'" in reply.text
