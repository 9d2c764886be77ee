"""Replies that never end, or never stop growing, from a server that speaks bytes and says nothing true."""

from __future__ import annotations

import asyncio
import gzip
import signal
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from airflow_provider_chatbase.client import ChatbaseClient, ClientSettings, RetryPolicy, errors, transport
from airflow_provider_chatbase.client.alarm import alarm_kept
from airflow_provider_chatbase.client.loop_thread import LoopThread, run_in_thread
from airflow_provider_chatbase.client.v2 import agents, conversations

PATIENCE = 1.0
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"


@pytest.fixture
def serve():
    """Return a function that starts a server with what it does to each connection, and returns its URL."""
    closing: list[socket.socket] = []

    def start(act: Callable[[socket.socket], None]) -> str:
        listening = socket.create_server(("127.0.0.1", 0))
        closing.append(listening)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(65536)
                    act(connection)
                except OSError:
                    pass  # the client has had enough

        threading.Thread(target=accept, daemon=True).start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for each in closing:
        each.shutdown(socket.SHUT_RDWR)
        each.close()


def drip(begin: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            time.sleep(0.05)
            connection.sendall(piece)

    return act


DRIPS = {
    "the status line": drip(b"HTTP", b"/"),
    "the headers": drip(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "the body": drip(JSON, b" "),
    "events without data": drip(EVENTS, b"event: ping\n\n"),
    "comments": drip(EVENTS, b": still here\n\n"),
    "unknown events": drip(EVENTS, b'data: {"type": "ping"}\n\n'),
}


@pytest.mark.parametrize("act", DRIPS.values(), ids=DRIPS)
def test_a_reply_has_an_end(serve, send, act):
    began = time.monotonic()
    request = conversations.send_message("a1", "Hello?", stream=True)
    settings = {"host": serve(act), "timeout": 30.0, "total_timeout": PATIENCE}
    with pytest.raises(errors.ChatbaseError, match=r"did not end within 1 s") as raised:
        send(request, policy=RetryPolicy(max_attempts=1), **settings)
    assert raised.value.ambiguous
    assert time.monotonic() - began < 20


def test_a_read_whose_reply_does_not_end_is_sent_again(serve, send):
    settings = {"host": serve(DRIPS["the body"]), "total_timeout": 0.3}
    with pytest.raises(errors.ChatbaseTimeoutError, match="Gave up after 2 attempts"):
        send(agents.get_agent("a1"), policy=RetryPolicy(max_attempts=2, first_wait=0.01), **settings)


def flood(begin: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def act(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(piece)

    return act


BOMB = gzip.compress(bytes(100_000_000))
PACKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n"


def bomb(connection: socket.socket) -> None:
    connection.sendall(PACKED + BOMB)


FLOODS = {
    "a document": flood(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" " * 65536),
    "a line without an end": flood(EVENTS, b"data: " + b"x" * 65536),
    "many events": flood(EVENTS, b'data: {"type":"text-delta","id":"1","delta":"' + b"x" * 9000 + b'"}\n\n'),
    "a bomb": bomb,
}


@pytest.mark.parametrize("act", FLOODS.values(), ids=FLOODS)
def test_a_reply_is_not_read_beyond_what_any_may_hold(serve, act, monkeypatch):
    monkeypatch.setattr(transport, "MOST_BYTES", 4 * 2**20)
    settings = ClientSettings(api_key="sk-endless", host=serve(act), total_timeout=60.0)
    tracemalloc.start()
    try:
        with (
            ChatbaseClient(settings) as client,
            pytest.raises(errors.ChatbaseError, match="more than 4,194,304"),
        ):
            client.send(conversations.send_message("a1", "Hello?", stream=True))
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_what_is_packed_otherwise_than_asked_for_is_not_unpacked(serve, send):
    def act(connection: socket.socket) -> None:
        connection.sendall(JSON.replace(b"\r\n\r\n", b"\r\nContent-Encoding: br\r\n\r\n") + b"x" * 1000)

    with pytest.raises(errors.ChatbaseReplyError, match="packed as br"):
        send(agents.get_agent("a1"), host=serve(act))


def test_a_packed_reply_that_was_cut_is_damaged(serve, send):
    def act(connection: socket.socket) -> None:
        connection.sendall(PACKED + gzip.compress(b'{"id": "a1"}')[:-9])

    with pytest.raises(errors.ChatbaseDamagedReplyError):
        send(agents.get_agent("a1"), host=serve(act), policy=RetryPolicy(max_attempts=1))


class TaskTimeoutError(BaseException):
    """What Airflow raises on the main thread when ``execution_timeout`` is over."""


@pytest.fixture
def alarm() -> Iterator[Callable[[float], None]]:
    def ring(*_: object) -> None:
        raise TaskTimeoutError

    before = signal.signal(signal.SIGALRM, ring)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_task_s_timeout_ends_a_request_and_leaves_a_client_that_works(simulator, serve, alarm):
    hanging = ClientSettings(api_key="sk-endless", host=serve(DRIPS["the body"]))

    def ask(client: ChatbaseClient, seconds: float) -> None:
        alarm(seconds)  # on a busy machine it may come at once
        client.send(agents.get_agent("a1"))

    with ChatbaseClient(hanging) as client:
        for number in range(50):
            with pytest.raises(TaskTimeoutError):
                ask(client, 0.001 * (number + 1))
    with ChatbaseClient(ClientSettings(api_key=simulator.api_key, host=simulator.url)) as client:
        assert client.send(agents.get_agent(simulator.agent_id))


def test_what_a_task_s_timeout_interrupts_has_put_things_in_order_before_it_is_told(alarm):
    done = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            done.append("written")

    def work_until(alarm_in: float) -> None:
        with LoopThread() as loop:
            alarm(alarm_in)
            loop.run(work())

    for number in range(1, 6):
        with pytest.raises(TaskTimeoutError):
            work_until(0.2)
        assert len(done) == number


def test_a_signal_that_does_not_end_the_wait_is_seen_soon(alarm):
    """As one that comes just before the wait begins: nothing wakes the main thread."""
    cancelled = []

    async def work() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    began = time.monotonic()
    with pytest.raises(TaskTimeoutError):
        run_in_thread(work())
    assert cancelled
    assert time.monotonic() - began < 30


@pytest.fixture
def overdue(alarm, monkeypatch) -> Callable[[], None]:
    """Set an alarm that never comes by itself, and return a function by which it is over."""
    alarm(1_000)

    def over() -> None:
        alarm(0)
        monkeypatch.setattr(
            "airflow_provider_chatbase.client.alarm.time",
            SimpleNamespace(monotonic=lambda: time.monotonic() + 2_000),
        )

    return over


class Finalized:
    """Is struck in its finalizer."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGALRM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_alarm_that_python_told_nobody_of_strikes_in_the_next_wait(overdue):
    with LoopThread() as loop, alarm_kept():
        Finalized()
        assert loop.run(asyncio.sleep(0, "in its time")) == "in its time"
        overdue()
        with pytest.raises(TaskTimeoutError):
            loop.run(asyncio.sleep(60))


@pytest.mark.parametrize("waiting", [True, False])
def test_what_puts_things_in_order_after_an_alarm_is_not_struck_again(overdue, waiting):
    in_order, main = [], threading.get_ident()

    async def struck() -> None:
        signal.pthread_kill(main, signal.SIGALRM)
        await asyncio.sleep(60)

    def work(loop: LoopThread) -> None:
        try:
            loop.run(struck()) if waiting else signal.raise_signal(signal.SIGALRM)
        finally:
            overdue()
            in_order.append(loop.run(asyncio.sleep(1.2, "done")))

    with LoopThread() as loop, pytest.raises(TaskTimeoutError), alarm_kept():
        work(loop)
    assert in_order == ["done"]


def test_an_alarm_that_was_called_off_in_time_never_strikes(overdue):
    with LoopThread() as loop:
        with alarm_kept():
            loop.run(asyncio.sleep(0))
        overdue()
        assert loop.run(asyncio.sleep(1.2, "done")) == "done"


def test_what_is_interrupted_before_it_began_never_begins(monkeypatch):
    begun = []

    async def work() -> None:
        begun.append(True)

    with LoopThread() as loop:
        told = loop._loop.call_soon_threadsafe
        interrupts = iter([True])

        def struck(callback):
            if next(interrupts, False):
                raise TaskTimeoutError
            told(callback)

        monkeypatch.setattr(loop._loop, "call_soon_threadsafe", struck)
        began = time.monotonic()
        with pytest.raises(TaskTimeoutError):
            loop.run(work())
        assert time.monotonic() - began < 30
        loop.run(asyncio.sleep(0))
    assert not begun


def test_what_fails_in_the_loop_fails_for_who_waits():
    async def fail() -> None:
        raise ValueError("ours")

    with LoopThread() as loop, pytest.raises(ValueError, match="ours"):
        loop.run(fail())
