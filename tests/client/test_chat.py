"""The request that asks an agent, and the reading of its answer."""

from __future__ import annotations

import json

import pytest

from airflow_provider_chatbase.client.answer import Answer, read_answer
from airflow_provider_chatbase.client.errors import ChatbaseAnswerError, ChatbaseInputError
from airflow_provider_chatbase.client.replies import UnexpectedShapeError
from airflow_provider_chatbase.client.v2.conversations import send_message

REPLY = {
    "data": {
        "id": "msg_2",
        "role": "assistant",
        "parts": [{"type": "text", "text": "From 8 to 18."}],
        "metadata": {
            "userMessageId": "msg_1",
            "conversationId": "conv_1",
            "userId": "ann",
            "finishReason": "stop",
            "usage": {"credits": 1.5},
        },
    }
}


def reply(parts: list, **metadata) -> dict:
    data = REPLY["data"]
    return {"data": {**data, "parts": parts, "metadata": {**data["metadata"], **metadata}}}


@pytest.mark.parametrize(
    ("more", "body"),
    [
        pytest.param({}, {}, id="a new conversation"),
        pytest.param({"conversation_id": "c1"}, {"conversationId": "c1"}, id="an old conversation"),
        pytest.param({"user_id": "ann"}, {"userId": "ann"}, id="a tag"),
    ],
)
def test_request(more, body):
    request = send_message("a1", "Hello?", **more)
    assert (request.operation, request.method, request.path) == ("chatWithAgent", "POST", "/agents/a1/chat")
    assert request.body == {"message": "Hello?", "stream": False, **body}


def test_an_answer_is_never_asked_for_twice_blindly():
    assert send_message("a1", "Hello?").repeatable is False


def test_an_answer_may_take_longer_than_other_calls():
    assert send_message("a1", "Hello?").patience >= 120


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"message": ""}, "message is empty"),
        ({"message": "  "}, "message is empty"),
        ({"message": None}, "message must be text"),
        ({"conversation_id": ""}, "conversation_id is empty"),
        ({"user_id": "ann@example.com"}, "no e-mail addresses"),
        ({"user_id": ""}, "1 to 128"),
        ({"agent_id": ""}, "agent_id"),
    ],
    ids=repr,
)
def test_what_is_refused_before_it_is_sent(arguments, words):
    given = {"agent_id": "a1", "message": "Hello?", **arguments}
    with pytest.raises(ChatbaseInputError, match=words):
        send_message(given.pop("agent_id"), given.pop("message"), **given)


def test_reads_an_answer():
    assert read_answer(REPLY) == Answer(
        text="From 8 to 18.",
        conversation_id="conv_1",
        message_id="msg_2",
        user_message_id="msg_1",
        user_id="ann",
        credits=1.5,
        finish_reason="stop",
        tool_calls=[],
    )


def test_an_answer_as_json_has_all_fields():
    assert json.loads(json.dumps(read_answer(REPLY).as_json())) == {
        "text": "From 8 to 18.",
        "conversation_id": "conv_1",
        "message_id": "msg_2",
        "user_message_id": "msg_1",
        "user_id": "ann",
        "credits": 1.5,
        "finish_reason": "stop",
        "tool_calls": [],
        "tool_rounds": 0,
        "recovered": False,
        "history": None,
    }


def test_joins_the_texts_and_passes_over_parts_of_tomorrow():
    parts = [
        {"type": "text", "text": "From 8 "},
        {"type": "reasoning", "text": "hidden"},
        "no object",
        {"type": "text", "text": None},
        {"type": "text", "text": "to 18."},
    ]
    assert read_answer(reply(parts)).text == "From 8 to 18."


def test_reads_the_calls_of_tools():
    call = {"type": "tool-call", "toolCallId": "t1", "toolName": "get_order_status", "input": {"id": 7}}
    answer = read_answer(reply([call], finishReason="tool-calls"))
    assert answer.tool_calls == [{"id": "t1", "name": "get_order_status", "input": {"id": 7}}]
    assert answer.checked() is answer


@pytest.mark.parametrize("more", [{}, {"metadata": None}, {"metadata": {"usage": None}}], ids=repr)
def test_what_the_reply_does_not_say_is_none(more):
    assert read_answer({"data": {"id": "m1", "parts": [], **more}}) == Answer("", message_id="m1")
    text = {"parts": [{"type": "text", "text": "Yes."}]}
    assert read_answer({"data": {**text, **more}}) == Answer("Yes.")


NO_ANSWERS = [{"data": None}, {}, {"data": []}, [], None, {"data": {}}, {"data": {"parts": []}}]
NO_ANSWERS += [{"data": {"id": "m1"}}, {"data": {"id": "m1", "parts": {}}}]


@pytest.mark.parametrize("nothing", NO_ANSWERS, ids=repr)
def test_no_answer_object(nothing):
    with pytest.raises(UnexpectedShapeError):
        read_answer(nothing)


@pytest.mark.parametrize("reason", ["stop", "length", "content-filter", "brand-new", None])
def test_any_finish_reason_with_a_text_is_an_answer(reason):
    answer = read_answer(reply([{"type": "text", "text": "Yes."}], finishReason=reason))
    assert answer.checked().finish_reason == reason


def test_finish_reason_error_is_no_answer_even_with_a_text():
    with pytest.raises(ChatbaseAnswerError, match="finishReason: error") as raised:
        read_answer(reply([{"type": "text", "text": "From 8 t"}], finishReason="error")).checked()
    assert raised.value.text == "From 8 t"
    assert raised.value.conversation_id == "conv_1"
    assert "conversation conv_1, message msg_2" in str(raised.value)


@pytest.mark.parametrize("parts", [[], [{"type": "text", "text": ""}], [{"type": "reasoning"}]], ids=repr)
def test_silence_is_no_answer(parts):
    with pytest.raises(ChatbaseAnswerError, match="gave no answer"):
        read_answer(reply(parts)).checked()
