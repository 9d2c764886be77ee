"""The route that Chatbase calls, and what becomes of a call: an event of an asset."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

from airflow.assets.manager import asset_manager
from airflow.models.asset import AssetEvent, AssetModel
from airflow.utils.session import create_session
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from airflow_provider_chatbase.webhook.call import (
    MOST_BYTES,
    RefusedCallError,
    WebhookCall,
    is_signed,
    read_call,
)

log = logging.getLogger(__name__)

LONGEST_BODY = 10.0
"""Seconds that a body may take to come."""


def make_app(secrets: Sequence[str], replay_window: float, *, keeps_data: bool) -> FastAPI:
    """Return the receiver as an application of its own, without pages that describe it."""
    register = partial(_register, replay_window=replay_window, keeps_data=keeps_data)
    app = FastAPI(title="Chatbase webhook", openapi_url=None)

    @app.post("/webhook")
    async def receive(request: Request) -> JSONResponse:
        status, said = await _receive(request, secrets, register)
        if status >= 400:
            log.warning("A call of the Chatbase webhook was refused with %s: %s", status, said)
        unread = status in (408, 413)  # the server would read on, to no end
        return JSONResponse({"detail": said}, status, {"connection": "close"} if unread else None)

    return app


async def _receive(
    request: Request, secrets: Sequence[str], register: Callable[[WebhookCall], tuple[int, str]]
) -> tuple[int, str]:
    try:
        async with asyncio.timeout(LONGEST_BODY):
            body = await _bounded_body(request)
    except TimeoutError:
        return 408, "The body took too long."
    except ClientDisconnect:
        return 400, "The caller went away."
    if body is None:
        return 413, f"The body has more than {MOST_BYTES:,} bytes."
    if not is_signed(body, request.headers.get("x-chatbase-signature"), secrets):
        return 401, "The signature does not fit."
    try:
        call = read_call(body)
    except RefusedCallError as error:
        return 400, str(error)
    try:
        return await run_in_threadpool(register, call)
    except SQLAlchemyError as error:  # its text holds what was to be stored
        return 503, f"The event could not be stored ({type(error).__name__}); send it again."


async def _bounded_body(request: Request) -> bytes | None:
    """Read the body as it was sent, or no further than it may be long, whatever its header says."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            return None
    return bytes(body)


def _register(call: WebhookCall, *, replay_window: float, keeps_data: bool) -> tuple[int, str]:
    """Turn a call into an asset event, once: of two at one moment, the second waits for the first."""
    of_name = AssetModel.name == call.asset_name, AssetModel.active.has()
    with create_session() as session:
        # A change that changes nothing locks the asset on every database until the end of the block.
        lock = update(AssetModel).where(*of_name).values(group=AssetModel.group)
        session.execute(lock.execution_options(synchronize_session=False))
        asset = session.scalar(select(AssetModel).where(*of_name))
        if asset is None:
            return 404, f"No DAG waits for the asset {call.asset_name}."
        since = datetime.now(UTC) - timedelta(seconds=replay_window)
        told = select(AssetEvent.extra).where(AssetEvent.asset_id == asset.id, AssetEvent.timestamp > since)
        if any(
            isinstance(extra, dict) and extra.get("delivery") == call.digest
            for extra in session.scalars(told)
        ):
            return 409, "The same call came before."
        extra = call.as_extra(with_data=keeps_data)
        asset_manager.register_asset_change(asset=asset, extra=extra, session=session)
    log.info("The Chatbase webhook told of %s for agent %s.", call.event_type, call.agent_id)
    return 202, "accepted"
