"""Answers that are streamed, in all the spellings that the documents leave open, and broken in all places."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from itertools import islice

import pytest
from acting import AGENT, KEY, TEXT, Act, events_of, sse

from airflow_provider_chatbase.client import AsyncChatbaseClient, v1
from airflow_provider_chatbase.client.answer import Answer, EventStreamReader
from airflow_provider_chatbase.client.errors import (
    ChatbaseAnswerError,
    ChatbaseCreditsError,
    ChatbaseInterruptedAnswerError,
    ChatbaseReplyError,
)
from airflow_provider_chatbase.client.v2.conversations import send_message

REQUEST = send_message(AGENT, "Hello?", stream=True)
CLOSING = {"userMessageId": "q", "conversationId": "c", "userId": None, "usage": {"credits": 2.5}}
ANSWER = {"id": "m", "parts": [{"type": "text", "text": TEXT}]}
EVENTS = events_of(ANSWER, "stop", CLOSING)
READ = Answer(
    text=TEXT,
    conversation_id="c",
    message_id="m",
    user_message_id="q",
    user_id=None,
    credits=2.5,
    finish_reason="stop",
    tool_calls=[],
)
DONE = b"data: [DONE]\n\n"


def plain(events):
    return [b"".join(sse(events))]


def with_event_lines(events):
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events] + [
        b"event: done\n" + DONE
    ]


def with_comments(events):
    return [b": keep-alive\n\n" + record + b":\n" for record in sse(events)]


def with_carriage_returns(events):
    return [b"".join(sse(events)).replace(b"\n", b"\r\n")]


def with_lone_carriage_returns(events):
    return [b"".join(sse(events)).replace(b"\n", b"\r")]


def without_spaces(events):
    return [b"".join(sse(events)).replace(b"data: ", b"data:")]


def with_ids_and_retry(events):
    return [b"id: %d\nretry: 3000\nnew-field: x\n%b" % (at, record) for at, record in enumerate(sse(events))]


def over_two_data_lines(events):
    return [f"data: {json.dumps(e)[:-1]}\ndata: }}\n\n".encode() for e in events] + [DONE]


def with_message_start(events):
    return sse([{**e, "type": "message-start"} if e["type"] == "start" else e for e in events])


def without_a_start(events):
    return sse([e for e in events if e["type"] != "start"])


def with_unknown_events(events):
    unknown = [
        {"type": "source-url", "url": "x", "delta": "no"},
        {"type": "data-note", "data": {}},
        {"no": "type"},
    ]
    unknown += [
        {"type": "reasoning-delta", "id": "r", "delta": "secret thought"},
        {"type": 7},
        {"type": "abort-me"},
    ]
    return sse([each for e in events for each in (*unknown, {**e, "brandNew": [1]})])


def metadata_in(kind, *, flat=False, key="messageMetadata"):
    def wire(events):
        *others, finish = events
        metadata = finish["messageMetadata"]
        told = {"type": kind, **(metadata if flat else {key: metadata})}
        if kind == "finish":
            return sse([*others, {**told, "finishReason": "stop"}])
        return sse([*others, told, {"type": "finish", "finishReason": "stop"}])

    return wire


def reason_inside_metadata(events):
    *others, finish = events
    return sse(
        [
            *others,
            {"type": "finish", "messageMetadata": {**finish["messageMetadata"], "finishReason": "stop"}},
        ]
    )


def metadata_at_the_start(events):
    start, *others, finish = events
    return sse(
        [
            {**start, "messageMetadata": finish["messageMetadata"]},
            *others,
            {"type": "finish", "finishReason": "stop"},
        ]
    )


def metadata_before_and_nothing_at_the_end(events):
    *others, finish = events
    empty = {"messageId": None, "conversationId": None, "usage": None}
    told = {"type": "message-metadata", "messageMetadata": finish["messageMetadata"]}
    return sse([told, *others, {"type": "finish", "finishReason": "stop", "messageMetadata": empty}])


VARIANTS = [
    sse, plain, with_event_lines, with_comments, with_carriage_returns, with_lone_carriage_returns,
    without_spaces,
    with_ids_and_retry, over_two_data_lines, with_message_start, without_a_start, with_unknown_events,
    reason_inside_metadata, metadata_at_the_start, metadata_before_and_nothing_at_the_end,
    metadata_in("finish", flat=True), metadata_in("finish", key="metadata"), metadata_in("message-metadata"),
    metadata_in("message-metadata", flat=True), metadata_in("message-metadata", key="metadata"),
]  # fmt: skip


def stream(body, **how):
    return Act(body=body, content_type="text/event-stream; charset=utf-8", **how)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: f"{v.__qualname__}")
def test_every_spelling_of_a_stream_is_the_same_answer(chatbase, client, variant):
    chatbase.acts = [stream(variant(EVENTS))]
    assert client.send(REQUEST) == READ


@pytest.mark.parametrize("name", ["start", "message-start"])
def test_the_first_event_names_the_message_where_the_last_does_not(chatbase, client, name):
    start, *others, _ = EVENTS
    closing = {"type": "finish", "finishReason": "stop", "messageMetadata": CLOSING}
    chatbase.acts = [stream(sse([{**start, "type": name}, *others, closing]))]
    assert client.send(REQUEST) == READ


def test_a_stream_may_be_split_at_any_byte(chatbase, client):
    """Two chunks of HTTP reach the decoder one by one, however they arrive."""
    short = events_of({"id": "m", "parts": [{"type": "text", "text": "ü🦊"}]}, "stop", CLOSING)
    whole = b"".join(with_event_lines(short)).replace(b"\n\n", b"\r\n\r\n", 3)
    for at in range(1, len(whole)):
        chatbase.acts = [stream([whole[:at], whole[at:]])]
        assert client.send(REQUEST) == replace(READ, text="ü🦊"), at


def test_a_stream_may_come_byte_by_byte(chatbase, client):
    chatbase.acts = [stream([bytes([byte]) for byte in b"".join(sse(EVENTS))])]
    assert client.send(REQUEST) == READ


@pytest.mark.impatient
def test_the_texts_arrive_while_the_answer_is_written(chatbase, client):
    """The stream hangs after its third text: what came before it has been handed out by then."""
    chatbase.acts = [stream(sse(EVENTS), cut_after=6, ending="hang")]
    coming = client.stream(REQUEST, EventStreamReader())
    texts = list(islice(coming, 3))
    with pytest.raises(ChatbaseInterruptedAnswerError):
        next(coming)
    assert texts == [TEXT[0:3], TEXT[3:6], TEXT[6:9]]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"], ids=ascii)
def test_a_line_separator_inside_a_text_is_a_text(chatbase, client, separator):
    text = f"one{separator}two"
    events = events_of({"id": "m", "parts": [{"type": "text", "text": text}]}, "stop", CLOSING)
    chatbase.acts = [
        stream([f"data: {json.dumps(e, ensure_ascii=False)}\n\n".encode() for e in events] + [DONE])
    ]
    assert client.send(REQUEST).text == text


def test_texts_of_several_parts_stand_in_the_order_they_began(chatbase, client):
    deltas = [("a", "One"), ("b", " two"), ("a", ","), ("b", ".")]
    events = [{"type": "text-delta", "id": part, "delta": delta} for part, delta in deltas]
    chatbase.acts = [stream(sse([*events, EVENTS[-1]]))]
    assert client.send(REQUEST).text == "One, two."


@pytest.mark.parametrize("ending", ["end", "cut", "reset"])
@pytest.mark.parametrize("after", range(len(EVENTS) + 1))
def test_a_stream_cut_after_any_event_is_no_answer(chatbase, client, after, ending):
    chatbase.acts = [stream(sse(EVENTS), cut_after=after, ending=ending)]
    with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
        client.send(REQUEST)
    so_far = "".join(e.get("delta", "") for e in EVENTS[:after])
    assert raised.value.text == so_far
    assert raised.value.ambiguous
    assert f"after {len(so_far)} characters" in str(raised.value)
    assert len(chatbase.posts) == 1


def test_a_stream_cut_inside_the_end_marker_is_no_answer(chatbase, client):
    chatbase.acts = [stream([*sse(EVENTS)[:-1], b"data: [DON"])]
    with pytest.raises(ChatbaseInterruptedAnswerError):
        client.send(REQUEST)


@pytest.mark.parametrize("ending", ["cut", "reset", "hang"])
def test_what_happens_after_the_end_marker_does_not_matter(chatbase, client, ending):
    chatbase.acts = [stream(sse(EVENTS), ending=ending)]
    began = time.monotonic()
    assert client.send(REQUEST) == READ
    assert time.monotonic() - began < 15, (
        "it does not wait for the end of the connection, as long as its patience is"
    )


@pytest.mark.impatient
def test_a_slow_stream_is_no_silent_one(chatbase, client):
    """Longer in all than the client's patience of 1 s, which is about the time between two pieces."""
    chatbase.acts = [stream(sse(EVENTS), pause=0.12)]
    assert client.send(REQUEST) == READ


