"""A network between simulated processes and the simulator's service, which loses, cuts and delays."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from starlette.requests import Request
from starlette.routing import Match

from airflow_provider_chatbase.client.transport import httpx
from airflow_provider_chatbase.simulator import Fault, v1, v2_chat
from airflow_provider_chatbase.simulator.app import App
from airflow_provider_chatbase.simulator.exchange import ReceivedRequest, ServedReply
from tests.campaign.clockwork import (
    EPOCH,
    Clockwork,
    Process,
    SimulatedThread,
    current_process,
    running,
)

HTML = "<html><body>The proxy answers</body></html>"
LATEST = 8.0  # seconds that a request may still be on its way when its sender has heard of a reset
ASKS = frozenset({"chatWithAgent", "chat"})
SPARED: set[str] = set()  # troubles that are left out


class _Sleep:
    """What work of the service waits for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Iterator[_Sleep]:
        yield self


class _ServiceTime:
    """Stands in for asyncio where the service waits: it has no event loop of its own."""

    def sleep(self, seconds: float) -> _Sleep:
        return _Sleep(seconds)


def let_service_wait_in_simulated_time() -> None:
    """Let the chat take its time on the clockwork."""
    v1.asyncio = v2_chat.asyncio = _ServiceTime()


@dataclass
class Weather:
    """How bad the network and the service are: chances per request."""

    lost_before: float = 0.0  # never arrives
    lost_after: float = 0.0  # the work is done, the reply never arrives
    late: float = 0.0  # a reset at once, and the request arrives seconds later
    cut: float = 0.0  # the reply breaks off
    silence: float = 0.0  # no reply for ever
    refused: float = 0.0  # 429
    error_before: float = 0.0  # 500 to 504 without the work
    error_after: float = 0.0  # the same with the work done
    odd_status: float = 0.0  # 408, 409, 425, 404 of something between, with the work done or not
    unanswered: float = 0.0  # the question is kept and never answered
    wrong_page: float = 0.0  # pages that repeat, are short, or count wrong
    slowness: float = 0.05  # seconds that each way takes, about
    generation: float = 2.0  # seconds that an answer takes, about

    @classmethod
    def of(cls, rng: random.Random) -> Weather:
        """Draw the weather of a scenario: often fine, sometimes one trouble alone, sometimes all of them."""
        names = [name for name in cls.__dataclass_fields__ if name not in {"slowness", "generation"}]
        kind = rng.random()
        chosen = [] if kind < 0.1 else rng.sample(names, rng.randint(1, 3)) if kind < 0.7 else names
        chosen = [name for name in chosen if name not in SPARED]
        most = 0.3 if len(chosen) <= 3 else 0.06
        chances = {name: rng.uniform(0.02, most) for name in chosen}
        return cls(**chances, slowness=rng.choice([0.01, 0.05, 0.5]), generation=rng.choice([0.2, 2.0, 20.0]))


CALM = Weather()


@dataclass
class Exchange:
    """One request and what comes back; ``pieces`` are what has arrived and was not read yet."""

    pieces: deque[Any] = field(default_factory=deque)
    wake: Callable[[], None] = lambda: None
    closed: bool = False

    def arrives(self, piece: Any) -> None:
        """Let a piece arrive: a head, bytes, an error, or None at the end."""
        self.pieces.append(piece)
        self.wake()


