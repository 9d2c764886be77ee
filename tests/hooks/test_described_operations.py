"""
Every method of the hook against a service that is made of the API's description alone.

What is sent is held against the description there, and what comes back is as little, as much and as strange
as the description allows. Where documents leave something open, either reading has to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import described
import operations_table
import pytest
from described import ALL, KEY, LITTLE, MORE, NOTHING, UNKNOWN, DescribedChatbase, Example

from airflow_provider_chatbase.client.v2 import tickets
from airflow_provider_chatbase.exceptions import ChatbaseError, ChatbaseInputError
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook

OPERATIONS = described.described()
MOODS = (LITTLE, ALL, NOTHING, MORE)
START, END = datetime(2026, 11, 1, 9, tzinfo=UTC), datetime(2026, 11, 2, 9, 30, 0, 1, tzinfo=UTC)
FIRST, LAST = date(2026, 11, 1), date(2026, 11, 2)
UUID = "0b5e3a52-7e0c-4f3c-9d55-2b7c1f2a9e11"


def body(operation: str, mood: str, which: int = 0) -> dict[str, Any]:
    return OPERATIONS[operation].body(ALL if mood == MORE else mood, which=which)


def without(given: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def agent_settings(mood: str) -> dict[str, Any]:
    return without(body("createAgent", mood), "name")


def ticket_settings(mood: str) -> dict[str, Any]:
    """Return what a ticket can have beside its text; of two names for one thing, one."""
    given = body("createTicket", mood)
    return without(given, "subject", "description", "customer", "statusCategory", "assigneeEmail")


def customer(mood: str) -> dict[str, Any]:
    return body("createTicket", mood)["customer"]


def changed_ticket(mood: str) -> dict[str, Any]:
    return without(body("updateTicket", ALL if mood == LITTLE else mood), "statusId", "assigneeId")


def template(hook: ChatbaseHook, mood: str) -> Any:
    given = body("sendWhatsAppTemplateMessage", mood)
    wanted = given["template"]
    more = {
        "variables": wanted.get("variables"),
        "language": wanted.get("language"),
        "sender": given.get("from"),
    }
    return hook.send_whatsapp_template(given["to"], wanted["name"], **more)


Call = Callable[[ChatbaseHook, str], Any]

CALLS: dict[str, list[Call]] = {
    "getHealth": [lambda hook, _: hook.get_health()],
    "listAgents": [lambda hook, _: hook.list_agents()],
    "createAgent": [lambda hook, mood: hook.create_agent("Second", agent_settings(mood))],
    "getAgent": [lambda hook, _: hook.get_agent()],
    "updateAgent": [
        lambda hook, mood: hook.update_agent(body("updateAgent", ALL if mood == LITTLE else mood))
    ],
    "deleteAgent": [lambda hook, _: hook.delete_agent("a/b ü")],
    "updateAgentStyles": [
        lambda hook, mood: hook.update_agent_styles(body("updateAgentStyles", mood)["styles"])
    ],
    "updateAgentAutoRetrain": [lambda hook, _: hook.set_auto_retrain(True)],
    "cloneAgent": [lambda hook, _: hook.clone_agent()],
    "createVoiceSession": [
        lambda hook, _: hook.create_voice_session(),
        lambda hook, _: hook.create_voice_session("agent", UUID, "ann", "Europe/Berlin"),
    ],
    "listConversations": [lambda hook, _: hook.list_conversations(start=START, end=END)],
    "exportConversations": [
        lambda hook, _: hook.export_conversations(),
        lambda hook, _: hook.export_conversations("agent", START, END, "c", ["API", "Email"], summary=True),
    ],
    "getConversation": [lambda hook, _: hook.get_conversation("c")],
    "updateConversation": [
        lambda hook, _: hook.pause_conversation("c"),
        lambda hook, _: hook.resume_conversation("c"),
    ],
    "deleteConversation": [lambda hook, _: hook.delete_conversation("c")],
    "listConversationMessages": [lambda hook, _: hook.list_messages("c")],
    "listUserConversations": [lambda hook, _: hook.list_user_conversations("ann")],
    "updateMessageFeedback": [
        lambda hook, _: hook.set_feedback("c", "m", "positive"),
        lambda hook, _: hook.set_feedback("c", "m", None),
    ],
    "submitToolResult": [
        lambda hook, _: hook.submit_tool_result("c", "t", {"status": ["sent", None]}),
        lambda hook, _: hook.submit_tool_result("c", "t", None),
    ],
    "getSourcesSummary": [lambda hook, _: hook.get_sources_summary()],
    "listSources": [lambda hook, _: hook.list_sources(types=["text", "qna"], name="Park")],
    "createSource": [
        lambda hook, _: hook.create_text_source("Parking", "Behind the shop."),
        lambda hook, _: hook.create_qna_source("Parking", ["Where?", "How?"], "Behind the shop."),
        lambda hook, _: hook.create_link_source("https://example.com"),
        lambda hook, _: hook.create_link_source(
            "https://example.com/sitemap.xml", "sitemap", None, ["/a"], ["/b"], slow_scraping=True
        ),
    ],
    "getSource": [lambda hook, _: hook.get_source("s")],
    "deleteSource": [lambda hook, _: hook.delete_source("s")],
    "updateSource": [
        lambda hook, mood, which=which: hook.update_source(
            "s", body("updateSource", mood, which) or {"name": "x"}
        )
        for which in range(3)
    ],
    "createFileSource": [lambda hook, _: hook.upload_file_source("Cars", "cars.txt", b"Parking is free.")],
    "updateFileSource": [
        lambda hook, _: hook.upload_file_source("Cars", "cars.pdf", b"\x00\r\n--", source_id="s")
    ],
    "listWhatsAppTemplates": [lambda hook, _: hook.list_whatsapp_templates()],
    "sendWhatsAppTemplateMessage": [template],
    "listTicketStatuses": [lambda hook, _: hook.list_ticket_statuses()],
    "listHelpdeskTeams": [lambda hook, _: hook.list_teams()],
    "createTicket": [
        lambda hook, mood: hook.create_ticket(
            "Lost", "My parcel.", customer(mood), None, ticket_settings(mood)
        ),
        lambda hook, mood: hook.create_ticket("Lost", "My parcel.", customer(mood), unless_made_since=START),
    ],
    "listTickets": [
        lambda hook, _: hook.list_tickets(),
        lambda hook, _: hook.list_tickets(
            None,
            START,
            END,
            {"status": "new,on_you", "sortBy": "createdAt", "order": "asc", "assigneeId": "none"},
        ),
    ],
    "searchTickets": [lambda hook, _: hook.search_tickets("parcel")],
    "getTicket": [lambda hook, _: hook.get_ticket(3)],
    "updateTicket": [lambda hook, mood: hook.update_ticket(3, changed_ticket(mood))],
    "listTicketMessages": [
        lambda hook, _: hook.list_ticket_messages(3),
        lambda hook, _: hook.list_ticket_messages(3, types=["reply", "note", "event"]),
    ],
    "createTicketMessage": [
        lambda hook, _: hook.reply_to_ticket(3, "It is *found*.", author_email="tom@example.com"),
        lambda hook, _: hook.reply_to_ticket(3, "It is *found*.", author_id=UUID, unless_made_since=START),
    ],
    "searchConversations": [
        lambda hook, _: hook.search_conversations(),
        lambda hook, _: hook.search_conversations(
            None, "refund", START, END, ["API"], ["ann"], {"sentiment": "negative", "hasVoice": "true"}
        ),
    ],
    "getAgentAnalytics": [
        lambda hook, _: hook.get_analytics(),
        lambda hook, _: hook.get_analytics(None, FIRST, END, "Europe/Berlin"),
    ],
    "listActions": [lambda hook, _: hook.list_actions()],
    "getAction": [lambda hook, _: hook.get_action(UUID)],
    "updateAction": [lambda hook, mood: hook.update_action(UUID, body("updateAction", mood))],
    "deleteAction": [lambda hook, _: hook.delete_action(UUID)],
    "listProcedures": [lambda hook, _: hook.list_procedures()],
    "createProcedure": [lambda hook, mood: hook.create_procedure(body("createProcedure", mood))],
    "getProcedure": [lambda hook, _: hook.get_procedure(UUID)],
    "updateProcedure": [lambda hook, mood: hook.update_procedure(UUID, body("updateProcedure", mood))],
    "deleteProcedure": [lambda hook, _: hook.delete_procedure(UUID)],
    "createChatbot": [lambda hook, _: hook.create_agent("Second")],
    "updateChatbotData": [lambda hook, _: hook.replace_text("We are open.", name="Shop")],
    "updateChatbotSettings": [
        lambda hook, _: hook.update_agent(
            {
                "name": "Shop",
                "instructions": "Be kind.",
                "initialMessages": ["Hello"],
                "suggestedMessages": ["Where?"],
                "visibility": "public",
                "allowedDomains": ["example.com"],
                "ipRateLimits": {"limit": 3, "timeframe": 60, "message": "Slow."},
                "model": "gpt-4o",
                "temp": 0.5,
                "styles": {"theme": "dark"},
            }
        )
    ],
    "getChatbots": [lambda hook, _: hook.list_agents()],
    "deleteChatbot": [lambda hook, _: hook.delete_agent("agent")],
    "getConversations": [
        lambda hook, _: hook.export_conversations(),
        lambda hook, _: hook.export_conversations("agent", START, END, channels=["API", "Widget or Iframe"]),
    ],
    "getLeads": [lambda hook, _: hook.get_leads(), lambda hook, _: hook.get_leads("agent", FIRST, LAST)],
    "listContacts": [lambda hook, _: hook.list_contacts()],
    "createContacts": [lambda hook, mood: hook.create_contacts(body("createContacts", mood)["users"])],
    "getContact": [lambda hook, _: hook.get_contact("c")],
    "updateContact": [lambda hook, mood: hook.update_contact("c", body("updateContact", mood)["data"])],
    "deleteContact": [lambda hook, _: hook.delete_contact("c")],
    "listCustomAttributes": [lambda hook, _: hook.list_custom_attributes()],
    "createCustomAttribute": [
        lambda hook, _: hook.create_custom_attribute("colour", "text"),
        lambda hook, _: hook.create_custom_attribute("born", "date", "Born", "When."),
    ],
    "updateCustomAttribute": [
        lambda hook, mood: hook.update_custom_attribute("plan", body("updateCustomAttribute", mood))
    ],
}
"""Every operation but those that answer a question, with as many arguments as its methods have."""

ANSWERING: dict[str, Call] = {
    "chatWithAgent": lambda hook, _: hook.send_message(
        "Hello", user_id="ann", on_ambiguous="fail", on_tool_calls="return"
    ),
    "retryMessage": lambda hook, _: hook.retry_message("c", "m"),
    "chat": lambda hook, _: hook.send_message(
        "Hello",
        conversation_id="c",
        model="gpt-4o",
        temperature=0.5,
        history=[{"role": "user", "content": "Hi"}],
    ),
}
ELSEWHERE = {"stream_message", "end_conversation", "iterate", "request", "question"}
"""Methods with tests of their own, here or in test_operations.py."""

WRAPPING_IS_OPEN = (
    *("getAction", "updateAction", "getProcedure", "createProcedure", "updateProcedure"),
    "getAgentAnalytics",
)
MEANS_DONE = (
    ("deleteSource", "SOURCE_ALREADY_PENDING_DELETION"),
    ("deleteConversation", "RESOURCE_NOT_FOUND"),
)
REPLY_IS_OPEN = ("deleteConversation", "deleteAction", "deleteProcedure", "deleteContact")
LISTING_IS_OPEN = ("listActions", "listProcedures")


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[DescribedChatbase, DescribedChatbase]]:
    with DescribedChatbase() as main, DescribedChatbase(files=True) as files:
        main.start()
        files.start()
        yield main, files
        main.shutdown()
        files.shutdown()


class Place:
    """A hook of each version, and the service behind it."""

    def __init__(
        self, hosts: tuple[DescribedChatbase, DescribedChatbase], hooks: dict[str, ChatbaseHook]
    ) -> None:
        self.hosts, self.hooks = hosts, hooks

    def call(self, operation: str, call: Call, mood: str = ALL) -> Any:
        for host in self.hosts:
            host.mood = mood
        made = call(self.hooks[OPERATIONS[operation].version], mood)
        return list(made) if isinstance(made, Iterator) else made

    def host(self, operation: str) -> DescribedChatbase:
        return self.hosts[OPERATIONS[operation].on_files_host]

    @property
    def complaints(self) -> list[str]:
        return [each for host in self.hosts for each in host.complaints]


@pytest.fixture
def place(hosts, monkeypatch, chatbase_without_waits) -> Iterator[Place]:
    monkeypatch.setattr(tickets, "PATIENCE", 0.0)
    hooks = {}
    for version in ("v1", "v2"):
        extra = {"agent_id": "agent", "api_version": version, "max_attempts": 1, "files_host": hosts[1].url}
        connection = {"conn_type": "chatbase", "host": hosts[0].url, "password": KEY, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_DESCRIBED_{version.upper()}", json.dumps(connection))
        hooks[version] = ChatbaseHook(f"described_{version}")
    for host in hosts:
        host.forget()
    yield Place(hosts, hooks)
    for hook in hooks.values():
        hook.close()


def told(reply: Any) -> list[Any]:
    """Return what a method may make of a reply: all of it, or what it wraps; v1's ``chatbotId`` is an id."""
    wrapped = list(reply.values()) if isinstance(reply, dict) else []
    if wrapped and "chatbotId" in reply:
        wrapped.append({"id": reply["chatbotId"]})
    return [reply, *wrapped, *[each for value in wrapped for each in told(value) if isinstance(value, dict)]]


