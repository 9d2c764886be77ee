"""A simulator that acts what a test has written: one act for each chat request, in their order."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import pytest

from airflow_provider_chatbase.simulator import Fault, Simulator
from airflow_provider_chatbase.simulator.conversations import Conversation
from airflow_provider_chatbase.simulator.seed import add_message

Event = dict[str, Any]
TEXT = "Grüße, 世界! 🦊"
AGENT = "agent-1"
KEY = "sk-acting-1234567890"

CHATS = ("chatWithAgent", "chat")
LOOKS = ("listUserConversations", "getConversation", "listConversationMessages")


@dataclass(kw_only=True)
class Act:
    """
    What becomes of one chat request.

    ``arrives``: the question is kept. ``works``: the answer is made, kept and charged. ``answer_after``: how
    often the conversation is read before the answer shows. ``cut_after``: events of the stream that are sent.
    ``ending``, after the reply's body: ``end``, ``cut``, ``reset`` or ``hang``. ``silent``: not a byte of a
    reply.
    """

    text: str = TEXT
    arrives: bool = True
    works: bool = True
    answer_after: int = 0
    tools: list[tuple[str, Any]] = field(default_factory=list)
    credits: float | None = 1
    status: int = 200
    content_type: str | None = None
    body: bytes | list[bytes] | None = None
    cut_after: int | None = None
    ending: str = "end"
    silent: bool = False
    delay: float = 0.0
    pause: float = 0.0
    same_message: bool = False
    finish_reason: str | None = None
    retry_after: float | None = None

    def fault(self) -> Fault:
        """Return the fault of the simulator that acts it."""
        answer = {
            "text": self.text,
            "tools": self.tools,
            "credits": self.credits,
            "finish_reason": self.finish_reason,
            "in_place": self.same_message,
        }
        return Fault(answer=answer, ending=self.ending, pause=self.pause, **self._kind())

    def _kind(self) -> dict[str, Any]:
        if self.silent:
            if self.works:
                return {"kind": "reset_after"}
            return {"kind": "generation_error", "reset": True} if self.arrives else {"kind": "reset_before"}
        if self.body is not None:
            pieces = self.body if isinstance(self.body, list) else [self.body]
            kind = self.content_type or "application/json"
            raw = {
                "retry_after": self.retry_after,
                "status": self.status,
                "body": pieces[: self.cut_after],
                "content_type": kind,
            }
            return {"kind": "status", "after": self.works, **raw}
        if self.delay:
            return {"kind": "slow", "seconds": self.delay}
        if self.cut_after is not None:
            # A negative one leaves out the end marker alone, which no cut stream has.
            return {"kind": "stream_cut", "after_events": 10_000 if self.cut_after < 0 else self.cut_after}
        return {"kind": "answer" if self.ending == "end" else "no_end"}


def sse(events: list[Event]) -> list[bytes]:
    """Frame events as the documents show it, one chunk each."""
    return [
        *(f"data: {json.dumps(each, ensure_ascii=False)}\n\n".encode() for each in events),
        b"data: [DONE]\n\n",
    ]


def events_of(answer: dict[str, Any], reason: str, metadata: dict[str, Any]) -> list[Event]:
    """Return the events of an answer, its text in pieces of three characters."""
    events: list[Event] = [{"type": "start", "messageId": answer["id"]}, {"type": "start-step"}]
    for part in answer["parts"]:
        if part["type"] == "text":
            text = part["text"]
            events.append({"type": "text-start", "id": "t1"})
            events += [
                {"type": "text-delta", "id": "t1", "delta": text[at : at + 3]}
                for at in range(0, len(text), 3)
            ]
            events.append({"type": "text-end", "id": "t1"})
        else:
            call = {"toolCallId": part["toolCallId"], "toolName": part["toolName"]}
            events.append({"type": "tool-input-start", **call})
            events.append(
                {"type": "tool-input-delta", "toolCallId": part["toolCallId"], "inputTextDelta": "{"}
            )
            events.append({"type": "tool-input-available", **call, "input": part["input"]})
    closing = {"messageId": answer["id"], **metadata}
    return [
        *events,
        {"type": "finish-step"},
        {"type": "finish", "finishReason": reason, "messageMetadata": closing},
    ]


class Acting:
    """A simulator with an agent that has nothing but its acts; what it is not told to do, it does well."""

    def __init__(self) -> None:
        self.simulator = Simulator(
            agent_id=AGENT,
            api_key=KEY,
            conversations=0,
            leads=0,
            contacts=0,
            tickets=0,
            seed_sources=False,
            rate_limit=100_000,
            stream_metadata="finish",
            stream_unknown_events=False,
            stream_piece=3,
        )
        self._acts: list[Fault] = []
        self.look_status: int = 200
        self.look_code = "INTERNAL_SERVER_ERROR"
        self.look_failures: int | None = None
        self.looks_reset = False
        self.hidden_looks = 0
        self.tool_result_status = 200
        self.hides_tool_results = False
        self.with_created_at = True
        self._pieces: dict[str, int] = {}
        self._reads_without_answer = 0
        self._set_the_stage()

    def __enter__(self) -> Self:
        self.simulator.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.simulator.stop()

    @property
    def url(self) -> str:
        return self.simulator.url

    @property
    def acts(self) -> list[Fault]:
        return self._acts

    @acts.setter
    def acts(self, acts: list[Act]) -> None:
        self._acts = []
        for act in acts:
            fault = act.fault()
            fault.times, fault.where = 1, self._begins(act)
            self._acts.append(fault)
        self._set_the_stage()

    @property
    def posts(self) -> list[Any]:
        return [each.json for each in self.simulator.requests if each.operation in CHATS]

    @property
    def looks(self) -> list[str]:
        return [each.path for each in self.simulator.requests if each.operation in LOOKS]

    @property
    def tool_results(self) -> list[Any]:
        return [each.json for each in self.simulator.requests_for("submitToolResult") if each.status == 200]

    @property
    def charges(self) -> int:
        return self.simulator.prompts_charged

    @property
    def conversations(self) -> dict[str, Conversation]:
        return self.simulator.store.agents[AGENT].conversations.by_id

    def begin(self, user_id: str | None, *turns: tuple[str, str], age: int = 0) -> Conversation:
        """Let somebody have had a conversation."""
        world, agent = self.simulator._world, self.simulator.store.agents[AGENT]
        at = time.time() - age

        def begin() -> Conversation:
            made = world.store.start_conversation(agent, user_id=user_id, title=None, at=at)
            for role, text in turns:
                message = add_message(world, agent, made, role, text, at)
                message.created_at = message.created_at if self.with_created_at else None
            return made

        return self.simulator.run(begin)

    def show_the_answer_after(self, reads: int) -> None:
        """Let the last message of a conversation be missing until it is read for this time."""
        self._reads_without_answer = reads - 1

    def limit_pages(self, operation: str, items: int) -> None:
        """Let the pages of an operation be short, whatever is asked for."""
        self._pieces[operation] = items
        self._set_the_stage()

    def on_post(self, function: Callable[[], None]) -> None:
        """Call a function when a chat request has come."""
        self.simulator.on_request = lambda request: function() if request.operation in CHATS else None

    def _set_the_stage(self) -> None:
        self.simulator.faults.clear()
        self._look = Fault(kind="status", where=self._fails_to_look)
        short = [
            Fault(kind="short_page", operation=name, amount=items) for name, items in self._pieces.items()
        ]
        self.simulator.faults.add(
            Fault(kind="reset_before", where=lambda each: each.operation in LOOKS and self.looks_reset),
            self._look,
            Fault(kind="drop_items", operation=LOOKS[0], amount=1000, where=self._hides_conversations),
            Fault(kind="drop_items", amount=1, where=self._hides_the_answer),
            Fault(kind="no_tool_results", operation=LOOKS[1], where=lambda _: self.hides_tool_results),
            *short,
            Fault(
                kind="status",
                operation="submitToolResult",
                status=404,
                code="RESOURCE_TOOL_CALL_NOT_FOUND",
                where=lambda _: self.tool_result_status == 404,
            ),
            *self._acts,
            Fault(kind="answer", answer=TEXT, where=lambda each: each.operation in CHATS),
        )

    def _begins(self, act: Act) -> Callable[[Any], bool]:
        def begins(request: Any) -> bool:
            if request.operation in CHATS and act.answer_after:
                self.show_the_answer_after(act.answer_after)
            return request.operation in CHATS

        return begins

    def _fails_to_look(self, request: Any) -> bool:
        if request.operation not in LOOKS or self.look_status == 200 or self.look_failures == 0:
            return False
        self.look_failures = None if self.look_failures is None else self.look_failures - 1
        self._look.status, self._look.code = self.look_status, self.look_code
        return True

    def _hides_conversations(self, _request: Any) -> bool:
        self.hidden_looks -= 1
        return self.hidden_looks >= 0

    def _hides_the_answer(self, request: Any) -> bool:
        if request.operation not in LOOKS[1:]:
            return False
        self._reads_without_answer -= 1
        return self._reads_without_answer >= 0


@pytest.fixture
def chatbase() -> Iterator[Acting]:
    """Give a fresh simulator that acts."""
    with Acting() as running:
        yield running


def fields_of(chatbase: Acting, version: str = "v2", **extra: Any) -> dict[str, Any]:
    """Return the fields of an Airflow connection to the simulator that acts."""
    extra = {"agent_id": AGENT, "timeout": 5, "api_version": version, **extra}
    return {"conn_type": "chatbase", "host": chatbase.url, "password": KEY, "extra": extra}


@pytest.fixture
def connected(chatbase: Acting, monkeypatch: pytest.MonkeyPatch) -> Acting:
    """Give one that Airflow's connections chatbase_default (v2) and chatbase_v1 lead to."""
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_DEFAULT", json.dumps(fields_of(chatbase)))
    monkeypatch.setenv("AIRFLOW_CONN_CHATBASE_V1", json.dumps(fields_of(chatbase, "v1")))
    return chatbase
