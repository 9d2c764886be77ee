"""The way of a request: who asks, may they, what goes wrong, what is the answer; and how to control it."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from airflow_provider_chatbase.simulator import (  # noqa: F401 - what v1 and v2 do is registered when it is imported
    v1,
    v2_agents,
    v2_chat,
    v2_conversations,
    v2_helpdesk,
)
from airflow_provider_chatbase.simulator.access import MAIN_WORKSPACE, PLANS, Key, check_access
from airflow_provider_chatbase.simulator.exchange import ApiError, ReceivedRequest, ServedReply
from airflow_provider_chatbase.simulator.faults import Fault, damage, faults_from_json, substitute
from airflow_provider_chatbase.simulator.seed import create_conversations
from airflow_provider_chatbase.simulator.server import Connection, send_reply
from airflow_provider_chatbase.simulator.settings import LOOPBACK
from airflow_provider_chatbase.simulator.world import HANDLERS, Call, Handler, UploadedFile, World

_logger = logging.getLogger(__name__)

_ANYBODY = Key("", PLANS["standard"], MAIN_WORKSPACE)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class App:
    """The service as an ASGI application: both versions of the API, the control, and pages for people."""

    def __init__(self, world: World, pages: Sequence[Route] = (), control_token: str | None = None) -> None:
        self.world = world
        self._control_token = control_token
        self.on_request: Callable[[ReceivedRequest], None] | None = None
        self._alone: set[asyncio.Future[ServedReply]] = set()
        nowhere = _Endpoint(self, ())
        self._api = {
            shape: Router(routes, redirect_slashes=False, default=nowhere)
            for shape, routes in self._routes().items()
        }
        control = Route("/_simulator/{action:path}", self._control, methods=_METHODS)
        dashboard = Route("/dashboard{below:path}", lambda _: RedirectResponse("/"))  # the playground
        self._elsewhere = Router([control, dashboard, *pages], redirect_slashes=False, default=nowhere)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        router = self._elsewhere
        if scope["path"].startswith("/api/"):
            scope["path"] = scope["raw_path"].decode("latin-1")  # a step may hold an encoded slash
            router = self._api.get((scope["method"], scope["path"].count("/")), router)
        try:
            await router(scope, receive, send)
        except asyncio.CancelledError:
            return  # the server stops, which uvicorn would log as a failure of ours

    async def answer(
        self, handlers: Sequence[Handler], request: ReceivedRequest, http: Request, connection: Connection
    ) -> ServedReply:
        """Return the reply to a request that is for one of these handlers; without any it is a 404."""
        request.request_id = f"req_{self.world.rng.getrandbits(48):012x}"
        self.world.log.add(request)
        version = "v1" if request.path.startswith("/api/v1") else "v2"
        date = formatdate(self.world.clock.time(), usegmt=True)
        headers = {"x-request-id": request.request_id, "date": date}
        try:
            reply = await self._answer(handlers, request, http, connection, headers)
        except ApiError as error:
            reply = error.reply(version)
        except Exception:
            _logger.exception("The simulator failed on %s %s", request.method, request.path)
            reply = ApiError(500, "INTERNAL_SERVER_ERROR", "Internal server error").reply(version)
        reply.headers = {**headers, **reply.headers}
        request.status = None if reply.is_silent else reply.status
        self.world.log.close(request)
        return reply

    async def _answer(
        self,
        handlers: Sequence[Handler],
        request: ReceivedRequest,
        http: Request,
        connection: Connection,
        headers: dict[str, str],
    ) -> ServedReply:
        # A source of text and one of a file are created at the same path, which is on two hosts in reality.
        fitting = [each for each in handlers if each.operation.takes_form == request.is_multipart]
        handler = next(iter(fitting or handlers), None)
        request.operation = None if handler is None else handler.operation.id
        key = _ANYBODY if handler is not None and handler.keyless else self._admit(request, headers)
        if self.on_request is not None:
            self.on_request(request)
        if handler is None:
            raise ApiError(404, "RESOURCE_NOT_FOUND", "No such endpoint")
        fault = self.world.faults.draw(request)
        call = Call(request, handler.operation, key, self.world, http.path_params, fault)
        if handler.operation.takes_form and request.is_multipart:
            await _read_files(http, call)
        if fault is None:
            return await self._run(call, handler)
        return await self._run_with_fault(call, handler, fault, connection)

    def _admit(self, request: ReceivedRequest, headers: dict[str, str]) -> Key:
        limits = self.world.limits
        version = "v1" if request.path.startswith("/api/v1") else "v2"
        shows_limits = version == "v2" or self.world.settings.v1_rate_headers
        if shows_limits:
            headers.update(limits.headers(limits.untouched()))
        key = self.world.keys.identify(request.headers.get("authorization"))
        allowance = limits.take_request(key.value)
        if shows_limits:
            headers.update(limits.headers(allowance))
        if not allowance.granted:
            raise limits.refusal(allowance)
        check_access(key.rights, version, request.method)
        return key

    async def _run(self, call: Call, handler: Handler) -> ServedReply:
        if not handler.paced:
            await asyncio.sleep(self.world.settings.latency_of(call.operation.id))
        call.take()
        result = handler.work(call)
        if inspect.isawaitable(result):
            result = await result
        return result if isinstance(result, ServedReply) else ServedReply(payload=result)

    async def _run_with_fault(
        self, call: Call, handler: Handler, fault: Fault, connection: Connection
    ) -> ServedReply:
        if fault.kind == "reset_during":
            task = asyncio.ensure_future(self._run_or_fail(call, handler))
            self._alone.add(task)
            task.add_done_callback(self._alone.discard)
            return ServedReply(is_silent=True)
        if fault.kind == "slow" and fault.after is False:
            await asyncio.sleep(fault.seconds)
            return ServedReply(is_silent=True) if connection.is_gone else await self._run(call, handler)
        standing_in = substitute(fault, call.operation.version)
        if standing_in is not None and not fault.after:
            return standing_in
        reply = await self._run_or_fail(call, handler)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        return standing_in or damage(fault, reply, call.request)

    async def _run_or_fail(self, call: Call, handler: Handler) -> ServedReply:
        try:
            return await self._run(call, handler)
        except ApiError as error:
            return error.reply(call.operation.version)

    def _routes(self) -> dict[tuple[str, int], list[Route]]:
        """Return the API's routes by method and number of steps; fixed names go before parameters."""
        endpoints: dict[tuple[str, str], list[Handler]] = {}
        for handler in HANDLERS.values():
            endpoint = handler.operation.path, handler.operation.method
            endpoints.setdefault(endpoint, []).append(handler)
        routes: dict[tuple[str, int], list[Route]] = {}
        for path, method in sorted(endpoints, key=lambda endpoint: endpoint[0].count("{")):
            route = Route(path, _Endpoint(self, endpoints[path, method]), methods=[method])
            routes.setdefault((method, path.count("/")), []).append(route)
        return routes

    async def _control(self, http: Request) -> Response:
        """Answer a control request, for tests and people in another process; it needs no key of the API."""
        if not self._may_control(http):
            message = (
                "Control requests come from this machine, and not from a page of somebody else. With a token "
                "(the simulator printed it, or has it as control_token): send it as Authorization: Bearer."
            )
            return JSONResponse({"message": message}, 403)
        action = f"{http.method} {http.path_params['action']}"
        if action not in _ACTIONS:
            known = ", ".join(each.replace(" ", " /_simulator/") for each in _ACTIONS)
            return JSONResponse({"message": f"Unknown control request; known: {known}"}, 404)
        try:
            return JSONResponse(control(self.world, action, json.loads(await http.body() or b"{}")))
        except (ValueError, TypeError, KeyError) as error:
            return JSONResponse({"message": f"{type(error).__name__}: {error}"}, 400)

    def _may_control(self, http: Request) -> bool:
        headers = http.headers
        if self._control_token is not None:
            wanted = f"Bearer {self._control_token}".encode()
            return hmac.compare_digest(headers.get("authorization", "").encode(), wanted)
        # A browser on this machine carries the requests of any page, under any name that leads here.
        return (
            http.url.hostname in LOOPBACK
            and headers.get("origin", own := f"http://{headers.get('host')}") == own
            and headers.get("sec-fetch-site", "none") in {"none", "same-origin"}
        )