class Network:
    """Carries requests to an app and replies back."""

    def __init__(self, clockwork: Clockwork, app: App, seed: object) -> None:
        self.clockwork = clockwork
        self.random = random.Random(f"network {seed}")
        self.weather = CALM
        self.after_work: list[Callable[[Process, ReceivedRequest], None]] = []
        self.sent: list[tuple[Process, str, str]] = []
        self.mutate: Callable[[ServedReply, str, list[Any]], list[Any]] | None = None
        self._app = app
        self._fault: Fault | None = None
        app.world.faults.draw = lambda _request: self._fault

    def begin(self, request: httpx.Request, content: bytes) -> Exchange:
        """Send a request; what becomes of it is decided now."""
        clockwork, process = self.clockwork, current_process()
        clockwork.point(freezes=False)  # between the last look at the lock and sending nothing can help
        exchange = Exchange()
        endpoint, scope = self._route(request, content)
        operation = self._operation(endpoint, request)
        self.sent.append((process, operation, request.method))
        fate = self._draw(operation, request.method)
        about = content[:60].decode(errors="replace") if operation in ASKS else ""
        if fate != "fine":
            clockwork.note(fate, f"{operation} of {process.name} {about}")
        elif about:
            clockwork.tell(f"asks {about} by {process.name}")
        there = clockwork.now + self._way()
        if fate == "lost_before":
            error = self.random.choice([httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError])
            clockwork.at(there, lambda: exchange.arrives(error("lost before")))
            return exchange
        if fate == "late":
            clockwork.at(there, lambda: exchange.arrives(httpx.ReadError("reset")))
            there += self.random.uniform(0.5, LATEST)
        fault = self._fault_of(fate, operation)

        def work() -> None:
            self._fault = fault
            received = self._received(request, content)
            steps = self._serve(endpoint, received, scope, content, process)
            self._go_on(steps, lambda reply: self._answer(exchange, fate, reply))

        clockwork.at(there, work)
        return exchange

    def _draw(self, operation: str, method: str) -> str:
        weather, rng = self.weather, self.random
        for fate in ("lost_before", "lost_after", "late", "cut", "silence", "refused", "error_before"):
            if rng.random() < getattr(weather, fate):
                return fate
        for fate in ("error_after", "odd_status"):
            if rng.random() < getattr(weather, fate):
                return fate
        if operation in ASKS and rng.random() < weather.unanswered:
            return "unanswered"
        if method == "GET" and operation.startswith(("list", "export")) and rng.random() < weather.wrong_page:
            return "wrong_page"
        return "fine"

    def _fault_of(self, fate: str, operation: str) -> Fault | None:
        rng = self.random
        after = {"error_after": True, "error_before": False}.get(fate)
        if fate == "refused":
            return Fault(kind="status", status=429, retry_after=rng.choice([None, 0, 1, 20, 75]))
        if after is not None:
            status = rng.choice([500, 502, 503, 504])
            return Fault(kind="status", status=status, after=after, body=rng.choice([None, HTML]))
        if fate == "odd_status":
            status = rng.choice([408, 409, 425, 421, 499])
            return Fault(kind="status", status=status, body=HTML, after=rng.random() < 0.5)
        if fate == "unanswered":
            return Fault(kind="generation_error", reset=rng.random() < 0.5)
        if fate == "wrong_page":
            kinds = ["short_page", "wrong_total", "drop_items", "repeat_cursor"]
            return Fault(kind=rng.choice(kinds), amount=rng.randint(1, 3))
        return None

    def _way(self) -> float:
        return self.random.expovariate(1 / self.weather.slowness)

    # -- the service

    def _route(self, request: httpx.Request, content: bytes) -> tuple[Any, dict[str, Any]]:
        raw = request.url.raw_path.partition(b"?")[0]
        scope: dict[str, Any] = {
            "type": "http",
            "method": request.method,
            "path": raw.decode("latin-1"),
            "raw_path": raw,
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "root_path": "",
        }
        router = self._app._api.get((request.method, scope["path"].count("/")))
        for route in router.routes if router is not None else ():
            match, found = route.matches(scope)
            if match is Match.FULL:
                return found["endpoint"], {**scope, **found}
        raise AssertionError(f"there is no endpoint {request.method} {request.url.path}")

    def _operation(self, endpoint: Any, request: httpx.Request) -> str:
        form = request.headers.get("content-type", "").startswith("multipart/form-data")
        fitting = [each for each in endpoint._handlers if each.operation.takes_form == form]
        return str((fitting or endpoint._handlers)[0].operation.id)

    def _received(self, request: httpx.Request, content: bytes) -> ReceivedRequest:
        return ReceivedRequest(
            method=request.method,
            path=request.url.raw_path.partition(b"?")[0].decode("latin-1"),
            query=dict(request.url.params),
            headers={name.lower(): value for name, value in request.headers.items()},
            body=content,
            at=self.clockwork.now,
        )

    async def _serve(
        self, endpoint: Any, received: ReceivedRequest, scope: dict[str, Any], content: bytes, sender: Process
    ) -> tuple[ServedReply, list[bytes]]:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        http = Request(scope, receive)
        reply = await self._app.answer(endpoint._handlers, received, http, None)
        chunks: list[Any] = (
            [reply.body()] if reply.chunks is None else [chunk async for chunk in reply.chunks]
        )
        if self.mutate is not None:
            chunks = self.mutate(reply, received.operation or "", chunks)
        if received.operation in ASKS:
            self.clockwork.tell(f"the service is through with {content[:60].decode(errors='replace')}")
        for look in self.after_work:
            look(sender, received)
        return reply, chunks

    def _go_on(self, steps: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        """Let the service work until it waits; then again, when its time has come."""
        try:
            waited = steps.send(None)
        except StopIteration as end:
            then(end.value)
            return
        seconds = waited.seconds if isinstance(waited, _Sleep) else 0.0
        if seconds:
            seconds = self.random.expovariate(1 / seconds)
        self.clockwork.at(self.clockwork.now + seconds, lambda: self._go_on(steps, then))

    # -- the way back

    def _answer(self, exchange: Exchange, fate: str, served: tuple[ServedReply, list[bytes]]) -> None:
        reply, chunks = served
        moment = self.clockwork.now + self._way()
        if fate in {"silence", "late"}:
            return
        if fate == "lost_after" or reply.is_silent:
            error = self.random.choice([httpx.ReadError, httpx.RemoteProtocolError])
            self.clockwork.at(moment, lambda: exchange.arrives(error("connection reset")))
            return
        date = formatdate(EPOCH + self.clockwork.now, usegmt=True)
        headers = [("date", date), ("content-type", reply.content_type), *reply.headers.items()]
        self.clockwork.at(moment, lambda: exchange.arrives((reply.status, headers)))
        pieces, end = chunks, None
        if fate == "cut" or reply.cut_after is not None:
            content = b"".join(chunks)
            left = self.random.randrange(len(content) or 1)
            pieces, end = [content[:left]], httpx.RemoteProtocolError("incomplete body")
        for piece in [*pieces, end]:
            moment += self._way() / 10 + 1e-6  # in their order
            if hasattr(piece, "pause"):
                self.clockwork.at(moment, lambda piece=piece: self._drip(exchange, piece))
                return
            self.clockwork.at(moment, lambda piece=piece: exchange.arrives(piece))

    def _drip(self, exchange: Exchange, endless: Any) -> None:
        """Send a piece over and over, until nobody listens any more."""
        if not exchange.closed:
            exchange.arrives(endless.piece)
            self.clockwork.at(self.clockwork.now + endless.pause, lambda: self._drip(exchange, endless))


def _timeout(request: httpx.Request) -> float | None:
    return (request.extensions.get("timeout") or {}).get("read")


class AsyncNetwork(httpx.AsyncBaseTransport):
    """The network for a client on an event loop."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        exchange, patience = self._network.begin(request, content), _timeout(request)
        status, headers = await self._next(exchange, patience)
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        return httpx.Response(status, headers=raw, stream=_Async(self, exchange, patience))

    async def _next(self, exchange: Exchange, patience: float | None) -> Any:
        loop = asyncio.get_running_loop()
        if not exchange.pieces:
            arrived = asyncio.Event()
            exchange.wake = lambda: loop.is_closed() or loop.call_soon_threadsafe(arrived.set)
            try:
                await asyncio.wait_for(arrived.wait(), patience)
            except TimeoutError:
                raise httpx.ReadTimeout("nothing came") from None
            finally:
                exchange.wake = lambda: None
        return _piece(exchange)


class _Async(httpx.AsyncByteStream):
    def __init__(self, transport: AsyncNetwork, exchange: Exchange, patience: float | None) -> None:
        self._transport, self._exchange, self._patience = transport, exchange, patience

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (piece := await self._transport._next(self._exchange, self._patience)) is not None:
            yield piece

    async def aclose(self) -> None:
        self._exchange.closed = True


def _piece(exchange: Exchange) -> Any:
    piece = exchange.pieces.popleft()
    running().point()
    if isinstance(piece, Exception):
        raise piece
    return piece


_present: list[Network] = []


def carry(network: Network) -> None:
    """Let the clients that are made from now on use this network."""
    _present[:] = [network]


class _AsyncClient(httpx.AsyncClient):
    def __init__(self, **given: Any) -> None:
        super().__init__(**_without_wires(given), transport=AsyncNetwork(_present[0]))


def _without_wires(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in {"proxy", "verify", "limits"}}


def take_over_httpx() -> None:
    """Let httpx's client use the simulated network."""
    httpx.AsyncClient = _AsyncClient


__all__ = ["CALM", "Network", "SimulatedThread", "Weather", "carry", "take_over_httpx"]