def test_no_operation_and_no_method_is_forgotten():
    assert {*CALLS, *ANSWERING} == set(OPERATIONS) - set(operations_table.LEFT_OUT)
    methods = {name for name in dir(ChatbaseHook) if name in _documented()}
    called = {
        name
        for calls in [*CALLS.values(), [*ANSWERING.values()]]
        for call in calls
        for name in call.__code__.co_names
    }
    assert methods - called - ELSEWHERE == set()


def _documented() -> set[str]:
    return {name for names in operations_table.methods().values() for name in names}


@pytest.mark.parametrize("operation", CALLS)
def test_what_it_sends_and_what_it_makes_of_the_reply(place, operation):
    if operation == "updateChatbotData":  # it looks the name up
        place.hosts[0].said = {"id": "agent"}
    for mood in MOODS:
        for call in CALLS[operation]:
            result = place.call(operation, call, mood)
            assert place.complaints == []
            assert place.host(operation).asked[-1] == operation
            answers = place.host(operation).answers
            assert result in (None, True) or any(result in told(each) for each in answers), mood


@pytest.mark.parametrize(
    "operation", [each for each in CALLS if "cursor" in OPERATIONS[each].parameters("query")]
)
def test_it_reads_page_after_page(place, operation):
    host = place.host(operation)
    host.pages = 2
    found = place.call(operation, CALLS[operation][0])
    assert len(host.answers) == 2
    both = [item for page in host.answers for item in page["data"]]
    assert sorted(map(str, found)) == sorted(map(str, both))


