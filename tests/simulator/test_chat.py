from __future__ import annotations

import threading
import time

import httpx
import pytest

from airflow_provider_chatbase.simulator import Fault


def error_of(reply):
    return reply.status_code, reply.json()["error"]["code"]


@pytest.fixture
def ask(v2, agent):
    def send(message=None, **body):
        given = {} if message is None else {"message": message}
        return v2.post(f"{agent}/chat", json={**given, "stream": False, **body})

    return send


def test_a_conversation_goes_on_and_shows_everywhere(simulator, v2, agent, ask):
    first = ask("How long does a refund take?", userId="tag-1").json()["data"]
    assert first["parts"][0]["text"] == "Refunds take 5 to 7 working days after the parcel reaches us."
    metadata = first["metadata"]
    assert (metadata["finishReason"], metadata["usage"], metadata["userId"]) == (
        "stop",
        {"credits": 1},
        "tag-1",
    )
    conversation_id = metadata["conversationId"]
    second = ask("And who pays the return?", conversationId=conversation_id, userId="ignored").json()["data"]
    assert second["metadata"]["conversationId"] == conversation_id
    assert second["metadata"]["userId"] == "tag-1"
    path = f"{agent}/conversations/{conversation_id}"
    shown = v2.get(path).json()
    assert [message["role"] for message in shown["data"]["messages"]] == ["user", "assistant"] * 2
    assert shown["data"]["messages"][3]["id"] == second["id"]
    listed = v2.get(f"{agent}/users/tag-1/conversations").json()["data"]
    assert [each["id"] for each in listed] == [conversation_id]
    assert v2.get(f"{agent}/conversations").json()["data"][0]["id"] == conversation_id
    exported = v2.get(f"{agent}/conversations/export", params={"conversationId": conversation_id}).json()
    assert (exported["data"][0]["source"], len(exported["data"][0]["messages"])) == ("API", 4)
    assert v2.get(f"{agent}/conversations/search").json()["data"][0]["id"] == conversation_id
    assert (simulator.prompts_charged, simulator.credits_charged) == (2, 2)
    assert v2.get(agent).json()["creditsUsed"] == 2


@pytest.mark.parametrize(
    "body",
    [
        {"message": ""},
        {"message": None},
        {"message": 5},
        {},
        {"message": "x", "userId": "a@b.c"},
        {"message": "x", "userId": "u" * 129},
        {"message": "x", "userId": ""},
        {"message": "x", "stream": "no"},
        {"message": "x", "conversationId": 7},
    ],
)
def test_bad_requests(simulator, v2, agent, body):
    reply = v2.post(f"{agent}/chat", json=body)
    assert error_of(reply) == (400, "VALIDATION_INVALID_BODY")
    assert simulator.prompts_charged == 0


def test_conversations_that_cannot_be_continued(simulator, v2, agent, ask):
    assert error_of(ask("x", conversationId="none")) == (404, "RESOURCE_NOT_FOUND")
    other = f"/agents/{v2.post('/agents', json={'name': 'Other'}).json()['id']}"
    conversation_id = ask("x").json()["data"]["metadata"]["conversationId"]
    reply = v2.post(f"{other}/chat", json={"message": "x", "conversationId": conversation_id})
    assert error_of(reply) == (403, "CHAT_CONVERSATION_MISMATCH")
    for status in ("ended", "taken_over"):
        simulator.store.conversation(simulator.agent_id, conversation_id).status = status
        reply = ask("x", conversationId=conversation_id)
        assert error_of(reply) == (403, "CHAT_CONVERSATION_NOT_ONGOING")
    [widget] = simulator.create_conversations(source="Widget or Iframe")
    assert error_of(ask("x", conversationId=widget.id)) == (404, "RESOURCE_NOT_FOUND")


def test_credits_of_workspace_and_agent(simulator, v2, agent, ask):
    simulator.credit_balance = 1
    assert ask("x").status_code == 200
    assert error_of(ask("x")) == (402, "CHAT_CREDITS_EXHAUSTED")
    simulator.credit_balance = None
    v2.put(agent, json={"creditLimit": 2})
    assert ask("x").status_code == 200
    assert error_of(ask("x")) == (402, "CHAT_AGENT_CREDITS_EXHAUSTED")


