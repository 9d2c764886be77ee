from __future__ import annotations

import json
import time

import httpx
import pytest

from airflow_provider_chatbase.simulator import Fault

ASK = {"message": "How long does a refund take?", "stream": False}


def test_reset_before_does_no_work(simulator, v2, agent):
    before = len(simulator.store.conversations(simulator.agent_id))
    simulator.faults.add(Fault(kind="reset_before", operation="chatWithAgent", times=1))
    with pytest.raises(httpx.ReadError):
        v2.post(f"{agent}/chat", json=ASK)
    assert len(simulator.store.conversations(simulator.agent_id)) == before
    assert simulator.prompts_charged == 0
    assert v2.post(f"{agent}/chat", json=ASK).status_code == 200


def test_reset_after_has_done_and_charged_the_work(simulator, v2, agent):
    simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", times=1))
    with pytest.raises(httpx.ReadError):
        v2.post(f"{agent}/chat", json={**ASK, "userId": "tag-1"})
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "tag-1")
    assert [message.role for message in conversation.messages] == ["user", "assistant"]
    assert simulator.prompts_charged == 1
    assert simulator.requests_for("chatWithAgent")[0].status is None


@pytest.mark.parametrize("chunked", [False, True])
def test_truncated_body_is_a_broken_message(simulator, v2, chunked):
    simulator.faults.add(Fault(kind="truncate", after_bytes=100, chunked=chunked, times=1))
    with pytest.raises(httpx.RemoteProtocolError):
        v2.get("/agents")
    assert v2.get("/agents").status_code == 200


def test_truncated_json_is_a_whole_message(simulator, v2):
    simulator.faults.add(Fault(kind="truncate_json"))
    reply = v2.get("/agents")
    assert reply.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        reply.json()


def test_status_fault_without_work(simulator, v2, agent):
    simulator.faults.add(Fault(kind="status", status=503, code="SERVICE_UNDER_MAINTENANCE", retry_after=2))
    reply = v2.post(f"{agent}/chat", json=ASK)
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "SERVICE_UNDER_MAINTENANCE"
    assert reply.headers["Retry-After"] == "2"
    assert reply.headers["x-request-id"].startswith("req_")
    assert simulator.prompts_charged == 0


def test_status_fault_after_the_work(simulator, v2, agent):
    simulator.faults.add(Fault(kind="status", status=502, after=True))
    reply = v2.post(f"{agent}/chat", json=ASK)
    assert reply.status_code == 502
    assert reply.headers["content-type"].startswith("text/html")
    assert simulator.prompts_charged == 1


def test_first_matching_fault_decides_and_counts(simulator, v2):
    simulator.faults.add(
        Fault(kind="status", status=500, operation="getAgent"),
        Fault(kind="status", status=429, operation="listAgents", skip=1, times=2, retry_after=1),
    )
    assert [v2.get("/agents").status_code for _ in range(4)] == [200, 429, 429, 200]
    simulator.faults.clear()
    assert v2.get(f"/agents/{simulator.agent_id}").status_code == 200


def test_condition_on_the_request(simulator, v2):
    simulator.faults.add(Fault(kind="status", where=lambda request: request.query.get("limit") == "3"))
    assert v2.get("/agents", params={"limit": 2}).status_code == 200
    assert v2.get("/agents", params={"limit": 3}).status_code == 500


def test_probability_is_decided_by_the_seed(start, connect):
    def statuses() -> list[int]:
        simulator = start(seed=3)
        simulator.faults.add(Fault(kind="status", probability=0.3))
        client = connect(simulator)
        return [client.get("/agents").status_code for _ in range(40)]

    first = statuses()
    assert first == statuses()
    assert 4 <= first.count(500) <= 22


def test_slow_reply_comes_after_the_work(simulator, v2, agent):
    simulator.faults.add(Fault(kind="slow", seconds=0.6, times=1))
    with pytest.raises(httpx.ReadTimeout):
        v2.post(f"{agent}/chat", json=ASK, timeout=0.2)
    assert simulator.prompts_charged == 1


