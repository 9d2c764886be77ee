"""What others wrote as JSON, and what is not JSON though Python's own reader takes it for some."""

from __future__ import annotations

import json
import random

import pytest

from airflow_provider_chatbase.client import errors
from airflow_provider_chatbase.client.answer import EventStreamReader, read_answer
from airflow_provider_chatbase.client.decoding import decode_json
from airflow_provider_chatbase.client.replies import Page, Reply, page, read_reply
from airflow_provider_chatbase.client.request import Request

REFUSED = {
    '{"a": NaN}': "no number",
    '{"a": -Infinity}': "no number",
    '{"a": 1e999}': "no number",
    '{"a": ' + "9" * 5000 + "}": "no number",
    '{"a": "\\ud83d"}': "half a character",
    '{"\\ud83d": 1}': "half a character",
    "[" * 200 + "]" * 200: "nested too deeply",
    "[" * 100_000 + "]" * 100_000: "nested too deeply",
    '{"a":' * 100_000: "nested too deeply",
}


@pytest.mark.parametrize("text", list(REFUSED), ids=lambda text: text[:20])
@pytest.mark.parametrize("encode", [str, str.encode], ids=["text", "bytes"])
def test_what_is_no_json_is_refused(text, encode):
    with pytest.raises(ValueError, match=REFUSED[text]):
        decode_json(encode(text))


@pytest.mark.parametrize("text", ["[1, 2", "", "\ufeff[", '{"a": tru}'])
def test_what_is_cut_is_refused_also_where_it_is_mended(text):
    with pytest.raises(ValueError, match=r"\w"):
        decode_json(text, mend=True)


def test_what_is_paid_for_is_mended():
    assert decode_json('{"a": NaN, "b": 1e999, "c": "x\\ud83d", "d": [-Infinity, 1]}', mend=True) == {
        "a": None,
        "b": None,
        "c": "x\ufffd",
        "d": [None, 1],
    }


@pytest.mark.parametrize("value", [{"a": [1, 2.5, "ü🦊", None, True]}, [[]] * 50, 0, "text", 2**70])
def test_json_is_what_it_was(value):
    assert decode_json(json.dumps(value)) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode()) == value
    assert decode_json(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value


def reply(content: str) -> Reply:
    return Reply(200, {"content-type": "application/json", "x-request-id": "req-1"}, content.encode())


def request(read) -> Request:
    return Request("doThing", "POST", "/thing", read, repeatable=False)


def answer_with(**fields) -> str:
    metadata = {"conversationId": "c1", "userId": "u1", "finishReason": "stop", "usage": {"credits": 1}}
    metadata.update(fields.pop("metadata", {}))
    data = {"id": "m1", "parts": [{"type": "text", "text": "Yes."}], "metadata": metadata, **fields}
    return json.dumps({"data": data})


@pytest.mark.parametrize("cost", ["x", [1], {}, True, -1, 1e308, float("nan"), float("inf"), 10**400])
def test_a_cost_that_is_none_says_nothing_and_the_answer_is_there(cost):
    answer = read_reply(request(read_answer), reply(answer_with(metadata={"usage": {"credits": cost}})), 0)
    assert (answer.text, answer.credits, answer.conversation_id) == ("Yes.", None, "c1")


@pytest.mark.parametrize(("given", "read"), [(7, "7"), (["c"], None), ({}, None), ("", None), (True, None)])
def test_an_id_is_text(given, read):
    whole = answer_with(id=given, metadata={"conversationId": given, "userMessageId": given})
    answer = read_reply(request(read_answer), reply(whole), 0)
    assert (answer.message_id, answer.conversation_id, answer.user_message_id) == (read, read, read)


def test_an_emoji_that_two_events_share_is_whole():
    reader = EventStreamReader()
    for half in ("\ud83e", "\udd8a"):
        reader.take(json.dumps({"type": "text-delta", "id": "1", "delta": half}))
    assert reader.result().text == "🦊"


def test_half_an_emoji_can_be_written():
    reader = EventStreamReader()
    reader.take(json.dumps({"type": "text-delta", "id": "1", "delta": "Hi\ud83e"}))
    assert json.dumps(reader.result().as_json(), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "raised", [TypeError, KeyError, ValueError, OverflowError, RecursionError, IndexError]
)
def test_what_a_reader_raises_is_an_error_with_status_and_request_id(raised):
    def read(_: object) -> None:
        raise raised("odd")

    with pytest.raises(errors.ChatbaseReplyError) as told:
        read_reply(request(read), reply("{}"), 0)
    assert (told.value.status, told.value.request_id, told.value.operation) == (200, "req-1", "doThing")
    assert told.value.ambiguous


ODD = [None, True, 0, -1, 1e308, 10**400, "", "x", "\ud800", [], [[]], {}, {"a": {}}, [None], "9" * 5000]


def mutated(value: object, rng: random.Random) -> object:
    """Put something odd somewhere into a value."""
    if rng.random() < 0.2 or not isinstance(value, dict | list) or not value:
        return rng.choice(ODD)
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    changed = dict(value) if isinstance(value, dict) else list(value)
    if isinstance(changed, dict) and rng.random() < 0.2:
        del changed[key]
    else:
        changed[key] = mutated(value[key], rng)
    return changed


LISTING = {"data": [{"id": "a1", "name": "A"}], "pagination": {"cursor": "c", "hasMore": True, "total": 2}}


@pytest.mark.parametrize("seed", range(300))
def test_a_mutated_reply_is_a_result_that_can_be_written_or_an_error_of_ours(seed):
    rng = random.Random(seed)
    for read, whole in ((read_answer, json.loads(answer_with())), (page, LISTING)):
        try:
            found = read_reply(request(read), reply(json.dumps(mutated(whole, rng))), 0)
        except errors.ChatbaseReplyError:
            continue
        shown = [found.items, found.cursor, found.total] if isinstance(found, Page) else found.as_json()
        assert json.dumps(shown, allow_nan=False, ensure_ascii=False).encode()
