"""Tools that an agent asks for: run, reported, and paid for once."""

from __future__ import annotations

import logging
import time

import pytest
from acting import AGENT, TEXT, Act, events_of, sse

from airflow_provider_chatbase.client.asking import Rules, ToolUse, ask, run_tool
from airflow_provider_chatbase.client.errors import ChatbaseInputError, ChatbaseToolCallError
from airflow_provider_chatbase.client.question import Question

WEATHER = ("weather", {"city": "Köln", "days": 2})


def run(client, handlers, *, again=False, stream=False, without_handler="fail", max_rounds=10, **more):
    tools = ToolUse(handlers, without_handler, max_rounds)
    began = time.time() if again else None
    question = Question(AGENT, "Weather?", tag="tag", stream=stream, earlier_try_began=began)
    rules = Rules(tools=tools, patience=0.2, patience_after_timeout=0.2, **more)
    return client.run(ask(client.api, question, rules))


def outputs(chatbase):
    return [each["output"] for each in chatbase.tool_results]


def by_names(city, days=1):
    return f"{city} {days}"


def by_any_names(**given):
    return given


def by_one_argument(given):
    return given


def by_another_name(place):
    return place


def by_position_only(given, /):
    return given


def with_a_default(given=None):
    return given


class Handler:
    def __call__(self, city, days):
        return [city, days]


GIVEN = WEATHER[1]


@pytest.mark.parametrize(
    ("handler", "given", "returned"),
    [
        (by_names, GIVEN, "Köln 2"),
        (by_names, {"city": "Ulm"}, "Ulm 1"),
        (by_any_names, GIVEN, GIVEN),
        (by_one_argument, GIVEN, GIVEN),
        (by_another_name, {"city": "Ulm"}, {"city": "Ulm"}),
        (by_another_name, {"place": "Ulm"}, "Ulm"),
        (by_position_only, {"given": 1}, {"given": 1}),
        (with_a_default, GIVEN, GIVEN),
        (with_a_default, {}, None),
        (by_one_argument, None, None),
        (by_one_argument, "text", "text"),
        (by_one_argument, [1], [1]),
        (Handler(), GIVEN, ["Köln", 2]),
        (dict, GIVEN, GIVEN),
        (lambda: "now", {}, "now"),
    ],
    ids=lambda v: getattr(v, "__name__", None) or (type(v).__name__ if callable(v) else str(v)),
)
def test_a_handler_gets_names_or_one_argument(handler, given, returned):
    assert run_tool({"tool": handler}, {"id": "t", "name": "tool", "input": given}) == returned


@pytest.mark.parametrize("handler", [lambda a, b, c: 1, lambda: 1], ids=["three", "none"])
def test_a_handler_that_cannot_take_the_input_fails_like_any_other(handler):
    returned = run_tool({"tool": handler}, {"id": "t", "name": "tool", "input": {"city": "Ulm"}})
    assert returned["error"].startswith("TypeError: ")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_agent_gets_the_result_and_answers(chatbase, client, stream):
    chatbase.acts = [Act(text="", tools=[WEATHER], credits=0.5), Act(credits=1.25)]
    answer = run(client, {"weather": by_names}, stream=stream)
    assert (answer.text, answer.finish_reason, answer.tool_calls) == (TEXT, "stop", [])
    assert (answer.credits, answer.tool_rounds, answer.recovered) == (1.75, 1, False)
    assert outputs(chatbase) == ["Köln 2"]
    [conversation] = chatbase.conversations
    assert chatbase.posts[1] == {"conversationId": conversation, "stream": stream}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_several_calls_and_several_rounds(chatbase, client, stream):
    three = [WEATHER, ("time", {}), WEATHER]
    chatbase.acts = [
        Act(tools=three, credits=1),
        Act(text="", tools=[("time", {})], credits=2),
        Act(credits=4),
    ]
    answer = run(client, {"weather": by_names, "time": lambda: 12}, stream=stream)
    assert (answer.text, answer.credits, answer.tool_rounds) == (TEXT, 7, 2)
    assert outputs(chatbase) == ["Köln 2", 12, "Köln 2", 12]
    assert len({each["toolCallId"] for each in chatbase.tool_results}) == 4
    assert chatbase.charges == 3


