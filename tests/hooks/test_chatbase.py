"""The hook against a real server: plain JSON in and out, with an Airflow connection's key and settings."""

from __future__ import annotations

import asyncio
import json
import traceback
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_chatbase.exceptions import (
    ChatbaseAnswerError,
    ChatbaseAuthenticationError,
    ChatbaseConfigurationError,
    ChatbaseError,
    ChatbaseInputError,
    ChatbaseNotFoundError,
    ChatbaseServerError,
    ChatbaseUnsupportedError,
)
from airflow_provider_chatbase.hooks.chatbase import ChatbaseHook
from airflow_provider_chatbase.simulator import Fault


@pytest.fixture
def hook(simulator, connect):
    connect(simulator)
    with ChatbaseHook() as hook:
        yield hook


def masked(text: str) -> str:
    try:
        from airflow.sdk.log import redact
    except ImportError:
        from airflow.sdk.execution_time.secrets_masker import redact  # 3.0
    return str(redact(text))


def test_is_the_hook_of_its_connection_type(simulator, connect):
    connect(simulator)
    assert ChatbaseHook.conn_type == "chatbase"
    assert ChatbaseHook().chatbase_conn_id == ChatbaseHook.default_conn_name == "chatbase_default"
    assert ChatbaseHook.conn_name_attr == "chatbase_conn_id"


class TestAgents:
    def test_list(self, simulator, hook):
        hook.create_agent("Second")
        assert {agent["name"] for agent in hook.list_agents()} == {"Ridgeline Support", "Second"}

    def test_list_takes_more_than_a_page(self, simulator, hook):
        for number in range(105):
            hook.create_agent(f"Agent {number}")
        assert len(hook.list_agents()) == 106
        assert len(simulator.requests_for("listAgents")) == 2

    def test_get_the_default_and_another(self, simulator, hook):
        other = hook.create_agent("Second")["id"]
        assert hook.get_agent()["id"] == simulator.agent_id
        assert hook.get_agent(other)["name"] == "Second"

    def test_fields_of_tomorrow_pass_through(self, hook):
        assert "folderId" in hook.get_agent(), "the simulator adds a field that the API does not document"

    def test_create(self, simulator, hook):
        made = hook.create_agent("Second", {"temp": 0, "instructions": "Be short."})
        fields = simulator.store.agents[made["id"]].fields
        assert (fields["name"], fields["temp"], fields["instructions"]) == ("Second", 0, "Be short.")

    def test_create_reports_what_is_left_to_do(self, start_simulator, connect):
        connect(start_simulator(pending_steps=("TRAIN_AGENT",)))
        assert ChatbaseHook().create_agent("Second")["pendingSteps"] == ["TRAIN_AGENT"]

    def test_update(self, simulator, hook):
        assert hook.update_agent({"temp": 0.9, "creditLimit": 5}) == {"success": True}
        assert hook.update_agent({"creditLimit": None}) == {"success": True}
        fields = simulator.store.agents[simulator.agent_id].fields
        assert (fields["temp"], fields["creditLimit"]) == (0.9, None)

    def test_clone(self, simulator, hook):
        copy = hook.clone_agent()["id"]
        assert len(simulator.store.sources(copy)) == len(simulator.store.sources(simulator.agent_id))

    def test_delete(self, simulator, hook):
        assert hook.delete_agent(simulator.agent_id) == {"success": True}
        assert simulator.agent_id not in simulator.store.agents

    @pytest.mark.parametrize("agent_id", ["", None], ids=repr)
    def test_the_default_agent_is_never_deleted_by_mistake(self, simulator, hook, agent_id):
        with pytest.raises(ChatbaseInputError):
            hook.delete_agent(agent_id)
        assert simulator.agent_id in simulator.store.agents


