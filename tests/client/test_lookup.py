"""Whether a message arrived and was answered: the right answer, or none."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
from acting import AGENT, Act

from airflow_provider_chatbase.client import question as lookup
from airflow_provider_chatbase.client.answer import Answer
from airflow_provider_chatbase.client.errors import (
    ChatbaseNotFoundError,
    ChatbasePermissionError,
    ChatbaseServerError,
)
from airflow_provider_chatbase.client.question import Question, Unanswered, look, look_until_sure
from airflow_provider_chatbase.client.v2.conversations import send_message

PATIENCE = 0.3
HOUR = 3600
NOT_FOUND = type(None)


def sought(message="Hello?", **more):
    return Question(AGENT, message, **{"tag": "tag", **more})


def ask(chatbase, client, message="Hello?", user_id="tag", conversation_id=None, **act):
    chatbase.acts = [Act(**act)]
    user_id = None if conversation_id else user_id
    client.send(send_message(AGENT, message, user_id=user_id, conversation_id=conversation_id))


def found(client, what, patience=PATIENCE):
    return client.run(look_until_sure(what, patience))


def told(finding):
    return (type(finding), getattr(finding, "text", None))


def test_nothing_arrived(chatbase, client):
    began = time.monotonic()
    assert told(found(client, sought())) == (NOT_FOUND, None)
    assert PATIENCE <= time.monotonic() - began < PATIENCE + 10


def test_an_answer_has_the_fields_of_one_that_was_received(chatbase, client):
    ask(chatbase, client, text="Hi.")
    [conversation] = chatbase.conversations.values()
    question, answer = conversation.messages
    assert found(client, sought()) == Answer(
        text="Hi.",
        conversation_id=conversation.id,
        message_id=answer.id,
        user_message_id=question.id,
        user_id="tag",
        credits=None,
        finish_reason="stop",
        tool_calls=[],
        recovered=True,
    )


def test_an_answer_may_appear_after_some_looks(chatbase, client):
    ask(chatbase, client, text="Hi.", answer_after=4)
    assert told(found(client, sought(), patience=0)) == (Answer, "Hi.")


def test_a_conversation_may_appear_after_some_looks(chatbase, client):
    chatbase.hidden_looks = 3
    ask(chatbase, client, text="Hi.")
    assert told(found(client, sought(), patience=1)) == (Answer, "Hi.")


def test_a_conversation_without_its_messages_yet_has_arrived(chatbase, client):
    chatbase.begin("tag")
    lookup_once = client.run(look(sought()))
    assert type(lookup_once) is Unanswered


@pytest.mark.parametrize("status", ["paused", "taken_over", "ended"])
def test_nobody_waits_for_an_answer_where_none_can_come(chatbase, client, status):
    chatbase.begin("tag", ("user", "Hello?")).status = status
    began = time.monotonic()
    assert told(found(client, sought(), patience=30)) == (Unanswered, None)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("with_created_at", [True, False])
def test_the_wait_for_an_answer_ends(chatbase, client, monkeypatch, with_created_at):
    monkeypatch.setattr(lookup, "ANSWER_PATIENCE", 0.5)
    monkeypatch.setattr(lookup, "LONGEST_PAUSE", 0.05)
    chatbase.with_created_at = with_created_at
    chatbase.begin("tag", ("user", "Hello?"))
    began = time.monotonic()
    assert told(found(client, sought(), patience=0)) == (Unanswered, None)
    assert time.monotonic() - began < 2


def test_what_was_seen_once_has_arrived_though_later_pages_lack_it(chatbase, client, monkeypatch):
    monkeypatch.setattr(lookup, "ANSWER_PATIENCE", 0.5)
    monkeypatch.setattr(lookup, "LONGEST_PAUSE", 0.05)
    chatbase.begin("tag", ("user", "Hello?"))
    real = lookup.look

    def look_and_lose(question):
        seen = yield from real(question)
        chatbase.conversations.clear()
        return seen

    monkeypatch.setattr(lookup, "look", look_and_lose)
    assert told(found(client, sought(), patience=0)) == (Unanswered, None)


def test_a_message_that_stayed_unanswered_for_long_is_not_waited_for(chatbase, client):
    chatbase.begin("tag", ("user", "Hello?"), age=HOUR)
    began = time.monotonic()
    assert told(found(client, sought(earlier_try_began=0))) == (Unanswered, None)
    assert time.monotonic() - began < 1


class TestUnderOurOwnTag:
    def test_what_others_said_later_in_the_conversation_is_not_the_answer(self, chatbase, client):
        ask(chatbase, client, text="Hi.")
        [conversation] = chatbase.conversations.values()
        ask(chatbase, client, "And then?", conversation_id=conversation.id, text="Then this.")
        finding = found(client, sought())
        assert told(finding) == (Answer, "Hi.")
        assert finding.user_message_id == conversation.messages[0].id

    def test_not_even_when_they_said_the_same(self, chatbase, client):
        ask(chatbase, client, "Next", text="One.")
        [conversation] = chatbase.conversations.values()
        ask(chatbase, client, "Next", conversation_id=conversation.id, text="Two.")
        assert told(found(client, sought("Next"))) == (Answer, "One.")

    @pytest.mark.parametrize("page_size", [3, 7, 100])
    def test_however_long_the_conversation_has_become(self, chatbase, client, page_size):
        chatbase.limit_pages("listConversationMessages", page_size)
        turns = [("user", "Hello?"), ("assistant", "Hi."), *[("user", "More"), ("assistant", "No.")] * 30]
        chatbase.begin("tag", *turns)
        assert told(found(client, sought())) == (Answer, "Hi.")

    def test_the_text_may_have_been_tidied_up(self, chatbase, client):
        chatbase.begin("tag", ("user", "Hello"), ("assistant", "Hi."))
        assert told(found(client, sought("  Hello\r\n\0"))) == (Answer, "Hi.")

    def test_an_answered_conversation_goes_before_an_unanswered_one(self, chatbase, client):
        chatbase.begin("tag", ("user", "Hello?"), ("assistant", "Hi."), age=5)
        chatbase.begin("tag", ("user", "Hello?")).status = "paused"
        assert told(found(client, sought())) == (Answer, "Hi.")

    def test_a_conversation_of_long_ago_is_none_of_a_message_just_sent(self, chatbase, client):
        """A DAG run that was deleted and made again has the same tags."""
        chatbase.begin("tag", ("user", "Hello?"), ("assistant", "Hi."), age=HOUR)
        assert told(found(client, sought())) == (NOT_FOUND, None)
        assert told(found(client, sought(earlier_try_began=0))) == (Answer, "Hi.")


class TestUnderTheCallersUserId:
    def sought(self, message="Hello?", **more):
        return sought(message, user_id="ann", **more)

    def test_the_text_decides(self, chatbase, client):
        chatbase.begin("ann", ("user", "Other"), ("assistant", "No."))
        chatbase.begin("ann", ("user", "Hello?"), ("assistant", "Hi."))
        chatbase.begin("ann", ("user", "Another"), ("assistant", "No."))
        chatbase.begin("bob", ("user", "Hello?"), ("assistant", "No."))
        assert told(found(client, self.sought())) == (Answer, "Hi.")

    def test_white_space_does_not(self, chatbase, client):
        chatbase.begin("ann", ("user", "Hello\nyou?"), ("assistant", "Hi."))
        assert told(found(client, self.sought(" Hello\r\n you? "))) == (Answer, "Hi.")

    def test_the_same_text_of_yesterday_is_another_message(self, chatbase, client):
        chatbase.begin("ann", ("user", "Hello?"), ("assistant", "Old."), age=HOUR)
        assert told(found(client, self.sought())) == (NOT_FOUND, None)

    def test_the_same_text_within_an_older_conversation_is_another_message(self, chatbase, client):
        """Ours began a conversation; this one was begun before, and is active just now."""
        old = chatbase.begin("ann", ("user", "Hello?"), ("assistant", "Old."), age=HOUR)
        for message in old.messages:
            message.created_at = None  # which the documents call optional
        ask(chatbase, client, "Hello?", conversation_id=old.id, text="No.")
        assert told(found(client, self.sought())) == (NOT_FOUND, None)


class TestWithinAConversation:
    def begin(self, chatbase, *turns, age=0):
        return chatbase.begin(None, *turns, age=age)

    def sought(self, conversation, message="Hello?", **more):
        return sought(message, conversation_id=conversation.id, **more)

    def test_the_newest_of_its_text_counts(self, chatbase, client):
        conversation = self.begin(chatbase, ("user", "Hello?"), ("assistant", "Old."), age=HOUR)
        ask(chatbase, client, conversation_id=conversation.id, text="Hi.")
        ask(chatbase, client, "Else?", conversation_id=conversation.id, text="Else.")
        assert told(found(client, self.sought(conversation))) == (Answer, "Hi.")

    def test_the_same_text_of_an_hour_ago_does_not(self, chatbase, client):
        conversation = self.begin(chatbase, ("user", "Hello?"), ("assistant", "Old."), age=HOUR)
        assert told(found(client, self.sought(conversation))) == (NOT_FOUND, None)

    def test_the_same_text_of_a_moment_ago_does_not_when_it_stood_there_before(self, chatbase, client):
        conversation = self.begin(chatbase, ("user", "Hello?"), ("assistant", "Old."))
        what = self.sought(conversation, after_message_id=conversation.messages[-1].id)
        assert told(found(client, what)) == (NOT_FOUND, None)
        ask(chatbase, client, conversation_id=conversation.id, text="Hi.")
        assert told(found(client, what)) == (Answer, "Hi.")

    def test_a_message_that_others_pushed_out_of_sight_is_found(self, chatbase, client):
        chatbase.limit_pages("getConversation", 2)
        conversation = self.begin(
            chatbase, ("user", "Hello?"), ("assistant", "Hi."), ("user", "x"), ("user", "y")
        )
        assert told(found(client, self.sought(conversation))) == (Answer, "Hi.")

    def test_an_unknown_conversation_is_nothing(self, chatbase, client):
        assert told(found(client, self.sought(SimpleNamespace(id="gone")))) == (NOT_FOUND, None)


class TestAfterATool:
    """What follows the result of a tool has no message of a user before it."""

    def conversation(self, chatbase, *parts, follow=()):
        conversation = chatbase.begin("tag", ("user", "Weather?"), ("assistant", ""), *follow)
        call = {"type": "tool-call", "toolCallId": "t", "toolName": "weather", "input": {}}
        conversation.messages[1].parts = [call, *parts]
        return conversation

    def continuation(self, conversation):
        known = {"conversation_id": conversation.id, "after_message_id": conversation.messages[1].id}
        return sought(None, **known)

    RESULT: ClassVar = {"type": "tool-result", "toolCallId": "t", "output": 1}
    SUN: ClassVar = {"type": "text", "text": "Sun."}

    def test_the_answer_is_the_message_that_follows(self, chatbase, client):
        conversation = self.conversation(chatbase, self.RESULT, follow=[("assistant", "Sun.")])
        assert told(found(client, self.continuation(conversation))) == (Answer, "Sun.")

    def test_or_what_follows_in_the_same_message(self, chatbase, client):
        conversation = self.conversation(chatbase, self.RESULT, self.SUN)
        assert told(found(client, self.continuation(conversation))) == (Answer, "Sun.")

    def test_nothing_follows_when_it_never_arrived(self, chatbase, client):
        conversation = self.conversation(chatbase, self.RESULT)
        assert told(found(client, self.continuation(conversation))) == (NOT_FOUND, None)

    def test_a_crash_before_the_tool_ran_leaves_its_call(self, chatbase, client):
        self.conversation(chatbase)
        answer = found(client, sought("Weather?"))
        assert (answer.finish_reason, [call["id"] for call in answer.tool_calls]) == (
            "tool-calls",
            ["t"],
        )

    def test_a_crash_after_the_result_leaves_nothing_but_to_go_on(self, chatbase, client):
        self.conversation(chatbase, self.RESULT)
        answer = found(client, sought("Weather?"))
        assert (answer.finish_reason, answer.tool_calls, answer.text) == ("tool-calls", [], "")

    def test_a_crash_after_the_end_leaves_the_last_text(self, chatbase, client):
        self.conversation(chatbase, self.RESULT, follow=[("assistant", "Sun.")])
        answer = found(client, sought("Weather?"))
        assert (answer.finish_reason, answer.tool_calls, answer.text) == ("stop", [], "Sun.")


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (500, "INTERNAL_SERVER_ERROR", ChatbaseServerError),
        (403, "AUTH_INSUFFICIENT_PERMISSIONS", ChatbasePermissionError),
        (404, "AGENT_NOT_FOUND", ChatbaseNotFoundError),
    ],
)
def test_a_look_that_fails_is_no_sign_that_nothing_arrived(chatbase, client, status, code, error):
    chatbase.look_status, chatbase.look_code = status, code
    with pytest.raises(error):
        found(client, sought())


def test_a_look_is_repeated_where_that_helps(chatbase, client):
    ask(chatbase, client, text="Hi.")
    chatbase.look_status, chatbase.look_failures = 500, 1
    assert told(found(client, sought())) == (Answer, "Hi.")


def test_a_user_that_is_not_found_has_no_conversations(chatbase, client):
    """The documents do not say what is replied for a user that never was."""
    chatbase.look_status, chatbase.look_code = 404, "RESOURCE_NOT_FOUND"
    assert told(found(client, sought())) == (NOT_FOUND, None)