def test_slow_before_the_work_is_dropped_when_the_caller_hangs_up(simulator, v2, agent):
    simulator.faults.add(Fault(kind="slow", seconds=0.3, after=False, times=1))
    with pytest.raises(httpx.ReadTimeout):
        v2.post(f"{agent}/chat", json=ASK, timeout=0.1)
    deadline = time.monotonic() + 60
    while not simulator._world.log.counts and time.monotonic() < deadline:
        time.sleep(0.01)
    assert simulator._world.log.counts == {("chatWithAgent", None): 1}
    assert simulator.prompts_charged == 0


def test_drip_feeds_the_whole_body(simulator, v2):
    simulator.faults.add(Fault(kind="drip", chunk_size=200, seconds=0.02))
    began = time.monotonic()
    assert v2.get("/agents").json()["data"]
    assert time.monotonic() - began > 0.06


def test_stale_connection_breaks_the_next_request(simulator, v2):
    simulator.faults.add(Fault(kind="stale", times=1))
    assert v2.get("/agents").status_code == 200
    with pytest.raises(httpx.TransportError):
        v2.get("/agents")
    assert v2.get("/agents").status_code == 200
    assert len(simulator.requests) == 2


def test_redirect_and_html(simulator, v2):
    simulator.faults.add(Fault(kind="redirect", location="http://elsewhere.test/x", times=1))
    reply = v2.get("/agents")
    assert (reply.status_code, reply.headers["location"]) == (307, "http://elsewhere.test/x")
    simulator.faults.add(Fault(kind="not_json"))
    reply = v2.get("/agents")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")


def test_faults_of_pages(simulator, v2, agent):
    def page(fault: Fault, **query: str) -> dict:
        simulator.faults.clear()
        simulator.faults.add(fault)
        return v2.get(f"{agent}/conversations/export", params=query).json()

    honest = page(Fault(kind="slow", seconds=0))
    assert (
        page(Fault(kind="wrong_total", amount=2))["pagination"]["total"] == honest["pagination"]["total"] + 2
    )
    assert page(Fault(kind="drop_items", amount=3))["data"] == honest["data"][:-3]
    empty = page(Fault(kind="empty_page"))
    assert (empty["data"], empty["pagination"]) == ([], honest["pagination"])
    cursor = honest["pagination"]["cursor"]
    assert page(Fault(kind="repeat_cursor"), cursor=cursor)["pagination"]["cursor"] == cursor


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="Unknown fault kind 'explode'"):
        Fault(kind="explode")


def test_a_patient_client_reads_the_whole_truth_through_all_faults(start, connect):
    simulator = start(seed=11)
    client = connect(simulator, timeout=5)
    kinds = ("status", "not_json", "reset_before", "reset_after", "truncate", "truncate_json", "stale")
    simulator.faults.add(*[Fault(kind=kind, probability=0.06) for kind in kinds])

    def page(query: dict[str, str]) -> dict:
        for _ in range(50):
            try:
                reply = client.get(f"/agents/{simulator.agent_id}/conversations/export", params=query)
                if reply.status_code == 200:
                    return reply.json()
            except (httpx.TransportError, json.JSONDecodeError):
                continue
        raise AssertionError("no luck in 50 attempts")

    found, query = [], {"limit": "1"}
    while True:
        data = page(query)
        found += [row["id"] for row in data["data"]]
        if not data["pagination"]["hasMore"]:
            break
        query["cursor"] = data["pagination"]["cursor"]
    assert found == [each.id for each in simulator.store.conversations(simulator.agent_id)]
    assert len(simulator.requests) > 60
    assert sum(fault.fired > 0 for fault in simulator.faults.active) >= 5


