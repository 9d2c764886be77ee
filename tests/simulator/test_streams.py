from __future__ import annotations

import json

import httpx
import pytest

from airflow_provider_chatbase.simulator import Fault

ASK = {"message": "How long does a refund take?"}
ANSWER = "Refunds take 5 to 7 working days after the parcel reaches us."


def records(text):
    for record in text.split("\n\n"):
        for line in record.split("\n"):
            if line.startswith("data: "):
                yield line.removeprefix("data: ")


def events(text):
    return [json.loads(data) for data in records(text) if data != "[DONE]"]


def text_of(text):
    return "".join(event["delta"] for event in events(text) if event["type"] == "text-delta")


@pytest.fixture
def stream(connect):
    def ask(simulator, **body):
        path = f"/agents/{simulator.agent_id}/chat"
        return connect(simulator).post(path, json={**ASK, **body})

    return ask


def test_streaming_is_the_default(simulator, stream):
    reply = stream(simulator, userId="u")
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-request-id"].startswith("req_")
    assert text_of(reply.text) == ANSWER
    assert list(records(reply.text))[-1] == "[DONE]"
    seen = events(reply.text)
    assert seen[0]["type"] == "start"
    finish = seen[-1]
    assert (finish["type"], finish["finishReason"]) == ("finish", "stop")
    metadata = finish["messageMetadata"]
    assert metadata["messageId"] == seen[0]["messageId"]
    assert (metadata["userId"], metadata["usage"]) == ("u", {"credits": 1})
    stored = simulator.store.conversation(simulator.agent_id, metadata["conversationId"])
    assert [message.id for message in stored.messages] == [metadata["userMessageId"], metadata["messageId"]]
    assert stored.messages[1].text == ANSWER
    assert simulator.prompts_charged == 1


def test_events_stand_in_pairs(simulator, stream):
    kinds = [event["type"] for event in events(stream(simulator).text)]
    assert kinds.count("text-start") == kinds.count("text-end") == 1
    assert kinds.index("start-step") < kinds.index("text-start") < kinds.index("text-end")
    assert kinds.index("text-end") < kinds.index("finish-step") < kinds.index("finish")
    assert "data-agent-state" in kinds


def test_older_dialect(start, stream):
    simulator = start(
        stream_start_event="message-start",
        stream_event_lines=True,
        stream_comments=True,
        stream_metadata="message-metadata",
        stream_unknown_events=False,
    )
    reply = stream(simulator)
    assert text_of(reply.text) == ANSWER
    assert "event: text-delta\ndata: " in reply.text
    assert ": keep-alive\n\n" in reply.text
    seen = events(reply.text)
    assert seen[0]["type"] == "message-start"
    assert seen[-2]["type"] == "message-metadata"
    assert "messageMetadata" not in seen[-1]


def test_alternating_start_event(start, stream):
    simulator = start(stream_start_event="alternate")
    assert {events(stream(simulator).text)[0]["type"] for _ in range(12)} == {"start", "message-start"}


def test_pieces_of_odd_bytes(start, connect):
    simulator = start(split_stream=1)
    body = {"message": "[sim:answer] Größe 👍🏽 \u05e9\u05dc\u05d5\u05dd"}
    path = f"/agents/{simulator.agent_id}/chat"
    with connect(simulator).stream("POST", path, json=body) as reply:
        raw = list(reply.iter_raw())
    assert text_of(b"".join(raw).decode()) == "Größe 👍🏽 \u05e9\u05dc\u05d5\u05dd"
    assert any(0x80 <= piece[0] < 0xC0 for piece in raw), "no character was split"


def test_cut_stream_has_no_end_marks_but_the_answer_is_kept(simulator, stream):
    simulator.faults.add(Fault(kind="stream_cut", times=1))
    reply = stream(simulator, userId="u")
    assert "[DONE]" not in reply.text
    assert "finish" not in {event["type"] for event in events(reply.text)}
    assert 0 < len(text_of(reply.text)) < len(ANSWER)
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "u")
    assert conversation.messages[-1].text == ANSWER
    assert simulator.prompts_charged == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="stream_cut", reset=True, times=1),
        Fault(kind="truncate", after_bytes=200, times=1),
        Fault(kind="reset_after", times=1),
    ],
    ids=lambda fault: fault.kind,
)
def test_stream_that_breaks_on_the_wire(simulator, connect, fault):
    simulator.faults.add(fault)
    received: list[bytes] = []

    def read() -> None:
        with connect(simulator).stream("POST", f"/agents/{simulator.agent_id}/chat", json=ASK) as reply:
            received.extend(reply.iter_raw())

    with pytest.raises(httpx.TransportError):
        read()
    assert b"[DONE]" not in b"".join(received)
    assert (received == []) == (fault.kind == "reset_after")
    assert simulator.prompts_charged == 1


def test_error_in_the_middle(simulator, stream):
    simulator.faults.add(Fault(kind="stream_error", times=1, after_events=6))
    reply = stream(simulator, userId="u")
    assert reply.status_code == 200
    assert events(reply.text)[-1] == {"type": "error", "errorText": "An error occurred while generating"}
    assert text_of(reply.text) == "Refunds take 5 to "
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "u")
    assert [message.role for message in conversation.messages] == ["user"]
    assert simulator.prompts_charged == 0


def test_error_in_the_middle_may_be_charged(simulator, stream):
    simulator.faults.add(Fault(kind="stream_error", after=True))
    stream(simulator)
    assert simulator.prompts_charged == 1


def test_failures_before_the_stream_are_json(simulator, stream):
    reply = stream(simulator, message="")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "VALIDATION_INVALID_BODY")


def test_tool_call_in_a_stream(simulator, stream):
    seen = events(stream(simulator, message="order status 12345").text)
    deltas = "".join(event["inputTextDelta"] for event in seen if event["type"] == "tool-input-delta")
    available = next(event for event in seen if event["type"] == "tool-input-available")
    assert json.loads(deltas) == available["input"] == {"orderId": "12345"}
    assert seen[-1]["finishReason"] == "tool-calls"


def test_server_side_tool_in_a_stream(simulator, stream):
    kinds = [event["type"] for event in events(stream(simulator, message="[sim:server-tool] refund?").text)]
    assert kinds.index("tool-output-available") < kinds.index("text-delta")


def test_drip_fed_stream(simulator, stream):
    simulator.faults.add(Fault(kind="drip", chunk_size=97, seconds=0.001))
    assert text_of(stream(simulator).text) == ANSWER


def test_paused_conversation_streams_no_text(simulator, stream):
    conversation = simulator.store.conversations(simulator.agent_id)
    mine = next(each for each in conversation if each.created_by_v2)
    mine.status = "paused"
    reply = stream(simulator, conversationId=mine.id)
    assert text_of(reply.text) == ""
    assert events(reply.text)[-1]["finishReason"] == "stop"