@pytest.mark.parametrize("operation", [op for op in OPERATIONS if op in CALLS or op in ANSWERING])
def test_each_refusal_is_told_with_its_code(place, operation):
    host = place.host(operation)
    host.second_form, host.said = True, {"id": "agent"}
    for status, code in OPERATIONS[operation].errors:
        error = {"code": code, "message": "No."} if code else None
        reply = {"error": error} if error else {"message": "No."}
        refusal = (status, "application/json", json.dumps(reply).encode())
        host.instead = lambda each, refusal=refusal: refusal if each.id == operation else None
        call = CALLS[operation][0] if operation in CALLS else ANSWERING[operation]
        if (operation, code) in MEANS_DONE:
            place.call(operation, call)
            continue
        with pytest.raises(ChatbaseError, match=r"No") as refused:
            place.call(operation, call)
        said = refused.value if refused.value.status else refused.value.__cause__
        assert (said.status, said.code) == (status, code)
    assert place.complaints == []


@pytest.mark.parametrize("operation", ANSWERING)
@pytest.mark.parametrize("mood", MOODS)
def test_an_answer(place, operation, mood):
    answer = place.call(operation, ANSWERING[operation], mood)
    assert place.complaints == []
    [said] = place.hosts[0].answers
    if operation == "chat":
        assert answer["text"] == said["text"]
        assert [each["role"] for each in answer["history"]] == ["user", "user", "assistant"]
        return
    message = said["data"]
    metadata = message["metadata"]
    assert answer["text"] == "".join(part["text"] for part in message["parts"] if part["type"] == "text")
    assert (answer["message_id"], answer["conversation_id"]) == (message["id"], metadata["conversationId"])
    assert (answer["user_message_id"], answer["user_id"]) == (metadata["userMessageId"], metadata["userId"])
    assert (answer["credits"], answer["finish_reason"]) == (
        metadata["usage"]["credits"],
        UNKNOWN if mood == MORE else "stop",
    )


