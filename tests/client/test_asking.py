"""Asking once and being charged once, whatever goes wrong on the way."""

from __future__ import annotations

import json
import logging
import time

import pytest
from acting import AGENT, KEY, TEXT, Act

from airflow_provider_chatbase.client import question as lookup
from airflow_provider_chatbase.client.asking import Rules, ask
from airflow_provider_chatbase.client.errors import (
    ChatbaseAmbiguousError,
    ChatbaseAnswerError,
    ChatbaseConnectionLostError,
    ChatbaseCreditsError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseServerError,
    ChatbaseUnansweredError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.client.question import Question

SECRET = "the secret message"
PATIENCE = 0.25
CODE_500 = json.dumps(
    {"error": {"code": "INTERNAL_SERVER_ERROR", "message": "Internal server error"}}
).encode()
HTML = b"<html><h1>502 Bad Gateway</h1></html>"

BEFORE = {"works": False, "arrives": False}
FAULTS = {
    "reset before the work": Act(silent=True, **BEFORE),
    "reset after the work": Act(silent=True),
    "500 before the work": Act(status=500, body=CODE_500, **BEFORE),
    "500 after the work": Act(status=500, body=CODE_500),
    "502 page before the work": Act(status=502, body=HTML, content_type="text/html", **BEFORE),
    "502 page after the work": Act(status=502, body=HTML, content_type="text/html"),
    "200 page before the work": Act(body=HTML, content_type="text/html", **BEFORE),
    "timeout while it works": Act(delay=1.5),
    "body cut": Act(body=b'{"data": {"id": "m1", "pa', ending="cut"),
    "body reset": Act(body=b'{"data": {"id": "m1", "pa', ending="reset"),
    "JSON that ends in the middle": Act(body=b'{"data": {"id": "m1", "pa'),
    "nothing in it": Act(body=b'{"data": {}}', content_type="application/json"),
    "another shape": Act(body=b'{"status": "ok"}', content_type="application/json"),
    "no body": Act(body=b"", content_type="application/json"),
}  # fmt: skip
CUTS = {
    "stream cut at once": Act(cut_after=0, ending="cut"),
    "stream cut": Act(cut_after=4, ending="cut"),
    "stream ended early": Act(cut_after=4),
    "stream reset": Act(cut_after=4, ending="reset"),
    "stream gone silent": Act(cut_after=4, ending="hang"),
    "stream without its end marker": Act(cut_after=-1),
    "stream of an end marker": Act(body=b"data: [DONE]\n\n", content_type="text/event-stream"),
}


def each(faults):
    """Return the names of faults; with some of them the client waits in vain."""
    waits = {"timeout while it works", "stream gone silent", "text gone silent"}
    return [pytest.param(name, marks=[pytest.mark.impatient] * (name in waits)) for name in faults]


def rules(**more):
    return Rules(**{"patience": PATIENCE, "patience_after_timeout": PATIENCE, **more})


def question(message=SECRET, **more):
    return Question(AGENT, message, **{"tag": "our-tag", **more})


def again(**more):
    return question(earlier_try_began=time.time() - 60, **more)


def copy(act):
    return Act(**vars(act))


def outcome(chatbase, client, acts, *, asked=None, **how):
    """Return the error's class or the recovered flag, how often it was sent, and how often it was charged."""
    chatbase.acts = [copy(act) for act in acts]
    result, said = _result(client, ask(client.api, asked or question(), rules(**how)))
    assert KEY not in said
    assert SECRET not in said
    return result, len(chatbase.posts), chatbase.charges


def _result(client, steps):
    try:
        answer = client.run(steps)
    except ChatbaseError as error:
        return type(error), str(error)
    assert answer.text == TEXT
    return answer.recovered, ""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
class TestVersion2:
    @pytest.mark.parametrize("fault", each(FAULTS))
    def test_by_default_it_is_charged_once_and_answered(self, chatbase, client, fault, stream):
        act = FAULTS[fault]
        expected = (True, 1, 1) if act.works else (False, 2, 1)
        assert outcome(chatbase, client, [act], asked=question(stream=stream)) == expected

    @pytest.mark.parametrize("fault", each(FAULTS))
    def test_with_fail_it_is_sent_once_and_fails(self, chatbase, client, fault, stream):
        asked = question(stream=stream)
        expected = (ChatbaseAmbiguousError, 1, int(FAULTS[fault].works))
        assert outcome(chatbase, client, [FAULTS[fault]], asked=asked, on_ambiguous="fail") == expected
        assert chatbase.looks == []

    @pytest.mark.parametrize("fault", each(FAULTS))
    def test_with_retry_it_is_sent_again(self, chatbase, client, fault, stream):
        asked = question(stream=stream)
        expected = (False, 2, 1 + FAULTS[fault].works)
        assert outcome(chatbase, client, [FAULTS[fault]], asked=asked, on_ambiguous="retry") == expected
        assert chatbase.looks == []


@pytest.mark.parametrize("after", [True, False])
def test_too_many_for_somebody_on_the_way_is_looked_for(chatbase, client, after):
    """Nobody but Chatbase knows whether it did the work; looking costs nothing."""
    page = {"status": 429, "body": HTML, "content_type": "text/html", "retry_after": 0.01}
    act = Act(**page, **({} if after else BEFORE))
    assert outcome(chatbase, client, [act]) == ((True, 1, 1) if after else (False, 2, 1))


@pytest.mark.parametrize("fault", each(CUTS))
@pytest.mark.parametrize(
    ("on_ambiguous", "expected"),
    [("reconcile", (True, 1, 1)), ("fail", (ChatbaseAmbiguousError, 1, 1)), ("retry", (False, 2, 2))],
)
def test_a_broken_stream(chatbase, client, fault, on_ambiguous, expected):
    asked = question(stream=True)
    assert outcome(chatbase, client, [CUTS[fault]], asked=asked, on_ambiguous=on_ambiguous) == expected


@pytest.mark.parametrize("fault", each([*FAULTS, "text cut", "text reset", "text gone silent"]))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("on_ambiguous", ["reconcile", "fail", "retry"])
def test_version_1_cannot_look(chatbase, client_v1, fault, stream, on_ambiguous):
    text = {"body": [b"Hel", b"lo"], "content_type": "text/plain", "cut_after": 1}
    broken = {"text cut": "cut", "text reset": "reset", "text gone silent": "hang"}
    act = Act(ending=broken[fault], **text) if fault in broken else FAULTS[fault]
    expected = (
        (False, 2, 1 + act.works) if on_ambiguous == "retry" else (ChatbaseAmbiguousError, 1, int(act.works))
    )
    asked, how = question(stream=stream), {"on_ambiguous": on_ambiguous}
    assert outcome(chatbase, client_v1, [act], asked=asked, **how) == expected


@pytest.mark.parametrize("kind", ["whole", "stream"])
def test_what_is_clear_is_not_looked_for(chatbase, client, kind):
    refusal = json.dumps({"error": {"code": "CHAT_CREDITS_EXHAUSTED"}}).encode()
    acts = [Act(status=402, body=refusal, **BEFORE)]
    expected = (ChatbaseCreditsError, 1, 0)
    assert outcome(chatbase, client, acts, asked=question(stream=kind == "stream")) == expected
    assert chatbase.looks == []


def test_a_success_is_one_request(chatbase, client):
    assert outcome(chatbase, client, []) == (False, 1, 1)
    assert chatbase.looks == []
    assert chatbase.posts == [{"message": SECRET, "userId": "our-tag", "stream": False}]


def test_it_ends_when_every_try_is_lost(chatbase, client):
    acts = [Act(silent=True, **BEFORE)] * 9
    assert outcome(chatbase, client, acts) == (ChatbaseConnectionLostError, 3, 0)


def test_an_answer_that_appears_late_is_waited_for(chatbase, client):
    assert outcome(chatbase, client, [Act(silent=True, answer_after=5)]) == (True, 1, 1)


def test_a_conversation_that_appears_late_is_waited_for(chatbase, client):
    chatbase.hidden_looks = 3
    assert outcome(chatbase, client, [Act(silent=True)], patience=2) == (True, 1, 1)


@pytest.mark.parametrize("fault", each([*CUTS, "JSON that ends in the middle"]))
def test_what_has_begun_to_arrive_is_never_sent_again(chatbase, client, fault):
    """A reply began, so the message is there: that it is not shown is no sign that it never arrived."""
    chatbase.hidden_looks = 1000
    asked = question(stream=fault in CUTS)
    expected = (ChatbaseAmbiguousError, 1, 1)
    assert outcome(chatbase, client, [{**CUTS, **FAULTS}[fault]], asked=asked) == expected


@pytest.mark.impatient
def test_after_a_timeout_there_is_more_patience(chatbase, client):
    chatbase.hidden_looks = 5
    how = {"patience": 0, "patience_after_timeout": 5}
    assert outcome(chatbase, client, [Act(delay=1.5)], **how) == (True, 1, 1)


@pytest.mark.impatient
def test_so_there_is_after_a_stream_that_went_silent(chatbase, client):
    chatbase.hidden_looks = 5
    how = {"patience": 0, "patience_after_timeout": 5}
    asked = question(stream=True)
    assert outcome(chatbase, client, [CUTS["stream gone silent"]], asked=asked, **how) == (True, 1, 1)


def test_a_message_that_stays_unanswered_is_an_error(chatbase, client, monkeypatch):
    monkeypatch.setattr(lookup, "ANSWER_PATIENCE", 0.3)
    expected = (ChatbaseUnansweredError, 1, 0)
    assert outcome(chatbase, client, [Act(silent=True, works=False)]) == expected


@pytest.mark.parametrize("stream", [False, True])
def test_a_paused_conversation_gives_no_answer(chatbase, client, stream):
    conversation = chatbase.begin("ann", ("user", "Hi"))
    conversation.status = "paused"
    asked = question(conversation_id=conversation.id, stream=stream)
    empty = Act(text="", works=False)
    assert outcome(chatbase, client, [empty], asked=asked)[:2] == (ChatbaseAnswerError, 1)


def test_nor_does_it_after_an_ambiguous_failure(chatbase, client):
    conversation = chatbase.begin("ann", ("user", "Hi"))
    conversation.status = "paused"
    asked = question(conversation_id=conversation.id)
    act = Act(silent=True, works=False)
    assert outcome(chatbase, client, [act], asked=asked) == (ChatbaseUnansweredError, 1, 0)


@pytest.mark.parametrize(("lost", "expected"), [(True, (False, 2, 1)), (False, (True, 1, 1))])
def test_the_same_text_twice_in_a_conversation(chatbase, client, lost, expected):
    """The answer to the first is not taken for the answer to the second."""
    conversation = chatbase.begin("ann", ("user", "Next"), ("assistant", "One."))
    asked = question("Next", conversation_id=conversation.id)
    act = Act(silent=True, **BEFORE) if lost else Act(silent=True)
    assert outcome(chatbase, client, [act], asked=asked) == expected


def test_the_same_text_twice_for_a_user(chatbase, client):
    chatbase.begin("ann", ("user", "Next"), ("assistant", "One."), age=3600)
    asked = question("Next", user_id="ann")
    assert outcome(chatbase, client, [Act(silent=True, **BEFORE)], asked=asked) == (False, 2, 1)


class TestTheSecondTryOfATask:
    def test_takes_the_answer_of_the_first(self, chatbase, client):
        chatbase.begin("our-tag", ("user", SECRET), ("assistant", TEXT), age=3600)
        assert outcome(chatbase, client, [], asked=again()) == (True, 0, 0)

    def test_waits_for_the_answer_to_the_first(self, chatbase, client):
        chatbase.begin("our-tag", ("user", SECRET), ("assistant", TEXT))
        chatbase.show_the_answer_after(4)
        assert outcome(chatbase, client, [], asked=again()) == (True, 0, 0)

    def test_sends_what_never_arrived(self, chatbase, client):
        assert outcome(chatbase, client, [], asked=again()) == (False, 1, 1)

    @pytest.mark.parametrize("on_ambiguous", ["retry", "fail"])
    def test_of_the_other_rules(self, chatbase, client, on_ambiguous):
        """``retry`` asks anew, as it says; ``fail`` has nothing against an answer that is there."""
        chatbase.begin("our-tag", ("user", SECRET), ("assistant", TEXT))
        expected = (False, 1, 1) if on_ambiguous == "retry" else (True, 0, 0)
        assert outcome(chatbase, client, [], asked=again(), on_ambiguous=on_ambiguous) == expected

    def test_finds_the_message_of_the_first_in_a_conversation(self, chatbase, client):
        conversation = chatbase.begin("ann", ("user", SECRET), ("assistant", TEXT), age=30)
        asked = again(conversation_id=conversation.id)
        assert outcome(chatbase, client, [], asked=asked) == (True, 0, 0)

    def test_finds_the_message_of_the_first_under_the_users_id(self, chatbase, client):
        chatbase.begin("ann", ("user", SECRET), ("assistant", TEXT), age=30)
        asked = again(user_id="ann")
        assert outcome(chatbase, client, [], asked=asked) == (True, 0, 0)

    def test_says_so_when_it_may_not_look(self, chatbase, client):
        chatbase.look_status, chatbase.look_code = 403, "AUTH_INSUFFICIENT_PERMISSIONS"
        with pytest.raises(
            ChatbaseAmbiguousError, match=r"AUTH_INSUFFICIENT_PERMISSIONS.*on_ambiguous='retry'"
        ):
            client.run(ask(client.api, again(), rules()))
        assert chatbase.posts == []


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (403, "AUTH_INSUFFICIENT_PERMISSIONS", ChatbaseAmbiguousError),
        (500, "INTERNAL_SERVER_ERROR", ChatbaseConnectionLostError),
    ],
)
def test_a_look_that_fails_lets_nothing_be_sent_again(chatbase, client, status, code, expected):
    """What a later look can settle is left to the task's retry; where looking is refused, nothing can."""
    chatbase.look_status, chatbase.look_code = status, code
    chatbase.acts = [Act(silent=True)]
    with pytest.raises(expected, match="broke during chatWithAgent") as raised:
        client.run(ask(client.api, question(), rules()))
    assert raised.value.permanent is (status == 403)
    assert code in str(raised.value.__cause__)
    assert (len(chatbase.posts), chatbase.charges) == (1, 1)


