"""The way of a request: who asks, may they, what goes wrong, what is the answer."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

from airflow_provider_chatbase.simulator import control
from airflow_provider_chatbase.simulator.errors import ApiError
from airflow_provider_chatbase.simulator.exchange import Reply, Request
from airflow_provider_chatbase.simulator.faults import Fault, damage, substitute
from airflow_provider_chatbase.simulator.keys import MAIN_WORKSPACE, PLANS, Key, check_access
from airflow_provider_chatbase.simulator.log import RequestLog
from airflow_provider_chatbase.simulator.routing import Route, Router
from airflow_provider_chatbase.simulator.v1.routes import ROUTES as V1_ROUTES
from airflow_provider_chatbase.simulator.v2.routes import ROUTES as V2_ROUTES
from airflow_provider_chatbase.simulator.world import Call, World

_logger = logging.getLogger(__name__)

_ANYBODY = Key("", PLANS["standard"], MAIN_WORKSPACE)


class App:
    """
    The service behind the wire.

    :param world: the state it works on.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.log = RequestLog(world.settings.record_limit)
        self.on_request: Callable[[Request], None] | None = None
        self._alone: set[asyncio.Future[Reply]] = set()
        self._router = Router([*V2_ROUTES, *V1_ROUTES])

    async def handle(self, request: Request, is_gone: Callable[[], bool]) -> Reply:
        """
        Answer a request.

        :param request: the request.
        :param is_gone: tells whether the caller has hung up.
        """
        if request.path.startswith(control.PREFIX):
            return control.answer(self.world, self.log, request)
        request.request_id = f"req_{self.world.rng.getrandbits(48):012x}"
        self.log.add(request)
        version = "v1" if request.path.startswith("/api/v1") else "v2"
        headers = {"x-request-id": request.request_id}
        try:
            reply = await self._answer(request, version, headers, is_gone)
        except ApiError as error:
            reply = error.reply(version)
        except Exception:
            _logger.exception("The simulator failed on %s %s", request.method, request.path)
            reply = ApiError(500, "INTERNAL_SERVER_ERROR", "Internal server error").reply(version)
        reply.headers = {**headers, **reply.headers}
        request.status = None if reply.is_silent else reply.status
        self.log.close(request)
        return reply

    async def _answer(
        self, request: Request, version: str, headers: dict[str, str], is_gone: Callable[[], bool]
    ) -> Reply:
        found = self._router.find(request)
        if found is not None:
            request.operation = found[0].operation
        key = _ANYBODY if found is not None and found[0].open else self._admit(request, version, headers)
        if self.on_request is not None:
            self.on_request(request)
        if found is None:
            raise ApiError(404, "RESOURCE_NOT_FOUND", "No such endpoint")
        route, params = found
        fault = self.world.faults.draw(request)
        call = Call(request, params, key, self.world, fault)
        if fault is None:
            return await self._run(call, route)
        return await self._run_with_fault(call, route, fault, version, is_gone)

    def _admit(self, request: Request, version: str, headers: dict[str, str]) -> Key:
        limits = self.world.limits
        shows_limits = version == "v2" or self.world.settings.v1_rate_headers
        if shows_limits:
            headers.update(limits.headers(limits.untouched()))
        key = self.world.keys.identify(request.headers.get("authorization"))
        allowance = limits.take_request(key.value)
        if shows_limits:
            headers.update(limits.headers(allowance))
        if not allowance.granted:
            raise limits.refusal(allowance)
        check_access(key.plan, version, request.method)
        return key

    async def _run(self, call: Call, route: Route) -> Reply:
        if not route.paced:
            await asyncio.sleep(self.world.settings.latency_of(route.operation))
        result = route.handler(call)
        return await result if inspect.isawaitable(result) else result

    async def _run_with_fault(
        self, call: Call, route: Route, fault: Fault, version: str, is_gone: Callable[[], bool]
    ) -> Reply:
        if fault.kind == "reset_during":
            self._go_on_alone(call, route)
            return Reply(reset=True)
        if fault.kind == "slow" and fault.after is False:
            await asyncio.sleep(fault.seconds)
            return Reply(reset=True) if is_gone() else await self._run(call, route)
        standing_in = substitute(fault, version)
        if standing_in is not None and not fault.after:
            return standing_in
        reply = await self._run_or_fail(call, route, version)
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        return standing_in or damage(fault, reply, call.request)

    async def _run_or_fail(self, call: Call, route: Route, version: str) -> Reply:
        try:
            return await self._run(call, route)
        except ApiError as error:
            return error.reply(version)

    def _go_on_alone(self, call: Call, route: Route) -> None:
        task = asyncio.ensure_future(self._run_or_fail(call, route, "v2"))
        self._alone.add(task)
        task.add_done_callback(self._alone.discard)