@pytest.mark.impatient
def test_silence_in_the_middle_is_an_error_that_says_so(chatbase, client):
    chatbase.acts = [stream(sse(EVENTS), cut_after=4, ending="hang")]
    with pytest.raises(ChatbaseInterruptedAnswerError, match="nothing came for too long") as raised:
        client.send(REQUEST)
    assert raised.value.text == TEXT[:3]


@pytest.mark.parametrize("after", [0, 4, len(EVENTS)])
@pytest.mark.parametrize(
    ("error", "why"),
    [
        ({"errorText": "The model is overloaded"}, "The model is overloaded"),
        ({"error": {"message": "Quota reached"}}, "Quota reached"),
        ({"error": "Quota"}, "no reason given"),
        ({}, "no reason given"),
    ],
    ids=str,
)
def test_an_error_event_is_an_error_that_keeps_the_text(chatbase, client, after, error, why):
    chatbase.acts = [stream(sse([*EVENTS[:after], {"type": "error", **error}]))]
    with pytest.raises(ChatbaseAnswerError, match=why) as raised:
        client.send(REQUEST)
    assert raised.value.text == "".join(e.get("delta", "") for e in EVENTS[:after])
    assert not isinstance(raised.value, ChatbaseInterruptedAnswerError)


@pytest.mark.parametrize("data", ["{broken", "[1]", "null", '"text"', "<html>"], ids=str)
def test_an_event_that_is_no_object_breaks_the_answer_off(chatbase, client, data):
    chatbase.acts = [stream([*sse(EVENTS)[:4], f"data: {data}\n\n".encode(), DONE])]
    with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
        client.send(REQUEST)
    assert raised.value.text == TEXT[:3]