class TestSources:
    def test_the_life_of_a_text(self, simulator, hook):
        source = hook.create_text_source("Hours", "From 8 to 18.")
        assert (source["name"], source["type"], source["status"]) == ("Hours", "text", "untrained")
        simulator.advance(1)
        assert hook.get_source(source["id"])["status"] == "trained"
        assert hook.update_source(source["id"], {"content": "From 9 to 17."})["status"] == "updated"
        assert hook.delete_source(source["id"])["status"] == "deleted"
        with pytest.raises(ChatbaseNotFoundError, match="SOURCE_NOT_FOUND"):
            hook.get_source(source["id"])

    def test_questions_and_links(self, hook):
        assert hook.create_qna_source("Returns", ["May I?"], "Yes.")["type"] == "qna"
        link = hook.create_link_source("https://shop.example", "crawl", exclude_paths=["/blog/*"])
        assert link["metadata"]["excludePaths"] == ["/blog/*"]

    def test_list_by_type_and_name(self, hook):
        hook.create_text_source("Closed on Sundays", "Always.")
        assert [source["name"] for source in hook.list_sources(name="SUNDAY")] == ["Closed on Sundays"]
        assert {source["type"] for source in hook.list_sources(types=["qna", "link"])} == {"qna", "link"}

    def test_list_takes_more_than_a_page(self, simulator, hook):
        before = len(simulator.store.sources(simulator.agent_id))
        for number in range(105):
            hook.create_text_source(f"Text {number}", "Text.")
        assert len(hook.list_sources()) == before + 105

    def test_an_agent_that_is_not_there(self, hook):
        with pytest.raises(ChatbaseNotFoundError, match="Check agent_id"):
            hook.list_sources("nobody")


class TestMessages:
    def test_ask(self, simulator, hook):
        answer = hook.send_message("How long does a refund take?", user_id="ann")
        [conversation] = simulator.store.conversations_of_user(simulator.agent_id, "ann")
        assert answer["text"] == conversation.messages[-1].text
        assert answer["conversation_id"] == conversation.id
        assert answer["message_id"] == conversation.messages[-1].id
        assert answer["user_message_id"] == conversation.messages[0].id
        assert (answer["credits"], answer["finish_reason"], answer["user_id"]) == (1, "stop", "ann")
        assert simulator.prompts_charged == 1
        assert json.loads(json.dumps(answer)) == answer

    def test_go_on(self, simulator, hook):
        first = hook.send_message("How long does a refund take?")
        second = hook.send_message("And an exchange?", conversation_id=first["conversation_id"])
        assert second["conversation_id"] == first["conversation_id"]
        conversation = simulator.store.conversation(simulator.agent_id, first["conversation_id"])
        assert len(conversation.messages) == 4

    def test_credits_may_be_a_fraction(self, start_simulator, connect):
        connect(start_simulator(credits_per_answer=0.25))
        assert ChatbaseHook().send_message("Hello?")["credits"] == 0.25

    def test_an_agent_that_failed_is_no_answer_although_the_status_is_200(self, simulator, hook):
        simulator.faults.add(Fault(kind="finish_error"))
        with pytest.raises(ChatbaseAnswerError, match="finishReason: error"):
            hook.send_message("Hello?")
        assert len(simulator.requests_for("chatWithAgent")) == 1

    def test_nothing_is_sent_of_an_empty_message(self, simulator, hook):
        with pytest.raises(ChatbaseInputError, match="message is empty"):
            hook.send_message("  ")
        assert simulator.requests == []