def test_prices_and_models(start, connect):
    simulator = start(
        model_credits={"grok-4": 2.5}, credits_per_answer=0.5, disallowed_models=frozenset({"grok-3"})
    )
    client, agent = connect(simulator), f"/agents/{simulator.agent_id}"
    ask = {"message": "x", "stream": False}
    assert client.post(f"{agent}/chat", json=ask).json()["data"]["metadata"]["usage"]["credits"] == 0.5
    client.put(agent, json={"model": "grok-4"})
    assert client.post(f"{agent}/chat", json=ask).json()["data"]["metadata"]["usage"]["credits"] == 2.5
    assert client.get(agent).json()["creditsUsed"] == 3
    client.put(agent, json={"model": "grok-3"})
    assert error_of(client.post(f"{agent}/chat", json=ask)) == (403, "CHAT_MODEL_NOT_ALLOWED")


def test_error_as_finish_reason_is_not_charged(simulator, ask):
    simulator.faults.add(Fault(kind="finish_error", times=1))
    for reply in (ask("x"), ask("[sim:error] x")):
        assert reply.status_code == 200
        assert reply.json()["data"]["metadata"]["finishReason"] == "error"
    assert simulator.prompts_charged == 0


def test_answers_on_order(ask):
    def text(message):
        return ask(message).json()["data"]["parts"][0]["text"]

    assert text('[sim:answer] {"label": "x"}') == '{"label": "x"}'
    assert len(text("[sim:long=900] tell me").split()) == 900
    assert text("[sim:empty] x") == ""
    assert ask("[sim:credits=0.25] x").json()["data"]["metadata"]["usage"]["credits"] == 0.25


def test_instructions_show_in_the_answer(v2, agent, ask):
    v2.put(
        agent, json={"instructions": 'Begin with "Hello there!" End every answer with "Yours, Ridgeline."'}
    )
    text = ask("How long does a refund take?").json()["data"]["parts"][0]["text"]
    assert text.startswith("Hello there! Refunds take")
    assert text.endswith("Yours, Ridgeline.")


def test_tools(simulator, v2, agent, ask):
    asked = ask("What is my order status, number 4711?").json()["data"]
    assert asked["metadata"]["finishReason"] == "tool-calls"
    [call] = asked["parts"]
    assert (call["toolName"], call["input"]) == ("get_order_status", {"orderId": "4711"})
    path = f"{agent}/conversations/{asked['metadata']['conversationId']}"
    result = {"toolCallId": call["toolCallId"], "output": {"state": "shipped"}}
    same = {"conversationId": asked["metadata"]["conversationId"]}
    assert error_of(ask(**same)) == (400, "VALIDATION_INVALID_BODY")
    assert error_of(v2.post(f"{path}/tool-result", json={**result, "more": 1}))[0] == 400
    assert error_of(v2.post(f"{path}/tool-result", json={**result, "output": "x" * 21_000}))[0] == 400
    assert v2.post(f"{path}/tool-result", json=result).json() == {"data": {"success": True}}
    again = v2.post(f"{path}/tool-result", json=result)
    assert error_of(again) == (404, "RESOURCE_TOOL_CALL_NOT_FOUND")
    continued = ask(**same).json()["data"]
    assert "shipped" in continued["parts"][0]["text"]
    assert continued["metadata"]["userMessageId"] == asked["metadata"]["userMessageId"]
    assert continued["metadata"]["finishReason"] == "stop"
    assert simulator.prompts_charged == 2
    exported = v2.get(f"{agent}/conversations/export", params=same).json()["data"][0]["messages"][1]["parts"]
    assert "input" not in exported[0]
    assert exported[1]["output"] == {"state": "shipped"}


def test_tool_calls_expire(simulator, v2, agent, ask):
    asked = ask("order status").json()["data"]
    simulator.advance(301)
    path = f"{agent}/conversations/{asked['metadata']['conversationId']}/tool-result"
    reply = v2.post(path, json={"toolCallId": asked["parts"][0]["toolCallId"]})
    assert error_of(reply) == (404, "RESOURCE_TOOL_CALL_NOT_FOUND")