def test_json_in_place_of_a_stream_is_the_answer(chatbase, client):
    reply = {"data": {**ANSWER, "role": "assistant", "metadata": {**CLOSING, "finishReason": "stop"}}}
    chatbase.acts = [Act(body=json.dumps(reply).encode(), content_type="application/json")]
    assert client.send(REQUEST) == READ


def test_a_page_of_html_in_place_of_a_stream_is_no_answer(chatbase, client):
    chatbase.acts = [Act(body=b"<html>Log in</html>", content_type="text/html")]
    with pytest.raises(ChatbaseReplyError):
        client.send(REQUEST)


def test_a_refusal_in_place_of_a_stream_keeps_its_class(chatbase, client):
    body = json.dumps({"error": {"code": "CHAT_CREDITS_EXHAUSTED", "message": "Message limit reached"}})
    chatbase.acts = [Act(status=402, body=body.encode(), works=False)]
    with pytest.raises(ChatbaseCreditsError):
        client.send(REQUEST)


@pytest.mark.parametrize("status", [429, 503])
def test_a_stream_is_asked_for_again_when_it_was_refused_before_anything_was_done(chatbase, client, status):
    code = "RATE_LIMIT_TOO_MANY_REQUESTS" if status == 429 else "SERVICE_UNDER_MAINTENANCE"
    chatbase.acts = [Act(status=status, body=json.dumps({"error": {"code": code}}).encode(), works=False)]
    assert client.send(REQUEST).text == TEXT
    assert (len(chatbase.posts), chatbase.charges) == (2, 1)