def _streamed(*, spelled: str, with_events: bool, flat: bool) -> bytes:
    metadata = {"messageId": "m", "userMessageId": "u", "conversationId": "c", "userId": None}
    metadata |= {"usage": {"credits": 2.5}}
    events: list[dict[str, Any]] = [
        {"type": spelled, "messageId": "m"},
        {"type": "start-step"},
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "Hé"},
        {"type": UNKNOWN, "delta": "no"},
        {"type": "text-delta", "id": "1", "delta": "llo"},
        {"type": "text-end", "id": "1"},
        {"type": "tool-input-start", "toolCallId": "t", "toolName": "look"},
        {"type": "tool-input-delta", "toolCallId": "t", "inputTextDelta": "{"},
        {"type": "tool-input-available", "toolCallId": "t", "toolName": "look", "input": {"a": None}},
        {"type": "tool-output-available", "toolCallId": "t", "output": None},
        {"type": "finish-step"},
    ]
    events += (
        [{"type": "message-metadata", **metadata}, {"type": "finish", "finishReason": "stop"}]
        if flat
        else [{"type": "finish", "finishReason": "stop", "messageMetadata": metadata}]
    )
    lines = [
        (f"event: {each['type']}\n" if with_events else "") + f"data: {json.dumps(each)}\n\n"
        for each in events
    ]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


