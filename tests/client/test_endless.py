"""Replies that never end, or never stop growing, from a server that speaks bytes and says nothing true."""

from __future__ import annotations

import asyncio
import gzip
import logging
import signal
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import import_module

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


class Finalized:
    """Is struck in its finalizer."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGALRM)


def act_until_struck(act: Callable[[], object]) -> None:
    act()
    time.sleep(60)


@pytest.fixture
def unraisable(monkeypatch) -> None:
    """Let nobody hold what could be raised to nobody; pytest does, to tell of it."""
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)


def test_an_alarm_that_python_told_nobody_of_strikes_again(unraisable, alarm):
    alarm(1_000)
    with pytest.raises(TaskTimeoutError), alarm_kept():
        act_until_struck(Finalized)


def test_an_alarm_that_was_swallowed_and_lives_on_strikes_again(alarm):
    kept: list[BaseException] = []

    def swallow() -> None:
        try:
            signal.raise_signal(signal.SIGALRM)
        except TaskTimeoutError as error:
            kept.append(error)

    alarm(1_000)
    with pytest.raises(TaskTimeoutError) as raised, alarm_kept():
        act_until_struck(swallow)
    assert raised.value not in kept


@pytest.mark.parametrize("waiting", [True, False])
def test_what_puts_things_in_order_after_an_alarm_is_not_struck_again(alarm, waiting):
    in_order, main = [], threading.get_ident()

    async def struck() -> None:
        signal.pthread_kill(main, signal.SIGALRM)
        await asyncio.sleep(60)

    def work(loop: LoopThread) -> None:
        try:
            loop.run(struck()) if waiting else signal.raise_signal(signal.SIGALRM)
        finally:
            in_order.append(loop.run(asyncio.sleep(1.5, "done")))

    alarm(1_000)
    with LoopThread() as loop, pytest.raises(TaskTimeoutError), alarm_kept():
        work(loop)
    time.sleep(0.2)  # nor is what comes after the task
    assert in_order == ["done"]


def test_an_alarm_that_was_called_off_in_time_never_strikes(alarm):
    with LoopThread() as loop:
        with alarm_kept():
            alarm(0.3)
            alarm(0)
        assert loop.run(asyncio.sleep(0.5, "done")) == "done"


def test_an_import_comes_to_its_end_before_the_alarm_strikes(alarm, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "struck_module.py"
    module.write_text("import signal\nsignal.raise_signal(signal.SIGALRM)\nwhole = True\n")
    alarm(1_000)
    with pytest.raises(TaskTimeoutError), alarm_kept():
        act_until_struck(lambda: import_module("struck_module"))
    assert sys.modules.pop("struck_module").whole


class CommsDecoder:
    """Named as what Airflow's tasks speak to their supervisor by."""

    answered = False

    def send(self) -> None:
        signal.raise_signal(signal.SIGALRM)
        self.answered = True


class Log(logging.Handler):
    """Is struck while it has the lock for which the next line, also of another thread, waits."""

    told = False

    def emit(self, record: logging.LogRecord) -> None:
        signal.raise_signal(signal.SIGALRM)
        self.told = True


def test_what_the_whole_process_needs_is_not_left_half_done(alarm):
    decoder, log = CommsDecoder(), Log()
    for act in (decoder.send, lambda: log.handle(logging.makeLogRecord({"msg": "told"}))):
        alarm(1_000)
        with pytest.raises(TaskTimeoutError), alarm_kept():
            act_until_struck(act)
    alarm(1_000)
    with alarm_kept():
        pass
    with pytest.raises(TaskTimeoutError):  # what a task tells at its end, and once
        act_until_struck(lambda: log.handle(logging.makeLogRecord({"msg": "done"})))
    assert not signal.getitimer(signal.ITIMER_REAL)[0]
    assert decoder.answered
    assert log.told


def test_an_import_that_never_ends_is_struck_at_last(alarm, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("airflow_provider_chatbase.client.alarm.LONGEST_WAIT", 0.2)
    (tmp_path / "endless_module.py").write_text("import time\nwhile True:\n    time.sleep(0.01)\n")
    alarm(0.01)
    with pytest.raises(TaskTimeoutError), alarm_kept():
        import_module("endless_module")


def test_an_error_that_came_of_the_alarm_is_told_as_the_alarm(alarm):
    def work() -> None:
        try:
            signal.raise_signal(signal.SIGALRM)
        except TaskTimeoutError as struck:
            raise RuntimeError("Error calling __set_name__") from struck

    alarm(1_000)
    with pytest.raises(TaskTimeoutError), alarm_kept():
        work()
    assert not signal.getitimer(signal.ITIMER_REAL)[0]
    with pytest.raises(RuntimeError, match="no alarm"), alarm_kept():
        raise RuntimeError("no alarm")


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
