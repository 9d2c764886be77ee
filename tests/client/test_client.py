"""The sync and the async client against a real server: what is sent again, and what never is.

The server records what arrives, so a repeat is counted and not assumed.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from types import SimpleNamespace

import pytest

from airflow_provider_chatbase.client import (
    AsyncChatbaseClient,
    ChatbaseClient,
    ClientSettings,
    RetryPolicy,
    errors,
    loop_thread,
)
from airflow_provider_chatbase.client.loop_thread import shared_loop
from airflow_provider_chatbase.client.v2 import agents, conversations, sources
from airflow_provider_chatbase.simulator import Fault

MAINTENANCE = {"kind": "status", "status": 503, "code": "SERVICE_UNDER_MAINTENANCE"}
SLOW = {"kind": "slow", "seconds": 1.5}
TIMEOUT = 0.5  # longer than a busy machine takes to connect

ANY_METHOD = [
    pytest.param(
        {"kind": "status", "status": 429, "retry_after": 0.01}, errors.ChatbaseRateLimitError, id="429"
    ),
    pytest.param(
        {"kind": "status", "status": 429, "retry_after": 0.01, "body": "<html>slow down</html>"},
        errors.ChatbaseRateLimitError,
        id="429 of a proxy",
    ),
    pytest.param(MAINTENANCE, errors.ChatbaseMaintenanceError, id="maintenance"),
]
AMBIGUOUS = [
    pytest.param({"kind": "status", "status": 500}, errors.ChatbaseServerError, id="500"),
    pytest.param({"kind": "status", "status": 502}, errors.ChatbaseServerError, id="502 of a proxy"),
    pytest.param({"kind": "status", "status": 503}, errors.ChatbaseServerError, id="503 of a proxy"),
    pytest.param({"kind": "status", "status": 504}, errors.ChatbaseServerError, id="504 of a proxy"),
    pytest.param({"kind": "status", "status": 500, "after": True}, errors.ChatbaseServerError, id="500 late"),
    pytest.param({"kind": "reset_before"}, errors.ChatbaseConnectionLostError, id="reset before the work"),
    pytest.param({"kind": "reset_after"}, errors.ChatbaseConnectionLostError, id="reset after the work"),
    pytest.param({"kind": "truncate"}, errors.ChatbaseConnectionLostError, id="cut body"),
    pytest.param({"kind": "truncate", "after_bytes": 0}, errors.ChatbaseConnectionLostError, id="no body"),
    pytest.param({"kind": "truncate", "chunked": True}, errors.ChatbaseConnectionLostError, id="cut chunks"),
    pytest.param({"kind": "truncate_json"}, errors.ChatbaseDamagedReplyError, id="damaged JSON"),
    pytest.param(SLOW, errors.ChatbaseTimeoutError, id="timeout after the work"),
    pytest.param({**SLOW, "after": False}, errors.ChatbaseTimeoutError, id="timeout before the work"),
]
FINAL = [
    pytest.param({"kind": "not_json"}, errors.ChatbaseReplyError, id="a page of a proxy"),
    pytest.param({"kind": "redirect"}, errors.ChatbaseReplyError, id="a redirect"),
    *(
        pytest.param({"kind": "status", "status": status}, error, id=str(status))
        for status, error in {
            400: errors.ChatbaseValidationError,
            401: errors.ChatbaseAuthenticationError,
            402: errors.ChatbaseCreditsError,
            403: errors.ChatbasePermissionError,
            404: errors.ChatbaseNotFoundError,
            409: errors.ChatbaseConflictError,
            422: errors.ChatbaseValidationError,
        }.items()
    ),
]


@pytest.fixture
def read(simulator):
    return agents.get_agent(simulator.agent_id)


@pytest.fixture
def write(simulator):
    return conversations.send_message(simulator.agent_id, "How long does a refund take?")


@pytest.fixture(params=["createAgent", "cloneAgent", "createSource"])
def other_write(request, simulator):
    return {
        "createAgent": agents.create_agent({"name": "Another"}),
        "cloneAgent": agents.clone_agent(simulator.agent_id),
        "createSource": sources.create_text_source(simulator.agent_id, "Hours", "From 8 to 18."),
    }[request.param]


def arrived(simulator, request) -> int:
    return len(simulator.requests_for(request.operation))


def traces(simulator) -> int:
    """Return how often a write was done: answers that were charged, agents and sources that came to be."""
    sources = sum(len(agent.sources) for agent in simulator.store.agents.values())
    return simulator.prompts_charged + len(simulator.store.agents) + sources


@pytest.mark.parametrize(("fault", "error"), ANY_METHOD + AMBIGUOUS)
def test_a_read_is_sent_again(simulator, send, read, fault, error):
    simulator.faults.add(Fault(**fault, times=1))
    assert send(read, timeout=TIMEOUT)["id"] == simulator.agent_id
    assert arrived(simulator, read) == 2


@pytest.mark.parametrize(("fault", "error"), ANY_METHOD)
def test_a_write_that_was_refused_before_it_was_done_is_sent_again(simulator, send, write, fault, error):
    simulator.faults.add(Fault(**fault, times=2))
    assert send(write).text
    assert arrived(simulator, write) == 3
    assert simulator.prompts_charged == 1


@pytest.mark.parametrize(("fault", "error"), AMBIGUOUS)
def test_a_write_that_may_have_been_done_is_never_sent_again(simulator, send, write, fault, error):
    simulator.faults.add(Fault(**fault))
    with pytest.raises(error) as raised:
        send(write, timeout=TIMEOUT)
    assert type(raised.value) is error
    assert raised.value.ambiguous
    assert raised.value.attempts == 1
    assert arrived(simulator, write) == 1
    assert raised.value.operation == write.operation


def test_what_holds_for_one_write_holds_for_all(simulator, send, other_write):
    simulator.faults.add(
        Fault(kind="status", status=429, retry_after=0.01, times=1), Fault(kind="reset_after")
    )
    before = traces(simulator)
    with pytest.raises(errors.ChatbaseConnectionLostError):
        send(other_write)
    assert arrived(simulator, other_write) == 2
    assert traces(simulator) > before, "the work was done, and would have been done twice"


@pytest.mark.parametrize(("fault", "error"), FINAL)
def test_a_final_refusal_is_final_for_reads(simulator, send, read, fault, error):
    simulator.faults.add(Fault(**fault))
    with pytest.raises(error):
        send(read)
    assert arrived(simulator, read) == 1


@pytest.mark.parametrize(("fault", "error"), FINAL)
def test_a_final_refusal_is_final_for_writes(simulator, send, write, fault, error):
    before = traces(simulator)
    simulator.faults.add(Fault(**fault))
    with pytest.raises(error):
        send(write)
    assert arrived(simulator, write) == 1
    assert traces(simulator) == before


@pytest.mark.parametrize(("fault", "error"), ANY_METHOD + AMBIGUOUS)
def test_gives_up_in_the_end_and_says_so(simulator, send, read, fault, error):
    simulator.faults.add(Fault(**fault))
    with pytest.raises(error) as raised:
        send(read, policy=RetryPolicy(max_attempts=2, first_wait=0.001), timeout=TIMEOUT)
    assert type(raised.value) is error
    assert str(raised.value).endswith("Gave up after 2 attempts.")
    assert arrived(simulator, read) == 2


def test_a_reply_keeps_what_support_needs(simulator, send, read):
    simulator.faults.add(Fault(kind="status", status=500))
    with pytest.raises(errors.ChatbaseServerError) as raised:
        send(read)
    last = simulator.requests_for("getAgent")[-1]
    assert raised.value.request_id == last.request_id
    assert (raised.value.status, raised.value.code) == (500, "INTERNAL_SERVER_ERROR")
    assert last.request_id in str(raised.value)


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 429}, MAINTENANCE], ids=["429", "503"])
def test_waits_as_long_as_retry_after_says(simulator, send, read, fault):
    simulator.faults.add(Fault(**fault, times=2, retry_after=0.15))
    send(read)
    at = [request.at for request in simulator.requests_for("getAgent")]
    assert [later - earlier >= 0.15 for earlier, later in itertools.pairwise(at)] == [True, True]


@pytest.mark.parametrize("unit", [1, 1000], ids=["seconds", "milliseconds"])
def test_waits_until_the_reset_of_the_rate_limit(simulator, send, read, unit):
    resets_at = time.time() + 0.3
    headers = {"X-RateLimit-Reset": f"{resets_at * unit:.3f}"}
    simulator.faults.add(Fault(kind="status", status=429, headers=headers, times=1))
    send(read)
    assert time.time() >= resets_at
    assert arrived(simulator, read) == 2


def test_leaves_a_wait_beyond_the_cap_to_the_task_s_retry(simulator, send, read):
    simulator.faults.add(Fault(kind="status", status=429, times=1, retry_after=3600))
    with pytest.raises(errors.ChatbaseRateLimitError, match="asks to wait 3600 s"):
        send(read, policy=RetryPolicy(max_wait=0.1))
    assert arrived(simulator, read) == 1


def test_fails_at_once_when_it_is_asked_to_wait_beyond_its_deadline(simulator, send, read):
    simulator.faults.add(Fault(kind="status", status=429, retry_after=50))
    with pytest.raises(errors.ChatbaseRateLimitError):
        send(read, policy=RetryPolicy(deadline=5.0))
    assert arrived(simulator, read) == 1


def test_deleting_an_agent_twice_for_safety_is_deleting_it(simulator, send):
    simulator.faults.add(Fault(kind="reset_after", operation="deleteAgent", times=1))
    assert send(agents.delete_agent(simulator.agent_id)) == {"success": True}
    assert len(simulator.requests_for("deleteAgent")) == 2
    assert simulator.agent_id not in simulator.store.agents


def test_deleting_an_agent_that_never_was_is_an_error(simulator, send):
    with pytest.raises(errors.ChatbaseNotFoundError, match="AGENT_NOT_FOUND"):
        send(agents.delete_agent("nobody"))


def test_deleting_a_source_twice_for_safety_is_deleting_it(simulator, send):
    source = simulator.store.sources(simulator.agent_id)[0].id
    simulator.faults.add(Fault(kind="reset_after", operation="deleteSource", times=1))
    assert send(sources.delete_source(simulator.agent_id, source)) == {"id": source, "status": "deleted"}
    assert len(simulator.requests_for("deleteSource")) == 2


def test_deleting_a_source_that_is_being_deleted_is_deleting_it(start_simulator):
    simulator = start_simulator(purge_seconds=60)
    source = simulator.store.sources(simulator.agent_id)[0].id
    delete = sources.delete_source(simulator.agent_id, source)
    with ChatbaseClient(ClientSettings(api_key=simulator.api_key, host=simulator.url)) as client:
        assert client.send(delete)["status"] == "toBeDeleted"
        assert client.send(delete) == {"id": source, "status": "toBeDeleted"}


def test_the_key_does_not_follow_a_redirect(simulator, start_simulator, send, read):
    elsewhere = start_simulator()
    simulator.faults.add(Fault(kind="redirect", location=f"{elsewhere.url}/api/v2/agents"))
    with pytest.raises(errors.ChatbaseReplyError, match="not followed"):
        send(read)
    assert elsewhere.requests == []
    assert arrived(simulator, read) == 1


def test_a_page_of_a_proxy_keeps_status_and_request_id(simulator, send, read):
    simulator.faults.add(Fault(kind="not_json"))
    with pytest.raises(errors.ChatbaseReplyError, match="text/html; charset=utf-8 instead of JSON") as raised:
        send(read)
    assert raised.value.status == 200
    assert raised.value.request_id == simulator.requests[0].request_id


def test_nobody_there_is_said_to_be_nobody_there(send, read, unused_port):
    with pytest.raises(errors.ChatbaseUnreachableError, match="cannot be reached for getAgent") as raised:
        send(read, host=f"http://127.0.0.1:{unused_port}")
    assert "Nothing was sent" in str(raised.value)
    assert raised.value.attempts == 4


def test_a_write_waits_for_a_server_that_is_not_there_yet(send, write, unused_port):
    with pytest.raises(errors.ChatbaseUnreachableError) as raised:
        send(write, host=f"http://127.0.0.1:{unused_port}")
    assert raised.value.attempts == 4


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


def test_a_slow_but_steady_reply_is_no_timeout(simulator, send, read):
    simulator.faults.add(Fault(kind="drip", chunk_size=100, seconds=0.05))
    began = time.monotonic()
    assert send(read, timeout=0.3)["id"] == simulator.agent_id
    assert time.monotonic() - began > 0.3, "the whole reply takes longer than any of its silences may"
    assert arrived(simulator, read) == 1


def test_an_answer_may_take_longer_than_other_replies(simulator, send, monkeypatch):
    monkeypatch.setattr("airflow_provider_chatbase.client.settings.READ_TIMEOUT", 0.1)
    simulator.faults.add(Fault(kind="slow", seconds=0.3))
    assert send(conversations.send_message(simulator.agent_id, "How long does a refund take?")).text


def test_a_read_on_a_connection_that_the_server_closed_meanwhile_is_sent_again(simulator, send, read):
    simulator.faults.add(Fault(kind="stale", times=1))
    assert send(read, read)["id"] == simulator.agent_id
    assert arrived(simulator, read) == 2


def test_compressed_replies_are_read(start_simulator):
    simulator = start_simulator(gzip=True)
    with ChatbaseClient(ClientSettings(api_key=simulator.api_key, host=simulator.url)) as client:
        assert client.send(agents.get_agent(simulator.agent_id))["name"] == "Ridgeline Support"


def test_walks_over_all_pages(simulator):
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)
    first = conversations.export_conversations(simulator.agent_id, limit=7)
    truth = [each.id for each in simulator.store.conversations(simulator.agent_id)]

    async def ids() -> list[str]:
        async with AsyncChatbaseClient(settings) as client:
            return [item["id"] async for item in client.items(first)]

    with ChatbaseClient(settings) as client:
        assert [item["id"] for item in client.items(first)] == truth
    assert asyncio.run(ids()) == truth
    assert len(simulator.requests_for("exportConversations")) == 2 * 5


def test_a_listing_that_points_to_itself_is_stopped(simulator):
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)
    simulator.faults.add(Fault(kind="repeat_cursor", skip=1))
    first = conversations.export_conversations(simulator.agent_id)
    with ChatbaseClient(settings) as client, pytest.raises(errors.ChatbasePagingError):
        list(client.items(first))
    assert len(simulator.requests_for("exportConversations")) == 2


def test_a_page_is_asked_for_when_it_is_wanted(simulator):
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)
    with ChatbaseClient(settings) as client:
        pages = client.pages(conversations.export_conversations(simulator.agent_id, limit=7))
        next(pages)
        assert len(simulator.requests_for("exportConversations")) == 1


def test_the_async_client_sends_many_at_once(start_simulator):
    simulator = start_simulator(latency=0.4)
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)

    async def ask() -> list[dict]:
        async with AsyncChatbaseClient(settings) as client:
            one = agents.get_agent(simulator.agent_id)
            return await asyncio.gather(*(client.send(one) for _ in range(20)))

    assert len(asyncio.run(ask())) == 20
    at = [request.at for request in simulator.requests_for("getAgent")]
    assert max(at) - min(at) < 0.4, "the last was sent before the first was answered"


def test_every_request_carries_the_key_and_says_who_asks(simulator, send, read):
    send(read)
    headers = simulator.requests[0].headers
    assert headers["authorization"] == f"Bearer {simulator.api_key}"
    assert headers["user-agent"].startswith("airflow-provider-chatbase/")


def test_the_key_is_in_no_log_repr_or_traceback(simulator, send, read, caplog):
    import traceback

    simulator.faults.add(
        Fault(kind="reset_before", times=1), Fault(kind="status", status=500, times=1), Fault(kind="not_json")
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(errors.ChatbaseReplyError) as raised:
        send(read)
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value.__dict__) + caplog.text
    assert "trying again" in caplog.text
    assert simulator.api_key not in shown


def test_the_sync_client_works_where_an_event_loop_runs(simulator):
    """As in a task that is a coroutine; and what it was reading is closed when nobody reads on."""
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)

    async def task() -> int:
        with ChatbaseClient(settings) as client:
            pages = client.pages(conversations.export_conversations(simulator.agent_id, limit=7))
            next(pages)
            pages.close()
            return len(list(client.items(agents.list_agents())))

    assert asyncio.run(task()) == 1


def test_who_is_told_the_texts_may_call_the_client(simulator):
    settings = ClientSettings(api_key=simulator.api_key, host=simulator.url)
    seen = []
    with ChatbaseClient(settings) as client:

        def on_text(_: str) -> None:
            seen.append(client.send(agents.get_agent(simulator.agent_id))["id"])

        asked = "How long does a refund take?"
        client.send(conversations.send_message(simulator.agent_id, asked, stream=True, on_text=on_text))
    assert set(seen) == {simulator.agent_id}


def test_what_runs_on_the_loop_of_the_blocking_clients_is_told_not_to_wait_for_it():
    async def wait() -> None:
        shared_loop().run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="use the async client"):
        shared_loop().run(wait())


def test_what_strikes_just_as_the_work_ends_waits_for_nothing(monkeypatch):
    """The lock is taken by then, and nobody would release it."""

    class Lock:
        def __init__(self) -> None:
            self._lock, self._taken = threading.Lock(), 0
            self.release = self._lock.release

        def acquire(self, timeout: float = -1) -> bool:
            self._taken += 1
            taken = self._lock.acquire(timeout=timeout)
            if self._taken == 2:
                raise KeyboardInterrupt  # as a signal does that came while it returned
            return taken

    with loop_thread.LoopThread() as loop:
        stand_in = SimpleNamespace(Lock=Lock, current_thread=threading.current_thread)
        monkeypatch.setattr(loop_thread, "threading", stand_in)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            loop.run(asyncio.sleep(0))
        assert time.monotonic() - began < loop_thread.CLEARING_UP / 2