def test_paused_conversation_records_but_does_not_answer(simulator, v2, agent, ask):
    conversation_id = ask("x").json()["data"]["metadata"]["conversationId"]
    path = f"{agent}/conversations/{conversation_id}"
    assert v2.patch(path, json={"paused": True}).json()["data"]["status"] == "paused"
    silent = ask("anyone?", conversationId=conversation_id).json()["data"]
    assert (silent["parts"], silent["metadata"]["usage"]["credits"]) == ([], 0)
    assert simulator.prompts_charged == 1
    assert v2.get(path).json()["pagination"]["total"] == 3
    assert v2.patch(path, json={"paused": False}).json()["data"]["status"] == "ongoing"
    assert error_of(v2.patch(path, json={"paused": True, "status": "ended"}))[0] == 400
    assert error_of(v2.patch(path, json={"paused": "yes"}))[0] == 400


def test_retry(simulator, v2, agent, ask):
    first = ask("How long does a refund take?").json()["data"]
    conversation_id = first["metadata"]["conversationId"]
    ask("Something else", conversationId=conversation_id)
    path = f"{agent}/conversations/{conversation_id}/retry"
    again = v2.post(path, json={"messageId": first["id"], "stream": False}).json()["data"]
    assert again["metadata"]["userMessageId"] == first["metadata"]["userMessageId"]
    assert again["id"] != first["id"]
    messages = simulator.store.conversation(simulator.agent_id, conversation_id).messages
    assert [message.id for message in messages] == [first["metadata"]["userMessageId"], again["id"]]
    assert simulator.prompts_charged == 3
    gone = v2.post(path, json={"messageId": first["id"]})
    assert error_of(gone) == (404, "CHAT_RETRY_MESSAGE_NOT_FOUND")
    nothing_before = v2.post(path, json={"messageId": first["metadata"]["userMessageId"]})
    assert error_of(nothing_before) == (400, "CHAT_RETRY_NO_USER_MESSAGE")


def test_feedback(v2, agent, ask):
    answered = ask("x").json()["data"]
    path = f"{agent}/conversations/{answered['metadata']['conversationId']}/messages"
    rated = v2.patch(f"{path}/{answered['id']}/feedback", json={"feedback": "negative"}).json()["data"]
    assert (rated["id"], rated["feedback"]) == (answered["id"], "negative")
    assert (
        v2.patch(f"{path}/{answered['id']}/feedback", json={"feedback": None}).json()["data"]["feedback"]
        is None
    )
    assert error_of(v2.patch(f"{path}/{answered['id']}/feedback", json={"feedback": "ok"}))[0] == 400
    user_message = answered["metadata"]["userMessageId"]
    reply = v2.patch(f"{path}/{user_message}/feedback", json={"feedback": "positive"})
    assert error_of(reply) == (422, "RESOURCE_MESSAGE_NOT_ASSISTANT")
    reply = v2.patch(f"{path}/none/feedback", json={"feedback": "positive"})
    assert error_of(reply) == (404, "RESOURCE_MESSAGE_NOT_FOUND")


def test_messages_page_backwards(v2, agent, ask):
    conversation_id = ask("message 0").json()["data"]["metadata"]["conversationId"]
    for number in range(1, 15):
        ask(f"message {number}", conversationId=conversation_id)
    path = f"{agent}/conversations/{conversation_id}"
    newest = v2.get(path).json()
    assert (len(newest["data"]["messages"]), newest["pagination"]["total"]) == (20, 30)
    older = v2.get(f"{path}/messages", params={"cursor": newest["pagination"]["cursor"], "limit": 7}).json()
    oldest = v2.get(f"{path}/messages", params={"cursor": older["pagination"]["cursor"]}).json()
    walked = [*oldest["data"], *older["data"], *newest["data"]["messages"]]
    assert [each["parts"][0]["text"] for each in walked if each["role"] == "user"] == [
        f"message {number}" for number in range(15)
    ]
    assert oldest["pagination"] == {"cursor": None, "hasMore": False, "total": 30}