@pytest.mark.parametrize("usage", [None, {}, {"credits": None}, "much"], ids=str)
def test_missing_credits_are_none(chatbase, client, usage):
    chatbase.acts = [stream(sse(events_of(ANSWER, "stop", {**CLOSING, "usage": usage})))]
    assert client.send(REQUEST).credits is None


def test_tool_calls_are_read_whole(chatbase, client):
    parts = [
        {"type": "tool-call", "toolCallId": "t1", "toolName": "weather", "input": {"city": "Köln"}},
        {"type": "tool-call", "toolCallId": "t2", "toolName": "time", "input": {}},
    ]
    output = {"type": "tool-output-available", "toolCallId": "t2", "output": {"at": 12}}
    events = events_of({"id": "m", "parts": parts}, "tool-calls", CLOSING)
    chatbase.acts = [stream(sse([*events[:-1], output, events[-1]]))]
    answer = client.send(REQUEST)
    assert answer.tool_calls == [{"id": "t1", "name": "weather", "input": {"city": "Köln"}}]
    assert (answer.finish_reason, answer.text) == ("tool-calls", "")


def test_the_async_client_reads_and_breaks_alike(chatbase, client):
    async def both():
        async with AsyncChatbaseClient(client.settings, client.policy) as opened:
            whole = await opened.send(REQUEST)
            with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
                await opened.send(REQUEST)
            after_the_end = await opened.send(REQUEST)
            return whole, raised.value.text, after_the_end

    cut = stream(sse(EVENTS), cut_after=4, ending="cut")
    chatbase.acts = [stream(with_event_lines(EVENTS)), cut, stream(sse(EVENTS), ending="hang")]
    assert asyncio.run(both()) == (READ, TEXT[:3], READ)


def test_no_error_shows_the_key(chatbase, client):
    chatbase.acts = [stream(sse(EVENTS), cut_after=4)]
    with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
        client.send(REQUEST)
    assert KEY not in f"{raised.value!r} {raised.value.__cause__!r} {raised.value.__dict__}"


class TestVersion1:
    REQUEST = v1.send_message(AGENT, "Hello?", history=[], stream=True)

    def answer(self, chatbase, client_v1, body, kind="text/plain", **how):
        chatbase.acts = [Act(body=body, content_type=kind, **how)]
        return client_v1.send(self.REQUEST).text

    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_chunks_may_end_inside_a_character(self, chatbase, client_v1, size):
        whole = TEXT.encode()
        body = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert self.answer(chatbase, client_v1, body) == TEXT

    @pytest.mark.parametrize("ending", ["cut", "reset"])
    def test_a_broken_connection_is_no_answer(self, chatbase, client_v1, ending):
        with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
            self.answer(chatbase, client_v1, [b"Hello", b" you"], ending=ending, cut_after=1)
        assert raised.value.text == "Hello"

    def test_events_are_read_as_events(self, chatbase, client_v1):
        body = [b"data: Hello\n\n", b"data:  you\n\n", DONE]
        assert self.answer(chatbase, client_v1, body, "text/event-stream") == "Hello you"

    def test_events_without_their_end_marker_are_no_answer(self, chatbase, client_v1):
        with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
            self.answer(chatbase, client_v1, [b"data: Hello\n\n", b"data:  you\n\n"], "text/event-stream")
        assert raised.value.text == "Hello you"

    def test_events_end_at_their_end_marker(self, chatbase, client_v1):
        body = [b"data: Hello\n\n", DONE]
        assert self.answer(chatbase, client_v1, body, "text/event-stream", ending="hang") == "Hello"

    def test_json_in_place_of_a_stream(self, chatbase, client_v1):
        assert self.answer(chatbase, client_v1, b'{"text": "Hello"}', "application/json") == "Hello"

    def test_white_space_is_kept(self, chatbase, client_v1):
        assert self.answer(chatbase, client_v1, [b"Hello", b" ", b"\n", b" you\n"]) == "Hello \n you\n"