def test_a_bug_of_the_simulator_is_a_500_and_logged(simulator, v2, caplog):
    def fail(request):
        raise RuntimeError("broken hook")

    simulator.on_request = fail
    reply = v2.get("/agents")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "INTERNAL_SERVER_ERROR")
    assert "broken hook" in caplog.text


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        ("end", None),
        ("cut", httpx.RemoteProtocolError),
        ("reset", httpx.ReadError),
        ("hang", httpx.ReadTimeout),
    ],
)
@pytest.mark.parametrize("pieces", [[], [b"one", b"two"]], ids=len)
def test_any_bytes_to_any_ending(simulator, v2, pieces, ending, error):
    raw = {"status": 201, "content_type": "text/x", "body": pieces, "pause": 0.01, "ending": ending}
    simulator.faults.add(Fault(kind="status", **raw, times=1))
    received = []
    try:
        with v2.stream("GET", "/agents", timeout=0.5) as reply:
            assert (reply.status_code, reply.headers["content-type"]) == (201, "text/x")
            received = list(reply.iter_raw())
        raised = None
    except httpx.TransportError as broken:
        raised = type(broken)
    assert raised in {error, httpx.ReadError if error else None}
    assert received == (pieces if error is None else [])
    assert v2.get("/agents").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("ending", ["cut", "reset", "hang"])
def test_a_reply_whose_end_never_comes(simulator, v2, agent, ending, stream):
    simulator.faults.add(Fault(kind="no_end", operation="chatWithAgent", ending=ending, times=1))
    received, is_whole = b"", False
    try:
        with v2.stream("POST", f"{agent}/chat", json={**ASK, "stream": stream}, timeout=0.5) as reply:
            for piece in reply.iter_raw():
                received += piece
            is_whole = True
    except httpx.TransportError:
        pass
    assert (b"[DONE]" if stream else b'"finishReason":"stop"') in received or ending == "reset"
    assert not (stream and is_whole)  # a body with its length is whole, whatever comes after it
    assert simulator.prompts_charged == 1


def test_ordered_answers(simulator, v2, agent):
    tools = [("weather", {"city": "Ulm"}), ("time", {})]
    order = {"text": "Let me look.", "tools": tools, "credits": None}
    simulator.faults.add(
        Fault(kind="answer", answer=order, times=1),
        Fault(kind="answer", answer={"text": "Sun.", "credits": 2.5, "in_place": True}),
    )
    asked = v2.post(f"{agent}/chat", json=ASK).json()["data"]
    assert [part["type"] for part in asked["parts"]] == ["text", "tool-call", "tool-call"]
    assert (asked["metadata"]["finishReason"], asked["metadata"]["usage"]) == ("tool-calls", None)
    path = f"{agent}/conversations/{asked['metadata']['conversationId']}"
    for part in asked["parts"][1:]:
        v2.post(f"{path}/tool-result", json={"toolCallId": part["toolCallId"], "output": 1})
    same = {"conversationId": asked["metadata"]["conversationId"], "stream": False}
    assert v2.post(f"{agent}/chat", json=same).json()["data"]["metadata"]["usage"] == {"credits": 2.5}
    messages = v2.get(path).json()["data"]["messages"]
    assert [each["type"] for each in messages[1]["parts"]][-3:] == ["tool-result", "tool-result", "text"]
    assert (len(messages), simulator.credits_charged) == (2, 3.5)
    simulator.faults.clear()
    simulator.faults.add(Fault(kind="no_tool_results"))
    shown = v2.get(path).json()["data"]["messages"][1]["parts"]
    assert {part["type"] for part in shown} == {"text", "tool-call"}


def test_conversations_that_show_less(simulator, v2, agent):
    [conversation] = simulator.create_conversations()
    path = f"{agent}/conversations/{conversation.id}"
    simulator.faults.add(Fault(kind="drop_items", operation="getConversation"))
    assert [each["role"] for each in v2.get(path).json()["data"]["messages"]] == ["user"]
    simulator.faults.clear()
    simulator.faults.add(Fault(kind="short_page", amount=1))
    newest = v2.get(path).json()
    assert (len(newest["data"]["messages"]), newest["pagination"]["hasMore"]) == (1, True)
    older = v2.get(f"{path}/messages", params={"cursor": newest["pagination"]["cursor"], "limit": 50}).json()
    assert [each["role"] for each in older["data"]] == ["user"]