class TestExport:
    def test_every_channel_newest_first(self, simulator, hook):
        truth = simulator.store.conversations(simulator.agent_id)
        exported = list(hook.export_conversations())
        assert [each["id"] for each in exported] == [each.id for each in truth]
        assert {each["source"] for each in exported} == {each.source for each in truth}
        assert all(each["messages"] for each in exported)

    def test_one(self, simulator, hook):
        wanted = simulator.store.conversations(simulator.agent_id)[7].id
        assert [each["id"] for each in hook.export_conversations(conversation_id=wanted)] == [wanted]

    def test_a_summary(self, hook):
        assert all("messages" not in each for each in hook.export_conversations(summary=True))

    def test_some_channels(self, hook):
        exported = list(hook.export_conversations(channels=["Widget or Iframe", "WhatsApp"]))
        assert {each["source"] for each in exported} == {"Widget or Iframe", "WhatsApp"}

    def test_a_stretch_of_time(self, simulator, hook):
        start, end = datetime.now(UTC) - timedelta(days=90), datetime.now(UTC) - timedelta(days=30)
        exported = list(hook.export_conversations(start=start, end=end))
        assert exported
        assert all(start.timestamp() <= each["createdAt"] <= end.timestamp() for each in exported)


class TestTickets:
    def test_all_of_them_the_last_changed_first(self, start_simulator, connect):
        simulator = start_simulator(tickets=230)
        connect(simulator)
        listed = list(ChatbaseHook().list_tickets())
        assert sorted(each["ticketNumber"] for each in listed) == list(range(1, 231))
        assert [each["updatedAt"] for each in listed] == sorted(
            (e["updatedAt"] for e in listed), reverse=True
        )
        assert len(simulator.requests_for("listTickets")) == 3

    def test_filters_narrow_each_other_down(self, hook):
        by_age = {"sortBy": "createdAt", "order": "asc"}
        tickets = list(hook.list_tickets(filters=by_age))
        after, before = (datetime.fromisoformat(tickets[at]["createdAt"]) for at in (5, 20))
        wanted = [t["ticketNumber"] for t in tickets[5:21] if t["statusCategory"] in ("new", "closed")]
        filters = {**by_age, "status": "new,closed"}
        found = hook.list_tickets(created_after=after, created_before=before, filters=filters)
        assert [each["ticketNumber"] for each in found] == wanted != []

    def test_a_time_without_a_zone_is_refused(self, hook):
        with pytest.raises(ChatbaseInputError, match="created_after has no time zone"):
            hook.list_tickets(created_after=datetime(2026, 1, 1))  # noqa: DTZ001


class TestRequest:
    def test_any_operation(self, simulator, hook):
        summary = hook.request("GET", f"/agents/{simulator.agent_id}/sources/summary")
        assert summary["texts"]["count"] > 0

    def test_query_and_body(self, simulator, hook):
        assert len(hook.request("GET", "/agents", query={"limit": 1})["data"]) == 1
        hook.request("PUT", f"/agents/{simulator.agent_id}", body={"temp": 0.1})
        assert simulator.store.agents[simulator.agent_id].fields["temp"] == 0.1

    def test_the_other_version(self, simulator, hook):
        hook.request("GET", "/get-chatbots", api_version="v1")
        assert simulator.requests[-1].path == "/api/v1/get-chatbots"

    @pytest.mark.parametrize(
        ("method", "path", "repeatable", "times"),
        [
            ("GET", "", None, 2),
            ("PUT", "", None, 2),
            ("DELETE", "", None, 2),
            ("POST", "/clone", None, 1),
            ("PATCH", "/conversations/c1", None, 1),
            ("POST", "/clone", True, 2),
            ("GET", "", False, 1),
        ],
    )
    def test_is_repeated_where_that_is_safe(self, simulator, hook, method, path, repeatable, times):
        simulator.faults.add(Fault(kind="reset_before", times=1), Fault(kind="status", status=402))
        with pytest.raises(ChatbaseError):
            hook.request(method, f"/agents/{simulator.agent_id}{path}", repeatable=repeatable)
        assert len(simulator.requests) == times

    def test_errors_are_the_same_as_everywhere(self, hook):
        with pytest.raises(ChatbaseNotFoundError, match=r"Chatbase refused GET /agents/nobody: .+HTTP 404"):
            hook.request("GET", "/agents/nobody")

    @pytest.mark.parametrize("path", ["agents", "", "https://elsewhere.example/", "//elsewhere.example"])
    def test_a_path_is_no_url(self, simulator, hook, path):
        with pytest.raises((ChatbaseInputError, ChatbaseNotFoundError)):
            hook.request("GET", path)
        assert all("elsewhere" not in (request.headers.get("host") or "") for request in simulator.requests)


