"""Replies that are not what the API promises, for every operation: their reader says so, and never hangs."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import json
import math
import pkgutil
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cache, partial
from importlib import import_module
from typing import Any

from airflow_provider_chatbase.client import AsyncChatbaseClient, Request, v1, v2
from airflow_provider_chatbase.client.answer import EventStreamReader
from airflow_provider_chatbase.client.replies import Page
from airflow_provider_chatbase.client.request import Steps
from airflow_provider_chatbase.client.v2.conversations import send_message
from airflow_provider_chatbase.simulator.exchange import ServedReply
from tests.campaign.clockwork import Clockwork, Process
from tests.campaign.scenario import Scenario

MOST_ITEMS = 5_000

RAW = {
    "nan": "NaN",
    "infinity": "-Infinity",
    "huge": "1e999",
    "digits": "7" * 5_000,
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep object": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "surrogate": '"\\ud83d"',
    "zero": '"\\u0000"',
    "twice": '{"id":"a","id":7}',
}
ODD = (
    None,
    True,
    [],
    {},
    "",
    "x",
    0,
    -1,
    1.5,
    1e308,
    10**18,
    [None],
    {"id": 7},
    [[]],
    "9" * 400,
    "x" * 100_000,
)
BODIES = (
    *(b"", b"null", b"[]", b"{}", b'"x"', b"7", b"{", b"\xff\xfe", b"<html>no</html>", b"[" * 200_000),
    *(b'{"data": null}', b'{"data": [7]}', b'{"data": [], "pagination": {"hasMore": true}}'),
    b'{"data": [{}], "pagination": {"hasMore": true, "cursor": 7}}',
)
HEADERS = (
    *(
        ("content-type", "text/html"),
        ("content-type", "application/json; charset=klingon"),
        ("content-type", ""),
    ),
    *(("content-encoding", "gzip"), ("content-encoding", "br"), ("content-encoding", "deflate")),
    *(("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "never"), ("x-ratelimit-limit", "1000000000")),
    *(("date", "yesterday"), ("x-ratelimit-reset", "9" * 400), ("x-ratelimit-remaining", "NaN")),
)
WAITS = ("never", "-5", "1e999", "99999999999", "0", "Fri, 01 Jan 2100 00:00:00 GMT", "²", "")
STATUSES = (204, 206, 302, 304, 400, 401, 404, 408, 409, 418, 422, 429, 451, 500, 503, 599)


@dataclass(frozen=True)
class Endless:
    """A body that never ends: the same piece over and over."""

    piece: bytes
    pause: float


class Mutator:
    """Damages replies, by chance."""

    def __init__(self, seed: int, clockwork: Clockwork) -> None:
        self.random = random.Random(f"mutations {seed}")
        self._clockwork = clockwork
        self._chance = self.random.choice([1.0, 0.5, 0.1])

    def __call__(self, reply: ServedReply, operation: str, chunks: list[Any]) -> list[Any]:
        """Return the body's pieces as they are sent."""
        if self.random.random() >= self._chance:
            return chunks
        kinds = [self._value, self._value, self._value, self._missing, self._body, self._status, self._header]
        change = self.random.choice([*kinds, self._cut, self._bomb, self._endless])
        self._clockwork.note(f"mutated{change.__name__}", operation)
        return change(reply, chunks)

    def _value(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        at = self.random.randrange(len(chunks)) if reply.chunks is not None and chunks else 0
        return [self._changed(chunk) if at == number else chunk for number, chunk in enumerate(chunks)]

    def _changed(self, chunk: bytes) -> bytes:
        """Put an odd value into some place of a document, or of an event of a stream."""
        rng, prefix = self.random, b"data: " if chunk.startswith(b"data: ") else b""
        try:
            document = json.loads(chunk.removeprefix(prefix))
        except ValueError:
            return rng.choice(BODIES)
        raw = rng.choice([None, None, *RAW])
        places = list(_places(document))
        outer = [each for each in places if each[0] is document or each[0] in _values(document)]
        near = outer if rng.random() < 0.5 else places  # most places are deep in what a reader passes on
        holder, key = rng.choice(near) if places else ([document], 0)
        holder[key] = f"@{raw}@" if raw else rng.choice(ODD)
        text = json.dumps(document if places else holder[0])
        if raw:
            text = text.replace(f'"@{raw}@"', RAW[raw])
        return prefix + text.encode() + (b"\n\n" if prefix else b"")

    def _missing(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        try:
            document = json.loads(b"".join(chunks))
        except ValueError:
            return chunks[:-1]
        places = [(holder, key) for holder, key in _places(document) if isinstance(holder, dict)]
        if places:
            holder, key = self.random.choice(places)
            del holder[key]
        return [json.dumps(document).encode()]

    def _body(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        whole = b"".join(chunks)
        return [
            self.random.choice([*BODIES, b"\xef\xbb\xbf" + whole, whole.decode().encode("utf-16"), whole * 2])
        ]

    def _status(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        reply.status = self.random.choice(STATUSES)
        if self.random.random() < 0.5:
            reply.headers["retry-after"] = self.random.choice(WAITS)
        return chunks

    def _header(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        name, value = self.random.choice(HEADERS)
        if name == "content-type":
            reply.content_type = value
        else:
            reply.headers = {k: v for k, v in reply.headers.items() if k.lower() != name} | {name: value}
        return chunks

    def _cut(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        whole = b"".join(chunks)
        return [whole[: self.random.randrange(len(whole) or 1)]]

    def _bomb(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        reply.headers["content-encoding"] = "gzip"
        if self.random.random() < 0.1:
            return [_bomb()]
        return [gzip.compress(b"".join(chunks))[: self.random.choice([None, -4, 12])]]

    def _endless(self, reply: ServedReply, chunks: list[Any]) -> list[Any]:
        piece = self.random.choice([b" ", b": comment\n\n", b'data: {"type": "other"}\n\n', b"x" * 1000])
        return [*chunks[:-1], Endless(piece, self.random.choice([0.5, 5.0, 25.0]))]


@cache
def _bomb() -> bytes:
    """Return 300 MB of a document, packed into 1.3."""
    return gzip.compress(b'{"data": "' + b" " * 300_000_000 + b'"}', 1)


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def _places(value: Any) -> Any:
    """Iterate over all places of a document that hold a value."""
    for key in (
        list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    ):
        yield value, key
        yield from _places(value[key])


def operations() -> dict[str, Callable[..., Any]]:
    """Return the functions that make the requests of the client, by their names."""
    modules = [import_module(f"{v2.__name__}.{each.name}") for each in pkgutil.iter_modules(v2.__path__)]
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}": function
        for module in [*modules, v1]
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not name.startswith("_")
        and str(inspect.signature(function).return_annotation).startswith("Request")
    }


def _arguments(scenario: Scenario) -> dict[str, Any]:
    """Return a value for each name of a parameter."""
    agent = scenario.agent
    conversation = next(iter(agent.conversations.by_id.values()))
    messages = conversation.own_messages()
    return {
        "agent_id": agent.id,
        "conversation_id": conversation.id,
        "message_id": messages[-1].id,
        "user_id": conversation.user_id or "anna",
        "source_id": next(iter(agent.sources)),
        "action_id": agent.actions[0]["id"],
        "procedure_id": agent.procedures[0]["id"],
        "contact_id": agent.contacts[0]["id"],
        "ticket_number": next(iter(agent.tickets)),
        "tool_call_id": "call",
        "output": {"done": True},
        "message": "Where is my order?",
        "history": [],
        "feedback": "positive",
        "name": "name",
        "kind": "text",
        "more": {},
        "filename": "a.txt",
        "content": "text",
        "questions": ["Why?"],
        "answer": "Because.",
        "url": "https://shop.example/a",
        "query": "order",
        "enabled": True,
        "contacts": [{"name": "Anna", "email": "anna@example.com"}],
        "to": "+49 151 1234567",
        "template": "hello",
        "session": {},
        "styles": {"chat": {"theme": "dark"}},
        "settings": {"name": "name"},
        "changes": {"name": "name"},
        "procedure": {"name": "n", "trigger": "t", "steps": [{"text": "s"}]},
    }


def mutated(clockwork: Clockwork, seed: int) -> None:
    """An operation ends with what it promises, or with an error of ours, whatever comes back."""
    scenario = Scenario(seed, clockwork, {"tickets": 3, "leads": 3, "contacts": 3})
    names = sorted(operations())
    name = names[seed % len(names)]
    request = _request(name, _arguments(scenario), stream=scenario.random.random() < 0.5)
    scenario.network.mutate = Mutator(seed, clockwork)
    process = Process(clockwork, name, "one")
    trusting = scenario.random.choice([*[None] * 12, *TRUSTING])

    def work() -> Any:
        sent = _sent if trusting is None else partial(TRUSTING[trusting], _sent)
        return asyncio.run(sent(scenario, process, request))

    scenario.processes.append(process)
    clockwork.start(process, work)
    clockwork.run(lambda: process.ended)
    scenario.require_sound()
    if process.error is None and trusting is None:
        _require_sound_result(process.result)


def _trusting(reply: Any) -> Any:
    """Read as somebody will some day who trusts the API: it ends in whatever Python raises."""
    return int(reply["data"][0]["id"].lower())


class _TrustingStream(EventStreamReader):
    def take(self, piece: str) -> str:
        return super().take(piece) + str(json.loads(piece)["delta"].index("x"))


async def _with_trusting_reader(send: Any, scenario: Scenario, process: Process, request: Any) -> Any:
    return await send(scenario, process, replace(request, read=_trusting, stream=None))


async def _with_trusting_stream(send: Any, scenario: Scenario, process: Process, _: Any) -> Any:
    asked = send_message(scenario.agent.id, "Where is my order?", stream=True)
    return await send(scenario, process, replace(asked, stream=_TrustingStream))


async def _with_trusting_steps(_: Any, scenario: Scenario, process: Process, request: Any) -> Any:
    def steps() -> Steps[Any]:
        return _trusting((yield request))

    async with AsyncChatbaseClient(scenario.connection(process)) as client:
        return await client.run(steps())


TRUSTING: dict[str, Callable[..., Any]] = {
    "reader": _with_trusting_reader,
    "stream": _with_trusting_stream,
    "steps": _with_trusting_steps,
}
"""Readers of which the guards of the client have to make errors of ours; those of today need none."""


def _request(name: str, arguments: dict[str, Any], *, stream: bool) -> Request[Any]:
    function = operations()[name]
    found = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is parameter.empty:
            found[parameter.name] = arguments[parameter.name]
        elif parameter.name == "stream":
            found["stream"] = stream
    if name == "sources.update_file_source":
        found["name"] = "name"
    if "content" in found and "filename" in found:
        found["content"] = b"text"
    if name == "agents.get_analytics":
        found["query"] = {}
    request: Request[Any] = function(**found)
    return request


async def _sent(scenario: Scenario, process: Process, request: Request[Any]) -> Any:
    async with AsyncChatbaseClient(scenario.connection(process)) as client:
        result = await client.send(request)
        if isinstance(result, Page):
            items = []
            async for item in client.items(request):
                items.append(item)
                if len(items) > MOST_ITEMS:
                    break
            return items
        return result


def _require_sound_result(result: Any) -> None:
    """A result is JSON that everybody can read, with numbers that are numbers."""
    if is_dataclass(result):
        result = asdict(result)
        price = result.get("credits")
        assert price is None or (math.isfinite(price) and price >= 0), f"credits of {price!r}"
        assert isinstance(result.get("text"), str)
    json.dumps(result, allow_nan=False, default=str).encode()