class _Endpoint:
    """One method and path of the API, as an ASGI application."""

    def __init__(self, app: App, handlers: Sequence[Handler]) -> None:
        self._app = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive)
        try:
            body = await http.body()
        except ClientDisconnect:
            return
        request = ReceivedRequest(
            method=http.method,
            path=scope["raw_path"].decode("latin-1"),
            query=dict(http.query_params),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
            at=self._app.world.clock.monotonic(),
        )
        connection: Connection = scope["state"]["connection"]
        reply = await self._app.answer(self._handlers, request, http, connection)
        if connection.is_gone:
            return
        settings = self._app.world.settings
        zipped = settings.gzip and "gzip" in request.headers.get("accept-encoding", "")
        await send_reply(reply, connection, send, split=settings.split_stream, zipped=zipped)


async def _read_files(http: Request, call: Call) -> None:
    """Read a form into the call; what is malformed is left to the check of its fields."""
    try:
        form = await http.form()
    except (MultiPartException, ValueError):
        return
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            call.files[name] = UploadedFile(value.filename or "", value.file.read())
        else:
            call.texts[name] = value
    await form.close()


_ACTIONS = (
    *("POST faults", "DELETE faults", "GET state", "GET requests", "POST conversations"),
    *("POST keys", "POST advance", "POST balance", "POST reset"),
)
_SHOWN = ("method", "path", "query", "operation", "status", "at", "request_id", "json")


def control(world: World, action: str, data: Any) -> Any:
    """Do what a control request asks, one of ``_ACTIONS``."""
    match action:
        case "POST faults":
            world.faults.add(*faults_from_json(data))
            return {"active": len(world.faults.active)}
        case "DELETE faults":
            world.faults.clear()
            return {"active": 0}
        case "GET requests":
            return [{name: getattr(each, name) for name in _SHOWN} for each in world.log.requests]
        case "POST conversations":
            agent_id = data.pop("agentId", None) or next(iter(world.store.agents))
            return {"ids": [each.id for each in create_conversations(world, agent_id, **data)]}
        case "POST keys":
            world.keys.add(**data)
            return {"added": True}
        case "POST advance":
            world.clock.advance(float(data["seconds"]))
            return {"now": world.clock.time()}
        case "POST balance":
            world.ledger.balance = data["credits"]
            return {"credits": world.ledger.balance}
        case "POST reset":
            world.faults.clear()
            world.ledger.reset()
            world.log.clear()
            return {"reset": True}
    return _state(world)


def _state(world: World) -> Any:
    requests: dict[str, Counter[str]] = {}
    for (operation, status), count in list(world.log.counts.items()):
        requests.setdefault(operation, Counter())[str(status)] += count
    return {
        "requests": requests,
        "prompts_charged": world.ledger.prompts_charged,
        "credits_charged": world.ledger.credits_charged,
        "faults": [{"kind": each.kind, "fired": each.fired} for each in world.faults.active],
        "agents": [
            {"id": each.id, "name": each.name, "sources": len(each.sources)}
            | {"conversations": len(each.conversations.by_id)}
            for each in world.store.agents.values()
        ],
    }