class TestConnection:
    def test_is_read_once(self, simulator, connect, monkeypatch):
        connect(simulator)
        reads = []
        read = BaseHook.get_connection
        monkeypatch.setattr(
            ChatbaseHook, "get_connection", classmethod(lambda _, conn_id: reads.append(1) or read(conn_id))
        )
        with ChatbaseHook() as hook:
            hook.get_agent()
            hook.list_sources()
            hook.agent_or_default(None)
        assert len(reads) == 1

    def test_another_one(self, simulator, connect):
        connect(simulator, conn_id="second")
        assert ChatbaseHook("second").get_agent()["id"] == simulator.agent_id

    def test_no_agent_anywhere(self, simulator, connect):
        connect(simulator, extra={"agent_id": ""})
        with pytest.raises(ChatbaseInputError, match=r"No agent was named.+'chatbase_default'"):
            ChatbaseHook().get_agent()
        assert simulator.requests == []

    def test_v1_refuses_what_only_v2_has(self, simulator, connect):
        connect(simulator, extra={"api_version": "v1"})
        with pytest.raises(ChatbaseUnsupportedError, match="cloneAgent is an operation of API v2"):
            ChatbaseHook().clone_agent()
        assert simulator.requests == []

    def test_the_number_of_attempts_is_the_connection_s(self, simulator, connect):
        connect(simulator, extra={"max_attempts": 2})
        simulator.faults.add(Fault(kind="status", status=500))
        with pytest.raises(ChatbaseServerError, match="Gave up after 2 attempts"):
            ChatbaseHook().get_agent()
        assert len(simulator.requests) == 2

    def test_sync_and_async_read_the_same_settings(self, simulator, connect):
        extra = {"timeout": 7, "max_attempts": 3, "proxy": "http://proxy.example:3128", "api_version": "v1"}
        connect(simulator, extra=extra)

        async def settings():
            client = await ChatbaseHook().open_async_client()
            await client.close()
            return client.settings

        assert asyncio.run(settings()) == ChatbaseHook().client.settings

    def test_closes_its_connections_at_the_end_of_the_block(self, simulator, connect):
        connect(simulator)
        with ChatbaseHook() as hook:
            hook.get_agent()
            [http] = hook.client._client._transport.pools.clients()
        assert http.is_closed
        assert hook.get_agent()["id"] == simulator.agent_id, "it opens again when it is used again"
        hook.close()


