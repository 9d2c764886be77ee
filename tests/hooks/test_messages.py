"""The hook's calls that talk to an agent, over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from acting import KEY, TEXT, Act, Acting

from airflow_provider_chatbase.exceptions import (
    ChatbaseAnswerError,
    ChatbaseInputError,
    ChatbaseInterruptedAnswerError,
    ChatbaseServerError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

FIELDS = {
    "text", "conversation_id", "message_id", "user_message_id", "user_id", "credits", "finish_reason",
    "tool_calls", "tool_rounds", "recovered", "history",
}  # fmt: skip
TALK = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Yes, one."}]


@pytest.fixture
def hook(connected: Acting) -> Iterator[ChatbaseHook]:
    with ChatbaseHook() as opened:
        yield opened


@pytest.fixture
def hook_v1(connected: Acting) -> Iterator[ChatbaseHook]:
    with ChatbaseHook("chatbase_v1") as opened:
        yield opened


@pytest.mark.parametrize("stream", [False, True])
def test_both_versions_return_the_same_fields(chatbase, hook, hook_v1, stream):
    v2, v1 = hook.send_message("Hello?", stream=stream), hook_v1.send_message("Hello?", stream=stream)
    assert set(v2) == set(v1) == FIELDS
    assert v2["text"] == v1["text"] == TEXT
    assert {name for name, value in v1.items() if value is None} == {
        "conversation_id", "message_id", "user_message_id", "user_id", "credits", "finish_reason",
    }  # fmt: skip
    assert {name for name, value in v2.items() if value is None} == {"history"}
    assert json.loads(json.dumps([v1, v2])) == [v1, v2]


class TestVersion1:
    def sent(self, chatbase):
        [body] = chatbase.posts
        return body

    def test_the_least_that_is_sent(self, chatbase, hook_v1):
        hook_v1.send_message("Hello?")
        messages = [{"role": "user", "content": "Hello?"}]
        assert self.sent(chatbase) == {"chatbotId": "agent-1", "messages": messages, "stream": False}

    def test_all_that_can_be_sent(self, chatbase, hook_v1):
        hook_v1.send_message(
            "Hello?", conversation_id="c1", history=TALK, model="gpt-5", temperature=0.0, stream=True
        )
        assert self.sent(chatbase) == {
            "chatbotId": "agent-1",
            "messages": [*TALK, {"role": "user", "content": "Hello?"}],
            "stream": True,
            "conversationId": "c1",
            "model": "gpt-5",
            "temperature": 0.0,
        }

    def test_an_earlier_result_is_gone_on_from(self, chatbase, hook_v1):
        first = hook_v1.send_message("One?", conversation_id="c1")
        second = hook_v1.send_message("Two?", history=first)
        assert chatbase.posts[1]["messages"] == [
            {"role": "user", "content": "One?"},
            {"role": "assistant", "content": TEXT},
            {"role": "user", "content": "Two?"},
        ]
        assert chatbase.posts[1]["conversationId"] == "c1"
        assert second["conversation_id"] == "c1"
        assert len(second["history"]) == 4

    @pytest.mark.parametrize(
        ("limits", "kept"), [({"max_history_messages": 1}, 1), ({"max_history_chars": 12}, 1), ({}, 50)]
    )
    def test_a_long_history_is_trimmed_and_the_log_says_how(self, chatbase, hook_v1, caplog, limits, kept):
        caplog.set_level(logging.INFO)
        history = TALK * 40
        hook_v1.send_message("M" * 500, history=history, **limits)
        *earlier, last = self.sent(chatbase)["messages"]
        assert earlier == history[len(history) - kept :]
        assert last["content"] == "M" * 500
        chars = sum(len(each["content"]) for each in earlier)
        assert (
            f"trimmed from 80 messages (520 characters) to the newest {kept} ({chars} characters)"
            in caplog.text
        )
        assert "Yes, one." not in caplog.text

    def test_a_short_one_is_not(self, chatbase, hook_v1, caplog):
        caplog.set_level(logging.INFO)
        hook_v1.send_message("Two?", history=TALK, max_history_messages=2, max_history_chars=13)
        assert self.sent(chatbase)["messages"][:-1] == TALK
        assert "trimmed" not in caplog.text

    def test_a_user_id_is_checked_and_said_to_be_left_out(self, chatbase, hook_v1, caplog):
        hook_v1.send_message("Hello?", user_id="ann")
        assert "ann" not in json.dumps(self.sent(chatbase))
        assert "API v1 has no user ids" in caplog.text
        with pytest.raises(ChatbaseInputError, match="no e-mail addresses"):
            hook_v1.send_message("Hello?", user_id="ann@example.com")

    @pytest.mark.parametrize("temperature", [-0.1, 1.1, "0.5", True])
    def test_a_temperature_out_of_range_is_refused(self, chatbase, hook_v1, temperature):
        with pytest.raises(ChatbaseInputError, match="temperature must be a number from 0 to 1"):
            hook_v1.send_message("Hello?", temperature=temperature)
        assert chatbase.posts == []

    @pytest.mark.parametrize("text", ["", "  "])
    @pytest.mark.parametrize("stream", [False, True])
    def test_silence_is_no_answer(self, chatbase, hook_v1, text, stream):
        chatbase.acts = [Act(text=text)]
        with pytest.raises(ChatbaseAnswerError, match="no answer") as raised:
            hook_v1.send_message("Hello?", stream=stream)
        assert "None" not in str(raised.value)

    def test_an_error_of_version_1_is_told(self, chatbase, hook_v1):
        body = json.dumps({"message": "Out of luck"}).encode()
        chatbase.acts = [Act(status=500, body=body, works=False)] * 3
        with pytest.raises(ChatbaseServerError, match="Out of luck"):
            hook_v1.send_message("Hello?", on_ambiguous="retry")

    @pytest.mark.parametrize(
        "call",
        [
            lambda hook: hook.get_conversation("c"),
            lambda hook: hook.list_messages("c"),
            lambda hook: hook.pause_conversation("c"),
            lambda hook: hook.resume_conversation("c"),
            lambda hook: hook.set_feedback("c", "m", None),
            lambda hook: hook.retry_message("c", "m"),
        ],
    )
    def test_what_it_has_not_is_said_so(self, chatbase, hook_v1, call):
        with pytest.raises(ChatbaseUnsupportedError, match="API v2"):
            call(hook_v1)
        assert (chatbase.posts, chatbase.looks) == ([], [])


class TestVersion2:
    def test_an_earlier_result_is_gone_on_from(self, chatbase, hook):
        first = hook.send_message("One?")
        second = hook.send_message("Two?", history=first)
        assert second["conversation_id"] == first["conversation_id"]
        assert chatbase.posts[1] == {
            "message": "Two?",
            "conversationId": first["conversation_id"],
            "stream": False,
        }

    def test_an_earlier_result_tells_equal_messages_apart_without_a_look(self, chatbase, hook, monkeypatch):
        first = hook.send_message("Next")
        hook.send_message("Next", history=first)
        assert chatbase.looks == []

    def test_each_message_has_a_tag_of_its_own(self, chatbase, hook):
        hook.send_message("Hello?")
        hook.send_message("Hello?")
        tags = {body["userId"] for body in chatbase.posts}
        assert len(tags) == 2
        assert all(tag.startswith("airflow-") for tag in tags)

    def test_the_callers_user_id_goes_before_it(self, chatbase, hook):
        assert hook.send_message("Hello?", user_id="ann")["user_id"] == "ann"


@pytest.fixture(params=["v2", "v1"])
def either(request) -> ChatbaseHook:
    return request.getfixturevalue("hook" if request.param == "v2" else "hook_v1")


class TestStreaming:
    def test_the_texts_and_then_the_answer(self, chatbase, either):
        coming = either.stream_message("Hello?")
        with pytest.raises(RuntimeError, match="not complete"):
            _ = coming.answer
        assert "".join(coming) == TEXT
        assert coming.answer["text"] == TEXT
        assert set(coming.answer) == FIELDS

    def test_reading_twice_does_not_pay_twice(self, chatbase, either):
        coming = either.stream_message("Hello?")
        list(coming)
        with pytest.raises(RuntimeError, match="once"):
            list(coming)
        assert len(chatbase.posts) == 1

    def test_a_break_keeps_the_text(self, chatbase, hook):
        chatbase.acts = [Act(cut_after=5, ending="cut")]
        coming, texts = hook.stream_message("Hello?"), []
        with pytest.raises(ChatbaseInterruptedAnswerError) as raised:
            texts.extend(coming)
        assert raised.value.text == TEXT[:6]
        with pytest.raises(RuntimeError):
            _ = coming.answer

    def test_nothing_is_sent_before_the_first_text_is_asked_for(self, chatbase, either):
        either.stream_message("Hello?")
        assert chatbase.posts == []

    def test_a_reader_may_stop_early(self, chatbase, hook):
        chatbase.acts = [Act(ending="hang")]
        texts = iter(hook.stream_message("Hello?"))
        assert next(texts) == TEXT[:3]
        texts.close()
        assert hook.send_message("And now?")["text"] == TEXT

    def test_silence_is_no_answer(self, chatbase, either):
        chatbase.acts = [Act(text="")]
        with pytest.raises(ChatbaseAnswerError):
            list(either.stream_message("Hello?"))


def test_the_log_has_neither_content_nor_key(chatbase, hook, hook_v1, caplog):
    caplog.set_level(logging.INFO)
    secret, tool = "my secret question", ("weather", {"city": "secret place"})
    chatbase.acts = [Act(text="", tools=[tool]), Act(), Act(cut_after=4), Act()]
    hook.send_message(secret, tool_handlers={"weather": lambda city: "secret weather"})
    hook.send_message(secret, stream=True)
    hook_v1.send_message(secret, history=[{"role": "user", "content": "secret past"}] * 60)
    for word in ("secret", TEXT, KEY):
        assert word not in caplog.text


class TestConversations:
    """Against the simulator, which knows what becomes of a conversation."""

    @pytest.fixture
    def hook(self, chatbase_simulator, monkeypatch) -> Iterator[ChatbaseHook]:
        fields = {
            "conn_type": "chatbase",
            "host": chatbase_simulator.url,
            "password": chatbase_simulator.api_key,
            "extra": {"agent_id": chatbase_simulator.agent_id},
        }
        monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(fields))
        with ChatbaseHook() as opened:
            yield opened

    def test_feedback(self, hook):
        answer = hook.send_message("[sim:answer] Yes.")
        where = answer["conversation_id"], answer["message_id"]
        for feedback in ("positive", "negative", None):
            assert hook.set_feedback(*where, feedback)["feedback"] == feedback
        with pytest.raises(ChatbaseInputError, match="'great'"):
            hook.set_feedback(*where, "great")

    def test_retry(self, hook, chatbase_simulator):
        answer = hook.send_message("Hello?")
        again = hook.retry_message(answer["conversation_id"], answer["message_id"])
        assert again["message_id"] != answer["message_id"]
        assert set(again) == FIELDS
        shown = hook.list_messages(answer["conversation_id"])
        assert [each["id"] for each in shown] == [answer["user_message_id"], again["message_id"]]
        assert chatbase_simulator.prompts_charged == 2

    def test_pause_and_resume(self, hook):
        cid = hook.send_message("Hello?")["conversation_id"]
        assert hook.pause_conversation(cid) == {"id": cid, "status": "paused"}
        with pytest.raises(ChatbaseAnswerError, match="paused"):
            hook.send_message("Still there?", conversation_id=cid)
        assert hook.resume_conversation(cid) == {"id": cid, "status": "ongoing"}
        assert hook.send_message("And now?", conversation_id=cid)["text"]

    def test_reading_a_conversation_and_all_its_messages(self, hook, chatbase_simulator):
        cid = hook.send_message("Message 0")["conversation_id"]
        for number in range(1, 150):
            chatbase_simulator.add_message(cid, f"Message {number}")
        texts = [each["parts"][0]["text"] for each in hook.list_messages(cid) if each["role"] == "user"]
        assert texts == [f"Message {number}" for number in range(150)]
        conversation = hook.get_conversation(cid)
        assert (conversation["id"], conversation["messages"][-1]["parts"][0]["text"]) == (cid, "Message 149")

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_dropped_connection_after_the_work(self, hook, chatbase_simulator, stream):
        from airflow_provider_chatbase.simulator import Fault

        chatbase_simulator.faults.add(Fault(kind="reset_after", operation="chatWithAgent", times=1))
        answer = hook.send_message("Hello?", stream=stream)
        assert answer["text"]
        assert answer["recovered"] or stream  # a reset may come just after the end of a stream
        assert chatbase_simulator.prompts_charged == 1
