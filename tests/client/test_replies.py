"""From the bytes of a reply to its result or its error."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.replies import Reply, UnexpectedShapeError, error_envelope, read_reply
from airflow_provider_chatbase.client.request import Request

JSON = {"content-type": "application/json; charset=utf-8", "x-request-id": "req_42"}
HTML = {"content-type": "text/html", "x-request-id": "req_42"}
NOW = 1_800_000_000.0


def asked(read=lambda reply: reply) -> Request:
    return Request(operation="getThing", method="GET", path="/thing", read=read)


def read(status: int, content: bytes, headers=JSON, request=None):
    return read_reply(request or asked(), Reply(status, headers, content), NOW)


def failure(status: int, content: bytes, headers=JSON, request=None) -> errors.ChatbaseError:
    with pytest.raises(errors.ChatbaseError) as raised:
        read(status, content, headers, request)
    return raised.value


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    "value",
    [{"id": "x", "brandNew": {"deep": [1, None]}}, [], None, "text", 1.5, {"Überschrift": "héé 🎈\u2028"}],
    ids=repr,
)
def test_reads_any_json(status, value):
    assert read(status, json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("headers", [HTML, {}], ids=["another content type", "no content type"])
def test_json_is_json_whatever_its_content_type(headers):
    assert read(200, b'{"id": "x"}', headers) == {"id": "x"}


def test_an_empty_reply_is_nothing():
    assert read(204, b"") is None


@pytest.mark.parametrize(
    "content",
    [b"", b'{"data": [', b'{"id": "x"', b"\xff\xfe{", b'{"id": "\xc3\x28"}', b"null null"],
    ids=repr,
)
def test_damaged_json_keeps_status_and_request_id(content):
    error = failure(200, content)
    assert type(error) is errors.ChatbaseDamagedReplyError
    assert (error.status, error.request_id, error.operation) == (200, "req_42", "getThing")
    assert "HTTP 200, request req_42" in str(error)
    assert "cut or damaged" in str(error)


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"", b"OK"], ids=repr)
def test_a_page_of_a_proxy_is_said_to_be_one(content):
    error = failure(200, content, HTML)
    assert type(error) is errors.ChatbaseReplyError
    assert not error.transient
    assert (error.status, error.request_id) == (200, "req_42")
    assert "text/html instead of JSON. A proxy may have answered" in str(error)


def test_what_came_is_not_repeated_in_the_message():
    assert "secret page" not in str(failure(200, b"<html>secret page</html>", HTML))


def test_an_unexpected_shape_keeps_status_and_request_id():
    def refuse(_):
        raise UnexpectedShapeError("an id was promised, and none came")

    error = failure(201, b"{}", request=asked(refuse))
    assert type(error) is errors.ChatbaseReplyError
    assert str(error) == (
        "The reply to getThing is not what the API promises [HTTP 201, request req_42]: "
        "an id was promised, and none came."
    )


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
def test_a_redirect_is_an_error_that_says_where_it_leads(status):
    error = failure(status, b"", {**HTML, "location": "https://login.example/?next=api"})
    assert type(error) is errors.ChatbaseReplyError
    assert (error.status, error.transient) == (status, False)
    assert "a redirect to https://login.example/?next=api, which is not followed" in str(error)


def test_a_refusal_says_what_why_and_what_next():
    body = {
        "error": {
            "code": "VALIDATION_INVALID_BODY",
            "message": "Invalid request body.",
            "details": {"name": "Required", "temp": "Must be at most 1"},
        }
    }
    error = failure(400, json.dumps(body).encode())
    assert str(error) == (
        "Chatbase refused getThing: Invalid request body. (name: Required; temp: Must be at most 1) "
        "[VALIDATION_INVALID_BODY, HTTP 400, request req_42]."
    )
    assert error.details == {"name": "Required", "temp": "Must be at most 1"}
    assert (error.code, error.status, error.request_id, error.operation) == (
        "VALIDATION_INVALID_BODY",
        400,
        "req_42",
        "getThing",
    )


def test_a_refusal_with_advice_is_made_of_whole_sentences():
    body = b'{"error": {"code": "AGENT_NOT_FOUND", "message": "Agent not found"}}'
    assert str(failure(404, body, {})) == (
        "Chatbase refused getThing: Agent not found [AGENT_NOT_FOUND, HTTP 404]. "
        "Check agent_id: this API key's workspace has no such agent."
    )


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422, 429, 500, 502, 503, 504])
@pytest.mark.parametrize(
    "content", [b"<html>Bad gateway</html>", b"", b"[]", b'"text"', b"null", b"{}"], ids=repr
)
def test_a_refusal_that_is_no_envelope_keeps_its_status(status, content):
    error = failure(status, content, HTML)
    assert isinstance(error, errors.ChatbaseApiError)
    assert (error.status, error.request_id, error.code) == (status, "req_42", None)
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            {"error": {"code": "A_CODE", "message": "why", "details": {"to": "bad"}}},
            ("A_CODE", "why", {"to": "bad"}),
            id="v2",
        ),
        pytest.param({"error": {"code": "A_CODE", "message": "why"}}, ("A_CODE", "why", {}), id="no details"),
        pytest.param({"error": {"code": "A_CODE"}}, ("A_CODE", "", {}), id="no message"),
        pytest.param(
            {"error": {"code": 17, "message": ["x"], "details": "x"}}, (None, "", {}), id="wrong types"
        ),
        pytest.param({"error": "why"}, (None, "why", {}), id="a text"),
        pytest.param({"error": None}, (None, "", {}), id="null"),
        pytest.param({"message": "why"}, (None, "why", {}), id="v1"),
        pytest.param(
            {"message": "why", "issues": [{"field": "size", "message": "too large"}, "odd"]},
            (None, "why", {"size": "too large"}),
            id="v1 with issues",
        ),
    ],
)
def test_error_envelope(body, expected):
    assert error_envelope(json.dumps(body).encode()) == expected


@pytest.mark.parametrize("status", [429, 503])
def test_takes_the_wait_from_retry_after(status):
    assert failure(status, b"", {"retry-after": "7"}).retry_after == 7.0


def test_takes_the_wait_of_a_rate_limit_from_reset():
    assert failure(429, b"", {"x-ratelimit-reset": "1800000003000"}).retry_after == 3.0


@pytest.mark.parametrize("status", [500, 502, 503])
def test_the_reset_of_the_rate_limit_says_nothing_of_a_failure(status):
    """Every reply carries this header, and the window ends seconds later than a blip."""
    headers = {"x-ratelimit-reset": "1800000009000", "x-ratelimit-remaining": "998"}
    assert failure(status, b"", headers).retry_after is None