def test_a_look_that_cannot_connect_does_not_hide_that_the_message_may_be_paid(chatbase, client):
    def stop_serving() -> None:
        chatbase.conversations.clear()
        chatbase.looks_reset = True

    chatbase.on_post(stop_serving)
    chatbase.acts = [Act(silent=True)]
    with pytest.raises(
        ChatbaseConnectionLostError, match=r"broke during chatWithAgent.*may have done the work"
    ):
        client.run(ask(client.api, question(), rules()))
    assert len(chatbase.posts) == 1


def test_a_key_that_may_not_read_conversations_may_still_continue_one(chatbase, client):
    conversation = chatbase.begin("ann", ("user", "Hi"), ("assistant", "Hello"))
    chatbase.look_status, chatbase.look_code = 403, "AUTH_INSUFFICIENT_PERMISSIONS"
    assert outcome(chatbase, client, [], asked=question(conversation_id=conversation.id)) == (False, 1, 1)


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (
            {"user_id": "ann@example.com"},
            ChatbaseInputError,
            "a-z, A-Z.*digits, dots, underscores and hyphens",
        ),
        ({"user_id": "a" * 129}, ChatbaseInputError, "1 to 128"),
        ({"user_id": "ann@x", "conversation_id": "c"}, ChatbaseInputError, "no e-mail addresses"),
        ({"message": ""}, ChatbaseInputError, "message is empty"),
        ({"message": "half \ud83d"}, ChatbaseInputError, "message .*cannot be sent as UTF-8"),
        ({"model": "gpt-5"}, ChatbaseUnsupportedError, "api_version v1"),
        ({"temperature": 0.0}, ChatbaseUnsupportedError, "api_version v1"),
        ({"history": [{"role": "user", "content": "x"}]}, ChatbaseInputError, "conversation_id"),
    ],
    ids=str,
)
def test_what_is_refused_before_it_is_sent(chatbase, client, bad, error, words):
    with pytest.raises(error, match=words):
        client.run(ask(client.api, question(**bad), rules()))
    assert (chatbase.posts, chatbase.looks) == ([], [])