def test_credits_that_one_round_does_not_say_are_unknown_in_all(chatbase, client):
    chatbase.acts = [Act(text="", tools=[WEATHER], credits=None), Act(credits=1)]
    assert run(client, {"weather": by_names}).credits is None


def test_the_failure_of_a_tool_is_for_the_agent_to_know(chatbase, client, caplog):
    def fails(city, days):
        raise ConnectionError(f"no way to {city}")

    caplog.set_level(logging.INFO)
    chatbase.acts = [Act(text="", tools=[WEATHER])]
    assert run(client, {"weather": fails}).text == TEXT
    assert outputs(chatbase) == [{"error": "ConnectionError: no way to Köln"}]
    assert "The tool weather failed with ConnectionError" in caplog.text
    assert "Köln" not in caplog.text


CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("x" * 20_000, "20,002 bytes"),
        (object(), "no JSON"),
        ({1, 2}, "no JSON"),
        (float("nan"), "no JSON"),
        ([float("inf")], "no JSON"),
        ("half \ud83d", "no JSON"),
        (CIRCLE, "no JSON"),
    ],
    ids=["large", "object", "set", "nan", "infinite", "surrogate", "circle"],
)
def test_a_result_that_cannot_be_sent_is_reported_to_the_agent(chatbase, client, output, words):
    chatbase.acts = [Act(text="", tools=[WEATHER])]
    assert run(client, {"weather": lambda **given: output}).text == TEXT
    [told] = outputs(chatbase)
    assert words in told["error"]


@pytest.mark.parametrize(
    "output", ["x" * 19_998, "ü" * 9_999, "世" * 6_666], ids=["ascii", "two bytes", "three"]
)
def test_a_result_is_measured_as_it_is_sent(chatbase, client, output):
    chatbase.acts = [Act(text="", tools=[WEATHER])]
    run(client, {"weather": lambda **given: output})
    assert outputs(chatbase) == [output]


@pytest.mark.parametrize("handlers", [{}, {"time": len}], ids=["none", "another"])
def test_a_tool_without_a_handler_fails(chatbase, client, handlers):
    chatbase.acts = [Act(text="Let me look.", tools=[WEATHER, ("time", {})])]
    with pytest.raises(
        ChatbaseToolCallError, match=r"without a handler: .*weather.*on_tool_calls='return'"
    ) as raised:
        run(client, handlers)
    assert raised.value.text == "Let me look."
    assert raised.value.permanent
    assert (outputs(chatbase), len(chatbase.posts)) == ([], 1)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_or_returns_its_calls(chatbase, client, stream):
    chatbase.acts = [Act(text="Let me look.", tools=[WEATHER])]
    answer = run(client, {"time": len}, without_handler="return", stream=stream)
    [call] = answer.tool_calls
    assert (call["name"], call["input"]) == WEATHER
    assert (answer.finish_reason, answer.text, answer.tool_rounds) == (
        "tool-calls",
        "Let me look.",
        0,
    )


@pytest.mark.parametrize(("limit", "posts"), [(0, 1), (1, 2), (3, 4)])
def test_the_rounds_have_a_limit(chatbase, client, limit, posts):
    chatbase.acts = [Act(text="", tools=[WEATHER]) for _ in range(9)]
    with pytest.raises(ChatbaseToolCallError, match=f"asked for tools more than {limit} times"):
        run(client, {"weather": by_names}, max_rounds=limit)
    assert (len(chatbase.posts), len(chatbase.tool_results)) == (posts, limit)


def test_just_within_the_limit(chatbase, client):
    chatbase.acts = [Act(text="", tools=[WEATHER]) for _ in range(3)]
    assert run(client, {"weather": by_names}, max_rounds=3).tool_rounds == 3


def test_an_answer_with_the_call_of_a_server_side_tool_is_an_answer(chatbase, client):
    """Such a call may come without its result; ``finishReason`` says that nobody waits for one."""
    chatbase.acts = [Act(tools=[WEATHER], finish_reason="stop")]
    assert run(client, {}).text == TEXT


