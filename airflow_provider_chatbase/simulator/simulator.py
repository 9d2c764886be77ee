"""The simulator as an object: a server in a thread of its own, with its state at hand."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from airflow_provider_chatbase.playground import PlaygroundPage, routes
from airflow_provider_chatbase.simulator import seed, webhook
from airflow_provider_chatbase.simulator.access import MAIN_WORKSPACE
from airflow_provider_chatbase.simulator.app import App
from airflow_provider_chatbase.simulator.conversations import ROLE_USER, Conversation, Message
from airflow_provider_chatbase.simulator.exchange import ReceivedRequest
from airflow_provider_chatbase.simulator.faults import FaultBoard
from airflow_provider_chatbase.simulator.server import Server
from airflow_provider_chatbase.simulator.settings import LOOPBACK, Settings
from airflow_provider_chatbase.simulator.world import Store, World

T = TypeVar("T")


class Simulator:
    """
    A stand-in Chatbase that listens on a local port.

    Use it as a context manager, or call ``start`` and ``stop``. One address serves API v1, API v2 and the
    files host, and at ``/`` the playground, a page for people.

    :param settings: how it behaves; None takes the defaults.
    :param switches: settings given by name, see ``Settings``.
    """

    def __init__(self, settings: Settings | None = None, **switches: Any) -> None:
        if settings is not None and switches:
            raise ValueError("Give either settings or switches")
        self.settings = settings or Settings(**switches)
        self.control_token = self.settings.control_token
        if self.control_token is None and self.settings.host not in LOOPBACK:
            self.control_token = secrets.token_urlsafe(16)
        self._world = World(self.settings)
        self.agent_id = seed.seed_world(self._world).id
        page = PlaygroundPage(is_real=False, agent_id=self.agent_id, api_key=self.settings.api_key)
        self.app = App(self._world, routes(page), self.control_token)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = asyncio.Event()
        self._port = self.settings.port

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """
        Listen.

        :raises OSError: the address cannot be used.
        """
        listening: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening)), name="chatbase-simulator", daemon=True
        )
        self._thread.start()
        self._port = listening.result()

    def stop(self) -> None:
        """Close all connections and end the thread."""
        if self._loop is None or self._thread is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._loop, self._thread, self._stopping = None, None, asyncio.Event()

    @property
    def url(self) -> str:
        """The address, without a path."""
        return f"http://{self.settings.host}:{self._port}"

    @property
    def port(self) -> int:
        """The port, once it listens."""
        return self._port

    @property
    def api_key(self) -> str:
        """A key that is accepted for everything."""
        return self.settings.api_key

    @property
    def store(self) -> Store:
        """The truth: agents, sources, conversations, leads, contacts."""
        return self._world.store

    @property
    def faults(self) -> FaultBoard:
        """The faults that are active."""
        return self._world.faults

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The recorded requests, oldest first."""
        return list(self._world.log.requests)

    def requests_for(self, operation: str) -> list[ReceivedRequest]:
        """Return the recorded requests of one operationId."""
        return [request for request in self.requests if request.operation == operation]

    @property
    def prompts_charged(self) -> int:
        """How many answers were billed."""
        return self._world.ledger.prompts_charged

    @property
    def credits_charged(self) -> float:
        """How many credits were billed."""
        return self._world.ledger.credits_charged

    @property
    def credit_balance(self) -> float | None:
        """Credits that the workspace has left; None means no end. Can be set."""
        return self._world.ledger.balance

    @credit_balance.setter
    def credit_balance(self, value: float | None) -> None:
        self._world.ledger.balance = value

    @property
    def on_request(self) -> Callable[[ReceivedRequest], None] | None:
        """A function that sees each admitted request before the work is done. Can be set."""
        return self.app.on_request

    @on_request.setter
    def on_request(self, function: Callable[[ReceivedRequest], None] | None) -> None:
        self.app.on_request = function

    def reset_log(self) -> None:
        """Forget the recorded requests and what was billed."""
        self._world.log.clear()
        self._world.ledger.reset()

    def add_key(self, key: str, plan: str = "standard", workspace: str = MAIN_WORKSPACE) -> str:
        """
        Accept one more key and return it.

        :param key: the key.
        :param plan: its plan, one of ``access.PLANS`` or of ``api_version_plans``.
        :param workspace: the workspace that it opens.
        """
        self._world.keys.add(key, plan, workspace)
        return key

    def advance(self, seconds: float) -> None:
        """Let time pass at once: trainings finish, windows of limits empty."""
        self._world.clock.advance(seconds)

    def create_conversations(self, agent_id: str | None = None, **details: Any) -> list[Conversation]:
        """Create conversations; the arguments are those of ``seed.create_conversations``."""
        agent = agent_id or self.agent_id
        return self.run(lambda: seed.create_conversations(self._world, agent, **details))

    def add_message(
        self, conversation_id: str, text: str, role: str = ROLE_USER, agent_id: str | None = None
    ) -> Message:
        """Let somebody say something in a conversation."""
        agent = self.store.agents[agent_id or self.agent_id]
        conversation = agent.conversations.by_id[conversation_id]
        return self.run(lambda: seed.add_message(self._world, agent, conversation, role, text))

    def submit_lead(self, url: str, secret: str, agent_id: str | None = None, **details: Any) -> int:
        """
        Let a customer leave an address, and tell of it by the webhook; return the receiver's HTTP status.

        :param url: the receiver, such as ``http://127.0.0.1:8080/chatbase/webhook``.
        :param secret: the webhook's secret key.
        :param agent_id: the agent that the customer talks to.
        :param details: ``name``, ``email`` and ``phone``.
        """
        agent = self.store.agents[agent_id or self.agent_id]
        body = self.run(lambda: webhook.collect_lead(self._world, agent, **details))
        return webhook.send_webhook(url, secret, body)

    def run(self, work: Callable[[], T]) -> T:
        """Do something with the state between two requests; safe from any thread."""
        if self._loop is None or threading.current_thread() is self._thread:
            return work()
        done: Future[T] = Future()

        def step() -> None:
            try:
                done.set_result(work())
            except Exception as error:  # noqa: BLE001 - it is raised again in the caller's thread
                done.set_exception(error)

        self._loop.call_soon_threadsafe(step)
        return done.result()

    async def _serve(self, listening: Future[int]) -> None:
        server = Server(self.app, self.settings.host)
        try:
            port = await server.start(self._port)
        except OSError as error:
            listening.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        listening.set_result(port)
        await self._stopping.wait()
        await server.stop()