@pytest.mark.parametrize("flat", [False, True], ids=["in finish", "of its own"])
@pytest.mark.parametrize(("spelled", "with_events"), [("message-start", True), ("start", False)])
def test_a_streamed_answer(place, spelled, with_events, flat):
    stream = _streamed(spelled=spelled, with_events=with_events, flat=flat)
    place.hosts[0].instead = lambda _: (200, "text/event-stream", stream)
    streamed = place.hooks["v2"].stream_message("Hello")
    assert list(streamed) == ["Hé", "llo"]
    assert place.complaints == []
    [sent] = place.hosts[0].sent
    assert (sent["message"], sent["stream"]) == ("Hello", True)
    wanted = {
        "text": "Héllo",
        "message_id": "m",
        "conversation_id": "c",
        "credits": 2.5,
        "finish_reason": "stop",
    }
    assert {name: streamed.answer[name] for name in wanted} == wanted
    assert streamed.answer["tool_calls"] == []
    assert place.hooks["v2"].send_message("Hello", stream=True)["text"] == "Héllo"
    assert place.complaints == []


@pytest.mark.parametrize("operation", WRAPPING_IS_OPEN)
def test_wrapped_or_not(place, operation):
    host = place.host(operation)
    _, bare, _ = OPERATIONS[operation].reply(ALL, {}, last_page=True)
    for reply in (bare, {"data": bare}):
        host.instead = lambda _, reply=reply: (200, "application/json", json.dumps(reply).encode())
        assert place.call(operation, CALLS[operation][0]) in (bare, reply)


@pytest.mark.parametrize("operation", REPLY_IS_OPEN)
@pytest.mark.parametrize(
    "reply", [(204, b""), (200, b""), (200, b"{}"), (202, b'{"success": true}'), (200, b"[]")]
)
def test_what_is_deleted_is_deleted_whatever_is_said(place, operation, reply):
    status, content = reply
    place.host(operation).instead = lambda _: (status, "application/json", content)
    assert place.call(operation, CALLS[operation][0]) is not None
    assert place.complaints == []