def test_a_stream_that_names_no_conversation_cannot_be_continued(chatbase, client):
    parts = [{"type": "tool-call", "toolCallId": "t", "toolName": "weather", "input": {}}]
    nameless = sse(events_of({"id": "m", "parts": parts}, "tool-calls", {}))
    chatbase.acts = [Act(body=nameless, content_type="text/event-stream")]
    with pytest.raises(ChatbaseToolCallError, match="did not say where"):
        run(client, {"weather": by_any_names}, stream=True)
    assert len(chatbase.posts) == 1


class TestInterrupted:
    """The answer that follows a tool is paid for once, too."""

    @pytest.mark.parametrize("same_message", [False, True])
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_the_following_answer_is_found(self, chatbase, client, stream, same_message):
        lost = Act(silent=True, same_message=same_message)
        chatbase.acts = [Act(text="", tools=[WEATHER]), lost]
        answer = run(client, {"weather": by_names}, stream=stream)
        assert (answer.text, answer.recovered, answer.credits) == (TEXT, True, None)
        assert (len(chatbase.posts), chatbase.charges) == (2, 2)

    def test_or_asked_for_again_when_it_never_arrived(self, chatbase, client):
        chatbase.acts = [Act(text="", tools=[WEATHER]), Act(silent=True, works=False, arrives=False)]
        answer = run(client, {"weather": by_names})
        assert (answer.text, answer.recovered) == (TEXT, False)
        assert (len(chatbase.posts), chatbase.charges, outputs(chatbase)) == (3, 2, ["Köln 2"])

    def test_a_crash_before_the_tool_ran(self, chatbase, client):
        self.first_try(chatbase, client)
        chatbase.acts = [Act()]
        answer = run(client, {"weather": by_names}, again=True)
        assert (answer.text, answer.recovered, answer.tool_rounds) == (TEXT, False, 1)
        assert (outputs(chatbase), chatbase.charges) == (["Köln 2"], 2)

    def test_a_crash_between_the_result_and_the_answer(self, chatbase, client):
        """Found by what the conversation shows: the call has its result, and nothing came after it."""
        call = self.first_try(chatbase, client)
        [conversation] = chatbase.conversations.values()
        conversation.messages[-1].parts.append({"type": "tool-result", "toolCallId": call["id"], "output": 1})
        chatbase.acts = [Act()]
        answer = run(client, {"weather": by_names}, again=True)
        assert (answer.text, outputs(chatbase), chatbase.charges) == (TEXT, [], 2)

    def test_the_same_where_the_conversation_does_not_show_the_result(self, chatbase, client):
        call = self.first_try(chatbase, client)
        [conversation] = chatbase.conversations.values()
        conversation.messages[-1].parts.append({"type": "tool-result", "toolCallId": call["id"], "output": 1})
        chatbase.hides_tool_results = True
        chatbase.acts = [Act()]
        assert run(client, {"weather": by_names}, again=True).text == TEXT
        assert (len(chatbase.posts), chatbase.charges) == (2, 2)

    def test_a_crash_after_the_answer(self, chatbase, client):
        chatbase.acts = [Act(text="", tools=[WEATHER]), Act()]
        run(client, {"weather": by_names})
        answer = run(client, {"weather": by_names}, again=True)
        assert (answer.text, answer.recovered, answer.tool_calls) == (TEXT, True, [])
        assert (len(chatbase.posts), chatbase.charges, len(chatbase.tool_results)) == (2, 2, 1)

    def first_try(self, chatbase, client):
        chatbase.acts = [Act(text="", tools=[WEATHER])]
        [call] = run(client, {}, without_handler="return").tool_calls
        return call


def test_a_tool_call_that_expired_is_an_error(chatbase, client):
    chatbase.acts = [Act(text="", tools=[WEATHER])]
    chatbase.tool_result_status = 404
    with pytest.raises(Exception, match="RESOURCE_TOOL_CALL_NOT_FOUND"):
        run(client, {"weather": by_names})
    assert len(chatbase.posts) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"handlers": {"weather": "by_names"}}, "tool_handlers.*weather"),
        ({"without_handler": "hope"}, "on_tool_calls.*'hope'"),
        ({"max_rounds": -1}, "max_tool_rounds"),
        ({"max_rounds": "3"}, "max_tool_rounds"),
    ],
    ids=str,
)
def test_what_is_refused(given, words):
    with pytest.raises(ChatbaseInputError, match=words):
        ToolUse(**given)