def test_only_api_conversations_can_be_read(simulator, v2, agent):
    [widget] = simulator.create_conversations(source="WhatsApp")
    path = f"{agent}/conversations/{widget.id}"
    for reply in (
        v2.get(path),
        v2.get(f"{path}/messages"),
        v2.post(f"{path}/retry", json={"messageId": "x"}),
    ):
        assert error_of(reply) == (404, "RESOURCE_NOT_FOUND")
    listed = v2.get(f"{agent}/conversations", params={"limit": 100}).json()
    assert widget.id not in {each["id"] for each in listed["data"]}
    exported = v2.get(f"{agent}/conversations/export", params={"conversationId": widget.id}).json()
    assert [each["id"] for each in exported["data"]] == [widget.id]


def test_bad_user_id_in_the_path(v2, agent):
    assert error_of(v2.get(f"{agent}/users/a%40b.c/conversations")) == (400, "VALIDATION_INVALID_BODY")
    assert v2.get(f"{agent}/users/nobody/conversations").json()["pagination"]["total"] == 0


def test_the_question_is_there_before_the_answer(start, connect):
    simulator = start(latency={"chatWithAgent": 0.4})
    client, agent = connect(simulator), f"/agents/{simulator.agent_id}"
    asking = threading.Thread(
        target=lambda: connect(simulator).post(f"{agent}/chat", json={"message": "x", "userId": "u"})
    )
    asking.start()
    deadline = time.monotonic() + 60
    while not (listed := client.get(f"{agent}/users/u/conversations").json()["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    path = f"{agent}/conversations/{listed[0]['id']}"
    assert [each["role"] for each in client.get(path).json()["data"]["messages"]] == ["user"]
    asking.join()
    assert [each["role"] for each in client.get(path).json()["data"]["messages"]] == ["user", "assistant"]


def test_the_answer_is_made_although_the_caller_hung_up(start, connect):
    simulator = start(latency={"chatWithAgent": 0.3})
    client, agent = connect(simulator), f"/agents/{simulator.agent_id}"
    with pytest.raises(httpx.ReadTimeout):
        client.post(f"{agent}/chat", json={"message": "x", "userId": "u"}, timeout=0.1)
    deadline = time.monotonic() + 60
    while simulator.prompts_charged == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "u")
    assert [message.role for message in conversation.messages] == ["user", "assistant"]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_connection_lost_while_the_answer_is_made(start, connect):
    simulator = start(latency={"chatWithAgent": 0.2})
    simulator.faults.add(Fault(kind="reset_during"))
    with pytest.raises(httpx.TransportError):
        connect(simulator).post(
            f"/agents/{simulator.agent_id}/chat", json={"message": "x", "userId": "u", "stream": False}
        )
    wait_for(lambda: simulator.store.conversations_of_user(simulator.agent_id, "u"))
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "u")
    assert [message.role for message in conversation.messages] == ["user"]
    wait_for(lambda: simulator.prompts_charged == 1)
    assert [message.role for message in conversation.messages] == ["user", "assistant"]


@pytest.mark.parametrize("reset", [False, True])
def test_question_that_is_kept_but_never_answered(simulator, v2, agent, reset):
    simulator.faults.add(Fault(kind="generation_error", reset=reset, times=1))
    ask = {"message": "x", "userId": "u", "stream": False}
    if reset:
        with pytest.raises(httpx.TransportError):
            v2.post(f"{agent}/chat", json=ask)
    else:
        assert error_of(v2.post(f"{agent}/chat", json=ask)) == (500, "CHAT_STREAMING_ERROR")
    [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "u")
    assert [message.role for message in conversation.messages] == ["user"]
    assert simulator.prompts_charged == 0


def test_error_answer_that_is_kept_and_charged(simulator, ask):
    simulator.faults.add(Fault(kind="finish_error", after=True))
    assert ask("x").json()["data"]["metadata"]["finishReason"] == "error"
    assert simulator.prompts_charged == 1