class TestTestConnection:
    def test_it_works(self, simulator, hook):
        works, said = hook.test_connection()
        assert works
        assert said == (
            f"Connected to {simulator.url} (API v2): the key sees 1 agent. "
            "The default agent is 'Ridgeline Support'."
        )

    def test_it_costs_nothing_and_changes_nothing(self, simulator, hook):
        hook.test_connection()
        assert {request.method for request in simulator.requests} == {"GET"}
        assert simulator.prompts_charged == 0

    def test_without_a_default_agent(self, simulator, connect):
        connect(simulator, extra={"agent_id": None})
        assert ChatbaseHook().test_connection() == (
            True,
            f"Connected to {simulator.url} (API v2): the key sees 1 agent.",
        )

    def test_each_cause_has_its_own_message(self, simulator, connect):
        simulator.add_key("sk-free-plan", "no-api")
        simulator.add_key("sk-expired", "expired")
        simulator.add_key("sk-no-rights", "no-permission")
        causes = {
            "wrong key": ({"password": "sk-wrong-key"}, "AUTH_INVALID_API_KEY"),
            "expired key": ({"password": "sk-expired"}, "AUTH_EXPIRED_API_KEY"),
            "plan without API": ({"password": "sk-free-plan"}, "API access needs a paid Chatbase plan"),
            "key without rights": ({"password": "sk-no-rights"}, "Give the API key this right"),
            "unreachable": ({"host": "http://127.0.0.1:9"}, "http://127.0.0.1:9 cannot be reached"),
            "wrong agent": ({"extra": {"agent_id": "nobody"}}, "Check agent_id"),
            "no key": ({"password": ""}, "has no API key"),
            "plain http": ({"host": "http://www.chatbase.co"}, "plain http"),
            "bad extra": ({"extra": {"timeout": "soon"}}, "extra field timeout"),
        }
        said = {}
        for cause, (fields, words) in causes.items():
            connect(simulator, **fields)
            works, said[cause] = ChatbaseHook().test_connection()
            assert not works
            assert words in said[cause], cause
            assert fields.get("password") or "sk-" not in said[cause]
        assert len(set(said.values())) == len(causes)
        assert not any(key in text for key in ("sk-wrong-key", "sk-expired") for text in said.values())

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ({"kind": "not_json"}, "A proxy may have answered"),
            ({"kind": "redirect", "location": "https://login.example"}, "https://login.example"),
            ({"kind": "status", "status": 500}, "INTERNAL_SERVER_ERROR"),
        ],
        ids=str,
    )
    def test_something_else_answers(self, simulator, hook, fault, words):
        simulator.faults.add(Fault(**fault))
        works, said = hook.test_connection()
        assert not works
        assert words in said

    def test_v1(self, simulator, connect):
        key = simulator.add_key("sk-small-plan", "v1-only")
        connect(simulator, password=key, extra={"api_version": "v1"})
        works, said = ChatbaseHook().test_connection()
        assert works, said
        assert "(API v1)" in said

    def test_a_plan_with_v1_only_is_told_so(self, simulator, connect):
        connect(simulator, password=simulator.add_key("sk-small-plan", "v1-only"))
        works, said = ChatbaseHook().test_connection()
        assert not works
        assert "api_version" in said, "the way out is the connection's own field"


class TestSecrets:
    def test_the_key_is_in_no_repr_log_or_traceback(self, simulator, hook, shown):
        simulator.faults.add(Fault(kind="status", status=500, times=1), Fault(kind="not_json"))
        with pytest.raises(Exception, match="not what the API promises") as raised:
            hook.get_agent()
        seen = [repr(hook), repr(vars(hook)), repr(hook.client), repr(vars(hook.client._client)), shown()]
        seen += traceback.format_exception(raised.value)
        assert "trying again" in shown()
        assert simulator.api_key not in "".join(seen)

    def test_a_wrong_key_is_not_in_its_refusal(self, simulator, connect, shown):
        connect(simulator, password="sk-wrong-key")
        with pytest.raises(ChatbaseAuthenticationError) as raised:
            ChatbaseHook().get_agent()
        assert "sk-wrong-key" not in "".join(traceback.format_exception(raised.value)) + shown()

    def test_a_key_that_no_header_can_carry_is_not_shown(self, simulator, connect, shown):
        connect(simulator, password="sk-first\nsk-second")
        with pytest.raises(ChatbaseConfigurationError) as raised:
            ChatbaseHook().get_agent()
        text = "".join(traceback.format_exception(raised.value)) + shown()
        assert "sk-first" not in text
        assert "sk-second" not in text
        assert simulator.requests == []

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_airflow_is_told_what_to_mask(self, simulator, connect, kind):
        """In the trigger as on the worker; the password of a proxy stands in a field that Airflow shows."""
        key, password = f"sk-masked-{kind}", f"swordfish-{kind}"
        connect(simulator, password=key, extra={"proxy": f"http://user:{password}@127.0.0.1:9"})
        text = f"{key} {password}"
        hook = ChatbaseHook()

        async def open_and_close() -> None:
            await (await hook.open_async_client()).close()

        assert masked(password) == password
        if kind == "sync":
            assert hook.client
        else:
            asyncio.run(open_and_close())
        assert key not in masked(text)
        assert password not in masked(text)