def test_an_unknown_rule_is_refused(chatbase, client):
    with pytest.raises(ChatbaseInputError, match="reconcile, retry, fail"):
        client.run(ask(client.api, question(), rules(on_ambiguous="hope")))
    assert chatbase.posts == []


@pytest.mark.parametrize("reason", ["error"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_answer_is_not_asked_for_again(chatbase, client, reason, stream):
    act = Act(finish_reason=reason)
    assert outcome(chatbase, client, [act], asked=question(stream=stream)) == (ChatbaseAnswerError, 1, 1)


def test_the_log_tells_what_was_done_and_not_what_was_said(chatbase, client, caplog):
    caplog.set_level(logging.INFO)
    outcome(chatbase, client, [CUTS["stream cut"]], asked=question(stream=True))
    outcome(chatbase, client, [FAULTS["reset before the work"]], asked=question(tag="other"))
    for words in ("looking for it", "had arrived", "never arrived", "sent again"):
        assert words in caplog.text
    for content in (SECRET, TEXT, TEXT[:9], KEY):
        assert content not in caplog.text


def test_a_server_error_that_nothing_explains_is_the_error_in_the_end(chatbase, client):
    acts = [FAULTS["500 before the work"]] * 3
    assert outcome(chatbase, client, acts) == (ChatbaseServerError, 3, 0)