@pytest.mark.parametrize("operation", LISTING_IS_OPEN)
def test_however_it_is_listed(place, operation):
    rows = [{"id": UUID, "name": "a"}, {"id": UUID[:-1] + "2", "name": "b"}]
    for reply in (rows, {"data": rows}, {"data": rows, "pagination": {"cursor": None, "hasMore": False}}):
        place.hosts[0].instead = lambda _, reply=reply: (200, "application/json", json.dumps(reply).encode())
        assert place.call(operation, CALLS[operation][0]) == rows


@pytest.mark.parametrize("second", [False, True], ids=["paused", "paused or status"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_status_by_either_document(place, second, wrapped):
    host = place.hosts[0]
    host.second_form = second
    hook = place.hooks["v2"]
    for method, status in (
        (hook.pause_conversation, "paused"),
        (hook.resume_conversation, "ongoing"),
        *([(hook.end_conversation, "ended")] if second else []),
    ):
        host.said = {"status": status}
        if not wrapped:
            bare = json.dumps({"id": "c", "status": status}).encode()
            host.instead = lambda each, bare=bare: (
                (200, "application/json", bare) if each.id == "updateConversation" else None
            )
        assert method("c")["status"] == status
    assert host.complaints == []


def test_what_v1_says_in_two_ways(place):
    made = Example(ALL).of(OPERATIONS["createContacts"].reply(ALL, {}, last_page=True)[2])["data"]
    leads = [{"id": 1, "email": "ann@example.com"}]
    for operation, reply, wanted in (
        ("createContacts", {"data": {"created": made}}, made),
        ("getLeads", {"collectedCustomers": leads}, leads),
        ("getLeads", {"collectedCustomers": {"data": leads}}, leads),
        ("getLeads", {"data": leads}, leads),
    ):
        place.hosts[0].instead = lambda _, reply=reply: (200, "application/json", json.dumps(reply).encode())
        assert place.call(operation, CALLS[operation][0]) == wanted


LONGEST: list[tuple[str, str, Call]] = [
    ("createAgent", "name", lambda hook, text: hook.create_agent(text)),
    ("updateAgent", "name", lambda hook, text: hook.update_agent({"name": text})),
    (
        "chatWithAgent",
        "userId",
        lambda hook, text: hook.send_message("Hello", user_id=text, on_tool_calls="return"),
    ),
    ("createSource", "name", lambda hook, text: hook.create_text_source(text, "Behind the shop.")),
    ("createSource", "content", lambda hook, text: hook.create_text_source("Parking", text)),
    ("updateSource", "content", lambda hook, text: hook.update_source("s", {"content": text})),
    ("createTicket", "subject", lambda hook, text: hook.create_ticket(text, "x", {"email": "a@b.org"})),
    ("createTicket", "description", lambda hook, text: hook.create_ticket("x", text, {"email": "a@b.org"})),
    ("createTicketMessage", "content", lambda hook, text: hook.reply_to_ticket(3, text, author_id=UUID)),
    ("searchTickets", "query", lambda hook, text: hook.search_tickets(text)),
]


@pytest.mark.parametrize(("operation", "field", "call"), LONGEST, ids=[f"{o} {f}" for o, f, _ in LONGEST])
def test_its_limits_are_those_of_the_description(place, operation, field, call):
    [content] = OPERATIONS[operation].facts["requestBody"]["content"].values()
    schema = content["schema"]
    fields = next(
        each
        for each in [schema, *schema.get("oneOf", []), *schema.get("anyOf", [])]
        if field in each.get("properties", {})
    )
    longest = fields["properties"][field]["maxLength"]
    place.call(operation, lambda hook, _: call(hook, "x" * longest))
    asked = len(place.hosts[0].asked)
    for wrong in ("x" * (longest + 1), *([""] if field != "userId" else [])):
        with pytest.raises(ChatbaseInputError, match=r"Nothing was sent"):
            place.call(operation, lambda hook, _, wrong=wrong: call(hook, wrong))
    assert (place.complaints, len(place.hosts[0].asked)) == ([], asked)
